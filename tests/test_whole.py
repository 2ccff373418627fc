"""The whole server as its users meet it: started by twistd, called by `voicemedia call` with real speech."""
# Autobahn and Twisted carry types, but not everywhere.
# mypy: disallow-untyped-calls=False

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from tests.in_reactor import in_reactor
from tests.test_start import CHECKOUT, PATIENCE_S, TWISTD, Started, clean_environment
from voicemedia.stt import pocketsphinx
from voicemedia.tts import espeak

SPEECH = Path(__file__).parent / "vectors" / "speech"
MISSING = pocketsphinx.missing(pocketsphinx.Options()) or espeak.missing(espeak.Options())
EGGS = "i had two eggs and a slice of toast"

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "installed")


class Server(Started):
    """The default configuration on a port of its own."""

    def __init__(self, folder: Path, more: str = "") -> None:
        # All callers have one number: none shall go on where another stopped.
        (folder / "voicemedia.toml").write_text(
            f"[server]\nport = 0\n[grpc]\nenabled = false\n[history]\nresume = false\n[log]\npersonal = true\n{more}"
        )
        super().__init__(Path(sys.executable), (*TWISTD, "-ny", str(CHECKOUT / "voicemedia.tac")), folder)
        self.at = self.port()

    def calls(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin to call it."""
        url = () if "--url" in arguments else ("--url", f"ws://127.0.0.1:{self.at}/vendor-stream")
        return subprocess.Popen(
            [sys.executable, "-m", "voicemedia.cli", "call", "smartflo", *arguments, *url, "--json"],
            stdout=subprocess.PIPE,
            env=clean_environment(),
            cwd=CHECKOUT,
        )

    def children(self, module: str) -> list[int]:
        """Return the process ids of its children that run a module."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", module], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]


