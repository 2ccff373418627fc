"""The streaming API of a whole server with the offline recognizer, by clients as users write them."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import treq
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater

from tests.guesses import with_guess
from tests.in_reactor import in_reactor
from voicemedia.config import Config, Server, Stream
from voicemedia.providers import wanted
from voicemedia.service import MediaServer
from voicemedia.speech_service import offered
from voicemedia.transcribe import Speaker, chunk_bytes, start_server
from voicemedia.transcribing.events import RATES_HZ

SPEECH = Path(__file__).parent / "vectors" / "speech" / "go_forward.wav"
needs_pocketsphinx = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="pocketsphinx is not installed"
)


async def ask(server: MediaServer, path: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    """Ask the server; with a form if there are fields."""
    port: Any = server.port
    url = f"http://127.0.0.1:{port.getHost().port}{path}"
    response = await (treq.post(url, files=fields) if fields else treq.get(url))
    found: dict[str, Any] = json.loads(await treq.content(response))
    # The client's connection pool would keep the connection, and the test would find it open.
    await deferLater(reactor, 0, lambda: None)
    return response.code, found


@needs_pocketsphinx
@in_reactor
async def test_chunks_over_http_are_understood_and_counted() -> None:
    server = await start_server(reactor, Config(), "pocketsphinx")
    try:
        pcm = SPEECH.read_bytes()[44:]
        for start in range(0, len(pcm), 32_000):
            last = start + 32_000 >= len(pcm)
            query = urlencode({"session_id": "walk", "is_final_chunk": str(last).lower()})
            chunk = ("chunk.pcm", "application/octet-stream", pcm[start : start + 32_000])
            status, answer = await ask(server, f"/stt/stream-chunk?{query}", audio_chunk=chunk)
            assert status == 200, answer
        assert answer["is_final"] is True
        assert answer["text"].startswith("go forward ten")
        _, stats = await ask(server, "/streaming/stats")
        assert (stats["active_sessions"], stats["total_sessions"], stats["expired_sessions"]) == (0, 1, 0)
        provider = stats["providers"]["pocketsphinx"]
        assert provider["latency_ms"]["p99"] > 0
        assert provider["error_rate"] == 0
        _, health = await ask(server, "/health")
        assert health["streaming"]["providers"]["pocketsphinx"]["available"] is True
    finally:
        await server.stopService()


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `voicemedia transcribe` as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "voicemedia.cli", "transcribe", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=90,
    )


@needs_pocketsphinx
def test_the_command_transcribes_a_file(tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"

    def transcribe() -> str:
        done = command(tmp_path, str(SPEECH), "--in-process", "--provider", "pocketsphinx", "--summary", str(summary))
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert " = go forward ten" in with_guess(transcribe, " ~ go")
    told = json.loads(summary.read_text())
    assert told["results"]["full_transcript"].startswith("go forward ten")
    assert told["audio_metrics"]["audio_s"] == pytest.approx(2.79, abs=0.03)


def test_a_file_of_any_rate_is_sent_in_whole_samples() -> None:
    assert (chunk_bytes(8000), chunk_bytes(16000)) == (1600, 3200)
    assert [rate_hz for rate_hz in RATES_HZ if chunk_bytes(rate_hz) % 2] == []


def test_guesses_and_finals_are_shown_with_their_times(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    speaker = Speaker(clock, b"", 1600, fast=False)
    clock.advance(1.5)
    for text, final in (("go", False), ("", False), ("go forward", True)):
        speaker.onMessage(json.dumps({"type": "transcription", "text": text, "is_final": final}).encode(), False)
    assert capsys.readouterr().out == "   1.50 ~ go\n   1.50 = go forward\n"


BUSY_HOUSE = """
[sip]
enabled = true
port = {port}
[calls]
token_env = "A_SECRET_OF_THE_SERVER"
[stream]
secret_env = "A_SECRET_OF_THE_SERVER"
[recording]
enabled = true
"""


@needs_pocketsphinx
def test_a_file_is_transcribed_beside_the_server_of_the_same_configuration(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "voicemedia.toml").write_text(BUSY_HOUSE.format(port=taken.getsockname()[1]))
        done = command(tmp_path, str(SPEECH), "--in-process", "--provider", "pocketsphinx", "--fast")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\ngo forward ten" in done.stdout
    assert not (tmp_path / "var").exists()


@needs_pocketsphinx
def test_the_words_are_shown_though_the_summary_cannot_be_written(tmp_path: Path) -> None:
    summary = str(tmp_path / "nowhere" / "summary.json")
    done = command(tmp_path, str(SPEECH), "--in-process", "--provider", "pocketsphinx", "--fast", "--summary", summary)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"cannot write {summary}" in done.stderr
    assert "\ngo forward ten" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/nowhere.wav",), "/nowhere.wav: No such file"),
        ((str(SPEECH), "--url", "ws://127.0.0.1:1/stt/stream"), "no server at 127.0.0.1:1"),
        ((str(SPEECH), "--url", "http://127.0.0.1/"), "must begin with ws:// or wss://"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = command(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_recognizers_of_the_streaming_api_are_loaded() -> None:
    config = Config(routes=(), stream=Stream(provider="pocketsphinx"), server=Server(port=0))
    (found,) = wanted(config)
    assert (found.key, found.asked_by) == ("stt.pocketsphinx", ("stream.provider",))


def test_the_default_recognizer_comes_first() -> None:
    providers: Any = {("stt", "a"): None, ("stt", "b"): None, ("tts", "c"): None}
    assert offered(Config(), providers) == ["a", "b"]
    assert offered(Config(stream=Stream(provider="b")), providers) == ["b", "a"]
    assert offered(Config(stream=Stream(provider="b", providers=("b",))), providers) == ["b"]
