"""How far the clock of a sender runs away from ours, seen through the delays of a network.

The delay of a packet is a constant, plus what the network adds, plus what the two clocks have drifted apart. The
network only ever adds. So of all lines that lie under all delays, the one nearest to them is the drift (Moon, Skelly
and Towsley, "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999): of the lower hull of
the points it is the edge above their middle.

The unit is the owner's, the same for time and delay; here it is samples.
"""

from collections import deque
from typing import Final

BUCKET_S: Final = 5
"Of so much time only the least delay is kept."
KEPT: Final = 180
"Buckets: 15 minutes."
ENOUGH: Final = 6
"Buckets before anything is believed."
STEEPEST: Final = 500e-6
"No two clocks differ by more."
STEP_S: Final = 0.01
"A delay so far under the line is a new way through the network, and begins a new line."
SPREAD: Final = 4.0
"How many times its error the line must be off before it is heeded."

Point = tuple[float, float]


class Skew:
    """One sender.

    :param rate_hz: units per second.
    """

    __slots__ = ("_at_zero", "_bucket", "_ends", "_least", "_points", "_slope", "_step", "error")

    def __init__(self, rate_hz: int) -> None:
        self._bucket, self._step = BUCKET_S * rate_hz, STEP_S * rate_hz
        self.restart()

    def restart(self) -> None:
        """Forget everything: delays mean something else from now on."""
        self._points: deque[Point] = deque(maxlen=KEPT)
        self._least: Point | None = None
        self._ends = 0.0
        self._at_zero = self._slope = 0.0
        self.error: float | None = None
        "How far the line may be off; None: there is none yet."

    def add(self, at: float, delay: float) -> None:
        """Take the delay of a packet that came at `at`."""
        least = self._least
        if least is None:
            self._least, self._ends = (at, delay), at + self._bucket
        elif at < self._ends:
            if delay < least[1]:
                self._least = at, delay
        else:
            self._take(least)
            self._least, self._ends = (at, delay), at + self._bucket

    def at(self, when: float) -> float:
        """Return what the delay of a packet through an idle network is; only while there is an `error`."""
        return self._at_zero + self._slope * when

    def _take(self, point: Point) -> None:
        if self.error is not None and point[1] < self.at(point[0]) - self._step - self.error:
            self._points.clear()
            self.error = None
        self._points.append(point)
        if len(self._points) >= ENOUGH:
            self._fit()

    def _fit(self) -> None:
        points = self._points
        hull = lower_hull(points)
        middle = sum(at for at, _ in points) / len(points)
        edge = next(number for number in range(1, len(hull)) if hull[number][0] >= middle)
        (x1, y1), (x2, y2) = hull[edge - 1], hull[edge]
        self._slope = max(-STEEPEST, min(STEEPEST, (y2 - y1) / (x2 - x1)))
        self._at_zero = y1 - self._slope * x1
        above = sum(delay - self.at(at) for at, delay in points) / len(points)
        self.error = SPREAD * max(0.0, above) / len(points)


def lower_hull(points: "deque[Point]") -> list[Point]:
    """Return the corners of the lower convex hull of points that come in order of time."""
    hull: list[Point] = []
    for point in points:
        while len(hull) > 1 and _turns_right(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _turns_right(one: Point, two: Point, three: Point) -> bool:
    return (two[0] - one[0]) * (three[1] - one[1]) <= (two[1] - one[1]) * (three[0] - one[0])
