"""Smartflo's events under the carrier's own names, for programs written against them.

Our server itself uses the flat events of `media_stream_wire`; this is the same reader and the same rules with another
face: `event.start.callSid`, `event.media.payload`, numbers as they came (`"1"` stays a text).
"""

import inspect
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from voicemedia.audio.g711 import decode_mulaw, encode_mulaw
from voicemedia.errors import WireError
from voicemedia.protocols import media_stream_wire as wire

Number = int | str
"A whole number, checked, in the form it came in."


class Message(Struct, kw_only=True):
    """A message as it is on the wire."""

    def to_dict(self) -> dict[str, Any]:
        """Return the message for `json.dumps`."""
        message: dict[str, Any] = msgspec.to_builtins(self)
        return message

    def to_json(self) -> str:
        """Return the message as it goes on the socket."""
        return msgspec.json.encode(self).decode()


# --- incoming ---


class IncomingEvent(Message, kw_only=True):
    """What every event from the carrier has."""

    event: str
    sequenceNumber: Number | None = None
    streamSid: str = ""


class MediaFormat(Message, kw_only=True):
    """The codec, in the carrier's words, with our defaults where it says nothing."""

    encoding: str = "audio/x-mulaw"
    sampleRate: int = 8000
    channels: int = 1


class StartMetadata(Message, kw_only=True):
    """The inner object of `start`."""

    streamSid: str
    callSid: str = ""
    accountSid: str = ""
    tracks: str | list[str] | None = None
    customParameters: dict[str, str] = {}
    mediaFormat: MediaFormat
    from_: str = msgspec.field(name="from", default="")
    to: str = ""
    direction: str = "inbound"


class StartEvent(IncomingEvent, kw_only=True):
    """A stream begins."""

    start: StartMetadata


class MediaPayload(Message, kw_only=True):
    """The inner object of `media`."""

    payload: str
    "Base64, valid."
    chunk: Number | None = None
    timestamp: Number | None = None


class MediaEvent(IncomingEvent, kw_only=True):
    """Sound."""

    media: MediaPayload


class StopMetadata(Message, kw_only=True):
    """The inner object of `stop`."""

    streamSid: str = ""
    callSid: str = ""
    accountSid: str = ""
    reason: str = ""


class StopEvent(IncomingEvent, kw_only=True):
    """The stream ends."""

    stop: StopMetadata


class DTMFPayload(Message, kw_only=True):
    """The inner object of `dtmf`."""

    digit: str


class DTMFEvent(IncomingEvent, kw_only=True):
    """The caller pressed a key."""

    dtmf: DTMFPayload


class MarkPayload(Message, kw_only=True):
    """The inner object of `mark`."""

    name: str


class MarkEvent(IncomingEvent, kw_only=True):
    """What we sent before our mark has been played, or cleared."""

    mark: MarkPayload


class CustomEvent(IncomingEvent, kw_only=True):
    """An event somebody registered a handler for."""

    fields: dict[str, Any] = {}
    "The whole message."


class ConnectedEvent(Message, kw_only=True):
    """The greeting, whoever sends it."""

    event: str = "connected"
    protocol: str = "Call"
    version: str = "1.0.0"


Incoming = StartEvent | MediaEvent | StopEvent | DTMFEvent | MarkEvent | ConnectedEvent | CustomEvent


# --- routing ---

Handler = TypeVar("Handler", bound=Callable[..., Any])


