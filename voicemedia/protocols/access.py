"""Who may open a socket on a route: the addresses that may call, and a secret in path or query.

Carriers such as Smartflo sign nothing and send no header of their own: what their portal can be told is a URL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import unquote

from voicemedia.config import Network, Secret

SECRET_KEYS: Final = ("secret", "token")
"Parameters of the query that may hold the secret."


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of one route; without any, everybody is welcome."""

    secret: Secret | None = None
    "What the caller must know."
    allow: tuple[Network, ...] = ()
    "Where callers may come from; empty: anywhere."

    def refusal(self, peer_ip: str, path_rest: str, query: Mapping[str, Sequence[str]]) -> str:
        """Say why a peer is refused, for the log; empty when it is welcome.

        :param path_rest: what follows the route's path, still percent-encoded, such as `/s3cret`.
        :param query: decoded parameters.
        """
        if self.allow and not within(peer_ip, self.allow):
            return "address not allowed"
        if self.secret is None:
            return ""
        offered = [unquote(path_rest.strip("/")), *(value for key in SECRET_KEYS for value in query.get(key, ()))]
        offered = [text for text in offered if text]
        if not offered:
            return "secret missing"
        return "" if any(_matches(self.secret, text) for text in offered) else "secret wrong"


def within(peer_ip: str, networks: Sequence[Network]) -> bool:
    """Tell whether an address is in one of these networks; what is no address is in none."""
    return any(address in network for address in _forms(peer_ip) for network in networks)


def _matches(secret: Secret, text: str) -> bool:
    # Whatever a peer may put into a URL can be compared after this.
    return secret.matches(text.encode("utf-8", "replace").decode())


def _forms(peer_ip: str) -> list[IPv4Address | IPv6Address]:
    """Return the address; an IPv4 one on a dual-stack socket (`::ffff:192.0.2.7`) also as itself."""
    try:
        address = ip_address(peer_ip.partition("%")[0])
    except ValueError:
        return []
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return [address] if mapped is None else [address, mapped]
