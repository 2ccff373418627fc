"""Where a message begins and ends, in datagrams and in streams (RFC 3261, sections 7.5 and 18.3).

A fault found here does not lose the request: it is noted in `Request.trouble`, so that a 400 can still be sent.
Only what no answer could be made for raises `WireError`.
"""

import re
from dataclasses import dataclass
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import SPACE, is_token
from voicemedia.sip_bridge.headers_wire import USUAL, Headers
from voicemedia.sip_bridge.sip_wire import VERSION, Request, Response

MESSAGE_LIMIT: Final = 65536
"Bytes, head and body."
LINE_LIMIT: Final = 8192
"Characters of one header field, its folds included."
FIELD_LIMIT: Final = 256
LINES_LIMIT: Final = 1024
"Lines of a head: four folds for every field."

_END: Final = b"\r\n\r\n"
_STRAY: Final = re.compile(r"\r(?!\n)|(?<!\r)\n")


def read_datagram(datagram: bytes) -> Request | Response:
    """Read the message a datagram holds; bytes beyond its Content-Length are noise (RFC 3261, section 18.3).

    :raises WireError: `empty` (a keep-alive), `too_large`, or a message nobody could answer.
    """
    if len(datagram) > MESSAGE_LIMIT:
        raise WireError("too_large")
    text = datagram.lstrip(b"\r\n")
    if not text.strip(b"\0 "):
        raise WireError("empty")
    if b"\r" not in text.partition(b"\n\n")[0]:
        # A sender that ends its lines with LF alone; the body is left as it is.
        head, _, body = text.partition(b"\n\n")
        text = head.replace(b"\n", b"\r\n") + _END + body
    head, end, body = text.partition(_END)
    message = read_head(head if end else head.removesuffix(b"\r\n"))
    trouble = "" if end else "no_empty_line"
    try:
        length = message.content_length
    except WireError as error:
        trouble, length = trouble or error.kind, None
    if length is not None and length > len(body):
        trouble = trouble or "short_body"
    message.body = body if length is None else body[:length]
    return _with(message, trouble)


def read_head(head: bytes) -> Request | Response:
    """Read a start line and header fields, without the empty line after them.

    :raises WireError: `not_sip`, `bad_status_line`, or, in a response, any fault of the head.
    """
    lines = head.decode("utf-8", "surrogateescape").split("\r\n", LINES_LIMIT)
    headers, trouble = _fields(lines)
    message = _start(lines[0], headers)
    # A line end that is not CRLF would become a header of its own at the next element that reads it as one.
    if not head.count(b"\r") == head.count(b"\n") == len(lines) - 1:
        trouble = trouble or "bare_line_end"
        message.headers = Headers([(name, _STRAY.sub(" ", value)) for name, value in message.headers])
    return _with(message, trouble)


def _with(message: Request | Response, trouble: str) -> Request | Response:
    """Note the trouble in a request; a response with any is good for nothing."""
    if trouble and isinstance(message, Response):
        raise WireError(trouble)
    if isinstance(message, Request):
        message.trouble = message.trouble or trouble
    return message


def _start(line: str, headers: Headers) -> Request | Response:
    if line[:4].upper() == "SIP/" and line.partition(" ")[0].count("/") == 1:
        return _status(line, headers)
    method, _, rest = line.strip(SPACE).partition(" ")
    uri, _, version = rest.rpartition(" ")
    if not is_token(method) or not rest:
        raise WireError("not_sip", line[:80])
    if line == f"{method} {uri} {version}" and version[:4].upper() == "SIP/" and uri.isprintable() and " " not in uri:
        return Request(headers, method=method, uri=uri, version=version.upper())
    if "SIP/" not in version.upper() and ":" not in rest:
        raise WireError("not_sip", line[:80])
    return Request(headers, method=method, uri=uri.strip(SPACE), trouble="bad_start_line")


