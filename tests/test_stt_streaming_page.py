"""The examples of docs/stt/streaming.md run as they stand there."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.guesses import with_guess
from tests.test_start import Started
from voicemedia.protocols.stt_chunk import STATUS
from voicemedia.protocols.stt_stream_wire import PARAMETERS
from voicemedia.transcribing.events import RATES_HZ, SUGGESTIONS

CHECKOUT: Final = Path(__file__).parent.parent
PAGE: Final = (CHECKOUT / "docs" / "stt" / "streaming.md").read_text()
SPEECH: Final = "tests/vectors/speech/go_forward.wav"
needs_pocketsphinx = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="pocketsphinx is not installed"
)


def examples(language: str) -> list[str]:
    """Find the examples of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve what the page is about."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "voicemedia.toml").write_text(
        'routes = []\n[server]\nport = 0\n[grpc]\nenabled = false\n[stream]\nprovider = "pocketsphinx"\n'
    )
    code = "from twisted.scripts.twistd import run; run()"
    arguments = ("-c", code, "--pidfile=", "-ny", str(CHECKOUT / "voicemedia.tac"))
    started = Started(Path(sys.executable), arguments, folder)
    try:
        yield started.port()
    finally:
        started.process.terminate()
        started.process.communicate(timeout=60)


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_pocketsphinx
def test_the_client_in_python_runs(port: int) -> None:
    (client,) = examples("python")
    code = client.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    said = with_guess(lambda: run(sys.executable, "-c", code, SPEECH), "^interim go")
    assert re.search(r"^final   go forward ten", said, re.MULTILINE)
    assert all(line.startswith(("interim ", "final   ", "{")) for line in said.splitlines())
    assert "'type': 'session_ended'" in said


@needs_pocketsphinx
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_for_curl_run(port: int) -> None:
    chunk, stats = [example.replace("127.0.0.1:8000", f"127.0.0.1:{port}") for example in examples("sh")[1:]]
    answer = json.loads(run("sh", "-c", chunk))
    assert answer["text"].startswith("go forward ten")
    assert (answer["is_final"], answer["session_id"]) == (True, "walk-1")
    assert {"active_sessions", "total_sessions", "expired_sessions"} <= set(json.loads(run("sh", "-c", stats)))


def test_the_page_lists_every_parameter_and_every_code() -> None:
    for name in (*PARAMETERS, "session_id", "last_seq", *STATUS):
        assert f"`{name}`" in PAGE, name
    for code in set(SUGGESTIONS) - {"method_not_allowed"}:
        assert f"`{code}`" in PAGE, code
    assert ", ".join(map(str, RATES_HZ[:-1])) in PAGE


def test_every_example_of_json_is_json() -> None:
    for example in examples("json"):
        assert json.loads(example)
