"""What the carriers' dialects have in common: one family of JSON messages."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """How a call is called on the wire."""

    call_id: str
    stream_id: str
    account_id: str
    number: str = "+919800000001"
    to: str = "+918000000000"
    parameters: Mapping[str, str] = field(default_factory=dict)


def new_identity(**fields: Any) -> CallIdentity:
    """Make up names for a new call, in the shape carriers use (two letters and 32 hex digits)."""
    return CallIdentity(f"CA{uuid4().hex}", f"MZ{uuid4().hex}", f"AC{uuid4().hex}", **fields)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the server, read strictly by the carrier's document."""

    event: str
    stream_id: str = ""
    payload: bytes = b""
    "Of `media`: mu-law."
    chunk: int | None = None
    "Of `media`."
    name: str = ""
    "Of `mark`."


class Dialect(Protocol):
    """One carrier's messages. Every method but `faults` returns the text to send."""

    name: str
    default_path: str

    def connected(self) -> str: ...

    def start(self, sequence: int) -> str: ...

    def media(self, sequence: int, chunk: int, timestamp_ms: int, ulaw: bytes) -> str: ...

    def dtmf(self, sequence: int, key: str) -> str: ...

    def mark(self, sequence: int, name: str) -> str: ...

    def stop(self, sequence: int) -> str: ...

    def faults(self, message: Message) -> list[str]:
        """Name the rules of the carrier that a message of the server breaks."""


def envelope(event: str, sequence: int, body: Mapping[str, Any], stream_id: str) -> str:
    """Write a message of the family: numbers as strings, the body under the event's own name."""
    message = {"event": event, "sequenceNumber": str(sequence), event: body, "streamSid": stream_id}
    return json.dumps(message, separators=(",", ":"))


def read(text: str | bytes) -> Message:
    """Read a message of the server.

    :raises ValueError: not a message a carrier would understand.
    """
    match json.loads(text):
        case {"event": "media", "media": {"payload": str(payload), **media}, **rest}:
            chunk = media.get("chunk")
            return Message("media", _stream_id(rest), _decoded(payload), chunk if isinstance(chunk, int) else None)
        case {"event": "mark", "mark": {"name": str(name)}, **rest}:
            return Message("mark", _stream_id(rest), name=name)
        case {"event": str(event), **rest} if event not in ("media", "mark"):
            return Message(event, _stream_id(rest))
    raise ValueError("not a message of this protocol")


def _stream_id(message: Mapping[Any, Any]) -> str:
    return str(message.get("streamSid", ""))


def _decoded(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise ValueError("payload is not base64") from error