def _status(line: str, headers: Headers) -> Response:
    version, _, rest = line.partition(" ")
    status, _, reason = rest.partition(" ")
    if version.upper() != VERSION or len(status) != 3 or not status.isascii() or not status.isdigit():
        raise WireError("bad_status_line", line[:80])
    if not 100 <= int(status) <= 699 or "\r" in reason or "\n" in reason:
        raise WireError("bad_status_line", line[:80])
    return Response(headers, status=int(status), reason=reason)


def _fields(lines: list[str]) -> tuple[Headers, str]:
    """Return the header fields and the first fault found; what comes after a fault is still read."""
    fields: list[tuple[str, str]] = []
    trouble = ""
    for line in lines[1:LINES_LIMIT]:
        name, colon, value = line.partition(":")
        # What has been a header before needs no second look: half of the time.
        if colon and name in USUAL:
            fields.append((name, value.strip(SPACE)))
        elif line[:1] in (" ", "\t") and fields:
            name, value = fields[-1]
            fields[-1] = (name, f"{value}\r\n{line}" if value else line.strip(SPACE))
        elif colon and is_token(name.rstrip(SPACE)):
            fields.append((name.rstrip(SPACE), value.strip(SPACE)))
        else:
            trouble = trouble or "bad_header_line"
    return Headers(fields[:FIELD_LIMIT]), trouble or _excess(fields, lines)


def _excess(fields: list[tuple[str, str]], lines: list[str]) -> str:
    if len(fields) > FIELD_LIMIT or len(lines) > LINES_LIMIT:
        return "too_many_headers"
    # Where all of them are short together, as nearly always, none needs to be looked at.
    if sum(map(len, lines)) + 2 * len(lines) <= LINE_LIMIT:
        return ""
    return "line_too_long" if any(len(text) > LINE_LIMIT for text in (lines[0], *[v for _, v in fields])) else ""


@dataclass(frozen=True, slots=True)
class Ping:
    """Two CRLF between messages: the peer wants one back (RFC 5626, section 3.5.1)."""


PONG: Final = b"\r\n"


class Stream:
    """The messages of one TCP or TLS connection.

    :ivar broken: why no further message can be found; the owner answers what it got, then closes.
    """

    def __init__(self) -> None:
        self.broken = ""
        self._buffer = bytearray()
        self._searched = 0
        self._waiting: tuple[Request | Response, int] | None = None

    def feed(self, chunk: bytes) -> list[Request | Response | Ping]:
        """Take bytes in; return what is complete. Once `broken`, everything is ignored."""
        found: list[Request | Response | Ping] = []
        if self.broken:
            return found
        self._buffer += chunk
        try:
            while (item := self._next()) is not None:
                found.append(item)
                if isinstance(item, Request) and item.trouble:
                    raise WireError(item.trouble)
        except WireError as error:
            self.broken = error.kind
            self._buffer.clear()
        return found

    def _next(self) -> Request | Response | Ping | None:
        if self._waiting is None:
            if ping := self._ping():
                return ping
            end = self._buffer.find(_END, self._searched)
            if end < 0:
                if len(self._buffer) > MESSAGE_LIMIT:
                    raise WireError("too_large")
                self._searched = max(0, len(self._buffer) - 3)
                return None
            message = read_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            self._searched = 0
            self._waiting = message, self._length(message, end)
        message, length = self._waiting
        if len(self._buffer) < length:
            return None
        message.body = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._waiting = None
        return message

    def _ping(self) -> Ping | None:
        blank = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
        if self._buffer[:4] == _END:
            del self._buffer[:4]
            return Ping()
        # A lone CRLF is a pong or a spare line end; half a pair may still become a ping.
        if blank and blank < len(self._buffer):
            del self._buffer[:blank]
        elif blank > 4:
            raise WireError("bare_line_end")
        return None

    def _length(self, message: Request | Response, head: int) -> int:
        """Return the length of the body, 0 when it cannot be known: then the message is the last."""
        try:
            length = message.content_length
            kind = "missing_content_length" if length is None else "too_large"
        except WireError as error:
            length, kind = None, error.kind
        if length is not None and length + head <= MESSAGE_LIMIT:
            return length
        _with(message, kind)
        return 0
