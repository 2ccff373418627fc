"""What is due when, for many timed things at once."""

import heapq
from typing import Final, Generic, Protocol, TypeVar


class Timed(Protocol):
    """Something that wants to be woken."""

    @property
    def next_due_ms(self) -> int | None:
        """When, None for never."""


T = TypeVar("T", bound=Timed)

SPARE: Final = 64
"Wrong notes that do not matter."


class Agenda(Generic[T]):
    """Timed things by their next due time: ten thousand cost hardly more than one.

    A thing is noted anew whenever its time may have changed; notes that have become wrong are skipped later.
    """

    def __init__(self) -> None:
        self._notes: list[tuple[int, int, T]] = []
        self._noted: dict[T, int] = {}
        self._serial = 0

    def note(self, thing: T) -> None:
        """Remember when this thing wants to be woken next."""
        due_ms = thing.next_due_ms
        if due_ms is None:
            self._noted.pop(thing, None)
        elif self._noted.get(thing) != due_ms:
            self._noted[thing] = due_ms
            self._serial += 1
            heapq.heappush(self._notes, (due_ms, self._serial, thing))
            if len(self._notes) > SPARE + 2 * len(self._noted):
                self._tidy()

    @property
    def next_due_ms(self) -> int | None:
        """When the first thing is due, None when none is."""
        notes, noted = self._notes, self._noted
        while notes and noted.get(notes[0][2]) != notes[0][0]:
            heapq.heappop(notes)
        return notes[0][0] if notes else None

    def _tidy(self) -> None:
        """Throw away the wrong notes: one about a session timer would keep its call for half an hour."""
        self._notes = [note for note in self._notes if self._noted.get(note[2]) == note[0]]
        heapq.heapify(self._notes)

    def take(self, now_ms: int) -> T | None:
        """Take out the first thing that is due; it must be noted again."""
        due_ms = self.next_due_ms
        if due_ms is None or due_ms > now_ms:
            return None
        thing = heapq.heappop(self._notes)[2]
        self._noted.pop(thing, None)
        return thing
