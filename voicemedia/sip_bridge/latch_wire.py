"""Where a peer's sound really comes from: symmetric RTP, with rules against eavesdroppers (RFC 4961, RFC 7362).

Behind a NAT the address in the SDP is not the one packets come from. We believe the packets instead, but only from
addresses that have something to do with the call, only in its first moments, and only when most of three packets
agree. Whoever sends later is not heard, and hears nothing (CVE-2017-14114, "RTP bleed").
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

Address = tuple[str, int]

WINDOW_MS: Final = 2_000
MAJORITY: Final = 2
"Of three packets."


class Latch:
    """Decides whose packets are heard, and where ours go.

    :param known: tells whether a host has something to do with this call.
    :ivar target: where our packets go.
    :ivar latched: it has been decided.
    """

    __slots__ = (
        "_known",
        "_until_ms",
        "_votes",
        "described",
        "latched",
        "rejected",
        "target",
    )

    def __init__(self, described: Address, known: Callable[[str], bool], now_ms: int) -> None:
        self._known = known
        self.rejected = 0
        self.describe(described, now_ms)

    def describe(self, described: Address, now_ms: int) -> None:
        """Take the address of a new SDP, and listen anew for where the sound comes from."""
        self.described = self.target = described
        self._until_ms = now_ms + WINDOW_MS
        self.latched = False
        self._votes: Counter[tuple[Address, int]] = Counter()

    def admits(self, source: Address, ssrc: int, now_ms: int) -> bool:
        """Tell whether a packet with a payload type that was agreed on is to be heard."""
        if self.latched:
            return source == self.target or self._expected(source)
        if source != self.described and not self._known(source[0]):
            self.rejected += 1
            return False
        if not self._votes:
            # Whoever is late with the first sound gets the same time as everybody.
            self._until_ms = max(self._until_ms, now_ms + WINDOW_MS)
        if now_ms > self._until_ms:
            return self._expected(source)
        self._votes[source, ssrc] += 1
        if self._votes[source, ssrc] >= MAJORITY:
            self.target, self.latched = source, True
        return True

    def trust(self, source: Address) -> None:
        """Follow the source of a packet that only the peer can have made: SRTP has said so."""
        self.target, self.latched = source, True

    def _expected(self, source: Address) -> bool:
        expected = source in (self.target, self.described)
        self.rejected += not expected
        return expected
