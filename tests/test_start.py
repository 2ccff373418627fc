"""Every way to start the server, as a user would: real processes, real sockets."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

import pytest

from tests.certificates import self_signed

CHECKOUT = Path(__file__).parent.parent
PATIENCE_S = 60
"How long anything may take before a test gives up."

TWISTD = ("-c", "from twisted.scripts.twistd import run; run()", "--pidfile=")
WAYS = {
    "twistd with the .tac": (*TWISTD, "-ny", str(CHECKOUT / "voicemedia.tac")),
    "twistd with the plugin": (*TWISTD, "-n", "voicemedia", "--config", "voicemedia.toml"),
    "twist": ("-m", "twisted", "voicemedia", "--config", "voicemedia.toml"),
}
ECHO = """
[server]
port = 0
[grpc]
enabled = false
[[routes]]
path = "/echo"
agent = "echo"
stt = "none"
tts = "none"
"""


class Started:
    """A server in a process of its own, and the lines it has logged."""

    def __init__(
        self,
        python: Path,
        arguments: tuple[str, ...],
        folder: Path,
        *,
        stdin: int = subprocess.DEVNULL,
        **environment: str,
    ) -> None:
        self.process = subprocess.Popen(
            [python, *arguments],
            cwd=folder,
            env={**clean_environment(), "VOICEMEDIA_CONFIG": str(folder / "voicemedia.toml"), **environment},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines: list[dict[str, Any]] = []
        self._rest = b""

    def port(self) -> int:
        """Wait for the line that says where the server listens."""
        return int(self.wait_for("port")["port"])

    def wait_for(self, field: str) -> dict[str, Any]:
        """Wait for the first line that has this field."""
        while True:
            for line in self.lines:
                if field in line:
                    return line
            assert self._read(), self.errors()

    def _read(self) -> bool:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        more = os.read(self.process.stdout.fileno(), 65536) if ready else b""
        *lines, self._rest = (self._rest + more).split(b"\n")
        self.lines += map(json.loads, lines)
        return bool(more)

    def errors(self) -> str:
        """Return what stands on standard error, once the process has ended."""
        self.process.kill()
        return self.process.communicate()[1].decode()

    def stop(self) -> int:
        """Ask it to end, as systemd does; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        self.lines += map(json.loads, (self._rest + out).splitlines())
        return self.process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VOICEMEDIA_CONFIG")}


def get(port: int, path: str) -> Any:
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
        return json.load(answer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder outside the checkout with a configuration that needs no speech packages."""
    (tmp_path / "voicemedia.toml").write_text(ECHO)
    return tmp_path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment with everything this one has except voicemedia; return its interpreter.

    A .pth file adds our site-packages as a plain folder, in which .pth files, and so editable installs, are ignored.
    """
    where = tmp_path_factory.mktemp("bare")
    venv.create(where, symlinks=True)
    (site_packages,) = where.glob("lib/python*/site-packages")
    (ours,) = Path(sys.prefix).glob("lib/python*/site-packages")
    (site_packages / "ours.pth").write_text(f"{ours}\n")
    return where / "bin" / "python"


@pytest.fixture(scope="module")
def installed(bare: Path) -> Iterator[Path]:
    """Build the wheel and install it, and nothing else, into the bare environment."""
    where = bare.parent.parent
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(where), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True, timeout=PATIENCE_S)
    (wheel,) = where.glob("voicemedia-*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(bare)]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", "--find-links", str(where), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=PATIENCE_S)
    yield bare
    subprocess.run([*pip, "uninstall", "--yes", "voicemedia"], check=True, capture_output=True, timeout=PATIENCE_S)


def assert_it_serves(python: Path, way: str, folder: Path) -> list[dict[str, Any]]:
    with Started(python, WAYS[way], folder) as server:
        assert get(server.port(), "/health")["status"] == "ok"
        # twist and twistd end by the signal they were sent.
        assert server.stop() == -signal.SIGTERM
        return server.lines


@pytest.mark.parametrize("way", WAYS)
def test_every_way_starts_the_same_server_which_ends_on_sigterm(way: str, folder: Path) -> None:
    for line in assert_it_serves(Path(sys.executable), way, folder):
        assert {"time", "level", "namespace", "message"} <= line.keys()


def test_the_checkout_starts_without_being_installed(bare: Path, folder: Path) -> None:
    assert_it_serves(bare, "twistd with the .tac", folder)


