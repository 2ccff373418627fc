"""Where a carrier's packet lies on the media clock, from what its message says.

Carriers number their media (`chunk`) and time it (`timestamp`, ms), or only one of both, or neither, and some
write nonsense. What they say is used for differences only, and believed when it fits:

- The number decides: a jump of n means n - 1 packets of the usual size are missing.
- The time stands in where there is no number, once it has proved to go with the sound.
- When both are there and contradict each other, or both are missing, the order of arrival decides.
- A jump of more than `RESYNC_MS`, a restart, or numbers that stand still lose nothing: the packet is the next one.
"""

from collections import deque
from typing import Final

from voicemedia.audio.jitter import RESYNC_MS

RESTART_MS: Final = 500
"The very first packet's place again, this far on, is a restart; sooner, a duplicate."
STALE: Final = 4
"So many packets in a row that seem to have been here before are none: the peer's numbers are wrong."


class MediaClock:
    """Turns `chunk`, `timestamp` and length of a packet into its position in samples."""

    __slots__ = (
        "_before_ms",
        "_chunks_lie",
        "_epoch",
        "_missing",
        "_next",
        "_next_chunk",
        "_rate_hz",
        "_runs",
        "_size",
        "_stale",
        "_stale_at",
        "_stale_chunk",
        "_timestamp_ms",
        "_usual",
        "resyncs",
    )

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._next = 0
        "End of the packet furthest on, in samples; the epoch is where the present numbering began."
        self._epoch = 0
        self._next_chunk: int | None = None
        self._size = 0
        "Samples of the packet furthest on; `_usual`: of most."
        self._usual = 0
        self._timestamp_ms: int | None = None
        "Of the packet furthest on; `_before_ms`: one packet earlier, None when time did not go with the sound."
        self._before_ms: int | None = None
        self._runs: deque[tuple[int, int, int]] = deque(maxlen=64)
        "Runs of packets of one size: first chunk, its position, the size."
        self._missing: deque[tuple[int, int]] = deque(maxlen=64)
        "Start and end of what has been passed over."
        self._stale, self._stale_at = 0, -1
        self._stale_chunk: int | None = None
        self._chunks_lie = False
        self.resyncs = 0
        "Jumps and restarts that were not believed to be loss."

    def position(self, samples: int, chunk: int | None = None, timestamp_ms: int | None = None) -> int:
        """Say where a packet of this length lies; may be before what came already, and before zero."""
        if chunk is not None and chunk == self._next_chunk and samples == self._size:
            position = self._next
            self._next = position + samples
            self._next_chunk = chunk + 1
            self._before_ms = self._timestamp_ms
            self._timestamp_ms = timestamp_ms
            return position
        return self._work_out(samples, None if self._chunks_lie else chunk, timestamp_ms)

    def _work_out(self, samples: int, chunk: int | None, timestamp_ms: int | None) -> int:
        ahead = self._ahead(chunk, timestamp_ms)
        if ahead is None or abs(ahead) * 1000 > RESYNC_MS * self._rate_hz or self._restarted(ahead):
            self._start_anew()
            ahead = 0
        if ahead < 0:
            if not self._is_stale(ahead, chunk):
                return self._next + ahead
            # Numbers that stand still are none.
            self._chunks_lie = chunk is not None and chunk == self._stale_chunk
            self._start_anew()
            ahead = 0
        return self._place(self._next + ahead, samples, None if self._chunks_lie else chunk, timestamp_ms)

    # --- what the peer says ---

    def _ahead(self, chunk: int | None, timestamp_ms: int | None) -> int | None:
        """Samples between the end of what came and this packet; None when number and time contradict."""
        by_chunk = self._ahead_by_chunk(chunk)
        by_time = self._ahead_by_time(timestamp_ms)
        if by_chunk is None:
            return by_time or 0
        if by_time is None or abs(by_chunk - by_time) <= self._usual // 2 + abs(by_chunk) // 4:
            return by_chunk
        return None if by_chunk else 0

    def _ahead_by_chunk(self, chunk: int | None) -> int | None:
        if chunk is None or self._next_chunk is None:
            return None
        if chunk >= self._next_chunk:
            return (chunk - self._next_chunk) * self._usual
        for first, position, size in reversed(self._runs):
            if first <= chunk:
                return position + (chunk - first) * size - self._next
        # Before all that is known, so before the first packet or long gone.
        first, position, size = self._runs[0]
        return position - (first - chunk) * (size or self._usual) - self._next

    def _ahead_by_time(self, timestamp_ms: int | None) -> int | None:
        if timestamp_ms is None or self._timestamp_ms is None or not self._usual:
            return None
        half = self._usual // 2
        passed = self._samples(timestamp_ms - self._timestamp_ms)
        ahead = passed - self._size
        # A clock that goes forward too slowly says nothing of the order.
        if passed > 0 and ahead <= half:
            return 0
        if self._before_ms is None or abs(self._samples(self._timestamp_ms - self._before_ms) - self._size) > half:
            return None
        packets = round(ahead / self._usual)
        near = abs(ahead - packets * self._usual) <= self._usual // 4
        return packets * self._usual if near else ahead

    def _samples(self, ms: int) -> int:
        return ms * self._rate_hz // 1000

    # --- what to make of it ---

    def _restarted(self, ahead: int) -> bool:
        return ahead * 1000 <= -RESTART_MS * self._rate_hz and self._next + ahead == self._epoch

    def _is_stale(self, ahead: int, chunk: int | None) -> bool:
        """Count packets in a row that claim a place where nothing was missing."""
        position = self._next + ahead
        if any(start <= position < end for start, end in self._missing):
            return False
        self._stale = self._stale + 1 if self._stale_at == self._next else 1
        self._stale_at = self._next
        if self._stale == 1:
            self._stale_chunk = chunk
        return self._stale >= STALE

    def _start_anew(self) -> None:
        self.resyncs += 1
        self._epoch = self._next
        self._next_chunk = None
        self._runs.clear()
        self._missing.clear()

    def _place(self, position: int, samples: int, chunk: int | None, timestamp_ms: int | None) -> int:
        """Make this packet the one furthest on."""
        if position > self._next:
            self._missing.append((self._next, position))
            if self._next_chunk is not None:
                self._runs.append((self._next_chunk, self._next, self._usual))
        self._follow_time(position, samples, timestamp_ms)
        if samples and (not self._usual or samples == self._size):
            self._usual = samples
        if chunk is not None:
            self._runs.append((chunk, position, samples))
        self._next_chunk = None if chunk is None else chunk + 1
        self._size = samples
        self._next = position + samples
        return position

    def _follow_time(self, position: int, samples: int, timestamp_ms: int | None) -> None:
        """Note the time, and whether it goes with the sound."""
        self._before_ms, last_ms = None, self._timestamp_ms
        self._timestamp_ms = timestamp_ms
        if timestamp_ms is None or last_ms is None:
            return
        passed = self._samples(timestamp_ms - last_ms)
        # Without a hole too: the number may have been wrong, and the time has to prove itself first.
        off = min(abs(passed - self._size), abs(passed - self._size - (position - self._next)))
        if off <= max(self._usual, samples) // 2:
            self._before_ms = timestamp_ms - samples * 1000 // self._rate_hz
