"""The one clock of all calls: 20 ms in four slots, so that calls do not all send in the same instant.

The only module that reads a clock. It is monotonic: a step of the wall clock neither bursts nor stalls anybody's
speech.
"""

import time
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

SLOTS: Final = 4
SLOT_MS: Final = 5
SECOND_SLOTS: Final = 1000 // SLOT_MS
MONOTONIC_S: Final = time.monotonic


class Ticking(Protocol):
    """What wants to be told that time passes. Neither method raises."""

    def tick(self, now_ms: int) -> None:
        """20 ms have passed."""

    def sweep(self, now_ms: int) -> None:
        """A second has passed."""


class Ticker:
    """Ticks everything that joined; rests while nobody has, and sleeps through slots nobody is in.

    :param late: told after each slot how many ms late it was: the health of the reactor.
    :param seconds: a monotonic clock.
    """

    def __init__(
        self, reactor: IReactorTime, late: Callable[[float], None], seconds: Callable[[], float] = MONOTONIC_S
    ) -> None:
        self._reactor, self._late, self._seconds = reactor, late, seconds
        self._slots: tuple[dict[Ticking, None], ...] = tuple({} for _ in range(SLOTS))
        self._hurried: dict[Callable[[int], bool], None] = {}
        "Asked in every slot: those who cannot wait for theirs."
        self._next_slot = 0
        self._due_s = 0.0
        "When the slot before that one was due."
        self._ahead = 1
        "Slots to the one that is waited for; nobody is in those before it."
        self._call: IDelayedCall | None = None
        self._running = False

    def now_ms(self) -> int:
        """Return the time in ms, never running backwards."""
        return int(self._seconds() * 1000)

    def join(self, ticking: Ticking) -> None:
        """Tick it from now on, in the slot with the fewest."""
        min(self._slots, key=len)[ticking] = None
        self._wake()

    def hurry(self, look: Callable[[int], bool]) -> None:
        """Call it in every slot, with the time in ms, until it says False; it must not raise."""
        self._hurried[look] = None
        self._wake()

    def leave(self, ticking: Ticking) -> None:
        """Tick it no more."""
        for slot in self._slots:
            slot.pop(ticking, None)
        if not self._anybody:
            self._rest()

    def stop(self) -> None:
        """Rest, whoever is still there."""
        self._hurried.clear()
        for slot in self._slots:
            slot.clear()
        self._rest()

    @property
    def _anybody(self) -> bool:
        return bool(self._hurried) or any(self._slots)

    def _rest(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _wake(self) -> None:
        # Whoever joins while a slot runs is seen at its end: two timers would tick everybody twice.
        if self._running:
            return
        if self._call is None:
            self._due_s = self._seconds()
            self._schedule(0)
        elif self._ahead > 1:
            slept = int((self._seconds() - self._due_s) * 1000 / SLOT_MS)
            self._schedule(min(slept, self._ahead - 1))

    def _schedule(self, slept: int) -> None:
        """Wait for the next slot that anybody is in, behind those slept through already."""
        ahead = slept + 1
        while not (self._hurried or self._slots[(self._next_slot + ahead - 1) % SLOTS]):
            ahead += 1
        self._ahead = ahead
        wait_s = max(0.0, self._due_s + ahead * SLOT_MS / 1000 - self._seconds())
        if self._call is None:
            self._call = self._reactor.callLater(wait_s, self._run)
        else:
            self._call.reset(wait_s)

    def _run(self) -> None:
        """Run what is due, and go on as long as anybody is there, whatever became of it."""
        self._call, self._running = None, True
        try:
            self._run_due()
        finally:
            self._running = False
            if self._anybody:
                self._schedule(0)

    def _run_due(self) -> None:
        """Run the slot that is due, and those a busy reactor has missed: each once, at its place in the 20 ms."""
        self._due_s += self._ahead * SLOT_MS / 1000
        self._next_slot = (self._next_slot + self._ahead - 1) % SECOND_SLOTS
        late_ms = (self._seconds() - self._due_s) * 1000
        self._late(late_ms)
        missed = int(late_ms / SLOT_MS)
        self._due_s += missed * SLOT_MS / 1000
        passed_over = max(0, missed + 1 - SLOTS)
        for number in range(self._next_slot, self._next_slot + min(passed_over, SECOND_SLOTS)):
            # Who always stalls at the same time would be swept by nobody.
            self._sweep(number % SECOND_SLOTS, self.now_ms())
        self._next_slot = (self._next_slot + passed_over) % SECOND_SLOTS
        for _ in range(missed + 1 - passed_over):
            self._run_slot(self._next_slot)
            self._next_slot = (self._next_slot + 1) % SECOND_SLOTS

    def _run_slot(self, number: int) -> None:
        slot, now_ms = self._slots[number % SLOTS], self.now_ms()
        for look in tuple(self._hurried):
            if not look(now_ms):
                self._hurried.pop(look, None)
        for ticking in tuple(slot):
            ticking.tick(now_ms)
        self._sweep(number, now_ms)

    def _sweep(self, number: int, now_ms: int) -> None:
        if number < SLOTS:
            for ticking in tuple(self._slots[number]):
                ticking.sweep(now_ms)
