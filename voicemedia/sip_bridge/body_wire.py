"""Bodies: one thing, or several in a multipart (RFC 5621; RFC 2046, section 5.1)."""

from collections.abc import Iterator

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import SPACE, Params, unquote
from voicemedia.sip_bridge.sip_wire import Message

PARTS_LIMIT = 16


def body_of(message: Message, kind: str) -> bytes:
    """Return the body of this media type, wherever it is; empty when there is none.

    :raises WireError: `bad_multipart`, `empty_parameter`.
    """
    if not message.content_type.startswith("multipart/"):
        return message.body if message.content_type == kind else b""
    return next((body for found, body in parts_of(message) if found == kind), b"")


def parts_of(message: Message) -> Iterator[tuple[str, bytes]]:
    """Yield (media type, body) of the parts of a multipart body.

    :raises WireError: `bad_multipart` when its boundary is missing or never met.
    """
    _, _, params = (message.headers.first("content-type") or "").partition(";")
    boundary = unquote(Params.parse(params).get("boundary") or "").encode("utf-8", "surrogateescape")
    pieces = (b"\r\n" + message.body).split(b"\r\n--" + boundary, PARTS_LIMIT + 1)
    if not boundary or len(pieces) < 2:
        raise WireError("bad_multipart")
    for piece in pieces[1:]:
        if piece.startswith(b"--"):
            return
        head, _, body = piece.lstrip(b" \t").removeprefix(b"\r\n").partition(b"\r\n\r\n")
        yield _type(head), body


def _type(head: bytes) -> str:
    for line in head.decode("utf-8", "surrogateescape").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip(SPACE).lower() in ("content-type", "c"):
            return value.partition(";")[0].strip(SPACE).lower()
    return "text/plain"
