"""Put packets in order without holding back any that already are.

The buffer is eager: a packet that continues the sound is delivered the moment it comes. Only a hole makes it
wait, for 1.25 times the 99 % quantile of how late packets out of order have lately been; then the hole is
delivered as `Lost`, and the owner conceals it. Time is the owner's: `put` and `due` take `now_ms`, both return
what may be heard now, in order, and `next_due_ms` says when `due` will next have something to do.

A hole is delivered whole, however long: the time line must stay true, and concealment turns to silence by itself.
Only a jump of more than `RESYNC_MS` either way is no hole but a peer that began anew: nothing is lost, the packet
is taken as the next one.
"""

from collections import deque
from dataclasses import dataclass
from math import ceil
from typing import Final

HELD_MAX_MS: Final = 2_000
"With more sound than this behind a hole, the hole is given up before its time."
HELD_MAX_PACKETS: Final = 256
RESYNC_MS: Final = 5_000
NEVER_MS: Final = 1 << 62

QUANTILE: Final = 0.99
MARGIN: Final = 1.25
REMEMBERED: Final = 128
"Packets out of order that the deadline is made from ..."
REMEMBERED_MS: Final = 30_000
"... and for how long: one bad moment must not delay the rest of the call."


@dataclass(frozen=True, slots=True)
class Lost:
    """A hole in the sound, to be concealed."""

    samples: int


Delivery = bytes | Lost
"What may be heard next: a packet's payload, its front cut where it overlaps what was heard, or a hole."


@dataclass(frozen=True, slots=True)
class _Held:
    """A packet that waits behind a hole."""

    position: int
    end: int
    payload: bytes
    came_ms: int


