"""The sound before an utterance is noticed."""

from typing import Final

PREROLL_MS: Final = 500
"Voice detection decides up to 300 ms late; a little breath before the first word does no harm."
UNPROMPTED_MS: Final = 30_000
"Kept for an owner that has no voice detection and only says when to answer."


class Preroll:
    """Keeps the latest sound until it is known whether it belongs to speech."""

    def __init__(self, rate_hz: int) -> None:
        self._bytes_per_ms = rate_hz * 2 // 1000
        self._kept = bytearray()
        self._most = UNPROMPTED_MS * self._bytes_per_ms
        self._prompted = False
        "Whether the owner ever told of an onset."

    def keep(self, pcm: bytes) -> None:
        """Take sound outside of an utterance."""
        self._kept += pcm
        del self._kept[: -self._most]

    def onset(self) -> bytearray:
        """Give what belongs to the utterance that was noticed now."""
        self._prompted = True
        self._most = PREROLL_MS * self._bytes_per_ms
        return self._take()

    def endpoint(self) -> bytearray:
        """Give what an endpoint without an onset is about: nothing, unless the owner never tells of onsets."""
        if self._prompted:
            self._kept.clear()
        return self._take()

    def _take(self) -> bytearray:
        kept, self._kept = self._kept[-self._most :], bytearray()
        return kept
