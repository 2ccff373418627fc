"""SIP requests and responses, lossless: what was received is what can be sent again (RFC 3261, section 7).

A request that is broken in one place is still a request: it can be read where it is whole, and answered. Hence
three layers of refusal: framing (`framing_wire`, noted in `Request.trouble`), header values (the typed views here
raise `WireError`), and validation (`reaction_wire`).
"""

from functools import lru_cache
from typing import Final

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.address_wire import Address
from voicemedia.sip_bridge.grammar_wire import SPACE, is_token, natural, split_outside
from voicemedia.sip_bridge.headers_wire import Headers
from voicemedia.sip_bridge.via_wire import Via

VERSION: Final = "SIP/2.0"

ADDRESSES_LIMIT: Final = 64
"Of one list header; a request that has passed so many proxies is lost anyway."

REASONS: Final = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    469: "Bad Info Package",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    500: "Server Internal Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    603: "Decline",
}


class CSeq(msgspec.Struct, frozen=True):
    """The CSeq header."""

    number: int
    method: str

    @staticmethod
    @lru_cache(maxsize=256)
    def parse(text: str) -> "CSeq":
        """Parse `4711 INVITE`.

        :raises WireError: `bad_cseq`, also for a number of 2**31 and above (RFC 3261, section 8.1.1.5).
        """
        number, _, method = text.strip(SPACE).partition(" ")
        method = method.strip(SPACE)
        if not is_token(method):
            raise WireError("bad_cseq", text[:80])
        return CSeq(natural(number.rstrip(SPACE), kind="bad_cseq"), method)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


class Message(msgspec.Struct):
    """What requests and responses share, with typed views of the headers."""

    headers: Headers = msgspec.field(default_factory=Headers)
    body: bytes = b""

    @property
    def via(self) -> Via:
        """The topmost hop."""
        first = self.headers.first("via")
        if first is None:
            raise WireError("missing_via")
        return Via.parse(first if "," not in first else split_outside(first, ",")[0])

    @property
    def vias(self) -> list[Via]:
        """All hops, topmost first."""
        return [via for value in self.headers.all("via") for via in Via.parse_many(value)]

    @property
    def sender(self) -> Address:
        """The From header."""
        return self.headers.view("from", Address.parse)

    @property
    def recipient(self) -> Address:
        """The To header."""
        return self.headers.view("to", Address.parse)

    @property
    def call_id(self) -> str:
        """The Call-ID, byte for byte."""
        return self.headers.view("call-id", _call_id)

    @property
    def cseq(self) -> CSeq:
        """The CSeq header."""
        return self.headers.view("cseq", CSeq.parse)

    @property
    def contacts(self) -> list[Address]:
        """The Contact addresses; `*` counts as none."""
        return self.addresses("contact") if self.headers.first("contact") != "*" else []

    @property
    def contact(self) -> Address:
        """The one Contact of a request or response that makes a dialog (RFC 3261, section 12.1)."""
        contacts = self.contacts
        if len(contacts) != 1:
            raise WireError("missing_contact" if not contacts else "repeated_contact")
        return contacts[0]

    def addresses(self, key: str) -> list[Address]:
        """Return all addresses of a list header: `route`, `record-route`, `p-asserted-identity`, `diversion`."""
        if key not in self.headers:
            return []
        pieces = [piece for value in self.headers.all(key) if value for piece in split_outside(value, ",")]
        if len(pieces) > ADDRESSES_LIMIT:
            raise WireError("too_many_addresses", key)
        return [Address.parse(piece) for piece in pieces]

    @property
    def content_type(self) -> str:
        """The media type in lower case without parameters; empty when there is none."""
        return (self.headers.first("content-type") or "").partition(";")[0].strip(SPACE).lower()

    @property
    def content_length(self) -> int | None:
        """The Content-Length, None when there is none.

        :raises WireError: `bad_content_length`, `repeated_content_length`.
        """
        if "content-length" not in self.headers:
            return None
        return natural(self.headers.one("content-length"), kind="bad_content_length")

    def number(self, key: str, default: int, limit: int = 2**32) -> int:
        """Return a header's number; what is absent, repeated or no number counts as `default`.

        For the numbers a fault in which shall not cost the call (RFC 4475, section 3.1.2.4).
        """
        value = (self.headers.first(key) or "").partition(";")[0].partition("(")[0].strip(SPACE)
        try:
            return natural(value, limit)
        except WireError:
            return default

    def set_body(self, content_type: str, body: bytes) -> None:
        """Put in a body and name its type."""
        self.body = body
        if body:
            self.headers.replace("content-type", content_type, "Content-Type")

    def _encode(self, start: str) -> bytes:
        lines = [start]
        headers = self.headers
        # The length is ours to say: the body may have been cut to what the datagram held.
        if "content-length" in headers:
            lines += [f"{name}: {value}" for name, value in headers.fields if name.lower() not in _LENGTH]
        else:
            lines += [f"{name}: {value}" for name, value in headers.fields]
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body


_LENGTH: Final = ("content-length", "l")
_COPIED: Final = ("via", "from", "to", "call-id", "cseq")


class Request(Message):
    """A request."""

    method: str = ""
    "Case matters; any token."
    uri: str = ""
    "The Request-URI, raw: what it is worth is for the validation to say."
    version: str = VERSION
    trouble: str = ""
    "What framing found wrong (`bad_start_line`, `short_body` ...): such a request is only good for a 400."

    def encode(self) -> bytes:
        """Return the bytes to send."""
        return self._encode(f"{self.method} {self.uri} {self.version}")

    def copy(self) -> "Request":
        """Return another that says the same, to be changed."""
        return Request(self.headers.copy(), self.body, self.method, self.uri)

    def answer(self, status: int, reason: str = "", to_tag: str = "") -> "Response":
        """Make a response, copying what must be copied byte for byte (RFC 3261, section 8.2.6).

        Whatever of Via, From, To, Call-ID and CSeq is missing or broken is left out or copied as it is.
        """
        ours = self.headers
        keys = _COPIED if not 100 < status < 300 else (*_COPIED, "record-route")
        headers = Headers(ours.raw(*keys))
        if status == 100:
            headers.extend(ours.raw("timestamp"))
        elif to_tag:
            _tag(headers, to_tag)
        return Response(headers, status=status, reason=reason or REASONS.get(status, ""))


class Response(Message):
    """A response."""

    status: int = 0
    reason: str = ""
    version: str = VERSION

    def encode(self) -> bytes:
        """Return the bytes to send."""
        return self._encode(f"{self.version} {self.status} {self.reason}")


def _call_id(text: str) -> str:
    if not text or " " in text:
        raise WireError("bad_call_id", text[:80])
    return text


def _tag(headers: Headers, tag: str) -> None:
    """Give To our tag, unless it has one or cannot be read."""
    try:
        value = headers.one("to")
        if Address.parse(value).tag is None:
            headers.replace("to", f"{value};tag={tag}")
    except WireError:
        return
