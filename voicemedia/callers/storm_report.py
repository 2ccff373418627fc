"""What a storm of calls found out."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity was distributed."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0


def spread(values: NDArray[np.float64]) -> Spread:
    """Describe values; zeros when there are none."""
    if not len(values):
        return Spread()
    p50, p95, p99, most = np.percentile(values, [50, 95, 99, 100])
    return Spread(round(float(p50), 2), round(float(p95), 2), round(float(p99), 2), round(float(most), 2))


@dataclass(slots=True)
class StormReport:
    """The findings. A frame is 20 ms of sound, however many of them share a packet."""

    calls: int
    "Calls asked for."
    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    "Calls that did not come about, or ended before their time, by reason."
    seconds: float = 0.0
    "How long all calls were up together."
    sent: int = 0
    received: int = 0
    "Different frames that came back."
    lost: int = 0
    duplicated: int = 0
    late: int = 0
    "Came back more than the tolerance after the lead."
    damaged: int = 0
    foreign: int = 0
    "Another call's frames."
    other_ms: float = 0.0
    "Sound that came back and belongs to no frame."
    round_trip_ms: Spread = field(default_factory=Spread)
    "From the sending of a frame's packet to its complete return, the lead taken off."
    generator_late_ms: Spread = field(default_factory=Spread)
    "How late we sent ourselves: above 10 ms this machine is too slow for so many calls, and not the server."
    cpu_ms_per_call_second: float | None = None
    "The server's, user and system."
    memory_bytes_per_call: float | None = None
    "The server's growth in resident memory from before the first call."

    @property
    def good(self) -> bool:
        """Every call was answered and every frame came back once and whole."""
        return not (self.failures or self.lost or self.damaged or self.foreign or self.duplicated) and self.sent > 0

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "good": self.good}
