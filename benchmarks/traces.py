"""Networks as traces: when each packet of a call arrives, for eight families of trouble and some more, seeded."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
    packet_ms: int = 20


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
    packet_ms: int = 20


def _gamma(shape: float, mean_ms: float) -> Delays:
    def delays(chance: random.Random, count: int) -> Iterator[float]:
        for _ in range(count):
            yield chance.gammavariate(shape, mean_ms / shape)

    return delays


def _spikes(share: float, longest_ms: float) -> Delays:
    def delays(chance: random.Random, count: int) -> Iterator[float]:
        for _ in range(count):
            spike = chance.uniform(longest_ms / 5, longest_ms) if chance.random() < share else 0.0
            yield spike + chance.gammavariate(2, 2.0)

    return delays


def _congestion(mean_ms: float, step_ms: float) -> Delays:
    """Give a queue whose length wanders (AR 1)."""

    def delays(chance: random.Random, count: int) -> Iterator[float]:
        level = 0.0
        for _ in range(count):
            level = 0.995 * level + chance.gauss(0, step_ms)
            yield max(0.0, mean_ms + level) + chance.gammavariate(2, 2.0)

    return delays


def _route(longer_ms: float) -> Delays:
    """Give a way that is longer in the middle third of the call."""

    def delays(chance: random.Random, count: int) -> Iterator[float]:
        for number in range(count):
            longer = longer_ms if count // 3 <= number < 2 * count // 3 else 0.0
            yield longer + chance.gammavariate(2, 2.5)

    return delays


def _both(one: Delays, other: Delays) -> Delays:
    def delays(chance: random.Random, count: int) -> Iterator[float]:
        for delay, more in zip(one(chance, count), other(chance, count), strict=True):
            yield delay + more

    return delays


FAMILIES: Final = (
    Family("lan", _gamma(1.5, 1.0), loss=0.0005),
    Family("wan", _gamma(2, 16.0), loss=0.005, burst=2.0),
    Family("wifi", _spikes(0.004, 300), loss=0.005, burst=2.0),
    Family("congestion", _congestion(30, 2.5), loss=0.005, burst=2.0),
    Family("route", _route(70)),
    Family("drift", _gamma(2, 8.0), drift=200e-6),
    Family("reorder", _gamma(2, 5.0), overtaking=0.01),
    Family("ticks", _gamma(1.5, 2.0), bunch=3),
)
OTHERS: Final = (
    Family("wan, calmer", _gamma(2, 8.0), loss=0.005, burst=2.0),
    Family("wan, worse", _gamma(2, 30.0), loss=0.01, burst=2.0),
    Family("wifi, small spikes", _spikes(0.01, 100), loss=0.005, burst=2.0),
    Family("wifi, worse", _spikes(0.01, 300), loss=0.005, burst=2.0),
    Family("congestion, worse", _congestion(60, 5), loss=0.01, burst=2.0),
    Family("route, 150 ms", _route(150)),
    Family("drift, the other way", _gamma(2, 8.0), drift=-200e-6),
    Family("reorder, 0.3 %", _gamma(2, 5.0), overtaking=0.003),
    Family("reorder, 5 % on a lan", _gamma(1.5, 1.0), overtaking=0.05),
    Family("ticks of 100 ms", _gamma(1.5, 2.0), bunch=5),
    Family("wifi and congestion", _both(_spikes(0.004, 300), _congestion(20, 2)), loss=0.01, burst=2.0),
    Family("wan and reorder", _gamma(2, 12.0), loss=0.005, overtaking=0.01),
    Family("wan, 5 % lost", _gamma(2, 8.0), loss=0.05, burst=2.5),
    Family("wan, packets of 10 ms", _gamma(2, 16.0), loss=0.005, burst=2.0, packet_ms=10),
    Family("wan, packets of 30 ms", _gamma(2, 16.0), loss=0.005, burst=2.0, packet_ms=30),
    Family("wan, packets of 40 ms", _gamma(2, 16.0), loss=0.005, burst=2.0, packet_ms=40),
    Family("lan, packets of 30 ms", _gamma(1.5, 1.0), loss=0.0005, packet_ms=30),
)
"Weaker, stronger, mixed, and with other packets."


def make_trace(family: Family, seed: int, seconds: int = SECONDS) -> Trace:
    """Make one call; the same family and seed make the same."""
    chance = random.Random(f"{family.name} {seed}")
    count = seconds * 1000 // family.packet_ms
    arrivals: list[tuple[float, int]] = []
    queue_ms, lost = 0.0, False
    leave = 1 / family.burst
    enter = family.loss * leave / (1 - family.loss)
    for number, delay_ms in enumerate(family.delays(chance, count)):
        lost = chance.random() >= leave if lost else chance.random() < enter
        last_of_bunch = number - number % family.bunch + family.bunch - 1
        at_ms = last_of_bunch * family.packet_ms * (1 + family.drift) + delay_ms
        if chance.random() < family.overtaking:
            at_ms += chance.uniform(20, 60)
        else:
            at_ms = queue_ms = max(queue_ms, at_ms)
        if not lost:
            arrivals.append((at_ms, number))
    arrivals.sort()
    return Trace(family.name, tuple((round(at_ms), number) for at_ms, number in arrivals), count, family.packet_ms)


def read_trace(path: Path) -> Trace:
    """Read a trace: a line for each packet that came, `arrival_ms number`, packets 20 ms apart; `#` comments.

    Clock and numbers may start anywhere.

    :raises ValueError: a line is none of these.
    """
    lines = [line.partition("#")[0].replace(",", " ").split() for line in path.read_text().splitlines()]
    read = [(float(at_ms), int(number)) for at_ms, number in filter(None, lines)]
    first = min(number for _, number in read)
    began_ms = min(at_ms - (number - first) * 20 for at_ms, number in read)
    arrivals = sorted((round(at_ms - began_ms), number - first) for at_ms, number in read)
    return Trace(path.stem, tuple(arrivals), max(number for _, number in arrivals) + 1)
