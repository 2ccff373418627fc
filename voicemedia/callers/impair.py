"""A bad network between the carrier and the server, with a seed: the same call twice suffers the same."""

import heapq
import random
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P", str, bytes)


@dataclass(frozen=True, slots=True)
class Impairments:
    """What happens to media packets on their way."""

    loss: float = 0.0
    "Share of packets that never arrive, 0 to 1."
    jitter_ms: float = 0.0
    "Each packet is delayed by 0 to this; order is kept."
    reorder: float = 0.0
    "Share of packets that the next ones overtake, 0 to 1."
    duplicate: float = 0.0
    "Share of packets that arrive twice, 0 to 1."
    seed: int = 0


class Network(Generic[P]):
    """Takes packets and gives them back late, twice, in another order, or not at all."""

    def __init__(self, impairments: Impairments, packet_ms: float) -> None:
        self._impairments = impairments
        self._overtaken_ms = packet_ms * 1.5
        self._chance = random.Random(impairments.seed)
        self._latest_ms = 0.0
        self._under_way: list[tuple[float, int, P]] = []
        self._count = 0
        self.lost = 0

    @property
    def empty(self) -> bool:
        return not self._under_way

    def send(self, packet: P, now_ms: float) -> None:
        """Put a packet on its way."""
        bad = self._impairments
        # Every packet takes the same number of draws, so that one setting does not change the fate of others.
        lost, delay, overtaken, twice = (self._chance.random() for _ in range(4))
        if lost < bad.loss:
            self.lost += 1
            return
        arrival_ms = max(self._latest_ms, now_ms + delay * bad.jitter_ms)
        if overtaken < bad.reorder:
            self._put(packet, arrival_ms + self._overtaken_ms)
        else:
            self._latest_ms = arrival_ms
            self._put(packet, arrival_ms)
        if twice < bad.duplicate:
            self._put(packet, arrival_ms + self._overtaken_ms)

    def _put(self, packet: P, arrival_ms: float) -> None:
        self._count += 1
        heapq.heappush(self._under_way, (arrival_ms, self._count, packet))

    def due(self, now_ms: float) -> list[P]:
        """Return the packets that have arrived by now, in the order they arrive."""
        arrived = []
        while self._under_way and self._under_way[0][0] <= now_ms:
            arrived.append(heapq.heappop(self._under_way)[2])
        return arrived