@pytest.mark.parametrize("way", ["twist", "twistd with the plugin"])
def test_a_wheel_installed_elsewhere_starts(way: str, installed: Path, folder: Path) -> None:
    found = subprocess.run(
        [installed, "-c", "import voicemedia; print(voicemedia.__file__)"],
        cwd=folder,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    assert str(installed.parent.parent) in found.stdout
    assert_it_serves(installed, way, folder)


WITHOUT_OFFLINE = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in ("pocketsphinx", "espeakng_loader") else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


def test_without_the_offline_packages_the_server_starts_and_says_how_to_get_them(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_OFFLINE)
    (tmp_path / "voicemedia.toml").write_text(
        "[server]\nport = 0\n[grpc]\nenabled = false\n[sip]\nenabled = false\n[history]\nenabled = false\n"
    )
    with Started(Path(sys.executable), WAYS["twist"], tmp_path, PYTHONPATH=str(tmp_path)) as server:
        health = get(server.port(), "/health")
        server.stop()
    missing = {
        "stt.pocketsphinx": "pocketsphinx is not installed: pip install 'voicemedia[offline]'",
        "tts.espeak": "espeak needs the package espeakng-loader: pip install 'voicemedia[offline]'",
    }
    assert health["status"] == "degraded"
    assert {name: health["providers"][name]["reason"] for name in missing} == missing
    errors = [line["message"] for line in server.lines if line["level"] == "error"]
    assert errors == [f"{name} does not work: {reason}" for name, reason in missing.items()]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1", "voicemedia: server.prot: unknown key; did you mean port?\n"),
        (
            '[[routes]]\npath = "/a"\nagent = "ehco"\nstt = "none"\ntts = "none"',
            "voicemedia: routes[0].agent: agents.ehco: unknown provider ehco",
        ),
    ],
    ids=["unknown key", "unknown agent"],
)
def test_a_fault_of_the_configuration_is_one_line_and_nothing_starts(
    way: str, text: str, said: str, folder: Path
) -> None:
    (folder / "voicemedia.toml").write_text(text)
    with Started(Path(sys.executable), WAYS[way], folder) as server:
        out, errors = server.process.communicate(timeout=PATIENCE_S)
    assert (server.process.returncode, out) == (1, b"")
    assert errors.decode().startswith(said)
    assert errors.count(b"\n") == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_port_that_is_taken_is_named(way: str, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (folder / "voicemedia.toml").write_text(ECHO.replace("port = 0", f"port = {port}"))
        with Started(Path(sys.executable), WAYS[way], folder) as server:
            _, errors = server.process.communicate(timeout=PATIENCE_S)
    assert server.process.returncode == 1
    assert f"voicemedia: server.port: cannot listen on 127.0.0.1:{port}: ".encode() in errors
    assert b"Traceback" not in errors


@pytest.mark.parametrize("key", ["port", "tls_port"])
def test_a_port_of_sip_that_is_taken_is_named(key: str, folder: Path) -> None:
    pem = self_signed(folder, "IP:127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ports = {"port": 0, "tls_port": 0, key: port}
        tls = f'certificate = "{pem.certificate}"\nprivate_key = "{pem.private_key}"\n'
        numbers = "".join(f"{name} = {number}\n" for name, number in ports.items())
        (folder / "voicemedia.toml").write_text(f"{ECHO}[sip]\nenabled = true\n{numbers}{tls}")
        with Started(Path(sys.executable), WAYS["twist"], folder) as server:
            _, errors = server.process.communicate(timeout=PATIENCE_S)
    said = f"voicemedia: sip.{key}: cannot listen on 127.0.0.1:{port}: Address already in use; free it, or take another"
    assert said.encode() in errors


def test_make_runs_the_server_without_a_shell_between(tmp_path: Path) -> None:
    """`pgrep -of twistd`, for `voicemedia storm --pid`, would find the shell."""
    (tmp_path / "bin").mkdir()
    server = tmp_path / "bin" / "twistd"
    server.write_text('#!/bin/sh\ncat /proc/$PPID/comm\necho "$VOICEMEDIA_CONFIG"\n')
    server.chmod(0o755)
    (tmp_path / "ready").touch()
    make = ["make", "--no-print-directory", "run", f"VENV={tmp_path}", "CONFIG=a.toml"]
    out = subprocess.run(make, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout
    parent, config = out.splitlines()[-2:]
    assert parent.endswith("make") and config == "a.toml"


def test_a_daemon_logs_to_twistd_log(folder: Path) -> None:
    daemonize = [*TWISTD[:2], "--pidfile=twistd.pid", "-y", str(CHECKOUT / "voicemedia.tac")]
    subprocess.run([sys.executable, *daemonize], cwd=folder, env=clean_environment(), check=True, timeout=PATIENCE_S)
    daemon = int((folder / "twistd.pid").read_text())
    ended = os.pidfd_open(daemon)
    try:
        # twistd's parent waits until the service has started.
        lines = [json.loads(line) for line in (folder / "twistd.log").read_bytes().splitlines()]
        port = next(line["port"] for line in lines if "port" in line)
        assert get(port, "/health")["status"] == "ok"
    finally:
        os.kill(daemon, signal.SIGTERM)
        assert select.select([ended], [], [], PATIENCE_S)[0] == [ended]
        os.close(ended)
    assert json.loads((folder / "twistd.log").read_bytes().splitlines()[-1])["message"] == "Server Shut Down."