class EventRouter:
    """Handlers by event name; events that are not of the dialect exist once somebody has registered for them."""

    def __init__(self) -> None:
        self._handlers: dict[str, Callable[..., Any]] = {}

    def route(self, name: str) -> Callable[[Handler], Handler]:
        """Register the decorated function, plain or `async`, for an event; the last registered counts."""

        def register(handler: Handler) -> Handler:
            self._handlers[name.strip().lower()] = handler
            return handler

        return register

    def knows(self, name: str) -> bool:
        """Say whether there is a handler for an event."""
        return name.strip().lower() in self._handlers

    async def dispatch(self, event: Incoming, *args: Any, **kwargs: Any) -> Any:
        """Call the handler with the event and whatever else is given; wait for it if it is `async`.

        :raises WireError: `unknown_event`: there is none.
        """
        handler = self._handlers.get(event.event)
        if handler is None:
            raise WireError("unknown_event", event.event[:40])
        result = handler(event, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result


router: Final = EventRouter()
"The handlers that `parse_incoming_event` knows of."


# --- parsing ---


def parse_incoming_event(raw: dict[str, Any] | str | bytes, routes: EventRouter = router) -> Incoming:
    """Read one message of the carrier, JSON or decoded; the same spellings are accepted as on the socket.

    :param routes: where an event outside the dialect must be registered to be taken (`CustomEvent`).
    :raises WireError: a `ValueError` whose `kind` says what is wrong; `unknown_event` when nobody registered for it.
    """
    message: Any = wire.decode_json(raw) if isinstance(raw, (str, bytes, bytearray)) else raw
    event = wire.read_message(message)
    if isinstance(event, wire.Custom):
        if not routes.knows(event.name):
            raise WireError("unknown_event", event.name[:40])
        return CustomEvent(event=event.name, streamSid=event.stream_id, fields=message)
    name = wire.event_name(message)
    fields = wire.fields_of(name, message)
    if isinstance(event, wire.Connected):
        return ConnectedEvent(protocol=fields.text("protocol", "Call"), version=fields.text("version", "1.0.0"))
    if not event.stream_id:
        raise WireError("missing_field", "streamSid")
    shape, body = _SHAPES[name]
    sequence = _as_it_came(fields.raw("sequencenumber"), event.sequence)
    known: Incoming = shape(
        event=name, streamSid=event.stream_id, sequenceNumber=sequence, **{name: body(event, fields)}
    )
    return known


def _as_it_came(value: object, read: int) -> Number | None:
    if isinstance(value, (int, str)) and value != "":
        return value
    return None if read == wire.ABSENT else read


def _start(event: Any, fields: wire.Fields) -> StartMetadata:
    return StartMetadata(
        streamSid=event.stream_id,
        callSid=event.call_id,
        accountSid=event.account_id,
        tracks=fields.raw("tracks") if event.tracks else None,
        customParameters=event.parameters,
        mediaFormat=MediaFormat(encoding=event.encoding or "audio/x-mulaw", sampleRate=event.rate_hz),
        from_=event.number,
        to=event.to,
        direction=event.direction,
    )


def _media(event: Any, fields: wire.Fields) -> MediaPayload:
    return MediaPayload(
        payload=fields.raw("payload"),
        chunk=_as_it_came(fields.raw("chunk"), event.chunk),
        timestamp=_as_it_came(fields.raw("timestamp"), event.timestamp_ms),
    )


def _stop(event: Any, fields: wire.Fields) -> StopMetadata:
    account_id = fields.text("accountsid")
    return StopMetadata(streamSid=event.stream_id, callSid=event.call_id, accountSid=account_id, reason=event.reason)


_SHAPES: Final[dict[str, tuple[type[Any], Callable[[Any, wire.Fields], Message]]]] = {
    "start": (StartEvent, _start),
    "media": (MediaEvent, _media),
    "stop": (StopEvent, _stop),
    "dtmf": (DTMFEvent, lambda event, fields: DTMFPayload(digit=event.digit)),
    "mark": (MarkEvent, lambda event, fields: MarkPayload(name=event.name)),
}


# --- sound ---


def decode_mulaw_from_base64(text: str | bytes) -> bytes:
    """Return s16le of a media payload, 8000 Hz as it came.

    :raises WireError: `bad_base64`.
    """
    return decode_mulaw(wire.read_base64(text if isinstance(text, str) else str(text, "latin-1")))


def encode_pcm16_to_mulaw_base64(pcm: bytes) -> str:
    """Return the media payload of s16le at 8000 Hz.

    :raises WireError: `odd_length`: half a sample.
    """
    if len(pcm) % 2:
        raise WireError("odd_length")
    return b64encode(encode_mulaw(pcm)).decode()
