"""Recordings of a real server: the example of docs/recording.md as it stands there, and a server that is killed."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from shutil import which

import numpy as np
import pytest

from tests.recordings import place_of, the_recording
from tests.test_start import CHECKOUT, PATIENCE_S, clean_environment
from tests.test_whole import MISSING, Server
from voicemedia.audio.g711 import decode_mulaw
from voicemedia.callers.sound import load_utterance

TEXT = (CHECKOUT / "docs" / "recording.md").read_text()
BREAKFAST = CHECKOUT / "examples" / "breakfast.wav"

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def said() -> bytes:
    """Return what the caller of the example says, as the carrier sends it."""
    return decode_mulaw(load_utterance(BREAKFAST).ulaw)


@pytest.mark.skipif(not which("soxi"), reason="soxi is not installed (package sox)")
def test_the_example_of_the_document_records_a_call(tmp_path: Path) -> None:
    found = re.search(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    assert found
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "examples").symlink_to(BREAKFAST.parent)
    script = found[1].replace("8017", str(free_port()))
    ran = subprocess.run(
        ["bash", "-ec", script],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        check=False,
    )
    assert "Channels       : 2" in ran.stdout, ran.stderr
    rate_hz, left, right = the_recording(tmp_path / "recordings")
    assert rate_hz == 8000
    spoken = place_of(said(), left)
    assert spoken > 0
    # The greeting was heard before the caller spoke, the answer after.
    assert right[:spoken].any() and right[spoken + len(said()) // 2 :].any()
    for side, name in ((left, "caller.wav"), (right, "agent.wav")):
        alone = np.frombuffer((tmp_path / name).read_bytes()[44:], "<i2")
        assert np.array_equal(alone, side)


def test_a_server_killed_in_mid_call_leaves_what_was_said(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with Server(tmp_path, f'[recording]\nenabled = true\nfolder = "{folder}"\n') as server:
        call = server.calls(str(BREAKFAST), "--record", str(tmp_path / "heard.wav"))
        server.wait_for("turn")  # which is logged when it has been heard
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(PATIENCE_S)
        call.communicate(timeout=PATIENCE_S)
    _, left, right = the_recording(folder)
    assert len(left) == len(right) > 8000
    assert len(np.flatnonzero(right)) > 4000