def report(call: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for the end of a call; return what `--json` says."""
    out, _ = call.communicate(timeout=2 * PATIENCE_S)
    told: dict[str, Any] = json.loads(out)
    return told


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as started:
        yield started


def wav(name: str) -> str:
    return str(SPEECH / f"{name}.wav")


BAD_NETWORK = ("--loss", "0.02", "--jitter-ms", "40", "--reorder", "0.02", "--duplicate", "0.01")
CALLS = {
    "plain": (wav("two_eggs"), wav("chicken_and_rice")),
    **{f"bad network {seed}": (wav("two_eggs"), *BAD_NETWORK, "--seed", seed) for seed in "123"},
    "barge-in": (wav("two_eggs"), wav("chicken_and_rice"), wav("two_eggs"), "--barge-in-after", "1200"),
}


@pytest.fixture(scope="module")
def told(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All of the calls above, placed at the same time."""
    folder = tmp_path_factory.mktemp("heard")
    placed = {name: server.calls(*line, "--record", str(folder / f"{name}.wav")) for name, line in CALLS.items()}
    reports = {name: report(call) for name, call in placed.items()}
    return {name: {**told, "record": folder / f"{name}.wav"} for name, told in reports.items()}


def test_a_caller_is_heard_understood_and_answered(told: dict[str, dict[str, Any]]) -> None:
    plain = told["plain"]
    assert [turn["answered"] for turn in plain["turns"]] == [True] * 3
    assert plain["turns"][1]["understood"] == EGGS
    assert "eggs" in plain["turns"][1]["answer"]
    assert plain["record"].stat().st_size > 3 * 16000
    assert plain["carrier_rules_broken"] == {}


@pytest.mark.parametrize("seed", "123")
def test_a_bad_network_changes_no_word(told: dict[str, dict[str, Any]], seed: str) -> None:
    call = told[f"bad network {seed}"]
    assert call["packets_lost"] > 0
    assert call["turns"][1]["understood"] == EGGS


def test_a_caller_who_speaks_over_us_silences_us(told: dict[str, dict[str, Any]]) -> None:
    call = told["barge-in"]
    cuts = [turn["barge_in_ms"] for turn in call["turns"] if turn["barge_in_ms"] is not None]
    # How soon depends on the machine here, and is measured on the media clock in test_barge_in.
    assert len(cuts) >= 2
    interrupted = [turn for turn in call["server_turns"] if turn["interrupted"]]
    assert len(interrupted) == len(cuts)
    for turn in interrupted:
        assert turn["text"].startswith(turn["heard_text"])
        assert 0 < len(turn["heard_text"]) < len(turn["text"])


def test_recognizers_killed_in_mid_sentence_cost_no_word(server: Server, tmp_path: Path) -> None:
    before = frames_in(server)
    call = server.calls(wav("two_eggs"), "--wait-greeting", "0.5", "--record", str(tmp_path / "heard.wav"))
    while frames_in(server) < before + 1500 // 20:
        assert call.poll() is None
    for pid in server.children("pocketsphinx_worker"):
        os.kill(pid, signal.SIGKILL)
    assert report(call)["turns"][1]["understood"] == EGGS


def frames_in(server: Server) -> int:
    with urlopen(f"http://127.0.0.1:{server.at}/streaming/stats", timeout=PATIENCE_S) as answer:
        return int(json.load(answer)["frames"]["in"])


def test_a_killed_voice_costs_no_call(server: Server, tmp_path: Path) -> None:
    for pid in server.children("espeak_worker"):
        os.kill(pid, signal.SIGKILL)
    told = report(server.calls(wav("two_eggs"), "--record", str(tmp_path / "heard.wav")))
    assert [turn["answered"] for turn in told["turns"]] == [True, True]


def test_statistics_and_metrics_tell_of_the_calls(server: Server) -> None:
    with urlopen(f"http://127.0.0.1:{server.at}/streaming/stats", timeout=PATIENCE_S) as answer:
        stats = json.load(answer)
    assert stats["active_sessions"] == 0
    assert stats["total_sessions"] >= 1
    with urlopen(f"http://127.0.0.1:{server.at}/metrics", timeout=PATIENCE_S) as answer:
        metrics = answer.read().decode()
    assert 'voicemedia_reply_ms_count{stage="total"}' in metrics
    assert "voicemedia_frames_in_total" in metrics


class Talker(WebSocketClientProtocol):
    """Sends a frame every 20 ms to the echo, ends the server after a second, and counts what still comes."""

    server: Server
    over: Deferred[int | None]

    def onOpen(self) -> None:
        self.got, self.got_at_term = 0, -1
        self.sendMessage(
            b'{"event":"start","sequenceNumber":"1","start":{"callSid":"C","streamSid":"S"},"streamSid":"S"}'
        )
        self.clock = LoopingCall(self.speak)
        self.clock.start(0.02)

    def speak(self) -> None:
        media = {"event": "media", "streamSid": "S", "media": {"payload": "/" * 212 + "/w==", "timestamp": "0"}}
        # Between the server's close frame and the end of TCP there may be time for another frame.
        if self.state == self.STATE_OPEN:
            self.sendMessage(json.dumps(media).encode())

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.got += b'"media"' in payload
        if self.got == 50 and self.got_at_term < 0:
            self.got_at_term = self.got
            self.server.process.send_signal(signal.SIGTERM)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.clock.stop()
        self.over.callback(code)


@in_reactor
async def test_a_server_told_to_stop_lets_the_call_go_on_and_closes_properly(tmp_path: Path) -> None:
    with Server(tmp_path, "[limits]\ndrain_s = 2\n") as server:
        factory = WebSocketClientFactory(f"ws://127.0.0.1:{server.at}/vendor-stream/echo")
        talkers: list[Talker] = []
        over: Deferred[int | None] = Deferred()

        def talker() -> Talker:
            talkers.append(Talker())
            talkers[0].server, talkers[0].over = server, over
            return talkers[0]

        factory.protocol = talker  # type: ignore[assignment]
        reactor.connectTCP("127.0.0.1", server.at, factory)
        assert await over == 1000
        assert talkers[0].got > talkers[0].got_at_term + 25
        server.process.wait(PATIENCE_S)
