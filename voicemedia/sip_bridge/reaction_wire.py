"""What a user agent server does with a request before anybody is asked (RFC 3261, section 8.2).

The order of the checks is the order of the RFC, as one broken message often has several faults: can it be
answered at all, is it whole, is its version ours, do we know the method, whom is it for, what does it require,
can we read its body and it our answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import SPACE, split_list
from voicemedia.sip_bridge.sip_wire import VERSION, Request, Response
from voicemedia.sip_bridge.uri_wire import Uri

METHODS: Final = frozenset(
    {
        *("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE"),
        *("SUBSCRIBE", "NOTIFY", "PUBLISH", "INFO", "REFER", "MESSAGE"),
    }
)
"The registered methods: those we do not serve get 405, all others 501."

URI_LIMIT: Final = 2048


@dataclass(frozen=True, slots=True)
class Abilities:
    """What this server can do; each goes into the header its refusal must carry."""

    allow: tuple[str, ...] = (
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "OPTIONS",
        "INFO",
        "PRACK",
        "UPDATE",
        "REFER",
        "NOTIFY",
    )
    supported: tuple[str, ...] = ("100rel", "timer", "replaces", "norefersub")
    accept: tuple[str, ...] = ("application/sdp",)
    "Body types of an INVITE, UPDATE or PRACK."
    schemes: tuple[str, ...] = ("sip", "sips", "tel")
    body_limit: int = 32768


ABILITIES: Final = Abilities()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request gets no further; without a status it gets no answer either."""

    kind: str
    "The name under which it is counted."
    status: int = 0
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=())

    def response(self, request: Request, to_tag: str) -> Response | None:
        """Make the answer, None when there shall be none."""
        if not self.status:
            return None
        response = request.answer(self.status, self.reason, to_tag)
        for name, value in self.headers:
            response.headers.add(name, value)
        return response


def refusal(request: Request, abilities: Abilities = ABILITIES) -> Refusal | None:
    """Judge a request; None: it may go on to its transaction, its dialog, or the application."""
    found = (
        _whole(request)
        or _version(request)
        or _readable(request)
        or _method(request, abilities)
        or _same_method(request)
        or _target(request, abilities)
        or _required(request, abilities)
        or _body(request, abilities)
        or _acceptable(request, abilities)
    )
    if found is not None and (request.method == "ACK" or "via" not in request.headers):
        # An ACK is never answered, and an answer without a Via finds no way.
        return Refusal(found.kind)
    return found


def bad_response(response: Response) -> str:
    """Return why a response must be dropped, empty when it is good.

    More than one Via means that it was not meant for us (RFC 3261, section 8.1.3.3).
    """
    try:
        if len(response.vias) != 1:
            return "stray_via"
        _header_views(response)
    except WireError as error:
        return error.kind
    return ""


def _header_views(message: Request | Response) -> None:
    _ = (message.call_id, message.sender, message.recipient, message.cseq)


def _whole(request: Request) -> Refusal | None:
    if request.trouble:
        status = 413 if request.trouble == "too_large" else 400
        return Refusal(request.trouble, status, f"Bad Request ({request.trouble.replace('_', ' ')})")
    return None


def _version(request: Request) -> Refusal | None:
    return None if request.version == VERSION else Refusal("bad_version", 505)


_VIEWS: Final[tuple[tuple[str, Callable[[Request], object]], ...]] = (
    ("Via", lambda request: request.vias or request.via),
    ("CSeq", attrgetter("cseq")),
    ("Call-ID", attrgetter("call_id")),
    ("From", attrgetter("sender")),
    ("To", attrgetter("recipient")),
    ("Max-Forwards", lambda request: "max-forwards" in request.headers and request.headers.one("max-forwards")),
    ("Contact", lambda request: request.method != "INVITE" or "contact" not in request.headers or request.contact),
    ("Record-Route", lambda request: "record-route" in request.headers and request.addresses("record-route")),
)


def _readable(request: Request) -> Refusal | None:
    for name, view in _VIEWS:
        try:
            view(request)
        except WireError as error:
            missing = "Missing" if error.kind.startswith("missing") else "Bad"
            return Refusal(error.kind, 400, f"{missing} {name} Header")
    return None


def _method(request: Request, abilities: Abilities) -> Refusal | None:
    if request.method not in abilities.allow:
        if request.method not in METHODS:
            return Refusal("unknown_method", 501)
        return Refusal("method_not_allowed", 405, headers=(("Allow", ", ".join(abilities.allow)),))
    return None


def _same_method(request: Request) -> Refusal | None:
    if request.cseq.method != request.method:
        return Refusal("cseq_mismatch", 400, "CSeq Method Does Not Match")
    return None


def _target(request: Request, abilities: Abilities) -> Refusal | None:
    if len(request.uri) > URI_LIMIT:
        return Refusal("uri_too_long", 414)
    scheme = request.uri.partition(":")[0].lower()
    if scheme not in abilities.schemes and ":" in request.uri and scheme.replace(".", "").isalnum():
        return Refusal("unknown_scheme", 416)
    try:
        uri = Uri.parse(request.uri)
    except WireError as error:
        return Refusal(error.kind, 400, "Bad Request-URI")
    # Headers in a Request-URI are for a client to apply, never to send (RFC 3261, section 19.1.1).
    return Refusal("headers_in_uri", 400, "Headers in Request-URI") if uri.headers else None


def _required(request: Request, abilities: Abilities) -> Refusal | None:
    """Refuse unknown extensions; Require says nothing in ACK and CANCEL (RFC 3261, section 8.2.2.3)."""
    if request.method in ("ACK", "CANCEL") or "require" not in request.headers:
        return None
    unknown = [
        name
        for value in request.headers.all("require")
        for piece in value.split(",")
        if (name := piece.strip(SPACE)) and name.lower() not in abilities.supported
    ]
    return Refusal("bad_extension", 420, headers=(("Unsupported", ", ".join(unknown)),)) if unknown else None


def _body(request: Request, abilities: Abilities) -> Refusal | None:
    if len(request.body) > abilities.body_limit:
        return Refusal("body_too_large", 413)
    if not request.body or request.method not in ("INVITE", "UPDATE", "PRACK") or _optional(request):
        return None
    accept = ("Accept", ", ".join(abilities.accept))
    if (request.headers.first("content-encoding") or "identity").lower() != "identity":
        return Refusal("encoded_body", 415, headers=(accept, ("Accept-Encoding", "identity")))
    kind = request.content_type
    # A part of a multipart body may be the SDP: whoever opens it says so.
    if kind not in abilities.accept and not (kind.startswith("multipart/") and b"application/sdp" in request.body):
        return Refusal("unknown_body", 415, headers=(accept,))
    return None


def _optional(request: Request) -> bool:
    disposition = request.headers.first("content-disposition") or ""
    return "handling=optional" in disposition.lower().replace(" ", "")


def _acceptable(request: Request, abilities: Abilities) -> Refusal | None:
    """Refuse an INVITE whose sender could not read our SDP."""
    if request.method != "INVITE" or "accept" not in request.headers:
        return None
    accepted = request.headers.all("accept")
    try:
        ranges = {piece.partition(";")[0].strip(SPACE).lower() for value in accepted for piece in split_list(value)}
    except WireError:
        # A header that can be done without is as good as none when it cannot be read (section 8.2).
        return None
    wanted = {*abilities.accept, "application/*", "*/*", "*"}
    return None if ranges & wanted or not ranges else Refusal("nothing_acceptable", 406)
