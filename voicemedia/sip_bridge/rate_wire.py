"""How many messages one source may send: a bucket of tokens for each."""

from collections import OrderedDict
from typing import Final

REMEMBERED: Final = 4096
BURST_S: Final = 2


class RateLimit:
    """Counts messages by source; those not heard of for long are forgotten first.

    :ivar refused: messages too many.
    """

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()
        "Tokens left, and when that was so."
        self.refused = 0

    def admits(self, source: str, now_ms: int) -> bool:
        """Tell whether one more message is to be read."""
        full = float(self._per_s * BURST_S)
        tokens, at_ms = self._buckets.pop(source, (full, now_ms))
        tokens = min(full, tokens + (now_ms - at_ms) * self._per_s / 1000)
        admitted = tokens >= 1
        self._buckets[source] = (tokens - admitted, now_ms)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        self.refused += not admitted
        return admitted
