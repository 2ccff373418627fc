"""The latest sound of a caller, indexed by sample since the beginning."""


class Ring:
    """Keeps sound until it is told to forget; every sample keeps its number.

    :param start: number of the first sample that will be added.
    """

    __slots__ = ("_pcm", "start")

    def __init__(self, start: int = 0) -> None:
        self.start = start
        "The first sample still known."
        self._pcm = bytearray()

    @property
    def end(self) -> int:
        """The number of the sample that comes next."""
        return self.start + len(self._pcm) // 2

    def add(self, pcm: bytes) -> None:
        """Append s16le sound."""
        self._pcm += pcm

    def cut(self, start: int, end: int) -> bytes:
        """Copy the samples from `start` up to `end`, as far as they are known."""
        first = max(start, self.start) - self.start
        return bytes(self._pcm[2 * first : 2 * max(first, end - self.start)])

    def forget(self, before: int) -> int:
        """Drop what comes before a sample; return how many samples that was."""
        gone = min(max(before, self.start), self.end) - self.start
        if gone:
            del self._pcm[: 2 * gone]
            self.start += gone
        return gone
