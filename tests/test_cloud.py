import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from voicemedia import cloud


@pytest.mark.parametrize("name", cloud.CLOUDS)
def test_every_stand_in_shows_its_switches(name: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "voicemedia.cli", "cloud", name, "--help"], capture_output=True, text=True, timeout=30
    )
    assert shown.returncode == 0, shown.stderr
    assert "--port" in shown.stdout


def test_the_google_stand_in_says_where_it_listens() -> None:
    command = [sys.executable, "-m", "voicemedia.cli", "cloud", "google", "--port", "0", "--hear", "marked"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        said = running.stdout.readline()
        running.terminate()
    assert said.startswith("google stand-in on 127.0.0.1:")


def test_an_installed_package_says_that_it_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cloud, "CHECKOUT", tmp_path)
    assert cloud.run(argparse.Namespace(name="google", options=[])) == 1
    assert "part of the source, not of the package" in capsys.readouterr().err
