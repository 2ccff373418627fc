"""A challenged request of ours, said again with credentials (RFC 3261, section 22)."""

from typing import Final

from voicemedia.sip_bridge.digest_wire import Credentials, realm_of, refused_realms
from voicemedia.sip_bridge.exchange_wire import Exchange
from voicemedia.sip_bridge.sip_wire import Request, Response

MOST_TRIES: Final = 4
"Challenges one request answers: several proxies, a stale nonce or two."
_HEADERS: Final = {401: ("www-authenticate", "Authorization"), 407: ("proxy-authenticate", "Proxy-Authorization")}


def answering(credentials: Credentials | None, exchange: Exchange, response: Response) -> Request | None:
    """Return the request that answers a challenge, once a realm, or again when only the nonce was stale; else None."""
    if credentials is None or response.status not in _HEADERS:
        return None
    challenge, name = _HEADERS[response.status]
    challenges = response.headers.all(challenge)
    request = exchange.request
    known = {realm_of(given) or "": given for given in request.headers.all(name.lower())}
    if exchange.given_up or exchange.tries > MOST_TRIES or refused_realms(challenges) & known.keys():
        return None
    answers = credentials.answers(challenges, request.method, request.uri, request.body)
    if not answers:
        return None
    again = request.copy()
    again.headers.remove(name.lower())
    # Each proxy on the way may have a realm of its own; what one has taken the next will pass on.
    for given in (known | answers).values():
        again.headers.add(name, given)
    number = request.cseq.number + 1
    if exchange.dialog is not None:
        number = exchange.dialog.local_seq = exchange.dialog.local_seq + 1
    again.headers.replace("cseq", f"{number} {request.method}")
    return again
