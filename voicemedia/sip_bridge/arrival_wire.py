"""A request that has come, before anybody has looked at it: stamped, named, and told from those we know."""

import hashlib

from voicemedia.errors import WireError
from voicemedia.sip_bridge.flow_wire import Flow
from voicemedia.sip_bridge.grammar_wire import split_outside
from voicemedia.sip_bridge.sip_wire import CSeq, Request
from voicemedia.sip_bridge.transaction_wire import ServerTransaction
from voicemedia.sip_bridge.uri_wire import Uri, split_host
from voicemedia.sip_bridge.via_wire import Via


def stamp(request: Request, flow: Flow) -> None:
    """Write into the topmost Via where the request came from; a Via that cannot be read stays as it is."""
    first = request.headers.first("via")
    if first is None:
        return
    try:
        top, *rest = split_outside(first, ",")
        via = Via.parse(top)
    except WireError:
        return
    stamped = via.stamped(*flow.peer)
    if stamped is not via:
        request.headers.replace("via", ",".join([str(stamped), *rest]))


def meant_for_a_call(transaction: ServerTransaction, request: Request) -> bool:
    """Tell whether a request belongs to a dialog we do not have.

    One with a tag of ours comes to our Contact. A tag on a request for somebody's name is left over from
    something else, and may be taken as a new one (RFC 3261, section 12.2.2; RFC 4475, section 3.1.1.1).
    """
    if not request.recipient.tag:
        return False
    assert isinstance(transaction.flow, Flow)
    return Uri.parse(request.uri).host == split_host(transaction.flow.local)[0]


def invitation(request: Request) -> tuple[str, str | None, CSeq]:
    """Return what is the same in an INVITE that comes by two ways."""
    return request.call_id, request.sender.tag, request.cseq


def stateless_tag(request: Request) -> str:
    """Return a tag that is the same for the same request, as a stateless server's must be (section 8.2.7)."""
    name = "".join(value for key in ("via", "call-id", "cseq") for value in request.headers.all(key))
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
