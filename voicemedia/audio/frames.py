"""Frames of 20 ms out of sound in pieces of any size."""

from collections.abc import Sequence
from functools import cache

from voicemedia.interfaces import FRAME_MS


@cache
def frame_bytes(rate_hz: int) -> int:
    """Say how many bytes of s16le one frame has at this rate; the same object for all calls of a rate."""
    return rate_hz * FRAME_MS // 1000 * 2


@cache
def silence(rate_hz: int) -> bytes:
    """Give one silent frame; always the same object for a rate."""
    return bytes(frame_bytes(rate_hz))


class Framer:
    """Cuts sound into frames. A piece that is exactly one frame passes untouched."""

    __slots__ = (
        "_rest",
        "_size",
    )

    def __init__(self, rate_hz: int) -> None:
        self._size = frame_bytes(rate_hz)
        self._rest = b""

    @property
    def pending(self) -> int:
        """The bytes that wait for the rest of their frame."""
        return len(self._rest)

    def feed(self, pcm: bytes) -> Sequence[bytes]:
        """Take a piece of any length, half samples too; return the frames that are now whole."""
        size = self._size
        if not self._rest and len(pcm) == size:
            return (pcm,)
        pcm = self._rest + pcm
        whole = len(pcm) - len(pcm) % size
        self._rest = pcm[whole:]
        return [pcm[start : start + size] for start in range(0, whole, size)]

    def flush(self) -> bytes:
        """Return what is pending, padded with silence to a frame; empty when nothing is."""
        rest, self._rest = self._rest, b""
        return rest + bytes(self._size - len(rest)) if rest else b""
