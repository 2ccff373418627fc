"""The first examples of this service, as they were written: its messages, and a WAV file streamed to Google.

Google is the stand-in, which hears for real.
"""

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import wave
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.guesses import with_guess
from tests.test_start import Started
from voicemedia.callers.client_wire import FrameReader, frame, request

CHECKOUT: Final = Path(__file__).parent.parent
SPEECH: Final = "tests/vectors/speech/go_forward.wav"
TEXT, BINARY = 1, 2
URL: Final = "/stt/stream?language=en&provider=google&sample_rate=16000&chunk_size=1024"
"As the first description of the API has it."
CONFIG: Final = """
routes = []
[server]
port = 0
[grpc]
enabled = false
[stream]
provider = "google"
# On a busy machine the stand-in's ear is slow.
final_s = 60
[stt.google]
provider = "google"
plaintext = true
endpoint = "127.0.0.1:{port}"
"""
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="pocketsphinx, the ear of the stand-in, is not installed"
)


@pytest.fixture(scope="module")
def google() -> Iterator[int]:
    """Run `voicemedia cloud google`."""
    command = [sys.executable, "-m", "voicemedia.cli", "cloud", "google", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as running:
        assert running.stdout is not None
        try:
            yield int(running.stdout.readline().rpartition(":")[2])
        finally:
            running.terminate()


@pytest.fixture(scope="module")
def server(google: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run a server whose recognizer that is."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "voicemedia.toml").write_text(CONFIG.format(port=google))
    code = "from twisted.scripts.twistd import run; run()"
    started = Started(Path(sys.executable), ("-c", code, "--pidfile=", "-ny", str(CHECKOUT / "voicemedia.tac")), folder)
    try:
        yield started.port()
    finally:
        started.process.terminate()
        started.process.communicate(timeout=60)


def messages(port: int, url: str, *sent: bytes) -> list[dict[str, Any]]:
    """Say all this over one WebSocket; return everything that is told until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request("127.0.0.1", url, os.urandom(16), {}))
        octets = b""
        while b"\r\n\r\n" not in octets:
            octets += client.recv(4096)
        reader, told = FrameReader(), list[dict[str, Any]]()
        octets = octets.partition(b"\r\n\r\n")[2]
        client.sendall(b"".join(sent))
        while True:
            told += [json.loads(payload) for opcode, payload in reader.read(octets) if opcode == TEXT]
            if told and told[-1]["type"] == "session_ended":
                return told
            octets = client.recv(65536)


def test_the_messages_of_the_first_description_are_those_that_are_sent(server: int) -> None:
    with wave.open(str(CHECKOUT / SPEECH)) as sound:
        pcm = sound.readframes(sound.getnframes())
    chunks = [frame(BINARY, pcm[at : at + 1024]) for at in range(0, len(pcm), 1024)]
    told = messages(server, URL, *chunks, frame(TEXT, b"no json"), frame(TEXT, b'{"type": "end"}'))
    started = told[0]
    assert {key: started[key] for key in ("type", "language", "provider", "sample_rate")} == {
        "type": "session_started",
        "language": "en",
        "provider": "google",
        "sample_rate": 16000,
    }
    assert isinstance(started["session_id"], str)
    heard = [each for each in told if each["type"] == "transcription"]
    # Sound that comes at once leaves no time for guesses; the next test speaks as people do.
    assert {each["is_final"] for each in heard} <= {False, True}
    for each in heard:
        assert (type(each["text"]), each["language"].partition("-")[0].lower()) == (str, "en")
        assert 0 <= each["confidence"] <= 1
        assert datetime.fromisoformat(each["timestamp"])
    assert " ".join(each["text"] for each in heard if each["is_final"]).startswith("go forward ten")
    (error,) = (each for each in told if each["type"] == "error")
    assert isinstance(error["error"], str)
    assert isinstance(error["timestamp"], float)


def test_a_file_is_streamed_to_google_by_the_command(server: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "voicemedia.cli", "transcribe", SPEECH, "--provider", "google"]
    where = ["--url", f"ws://127.0.0.1:{server}/stt/stream", "--summary", str(tmp_path / "summary.json")]

    def transcribe() -> str:
        done = subprocess.run([*command, *where], cwd=CHECKOUT, capture_output=True, text=True, timeout=90)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    printed = with_guess(transcribe, "~ go")
    assert re.search(r"^( +[0-9.]+ ~ .*\n)* +[0-9.]+ = go forward ten", printed, re.MULTILINE)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["session"]["provider"], summary["session"]["status"]) == ("google", "closed")
    assert summary["audio_metrics"]["cost_usd"] > 0


def test_the_example_with_a_session_manager_streams_a_file_and_prints_its_summary(google: int) -> None:
    example = [sys.executable, "examples/streaming_session.py", SPEECH, "--endpoint", f"127.0.0.1:{google}"]

    def stream() -> str:
        done = subprocess.run(example, cwd=CHECKOUT, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return done.stdout

    results, _, summary = with_guess(stream, r"\A~ go").partition("{")
    assert all(line.startswith(("~ ", "= ")) for line in results.splitlines())
    assert re.search(r"^= go forward ten", results, re.MULTILINE)
    page = (CHECKOUT / "docs" / "stt" / "reliability.md").read_text()
    (documented,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    told = json.loads("{" + summary)
    for section, keys in json.loads(documented).items():
        assert set(keys) <= set(told[section]), section
    assert (told["session"]["session_id"], told["session"]["status"]) == ("talk-1", "closed")
    assert told["session"]["total_chunks_sent"] == 28
