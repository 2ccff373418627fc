"""What all answers of the HTTP port share: their headers, and JSON for errors."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

import msgspec

JSON: Final = "application/json"
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"Sent with every answer."
CODES: Final = {
    400: ("bad_request", "The request is malformed."),
    401: ("unauthorized", "The token is missing or wrong: Authorization: Bearer TOKEN."),
    403: ("forbidden", "You may not call here."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method."),
    409: ("conflict", "The call cannot do this now."),
    413: ("too_long", "The body of the request is too long."),
    426: ("websocket_only", "This address speaks WebSocket only."),
    500: ("internal_error", "A fault of ours; it is in the log."),
    502: ("refused", "The other side refused."),
    503: ("unavailable", "No more calls are taken at the moment."),
}
"HTTP status: our code for programs, and the sentence for people."


def error_body(status: int, message: str = "") -> bytes:
    """Write the JSON that goes with an error status, with the usual message or a better one."""
    code, usual = CODES[status]
    return msgspec.json.encode({"error": {"code": code, "message": message or usual}})


def error_response(
    status: int, message: str = "", headers: Iterable[tuple[str, str]] = (), *, body: bytes = b""
) -> bytes:
    """Write a whole answer, the last of its connection, for where twisted.web is not asked to."""
    body = body or error_body(status, message)
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {JSON}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in (*HEADERS.items(), *headers)),
    ]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body
