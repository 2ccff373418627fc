"""How long to hold packets back, so that few come too late and nobody waits longer than that is worth.

What counts is how late a packet is against the fastest of the last ten seconds: clocks that drift and routes that
change come out of that minimum by themselves. A histogram that forgets gives the chance that a packet is later than
any delay; the target is where a millisecond more costs as much as the losses it saves. The price of a loss is the
slope of the E-model (ITU-T G.107): a percent of lost G.711 costs as much as 40 ms.
"""

from collections import deque
from typing import Final

import numpy as np

LOSS_COST_MS: Final = 4_000
"Milliseconds of delay that all packets lost are worth."
BIN_MS: Final = 5
MOST_MS: Final = 600
"No call is held back longer."
HALF_LIFE_MS: Final = 6_000
WINDOW_MS: Final = 10_000
EVERY: Final = 5
"Packets between two looks for the target."
PRIOR_MS: Final = 40
"Before anything has come, delays fall off like this ..."
PRIOR_WEIGHT: Final = 1.0
"... with the weight of so many packets."
START_MS: Final = 80
JUMP_MS: Final = 2_000
_HUGE: Final = 1e200

UNHEARD_MS: Final = 60
"Delay up to here costs less: with what the way takes it is below the 100 ms that nobody notices."
UNHEARD_COST: Final = 0.6

_DELAYS: Final = np.arange(MOST_MS // BIN_MS + 1) * float(BIN_MS)
_COSTS: Final = _DELAYS - (1 - UNHEARD_COST) * np.minimum(_DELAYS, UNHEARD_MS)


class TargetDelay:
    """Learns from arrivals.

    :ivar target_ms: how much later than the fastest a packet may be.
    """

    def __init__(self) -> None:
        self.target_ms = START_MS
        self._fastest: deque[tuple[int, float]] = deque()
        "(when, offset), offsets growing: the first is the minimum of the window."
        self._histogram = PRIOR_WEIGHT * (np.exp(-_DELAYS / PRIOR_MS) - np.exp(-(_DELAYS + BIN_MS) / PRIOR_MS))
        self._weight = 1.0
        self._last_ms: int | None = None
        self._count = 0

    @property
    def fastest_ms(self) -> float:
        """The offset between our clock and the media clock of the fastest packet of late."""
        return self._fastest[0][1] if self._fastest else 0.0

    def arrived(self, media_ms: float, now_ms: int) -> None:
        """Take note of a packet.

        :param media_ms: its place on the media clock.
        """
        offset = now_ms - media_ms
        fastest = self._fastest
        if fastest and abs(offset - fastest[0][1]) > JUMP_MS:
            # No delay but a clock that was set: what was is no measure any more.
            fastest.clear()
        while fastest and fastest[-1][1] >= offset:
            fastest.pop()
        fastest.append((now_ms, offset))
        while now_ms - fastest[0][0] > WINDOW_MS:
            fastest.popleft()
        if self._last_ms is not None:
            # New packets weigh more and more, which is cheaper than old ones less and less.
            self._weight *= 2.0 ** ((now_ms - self._last_ms) / HALF_LIFE_MS)
            if self._weight > _HUGE:
                self._histogram /= self._weight
                self._weight = 1.0
        self._last_ms = now_ms
        # A packet is in time only from the upper edge of its bin on.
        place = min(int((offset - fastest[0][1] + BIN_MS - 0.001) // BIN_MS), len(self._histogram) - 1)
        self._histogram[place] += self._weight
        self._count += 1
        if self._count % EVERY == 0:
            self._look()

    def _look(self) -> None:
        heaps = np.cumsum(self._histogram)
        cost = _COSTS + LOSS_COST_MS * (1.0 - heaps / heaps[-1])
        self.target_ms = int(_DELAYS[int(np.argmin(cost))])
