"""rtpengine in userspace as a contestant: it forwards what comes for one side of a call to the other."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PROGRAM: Final = shutil.which("rtpengine") or shutil.which("rtpengine", path="/usr/sbin:/usr/bin") or ""
SDP: Final = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"


def _bencode(value: "str | dict[str, str]") -> bytes:
    if isinstance(value, str):
        return f"{len(value.encode())}:{value}".encode()
    return b"d" + b"".join(_bencode(key) + _bencode(value[key]) for key in sorted(value)) + b"e"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Control:
    """The ng protocol: bencode over UDP."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(0.3)
        self._count = 0

    def ask(self, **request: str) -> str:
        """Send a command until it is answered.

        :raises OSError: it never is.
        """
        self._count += 1
        message = f"c{self._count} ".encode() + _bencode({key.replace("_", "-"): text for key, text in request.items()})
        for _ in range(30):
            try:
                self._socket.send(message)
                return self._socket.recv(65536).decode("latin-1")
            except (TimeoutError, ConnectionRefusedError):
                time.sleep(0.1)
        raise OSError("rtpengine does not answer")

    def call(self, number: int, port: int) -> int:
        """Make a call both of whose sides are at a port; return where to send so that it comes back."""
        sdp = SDP.format(port=port)
        call_id = f"bench{number}"
        self.ask(command="offer", call_id=call_id, from_tag="a", sdp=sdp)
        answered = self.ask(command="answer", call_id=call_id, from_tag="a", to_tag="b", sdp=sdp)
        found = re.search(r"m=audio (\d+)", answered)
        if found is None:
            raise OSError(f"rtpengine refuses: {answered[:100]}")
        return int(found[1])


@contextmanager
def rtpengine(core: int) -> Iterator[tuple[int, Control]]:
    """Run it on one core; give its process id and control."""
    port = _free_port()
    options = (
        *("--table=-1", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{port}"),
        *("--port-min=20000", "--port-max=39990", "--num-threads=1", "--foreground", "--log-stderr", "--log-level=1"),
    )
    process = subprocess.Popen(
        [PROGRAM, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        control = Control(port)
        control.ask(command="ping")
        yield process.pid, control
    finally:
        process.terminate()
        process.wait(10)
