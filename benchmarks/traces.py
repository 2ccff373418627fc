"""Networks as traces: when each packet of a call arrives, for eight families of trouble, seeded."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKET_MS: Final = 20
SECONDS: Final = 180
Delays = Callable[[random.Random, int], Iterator[float]]
"Makes the delay of each packet, above what the path takes at least, in ms."


@dataclass(frozen=True, slots=True)
class Trace:
    """One call's packets."""

    name: str
    arrivals: tuple[tuple[int, int], ...]
    "(when in ms, number of the packet), in the order they come; what is lost is not there."
    sent: int


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of network."""

    name: str
    delays: Delays
    loss: float = 0.002
    "Share of packets lost, in bursts (Gilbert-Elliott)."
    burst: float = 1.5
    "Packets lost in a row, on average."
    overtaking: float = 0.0
    "Share of packets that leave the queue and come 20 to 60 ms later."
    drift: float = 0.0
    "By how much the sender's clock is slow."
    bunch: int = 1
    "Packets the sender lets go at a time."


def _gamma(shape: float, mean_ms: float) -> Delays:
    def delays(chance: random.Random, count: int) -> Iterator[float]:
        for _ in range(count):
            yield chance.gammavariate(shape, mean_ms / shape)

    return delays


def _spikes(chance: random.Random, count: int) -> Iterator[float]:
    for _ in range(count):
        spike = chance.uniform(60, 300) if chance.random() < 0.004 else 0.0
        yield spike + chance.gammavariate(2, 2.0)


def _congestion(chance: random.Random, count: int) -> Iterator[float]:
    """A queue whose length wanders (AR 1), 30 ms long on average."""
    level = 0.0
    for _ in range(count):
        level = 0.995 * level + chance.gauss(0, 2.5)
        yield max(0.0, 30 + level) + chance.gammavariate(2, 2.0)


def _route(chance: random.Random, count: int) -> Iterator[float]:
    for number in range(count):
        longer = 70.0 if count // 3 <= number < 2 * count // 3 else 0.0
        yield longer + chance.gammavariate(2, 2.5)


FAMILIES: Final = (
    Family("lan", _gamma(1.5, 1.0), loss=0.0005),
    Family("wan", _gamma(2, 16.0), loss=0.005, burst=2.0),
    Family("wifi", _spikes, loss=0.005, burst=2.0),
    Family("congestion", _congestion, loss=0.005, burst=2.0),
    Family("route", _route),
    Family("drift", _gamma(2, 8.0), drift=200e-6),
    Family("reorder", _gamma(2, 5.0), overtaking=0.01),
    Family("ticks", _gamma(1.5, 2.0), bunch=3),
)


def make_trace(family: Family, seed: int, seconds: int = SECONDS) -> Trace:
    """Make one call; the same family and seed make the same."""
    chance = random.Random(f"{family.name} {seed}")
    count = seconds * 1000 // PACKET_MS
    arrivals: list[tuple[float, int]] = []
    queue_ms, lost = 0.0, False
    leave = 1 / family.burst
    enter = family.loss * leave / (1 - family.loss)
    for number, delay_ms in enumerate(family.delays(chance, count)):
        lost = chance.random() >= leave if lost else chance.random() < enter
        last_of_bunch = number - number % family.bunch + family.bunch - 1
        at_ms = last_of_bunch * PACKET_MS * (1 + family.drift) + delay_ms
        if chance.random() < family.overtaking:
            at_ms += chance.uniform(20, 60)
        else:
            at_ms = queue_ms = max(queue_ms, at_ms)
        if not lost:
            arrivals.append((at_ms, number))
    arrivals.sort()
    return Trace(family.name, tuple((round(at_ms), number) for at_ms, number in arrivals), count)


def read_trace(path: Path) -> Trace:
    """Read a trace: a line for each packet that came, `arrival_ms number`, numbers from 0, 20 ms apart; `#` comments.

    :raises ValueError: a line is none of these.
    """
    lines = [line.partition("#")[0].replace(",", " ").split() for line in path.read_text().splitlines()]
    arrivals = sorted((round(float(at_ms)), int(number)) for at_ms, number in filter(None, lines))
    return Trace(path.stem, tuple(arrivals), max(number for _, number in arrivals) + 1)
