"""Who is measured: each a server process of its own, pinned to one core."""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final

HERE: Final = Path(__file__).resolve().parent
CHECKOUT: Final = HERE.parent
PEERS_VENV: Final = HERE / ".venv-peers"
CONSTRAINTS: Final = HERE / "peers-constraints.txt"
REQUIREMENTS: Final = (
    "aiosipua[rtp]", "autobahn", "fastapi", "pipecat-ai[websocket]", "twisted", "uvicorn", "uvloop", "websockets",
)  # fmt: skip
"What the peers import themselves; the constraints say which versions, of these and of all they need."

START_S: Final = 60.0
"A server that does not listen by then has failed."
STOP_S: Final = 10.0

CONFIG: Final = """
[server]
port = 0
[limits]
max_calls = 5000
[log]
format = "json"
[[routes]]
path = "/echo"
carrier = "smartflo"
agent = "echo"
stt = "none"
tts = "none"
"""


class Unavailable(Exception):
    """A contestant cannot be measured here; says why."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One server to measure."""

    name: str
    what: str
    command: tuple[str, ...]
    "What to start; the first word is Python."
    packages: tuple[str, ...]
    "Whose versions the table names."
    carrier: str = "smartflo"
    "As whom the callers come."
    peer: bool = True
    "Runs in the peers' environment."


def _peer(name: str, what: str, script: str, packages: tuple[str, ...], carrier: str = "smartflo") -> Contestant:
    python = str(PEERS_VENV / "bin" / "python")
    return Contestant(name, what, (python, str(HERE / "peers" / script)), packages, carrier)


OURS: Final = Contestant(
    "voicemedia",
    "the complete path: wire, jitter buffer, decode, voice detection, call, playout, encode, wire",
    (
        sys.executable,
        str(Path(sys.executable).with_name("twistd")),
        "--pidfile=",
        "-ny",
        str(CHECKOUT / "voicemedia.tac"),
    ),
    ("voicemedia", "Twisted", "autobahn", "msgspec", "webrtcvad-wheels"),
    peer=False,
)

CONTESTANTS: Final = (
    OURS,
    _peer(
        "pipecat",
        "its echo: `FastAPIWebsocketTransport`, `TwilioFrameSerializer`, one processor; no voice detection",
        "pipecat_echo.py",
        ("pipecat-ai", "fastapi", "uvicorn", "uvloop"),
        "twilio",
    ),
    _peer("autobahn", "bare: the JSON text goes back as it is", "bare_autobahn.py", ("autobahn", "Twisted")),
    _peer("fastapi", "bare: the JSON text goes back as it is", "bare_fastapi.py", ("fastapi", "uvicorn", "uvloop")),
    _peer("websockets", "bare: the JSON text goes back as it is", "bare_websockets.py", ("websockets", "uvloop")),
)


def set_up_peers(tell: Callable[[str], None]) -> None:
    """Make the peers' environment, unless it is there already.

    :raises Unavailable: a package cannot be installed.
    """
    stamp = PEERS_VENV / "ready"
    wanted = hashlib.sha256(CONSTRAINTS.read_bytes() + repr(REQUIREMENTS).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    tell("setting up the peers' environment (once, about a minute)")
    pip = (str(PEERS_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run((sys.executable, "-m", "venv", "--clear", str(PEERS_VENV)))
    _run((*pip, "-c", str(CONSTRAINTS), *REQUIREMENTS))
    stamp.write_text(wanted)


def _run(command: tuple[str, ...]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"cannot be installed: {last[:200]}")


def versions(contestant: Contestant) -> dict[str, str]:
    """Ask the contestant's environment which versions of its packages it has."""
    ask = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = (contestant.command[0], "-c", ask, *contestant.packages)
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(contestant.packages, told, strict=True))


class Server:
    """A contestant's server while it runs; a context manager.

    :param core: where it runs, with all its children.
    """

    def __init__(self, contestant: Contestant, core: int) -> None:
        self._contestant, self._core = contestant, core
        self._room = tempfile.TemporaryDirectory()
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        self.url = ""

    def __enter__(self) -> "Server":
        config = Path(self._room.name, "voicemedia.toml")
        config.write_text(CONFIG)
        environment = {**os.environ, "VOICEMEDIA_CONFIG": str(config), "PYTHONUNBUFFERED": "1"}
        with Path(self._room.name, "log").open("wb") as log:
            self._process = self._start(environment, log)
        self.pid = self._process.pid
        try:
            self.url = f"ws{self._listening()}/echo"
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._room.cleanup()

    def _start(self, environment: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._contestant.command,
            cwd=self._room.name,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, {self._core}),
        )

    def _listening(self) -> str:
        """Wait until the server has said where it listens; return that from the colon on."""
        assert self._process is not None
        log, until = Path(self._room.name, "log"), time.monotonic() + START_S
        while time.monotonic() < until:
            said = log.read_text(errors="replace")
            if found := re.search(r"listening on http(://127\.0\.0\.1:\d+)", said):
                return found[1]
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        last = (log.read_text(errors="replace").strip().splitlines() or ["said nothing"])[-1]
        raise Unavailable(f"does not start: {last[:200]}")
