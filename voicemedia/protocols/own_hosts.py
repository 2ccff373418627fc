"""The names under which pages may know us.

A page of another site can give its own name our address (DNS rebinding): the browser then takes it for ours, `Origin`
and `Host` agree, and nothing but the name itself tells. A server that only this machine can reach therefore answers
pages under loopback names and addresses, and under those the operator has named.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from twisted.web.resource import Resource

from voicemedia.config import is_loopback
from voicemedia.protocols.status import Refusal


class OwnHosts:
    """Knows which `Host` is ours.

    :param bound: the address we listen on; elsewhere than loopback every name may be ours.
    :param named: addresses the operator has named: `server.public_url`, `browser.origins`.
    """

    def __init__(self, bound: str, named: Sequence[str] = ()) -> None:
        self._any = not is_loopback(bound) or "*" in named
        self._named = frozenset(_name(urlsplit(each).netloc) for each in named) - {""}

    def foreign(self, request: Any) -> str:
        """Return the name a request was sent to, if it is not ours."""
        host = _name(request.getHeader("Host") or "")
        own = self._any or not host or host in self._named or is_loopback(host) or host.endswith(".localhost")
        return "" if own else host[:100]

    def refusal(self, request: Any) -> Refusal | None:
        """Refuse a request that was sent to another name."""
        foreign = self.foreign(request)
        if not foreign:
            return None
        cure = "open the page under 127.0.0.1 or localhost, or name its address in server.public_url"
        return Refusal(403, f"This server does not go by the name {foreign}: {cure}.")


class OwnHostsOnly(Resource):
    """Serves a resource under our own names only."""

    isLeaf = True

    def __init__(self, resource: Any, hosts: OwnHosts) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._resource, self._hosts = resource, hosts

    def render(self, request: Any) -> Any:
        """Answer one request."""
        return (self._hosts.refusal(request) or self._resource).render(request)


def _name(netloc: str) -> str:
    """Take the port and a final dot off a host."""
    host = netloc.rpartition("@")[2].strip().lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.rstrip(".")
