"""A bad network between the carrier and the server, with a seed: what is said twice suffers the same."""

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
    burst: float = 1.0
    "Packets lost in a row, on average (Gilbert-Elliott); 1: each for itself."
    spikes: float = 0.0
    "Share of packets before which the line stalls; what comes meanwhile waits behind."
    spike_ms: float = 200.0
    "How long it stalls."
    drift_ppm: float = 0.0
    "By how much the sender's clock is slow, in millionths."


class Network(Generic[P]):
    """Takes packets and gives them back late, twice, in another order, or not at all."""

    def __init__(self, impairments: Impairments, packet_ms: float) -> None:
        self._impairments = impairments
        self._overtaken_ms = packet_ms * 1.5
        self._losing = False
        self._began_ms: float | None = None
        self._latest_ms = 0.0
        self._under_way: list[tuple[float, int, P]] = []
        self._count = 0
        self.lost = 0
        self._begin(0)

    @property
    def empty(self) -> bool:
        return not self._under_way

    def scene(self, number: int) -> None:
        """Say which utterance goes by: the same one suffers the same, whenever it is said in the call.

        :param number: 0 before the first.
        """
        if number != self._scene:
            self._begin(number)

    def _begin(self, scene: int) -> None:
        seed = self._impairments.seed
        self._scene = scene
        self._chance = random.Random(f"{seed} {scene}" if scene else seed)
        # Draws of their own, so that they change nothing about the fates there were before them.
        self._stalls = random.Random(f"stalls {seed} {scene}" if scene else f"stalls {seed}")

    def send(self, packet: P, now_ms: float) -> None:
        """Put a packet on its way."""
        bad = self._impairments
        # Every packet takes the same number of draws, so that one setting does not change the fate of others.
        lost, delay, overtaken, twice = (self._chance.random() for _ in range(4))
        stalled = self._stalls.random() < bad.spikes
        if self._loses(lost):
            self.lost += 1
            return
        self._began_ms = now_ms if self._began_ms is None else self._began_ms
        behind_ms = (now_ms - self._began_ms) * bad.drift_ppm / 1e6 + (bad.spike_ms if stalled else 0.0)
        arrival_ms = max(self._latest_ms, now_ms + delay * bad.jitter_ms + behind_ms)
        if overtaken < bad.reorder:
            self._put(packet, arrival_ms + self._overtaken_ms)
        else:
            self._latest_ms = arrival_ms
            self._put(packet, arrival_ms)
        if twice < bad.duplicate:
            self._put(packet, arrival_ms + self._overtaken_ms)

    def _loses(self, draw: float) -> bool:
        """Tell whether the next packet is lost: by chance, or in a run of losses."""
        bad = self._impairments
        if bad.burst <= 1 or not bad.loss:
            return draw < bad.loss
        leave = 1 / bad.burst
        enter = leave * bad.loss / (1 - bad.loss) if bad.loss < 1 else 1.0
        self._losing = draw >= leave if self._losing else draw < enter
        return self._losing

    @property
    def next_ms(self) -> float | None:
        """When the next packet arrives; None: none is under way."""
        return self._under_way[0][0] if self._under_way else None

    def _put(self, packet: P, arrival_ms: float) -> None:
        self._count += 1
        heapq.heappush(self._under_way, (arrival_ms, self._count, packet))

    def due(self, now_ms: float) -> list[P]:
        """Return the packets that have arrived by now, in the order they arrive."""
        arrived = []
        while self._under_way and self._under_way[0][0] <= now_ms:
            arrived.append(heapq.heappop(self._under_way)[2])
        return arrived
