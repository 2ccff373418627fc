"""Put the segments of a session in order by their numbers.

The jitter buffer does it, with one segment as its unit of length.
"""

from collections import Counter
from typing import Final

from voicemedia.audio.jitter import Delivery, JitterBuffer

SEGMENTS_PER_S: Final = 50
"As gateways send them; only tells the buffer when a jump of the numbers is a new beginning."
UNCUT: Final = 1 << 40
"Bytes in a unit of length: a segment never overlaps another in part."


class SegmentOrder:
    """Segments in by number, in order out; `Lost.samples` counts segments.

    :param early: so many segments may the first one to come have overtaken.
    """

    def __init__(self, deadline_min_ms: int, deadline_max_ms: int, early: int) -> None:
        self._early = early
        self._buffer = JitterBuffer(SEGMENTS_PER_S, UNCUT, deadline_min_ms, deadline_max_ms)
        self._begun = False

    @property
    def next_due_ms(self) -> int:
        """When `due` has something to give."""
        return self._buffer.next_due_ms

    @property
    def counts(self) -> Counter[str]:
        """Segments that came, came after a later one, came twice, or too late."""
        buffer = self._buffer
        return Counter(
            # The one that was put before the first does not count.
            received_segments=buffer.received - self._begun,
            reordered_segments=buffer.reordered,
            duplicate_segments=buffer.duplicate,
            late_segments=buffer.late,
        )

    def put(self, number: int, payload: bytes, now_ms: int) -> list[Delivery]:
        """Take a segment in; return what may be heard now."""
        if not self._begun:
            self._begun = True
            # An empty segment before the first one: numbers begin at 0 or 1, or, when we have lost the session's
            # beginning, anywhere; and the first to come need not be the first one sent.
            self._buffer.put(max(-1, number - 1 - self._early), 1, b"", now_ms)
        return self._buffer.put(number, 1, payload, now_ms)

    def due(self, now_ms: int) -> list[Delivery]:
        """Let time pass."""
        return self._buffer.due(now_ms)

    def flush(self) -> list[Delivery]:
        """Return all that waits."""
        return self._buffer.flush()
