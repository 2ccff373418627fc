"""The child's end of the pipes to its parent (`children.py` is the other), and the frames both ends speak.

A frame is its length and the number of the job it belongs to (both 32 bits, big-endian), then one message in
msgpack. Job 0 is the pool's own: `ready` and `alive` go up, `ping` comes down. Imports nothing of Twisted: a
child has to be up in a fraction of a second.
"""

import os
import select
import signal
from collections import deque
from collections.abc import Iterator
from struct import Struct
from typing import Final

import msgspec

HEAD: Final = Struct(">II")
LONGEST: Final = 16 << 20
"Bytes of one message; more is no message but a stray print on the pipe."

POOL: Final = 0
READY: Final = msgspec.msgpack.encode("ready")
ALIVE: Final = msgspec.msgpack.encode("alive")
PING: Final = msgspec.msgpack.encode("ping")


class BrokenFrame(ValueError):
    """What came through the pipe is not a frame."""


def frame(job: int, payload: bytes) -> bytes:
    """Wrap one encoded message for job `job`."""
    return HEAD.pack(len(payload), job) + payload


class FrameReader:
    """Cuts what a pipe delivers into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, received: bytes) -> list[tuple[int, bytes]]:
        """Take bytes; return the frames now complete, as job and payload.

        :raises BrokenFrame: on a length no message of ours has.
        """
        self._rest += received
        frames, at = [], 0
        while at + HEAD.size <= len(self._rest):
            length, job = HEAD.unpack_from(self._rest, at)
            if length > LONGEST:
                raise BrokenFrame(f"{length} bytes")
            end = at + HEAD.size + length
            if end > len(self._rest):
                break
            frames.append((job, bytes(self._rest[at + HEAD.size : end])))
            at = end
        del self._rest[:at]
        return frames


class Parent:
    """The parent as its child sees it.

    Made once, first thing: whatever the libraries of the child print from then on goes to stderr, hence into the
    parent's log. The child ignores SIGINT, SIGTERM and SIGHUP, which a terminal or systemd sends to the whole group
    while calls are still to be drained: it ends when its stdin does, and that is so even when the parent was killed.
    """

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._reader = FrameReader()
        self._frames: deque[tuple[int, bytes]] = deque()
        self._encoder = msgspec.msgpack.Encoder()

    def ready(self) -> None:
        """Say that everything is loaded: jobs may come."""
        self._write(POOL, READY)

    def tell(self, job: int, message: object) -> None:
        """Send one message, anything msgspec can encode, about a job."""
        self._write(job, self._encoder.encode(message))

    def receive(self, *, wait_s: float | None = None) -> tuple[int, bytes] | None:
        """Return the next job and payload; None when nothing has come within `wait_s`.

        :param wait_s: None: as long as it takes.
        :raises SystemExit: the parent is gone or wants us gone.
        """
        while not self._frames:
            if not select.select([0], [], [], wait_s)[0]:
                return None
            received = os.read(0, 1 << 16)
            if not received:
                raise SystemExit(0)
            self._take(received)
        return self._frames.popleft()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield job and payload of each message; the end of the parent is a `SystemExit`."""
        while True:
            received = self.receive()
            assert received is not None
            yield received

    def _take(self, received: bytes) -> None:
        for job, payload in self._reader.feed(received):
            if job == POOL:
                self._write(POOL, ALIVE)
            else:
                self._frames.append((job, payload))

    def _write(self, job: int, payload: bytes) -> None:
        unsent = memoryview(frame(job, payload))
        try:
            while unsent:
                unsent = unsent[os.write(self._out, unsent) :]
        except BrokenPipeError:
            raise SystemExit(0) from None
