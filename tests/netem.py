"""A bad network, seeded: when packets sent at given times arrive, some never, some twice."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Arrival:
    """One packet coming out of the network."""

    at_ms: int
    number: int
    "Index of the packet among the send times."


def netem(
    seed: int, *, loss: float = 0.0, jitter_ms: int = 0, reorder: float = 0.0, duplicate: float = 0.0
) -> "Network":
    """Make a network; the same seed gives the same fate to the same send times.

    :param loss: probability that a packet is lost, each for itself.
    :param jitter_ms: each packet is delayed by up to this, evenly; the order is kept as in a queue.
    :param reorder: probability that a packet leaves the queue: its delay (up to `jitter_ms`, but at least up to
        40 ms) neither waits for the packets before it nor holds up those behind. At 1 all delays are independent.
    :param duplicate: probability that a packet comes a second time, up to `jitter_ms` later.
    """
    return Network(Random(seed), loss, jitter_ms, reorder, duplicate)


@dataclass
class Network:
    """Maps send times to arrivals."""

    random: Random
    loss: float
    jitter_ms: int
    reorder: float
    duplicate: float

    def arrivals(self, sent_ms: Iterable[int]) -> list[Arrival]:
        """Send packets at these times; return what arrives, in the order of arrival."""
        return sorted(self._fates(sent_ms), key=lambda arrival: arrival.at_ms)

    def _fates(self, sent_ms: Iterable[int]) -> Iterator[Arrival]:
        queue_ms = 0
        for number, at_ms in enumerate(sent_ms):
            if self.random.random() < self.loss:
                continue
            if self.random.random() < self.reorder:
                at_ms += self.random.randint(0, max(self.jitter_ms, 40))
            else:
                at_ms = queue_ms = max(at_ms + self.random.randint(0, self.jitter_ms), queue_ms)
            yield Arrival(at_ms, number)
            if self.random.random() < self.duplicate:
                yield Arrival(at_ms + self.random.randint(0, self.jitter_ms), number)
