"""Who is at the other end of a trunk's call, as the agent is told, and what headers go along with a call."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from voicemedia.errors import Unable, WireError
from voicemedia.interfaces import Caller
from voicemedia.sip_bridge.call_wire import Call
from voicemedia.sip_bridge.caller_wire import origin_of
from voicemedia.sip_bridge.incoming_wire import IncomingCall
from voicemedia.sip_bridge.rtp_leg import NARROW_HZ
from voicemedia.sip_bridge.sip_wire import Message
from voicemedia.sip_bridge.uri_wire import Uri

MOST_HEADERS: Final = 16
MOST_LETTERS: Final = 4096
"Of a header; a passport of STIR has more than a thousand."
TOLD: Final = frozenset({"user-to-user", "call-info", "subject"})
"Headers the agent is told beside those that begin with X-."
SENT: Final = frozenset({"identity", "diversion", "history-info", "privacy", "p-charge-info", *TOLD})
"Headers a call of ours may be given beside those that begin with X-."
_NAME: Final = re.compile(r"[A-Za-z0-9!%*_+`'~.-]{1,64}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def caller_of(sip: IncomingCall, trunk: str, route: str, rewrite: Callable[[str], str]) -> Caller:
    """Say who calls us, out of the INVITE."""
    invite = sip.invite
    origin = origin_of(invite)
    diverted = ", ".join(each.address.uri.name for each in origin.diverted)
    parameters = {
        **headers_told(invite),
        "attestation": origin.attestation,
        "verified": origin.verified,
        "diverted_from": diverted,
        "private": "true" if origin.private else "",
        "trunk": trunk,
    }
    try:
        to = Uri.parse(invite.uri).name
    except WireError:
        to = ""
    return Caller(
        call_id=readable(invite.call_id),
        carrier="sip",
        rate_hz=NARROW_HZ,
        route=route,
        stream_id=sip.session_id[:12],
        number=readable(rewrite(origin.number)),
        to=readable(to),
        parameters={readable(name): readable(value) for name, value in parameters.items() if value},
    )


def readable(text: str) -> str:
    """Return text of a message as everybody can write it down: bytes that are no UTF-8 become question marks."""
    return text if text.isascii() else text.encode(errors="surrogateescape").decode(errors="replace")


def called_by_us(sip: Call, route: str, number: str, ours: str, parameters: Mapping[str, str]) -> Caller:
    """Say whom we call: to the agent it is the caller, of a call that goes out."""
    return Caller(
        call_id=sip.dialog.call_id,
        carrier="sip",
        rate_hz=NARROW_HZ,
        route=route,
        stream_id=sip.session_id[:12],
        number=number,
        to=ours,
        direction="outbound",
        parameters=parameters,
    )


def headers_told(message: Message) -> dict[str, str]:
    """Return the headers of an INVITE that are meant for the application, names in lower case."""
    told: dict[str, str] = {}
    for key in message.headers.names():
        if (key[:2] == "x-" or key in TOLD) and len(told) < MOST_HEADERS:
            told[key] = (message.headers.first(key) or "")[:MOST_LETTERS]
    return told


def headers_to_send(wanted: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Check the headers a call of ours is to have.

    :raises Unable: 400, there are too many, or one that we write ourselves.
    """
    if len(wanted) > MOST_HEADERS:
        raise Unable(f"at most {MOST_HEADERS} headers", 400)
    for name, value in wanted.items():
        if not _NAME.fullmatch(name) or not (name.lower().startswith("x-") or name.lower() in SENT):
            raise Unable(f"header {name[:64]!r}: only X-..., {', '.join(sorted(SENT))}", 400)
        if not value.strip() or len(value) > MOST_LETTERS or _UNPRINTABLE.search(value):
            raise Unable(f"header {name}: one line of text, of {MOST_LETTERS} letters at most", 400)
    return tuple(wanted.items())
