"""How long to hold packets back, so that little has to be made up and nobody waits longer than that is worth.

What counts is how late a packet is against the fastest of the last ten seconds: clocks that drift and routes that
change come out of that minimum by themselves. A histogram that forgets says how much sound each delay would have had
made up; the target is where a millisecond more costs as much as it saves. Costs are those of the E-model (ITU-T G.107):
some delay nobody minds, and every millisecond is dearer than the one before it.

Not every late packet is a loss. Where a queue holds up a packet, it holds up those behind it too: once the first was
waited for, the others are in time. So only what rises above the delay of late counts, by how much it rises; a packet
that others overtook counts whole.
"""

from collections import deque
from typing import Final

import numpy as np

LOSS_COST: Final = 4_000
"What it costs if all sound is made up, in milliseconds of delay ..."
DEAR_MS: Final = 100
"... of those beyond this delay; one at half of it costs a quarter."
BIN_MS: Final = 5
MOST_MS: Final = 600
"No call is held back longer."
HALF_LIFE_MS: Final = 4_000
WINDOW_MS: Final = 10_000
EVERY: Final = 5
"Packets between two looks for the target."
PRIOR_MS: Final = 40
"Before anything has come, delays fall off like this ..."
PRIOR_WEIGHT_MS: Final = 3.0
"... with the weight of so much sound."
START_MS: Final = 80
SHRINKS: Final = 0.25
"By how much of the time that passes a delay that was grown into becomes shorter again."
ROUNDING_MS: Final = 5
"Sound is made up in whole frames, so a delay grows by more than it has to."
JUMP_MS: Final = 2_000
_HUGE: Final = 1e200

_DELAYS: Final = np.arange(MOST_MS // BIN_MS + 1) * float(BIN_MS)


class TargetDelay:
    """Learns from arrivals.

    :ivar target_ms: how much later than the fastest a packet may be.
    :ivar grid: delays that can be had: one of them, and the step to the next. Whoever plays sets it.
    """

    def __init__(self) -> None:
        self.target_ms: float = START_MS
        self.grid: tuple[float, float] = 0.0, BIN_MS
        self._fastest: deque[tuple[int, float]] = deque()
        "(when, offset), offsets growing: the first is the minimum of the window."
        fall = np.exp(-_DELAYS / PRIOR_MS) - np.exp(-(_DELAYS + BIN_MS) / PRIOR_MS)
        self._made_up = PRIOR_WEIGHT_MS * fall
        "Sound that only a delay beyond the bin would have saved."
        self._all = PRIOR_WEIGHT_MS
        "Sound there was, weighed alike."
        self._lost_beyond = np.ones(len(_DELAYS))
        "Share of the sound that each delay would have had made up."
        self._grown = -1e18
        "The offset that playing has grown into, if it had no other delay."
        self._latest_ms = -1e18
        "Place of the latest packet."
        self._weight = 1.0
        self._last_ms: int | None = None
        self._count = 0

    @property
    def fastest_ms(self) -> float:
        """The offset between our clock and the media clock of the fastest packet of late."""
        return self._fastest[0][1] if self._fastest else 0.0

    def arrived(self, media_ms: float, lasts_ms: float, now_ms: int) -> None:
        """Take note of a packet.

        :param media_ms: its place on the media clock.
        :param lasts_ms: how much sound it is.
        """
        offset = now_ms - media_ms
        self._note_fastest(offset, now_ms)
        self._forget(now_ms)
        self._all += self._weight * lasts_ms
        if media_ms > self._latest_ms:
            self._latest_ms = media_ms
            if offset > self._grown:
                rise = slice(self._bin(self._grown), self._bin(offset + ROUNDING_MS))
                self._made_up[rise] += self._weight * BIN_MS
                self._grown = offset + ROUNDING_MS
        else:
            self._made_up[max(0, self._bin(offset) - 1)] += self._weight * lasts_ms
        self._count += 1
        if self._count % EVERY == 0:
            self._look()

    def still_missing(self, then_ms: float, now_ms: float) -> float:
        """Return how likely it is that a packet, which has not come though it is late, will be missing later too.

        :param then_ms: how late it will be then.
        :param now_ms: how late it is.
        """
        if now_ms <= 0:
            return 0.0
        now, then = (min(int(late_ms // BIN_MS), len(_DELAYS) - 1) for late_ms in (now_ms, then_ms))
        return float(self._lost_beyond[then] / max(self._lost_beyond[now], 1e-9))

    def _note_fastest(self, offset: float, now_ms: int) -> None:
        fastest = self._fastest
        if fastest and abs(offset - fastest[0][1]) > JUMP_MS:
            # No delay but a clock that was set: what was is no measure any more.
            fastest.clear()
            self._grown = self._latest_ms = -1e18
        while fastest and fastest[-1][1] >= offset:
            fastest.pop()
        fastest.append((now_ms, offset))
        while now_ms - fastest[0][0] > WINDOW_MS:
            fastest.popleft()

    def _forget(self, now_ms: int) -> None:
        """Let new packets weigh more and more, which is cheaper than old ones less and less."""
        passed_ms = now_ms - self._last_ms if self._last_ms is not None else 0
        self._last_ms = now_ms
        self._grown -= SHRINKS * passed_ms
        self._weight *= 2.0 ** (passed_ms / HALF_LIFE_MS)
        if self._weight > _HUGE:
            self._made_up /= self._weight
            self._all /= self._weight
            self._weight = 1.0

    def _bin(self, offset: float) -> int:
        """Return the first delay with which a packet of this offset is in time."""
        late_ms = max(0.0, offset - self._fastest[0][1])
        return min(int((late_ms + BIN_MS - 0.001) // BIN_MS), len(_DELAYS) - 1)

    def _look(self) -> None:
        self._lost_beyond = np.cumsum(self._made_up[::-1])[::-1] / self._all
        first_ms, step_ms = self.grid
        delays = np.arange(first_ms % step_ms, MOST_MS, step_ms)
        # The sum of what each millisecond costs, which is the square of the delay.
        costs = delays**3 / (3 * DEAR_MS**2) + LOSS_COST * self._lost_beyond[(delays // BIN_MS).astype(np.intp)]
        self.target_ms = float(delays[int(np.argmin(costs))])
