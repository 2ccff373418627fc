"""Where a message in a dialog goes first: out of the URI of its route, and the way its dialog came."""

import ipaddress
from functools import lru_cache

import msgspec

from voicemedia.sip_bridge.flow_wire import Flow
from voicemedia.sip_bridge.offer_wire import Agreement
from voicemedia.sip_bridge.uri_wire import Uri


def target_of(hop: Uri, flow: Flow) -> tuple[str, int]:
    """Return where a route leads: host and port, the default port of its transport filled in."""
    default = 5061 if transport_of(hop, flow) == "TLS" else 5060
    return hop.params.get("maddr") or hop.host.strip("[]"), hop.port or default


def reachable(target: tuple[str, int], flow: Flow) -> tuple[str, int]:
    """Return where a route leads, or where its owner's messages come from, should the route end behind a NAT.

    A Contact with an address of somebody's own network, from a peer on the Internet, is of a telephone that does not
    know how it is seen (RFC 5626 and RFC 6314 tell the long story).
    """
    if target[0] == flow.peer[0]:
        return target
    host, peer = address_in(target[0]), address_in(flow.peer[0])
    hidden = host is not None and peer is not None and host.is_private and not host.is_loopback and peer.is_global
    return flow.peer if hidden else target


@lru_cache(maxsize=1024)
def address_in(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address a host is; None for a name. Asked four times a call, for the same few."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def plain(host: str) -> str:
    """Return an address as everybody writes it: to a socket of both families, those of IPv4 are `::ffff:192.0.2.1`."""
    return host.removeprefix("::ffff:") if "." in host else host


def numbered(agreement: Agreement, peer: str) -> Agreement:
    """Put the signalling peer in the place of names: a socket would look them up at each packet, and all calls wait.

    Where the sound of a peer that gives a name really comes from, its packets tell.
    """
    host, port = agreement.rtcp
    sound, reports = (each if address_in(each) is not None else peer for each in (agreement.address, host))
    if (sound, reports) == (agreement.address, host):
        return agreement
    return msgspec.structs.replace(agreement, address=sound, rtcp=(reports, port))


def transport_of(hop: Uri, flow: Flow) -> str:
    """Return the transport of a route; a URI that names none goes the way the dialog came."""
    if hop.scheme == "sips":
        return "TLS"
    named = (hop.params.get("transport") or "").upper()
    if named in ("UDP", "TCP", "TLS"):
        return named
    return flow.transport