class JitterBuffer:
    """Packets in by their position on the media clock, sound out in order.

    :param sample_bytes: bytes of one sample in the payloads, to cut packets that overlap; 0: they cannot be cut, and
        what overlaps is dropped as a duplicate.
    :param deadline_min_ms: shortest wait for a hole, the first too; reordering is learned from what comes later.
    """

    __slots__ = (
        "_deadline_max_ms",
        "_deadline_min_ms",
        "_given_up",
        "_held",
        "_lateness",
        "_lost_samples",
        "_next",
        "_rate_hz",
        "_sample_bytes",
        "deadline_ms",
        "delivered",
        "duplicate",
        "late",
        "next_due_ms",
        "received",
        "reordered",
        "resyncs",
    )

    def __init__(
        self, rate_hz: int, sample_bytes: int = 1, deadline_min_ms: int = 20, deadline_max_ms: int = 120
    ) -> None:
        self._rate_hz = rate_hz
        self._sample_bytes = sample_bytes
        self._deadline_min_ms = deadline_min_ms
        self._deadline_max_ms = deadline_max_ms
        self._next: int | None = None
        self._held: list[_Held] = []
        self._lateness: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)
        "When a packet out of order came, and how long after its hole had shown."
        self._given_up: deque[tuple[int, int, int]] = deque(maxlen=16)
        "Start and end of the holes last given up, and when each had shown."
        self._lost_samples = 0
        self.deadline_ms = deadline_min_ms
        self.next_due_ms = NEVER_MS
        "When `due` has something to give; `NEVER_MS` while nothing waits."
        self.received = 0
        "Packets put in."
        self.delivered = 0
        "Packets given out; one cut in two by an overlap counts twice."
        self.late = 0
        "Packets that came after their hole was given up."
        self.duplicate = 0
        self.reordered = 0
        "Packets that came after a later one, in time."
        self.resyncs = 0

    @property
    def lost_ms(self) -> int:
        """Sound given up as lost."""
        return self._lost_samples * 1000 // self._rate_hz

    def expects(self, position: int) -> bool:
        """Tell whether a packet there would be heard at once."""
        return position == self._next and not self._held

    def skip(self, packets: int, samples: int) -> None:
        """Count packets that were expected, each when it came, and heard without being put in."""
        assert self._next is not None
        self.received += packets
        self.delivered += packets
        self._next += samples

    def put(self, position: int, samples: int, payload: bytes, now_ms: int) -> list[Delivery]:
        """Take one packet in; return, in order, all that may be heard now.

        :param position: place of its first sample on the media clock; where the clock starts does not matter.
        :param samples: its length; an empty packet is dropped.
        """
        self.received += 1
        if position == self._next and samples and not self._held:
            self._next = position + samples
            self.delivered += 1
            return [payload]
        return self._put_out_of_order(position, samples, payload, now_ms) if samples > 0 else []

    @property
    def waiting(self) -> bool:
        """Whether packets wait behind a hole."""
        return bool(self._held)

    def pause(self, start: int, end: int) -> tuple[int, int]:
        """Pass over a stretch in which the sender was silent on purpose; not while packets wait.

        Returns (lost, silent): samples that are missing before it, and of it, which the owner makes up.
        """
        if self._held or self._next is None or end <= self._next:
            return 0, 0
        lost, silent = max(0, start - self._next), end - max(start, self._next)
        self._lost_samples += lost
        self._next = end
        return lost, silent

    def due(self, now_ms: int) -> list[Delivery]:
        """Let time pass: return what need not wait any longer, holes first."""
        out: list[Delivery] = []
        while self.next_due_ms <= now_ms:
            self._give_up_hole(out)
        return out

    def flush(self) -> list[Delivery]:
        """The stream is over: return all that waits, with its holes."""
        return self.due(NEVER_MS - 1)

    # --- out of order ---

    def _put_out_of_order(self, position: int, samples: int, payload: bytes, now_ms: int) -> list[Delivery]:
        if self._next is None:
            self._next = position
        out: list[Delivery] = []
        if abs(position - self._next) * 1000 > RESYNC_MS * self._rate_hz:
            self.resyncs += 1
            out = self.flush()
            self._next = position
        end = position + samples
        if end <= self._next:
            self._drop_past(position, end, now_ms)
            return out
        self._note_reordering(position, now_ms)
        self._hold(position, end, payload, now_ms)
        self._drain(out)
        while self._overfull() or self.next_due_ms <= now_ms:
            self._give_up_hole(out)
        return out

    def _drop_past(self, position: int, end: int, now_ms: int) -> None:
        for start, stop, shown_ms in self._given_up:
            if position < stop and start < end:
                self.late += 1
                self._learn(now_ms, now_ms - shown_ms)
                return
        self.duplicate += 1

    def _note_reordering(self, position: int, now_ms: int) -> None:
        later = [held.came_ms for held in self._held if held.position > position]
        if later:
            self.reordered += 1
            self._learn(now_ms, now_ms - min(later))

    def _hold(self, position: int, end: int, payload: bytes, now_ms: int) -> None:
        """Keep what of this packet is new, cut where it overlaps what was heard or is held."""
        assert self._next is not None
        cursor, pieces = max(position, self._next), []
        for held in self._held:
            if held.position < end and held.end > cursor:
                pieces.append((cursor, held.position))
                cursor = held.end
        pieces.append((cursor, end))
        width = self._sample_bytes
        if not width and pieces != [(position, end)]:
            self.duplicate += 1
            return
        fresh = [
            _Held(
                start,
                stop,
                payload[(start - position) * width : (stop - position) * width] if width else payload,
                now_ms,
            )
            for start, stop in pieces
            if start < stop
        ]
        self.duplicate += not fresh
        self._held = sorted(self._held + fresh, key=lambda held: held.position)

    def _drain(self, out: list[Delivery]) -> None:
        """Deliver what is held up to the next hole, and set the time that hole has."""
        ready = 0
        for held in self._held:
            if held.position != self._next:
                break
            out.append(held.payload)
            self._next = held.end
            ready += 1
        self.delivered += ready
        del self._held[:ready]
        # The first hole has been seen since the first packet behind it came.
        came_ms = [held.came_ms for held in self._held]
        self.next_due_ms = min(came_ms) + self.deadline_ms if came_ms else NEVER_MS

    def _give_up_hole(self, out: list[Delivery]) -> None:
        assert self._next is not None
        start, stop = self._next, self._held[0].position
        self._given_up.append((start, stop, min(held.came_ms for held in self._held)))
        self._lost_samples += stop - start
        out.append(Lost(stop - start))
        self._next = stop
        self._drain(out)

    def _overfull(self) -> bool:
        if len(self._held) > HELD_MAX_PACKETS:
            return True
        return sum(held.end - held.position for held in self._held) * 1000 > HELD_MAX_MS * self._rate_hz

    def _learn(self, now_ms: int, late_ms: int) -> None:
        """Set the deadline from how late packets out of order have been."""
        self._lateness.append((now_ms, late_ms))
        while now_ms - self._lateness[0][0] > REMEMBERED_MS:
            self._lateness.popleft()
        ranked = sorted(late_ms for _, late_ms in self._lateness)
        wait_ms = ceil(MARGIN * ranked[ceil(QUANTILE * len(ranked)) - 1])
        self.deadline_ms = min(max(wait_ms, self._deadline_min_ms), self._deadline_max_ms)
