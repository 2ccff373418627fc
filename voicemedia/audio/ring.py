"""The latest sound of a caller, indexed by sample since the beginning."""

from voicemedia.audio.g711 import decode_mulaw, encode_mulaw_once


class Ring:
    """Keeps sound until it is told to forget; every sample keeps its number.

    :param start: number of the first sample that will be added.
    :param compressed: keep mu-law, which takes half the memory; telephone sound loses nothing by it.
    """

    __slots__ = ("_compressed", "_octets", "_width", "start")

    def __init__(self, start: int = 0, *, compressed: bool = False) -> None:
        self.start = start
        "The first sample still known."
        self._compressed, self._width = compressed, 1 if compressed else 2
        self._octets = bytearray()

    @property
    def end(self) -> int:
        """The number of the sample that comes next."""
        return self.start + len(self._octets) // self._width

    def add(self, pcm: bytes) -> None:
        """Append s16le sound."""
        self._octets += encode_mulaw_once(pcm) if self._compressed else pcm

    def cut(self, start: int, end: int) -> bytes:
        """Copy the samples from `start` up to `end`, as far as they are known."""
        width, first = self._width, max(start, self.start) - self.start
        octets = bytes(self._octets[width * first : width * max(first, end - self.start)])
        return decode_mulaw(octets) if self._compressed else octets

    def forget(self, before: int) -> int:
        """Drop what comes before a sample; return how many samples that was."""
        gone = min(max(before, self.start), self.end) - self.start
        if gone:
            del self._octets[: self._width * gone]
            self.start += gone
        return gone
