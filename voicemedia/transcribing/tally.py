"""What is counted of one recognizer over all its sessions."""

from collections import deque
from collections.abc import Sequence
from typing import Final

REMEMBERED: Final = 1000
"Latencies that percentiles are taken of."


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return median, 95th and 99th percentile (nearest rank); empty when there are no values."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {f"p{share}": round(ordered[-(-share * len(ordered) // 100) - 1], 1) for share in (50, 95, 99)}


class Tally:
    """Counts of one recognizer."""

    def __init__(self) -> None:
        self.sessions = 0
        self.interims = 0
        self.finals = 0
        self.failures = 0
        self.timeouts = 0
        self.audio_ms = 0
        "Of sessions that are over."
        self.cost_usd = 0.0
        self.latencies_ms = deque[float](maxlen=REMEMBERED)
        "From the end of an utterance to its final."
        self._answers = 0

    def took(self, latency_ms: float) -> None:
        """Count how long a final took."""
        self._answers += 1
        self.latencies_ms.append(latency_ms)

    def read(self) -> dict[str, object]:
        """Return the counts."""
        errors = self.failures + self.timeouts
        asked = self._answers + errors
        return {
            "sessions": self.sessions,
            "interim_results": self.interims,
            "final_results": self.finals,
            "failures": self.failures,
            "timeouts": self.timeouts,
            "error_rate": round(errors / asked, 4) if asked else 0.0,
            "audio_s": round(self.audio_ms / 1000, 1),
            "cost_usd": round(self.cost_usd, 6),
            "latency_ms": percentiles(self.latencies_ms),
        }
