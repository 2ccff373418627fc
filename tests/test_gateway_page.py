"""docs/gateway.md runs as it stands, and gateways built from somebody else's proto are served."""
# Generated code has few types.
# mypy: disallow-untyped-calls=False

import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from grpc_tools import protoc

from tests.test_gateway_wire import opus_of
from tests.test_start import Started, clean_environment, get
from voicemedia.audio.g711 import encode_alaw, encode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.proto import audio_stream_pb2 as pb
from voicemedia.proto.audio_stream_pb2_grpc import StreamIngestStub

CHECKOUT: Final = Path(__file__).parent.parent
PAGE: Final = (CHECKOUT / "docs" / "gateway.md").read_text()
SPEECH: Final = CHECKOUT / "tests" / "vectors" / "speech" / "go_forward.wav"
UPSTREAM: Final = CHECKOUT / "tests" / "vectors" / "gateway"
SETTINGS: Final = """
routes = []
[server]
port = 0
[stream]
provider = "pocketsphinx"
[grpc]
enabled = true
ingest_port = 0
speech_port = 0
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="pocketsphinx is not installed"
)


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Serve gateways, with pocketsphinx behind the door."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "voicemedia.toml").write_text(SETTINGS)
    code = "from twisted.scripts.twistd import run; run()"
    arguments = ("-c", code, "--pidfile=", "-ny", str(CHECKOUT / "voicemedia.tac"))
    started = Started(Path(sys.executable), arguments, folder)
    try:
        http_port = started.port()
        yield {**started.wait_for("ingest_port"), "port": http_port}
    finally:
        started.process.terminate()
        started.process.communicate(timeout=60)


def run(command: str, ports: dict[str, Any], folder: Path = CHECKOUT) -> str:
    """Run a command of the page, with the ports of this server."""
    words = command.replace("voicemedia/proto", str(CHECKOUT / "voicemedia/proto")).split()
    assert words[0] == ".venv/bin/python"
    options = ["--ingest", f"127.0.0.1:{ports['ingest_port']}"] if "voice_gateway.py" in command else []
    done = subprocess.run(
        [sys.executable, *words[1:], *options], cwd=folder, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_flow_of_the_page_goes_from_gateway_to_transcript(ports: dict[str, Any]) -> None:
    flow, streamed, _ = examples("sh")
    lines = run(flow, ports).splitlines()
    assert lines[0].strip() == "1 Segment received and forwarded to STT. STT Response:"
    assert lines[-1].split()[0] == "140"
    assert "STT. STT Response: go forward ten" in lines[-1]
    told = run(streamed, ports).splitlines()
    assert told[0].startswith("~ ")
    assert told[-1].startswith("= go forward ten")


def test_the_client_of_the_page_runs_with_stubs_of_its_own(ports: dict[str, Any], tmp_path: Path) -> None:
    _, _, generate = examples("sh")
    run(generate, ports, tmp_path)
    (client,) = examples("python")
    (tmp_path / "client.py").write_text(client.replace("50051", str(ports["ingest_port"])))
    assert "STT Response: go forward ten" in run(f".venv/bin/python client.py {SPEECH}", ports, tmp_path)


def sound_at(rate_hz: int) -> bytes:
    with wave.open(str(SPEECH)) as file:
        resampler = Resampler(file.getframerate(), rate_hz)
        return resampler.feed(file.readframes(file.getnframes())) + resampler.flush()


def pieces(sound: bytes, size: int) -> list[dict[str, Any]]:
    return [{"data": sound[start : start + size].hex()} for start in range(0, len(sound), size)]


def test_gateways_built_from_the_original_proto_are_served(ports: dict[str, Any], tmp_path: Path) -> None:
    stubs = [f"--{kind}={tmp_path}" for kind in ("python_out", "grpc_python_out")]
    assert protoc.main(["protoc", f"-I{UPSTREAM}", *stubs, "audio_stream.proto"]) == 0
    narrow = sound_at(8000)
    # SIP gateways count from 1 and never say that a call is over; WebRTC gateways count from 0.
    sip = pieces(encode_mulaw(narrow), 1600)
    webrtc = [{"data": packet.hex()} for packet in opus_of(sound_at(48000))]
    calls = {
        "sip": {"format": 1, "first": 1, "segments": [*sip, {"data": "", "is_final": True, "speech": True}]},
        "a-law": {"format": 2, "first": 1, "segments": pieces(encode_alaw(narrow), 1600)},
        "webrtc": {"format": 3, "first": 0, "segments": webrtc},
        "unnamed": {"format": 0, "first": 0, "segments": [{"data": "00"}]},
    }
    for name in ("a-law", "webrtc"):
        calls[name]["segments"][-1]["is_final"] = True  # type: ignore[index]
    sound = tmp_path / "calls.json"
    sound.write_text(json.dumps(calls))
    client = Path(__file__).parent / "upstream_client.py"
    told = json.loads(
        run(
            f".venv/bin/python {client} {tmp_path} {ports['ingest_port']} {ports['speech_port']} {sound}",
            ports,
            tmp_path,
        )
    )
    assert told["sip"].startswith("go forward ten")
    for name in ("a-law", "webrtc"):
        assert "forwarded to STT. STT Response: go forward ten" in told[name]
    assert told["unnamed"].startswith("Segment received, but failed to forward to STT: audio_format: 0 is none of")


def test_the_sessions_are_counted(ports: dict[str, Any]) -> None:
    streaming = get(ports["port"], "/streaming/stats")["streaming"]
    assert streaming["gateways"]["active_sessions"] == 0
    assert streaming["gateways"]["max_sessions"] == 500


def test_a_daemon_serves_gateways(tmp_path: Path) -> None:
    (tmp_path / "voicemedia.toml").write_text(SETTINGS.replace('provider = "pocketsphinx"', ""))
    twistd = ["-c", "from twisted.scripts.twistd import run; run()", "--pidfile=twistd.pid"]
    tac = ["-y", str(CHECKOUT / "voicemedia.tac")]
    subprocess.run([sys.executable, *twistd, *tac], cwd=tmp_path, env=clean_environment(), check=True, timeout=60)
    daemon = int((tmp_path / "twistd.pid").read_text())
    ended = os.pidfd_open(daemon)
    try:
        port = port_in(tmp_path / "twistd.log")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            segment = pb.AudioSegment(session_id="s1", audio_format=pb.PCMU, data=b"\xff" * 160)
            told = StreamIngestStub(channel).IngestAudioSegment(segment, timeout=60)
        assert told.status_message == (
            "Segment received, but failed to forward to STT: this server has no recognizer; configure one as [stt.NAME]"
        )
    finally:
        os.kill(daemon, signal.SIGTERM)
        assert select.select([ended], [], [], 60)[0] == [ended]
        os.close(ended)


def port_in(log: Path) -> int:
    """Wait for the line that says where the ingest service listens: it comes after the daemon has started."""
    for _ in range(600):
        for line in log.read_text().splitlines():
            if '"ingest_port"' in line:
                return int(json.loads(line)["ingest_port"])
        select.select([], [], [], 0.1)
    raise AssertionError(log.read_text())
