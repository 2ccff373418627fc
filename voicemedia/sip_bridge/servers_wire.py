"""The servers behind one name: in which order they are tried, and which have failed (RFC 2782; RFC 3263, 4.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

Address = tuple[str, int]
"IP address and port."

AVOID_MS: Final = 60_000
"A server that has failed is not tried for so long while there are others."


@dataclass(frozen=True, slots=True)
class Service:
    """One SRV record."""

    priority: int
    weight: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """One NAPTR record."""

    order: int
    preference: int
    flags: str
    service: str
    "`SIP+D2U`, `SIP+D2T`, `SIPS+D2T`."
    replacement: str
    "The name whose SRV records are meant."


SERVICES: Final = {"udp": "SIP+D2U", "tcp": "SIP+D2T", "tls": "SIPS+D2T"}
_PREFIXES: Final = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}


def service_names(name: str, transport: str, pointers: Sequence[Pointer]) -> list[str]:
    """Return the names whose SRV records to ask for: as the NAPTR records say, else the usual one.

    The transport is the trunk's; NAPTR only tells under which name it is served (RFC 3263, section 4.1).
    """
    wanted = [
        each
        for each in pointers
        if each.service.upper() == SERVICES[transport] and each.flags.lower() == "s" and each.replacement
    ]
    wanted.sort(key=lambda each: (each.order, each.preference))
    return [each.replacement for each in wanted] or [_PREFIXES[transport] + name]


def in_order(services: Sequence[Service], chance: Callable[[], float]) -> list[Service]:
    """Order SRV records: by priority, and by chance as their weights say (RFC 2782)."""
    ordered: list[Service] = []
    by_priority = sorted(services, key=lambda each: each.priority)
    for _, group in groupby(by_priority, key=lambda each: each.priority):
        # Those without weight come first in the list, so that they have a small chance at all.
        left = sorted(group, key=lambda each: each.weight)
        while left:
            chosen = _choose(left, chance())
            left.remove(chosen)
            ordered.append(chosen)
    return ordered


def _choose(services: Sequence[Service], chance: float) -> Service:
    mark, running = chance * sum(each.weight for each in services), 0
    for each in services:
        running += each.weight
        if running >= mark:
            return each
    return services[-1]


class Servers:
    """Addresses in the order they are tried.

    :param addresses: the best first; not empty.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self.addresses = tuple(dict.fromkeys(addresses))
        self._avoided: dict[Address, int] = {}

    def best(self, now_ms: int) -> Address:
        """Return the first that has not failed lately; when all have, the one whose time is up first."""
        good = [address for address in self.addresses if self._avoided.get(address, now_ms) <= now_ms]
        return good[0] if good else min(self.addresses, key=lambda address: self._avoided[address])

    def other(self, address: Address, now_ms: int) -> bool:
        """Tell whether another has not failed lately."""
        return any(each != address and self._avoided.get(each, now_ms) <= now_ms for each in self.addresses)

    def failed(self, address: Address, now_ms: int, retry_after_ms: int = 0) -> Address | None:
        """Take note that one has failed; return another that has not, None when all have."""
        self._avoided[address] = now_ms + max(AVOID_MS, retry_after_ms)
        other = self.best(now_ms)
        return other if self._avoided.get(other, now_ms) <= now_ms else None

    def served(self, address: Address) -> None:
        """Take note that one has answered."""
        self._avoided.pop(address, None)
