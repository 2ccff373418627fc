"""What a program written against Smartflo sends and keeps: events, their builder, and a session for each stream."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Self

from msgspec import UNSET, UnsetType

from voicemedia.protocols.smartflo_api import ConnectedEvent, MarkPayload, Message


class VendorMedia(Message, kw_only=True):
    """The inner object of an outgoing `media`."""

    payload: str
    "Base64 of mu-law; a multiple of 160 bytes, or the carrier plays gaps."
    chunk: int | UnsetType = UNSET
    "Counts media from 1; the carrier's document asks for it."


class VendorMediaEvent(Message, kw_only=True):
    """Sound for the caller."""

    event: str = "media"
    streamSid: str
    sequenceNumber: int | UnsetType = UNSET
    media: VendorMedia


class VendorMarkEvent(Message, kw_only=True):
    """Ask to be told when everything before has been played."""

    event: str = "mark"
    streamSid: str
    sequenceNumber: int | UnsetType = UNSET
    mark: MarkPayload


class ClearEvent(Message, kw_only=True):
    """Have the carrier forget what is not yet played."""

    event: str = "clear"
    streamSid: str
    sequenceNumber: int | UnsetType = UNSET
    "Not in the carrier's document; left out unless given."


Outgoing = ConnectedEvent | VendorMediaEvent | VendorMarkEvent | ClearEvent


class EventBuilder:
    """Put an outgoing event together step by step.

    `type` and, except for `connected`, `sid` are needed; `sequence` may be left out; `payload` takes
    `payload=` and `chunk=` for media, `name=` for a mark, `protocol=` and `version=` for connected.
    """

    def __init__(self) -> None:
        self._type = ""
        self._sid = ""
        self._sequence: int | UnsetType = UNSET
        self._fields: dict[str, Any] = {}

    def type(self, name: str) -> Self:
        """Choose the event: `media`, `mark`, `clear` or `connected`."""
        self._type = name
        return self

    def sid(self, stream_sid: str) -> Self:
        """Name the stream."""
        self._sid = stream_sid
        return self

    def sequence(self, number: int) -> Self:
        """Number the message."""
        self._sequence = number
        return self

    def payload(self, **fields: str | int) -> Self:
        """Give the fields of the inner object."""
        self._fields |= fields
        return self

    def build(self) -> Outgoing:
        """Return the event.

        :raises ValueError: a part is missing, unknown or of the wrong type; the message names it.
        """
        known = _FIELDS.get(self._type)
        if known is None:
            raise ValueError(f"type: expected one of {', '.join(_FIELDS)}, got {self._type!r}")
        if self._type != "connected" and not (isinstance(self._sid, str) and self._sid):
            raise ValueError(f"sid: a {self._type} event needs the streamSid")
        if self._sequence is not UNSET and type(self._sequence) is not int:
            raise ValueError(f"sequence: expected an int, got {self._sequence!r}")
        self._check_fields(known)
        return self._build()

    def _check_fields(self, known: dict[str, tuple[Any, bool]]) -> None:
        for name in self._fields.keys() - known.keys():
            raise ValueError(f"payload: a {self._type} event has no {name}")
        for name, (kind, needed) in known.items():
            if needed and name not in self._fields:
                raise ValueError(f"payload: a {self._type} event needs {name}")
            if name in self._fields and type(self._fields[name]) is not kind:
                raise ValueError(f"payload: {name} must be {kind.__name__}, got {self._fields[name]!r}")

    def _build(self) -> Outgoing:
        numbered: dict[str, Any] = {"streamSid": self._sid, "sequenceNumber": self._sequence}
        match self._type:
            case "media":
                return VendorMediaEvent(**numbered, media=VendorMedia(**self._fields))
            case "mark":
                return VendorMarkEvent(**numbered, mark=MarkPayload(**self._fields))
            case "clear":
                return ClearEvent(**numbered)
        return ConnectedEvent(**self._fields)


_FIELDS: Final[dict[str, dict[str, tuple[Any, bool]]]] = {
    "media": {"payload": (str, True), "chunk": (int, False)},
    "mark": {"name": (str, True)},
    "clear": {},
    "connected": {"protocol": (str, False), "version": (str, False)},
}
"By event: the fields of `payload`, their type, and whether they are needed."


# --- sessions ---


class StreamSession:
    """What a program keeps about one stream."""

    def __init__(self, stream_sid: str, call_sid: str, created: datetime) -> None:
        self.stream_sid = stream_sid
        self.call_sid = call_sid
        self.created = created
        self.metadata: dict[str, Any] = {}
        self._sequence = 0

    def next_sequence(self) -> int:
        """Return the number of the next message we send: 1, 2, 3 ..."""
        self._sequence += 1
        return self._sequence

    def update_metadata(self, **metadata: Any) -> None:
        """Add to what is known about the stream, or replace it."""
        self.metadata.update(metadata)


class SessionRegistry:
    """The sessions by stream.

    The methods are coroutines because the programs that use them write `await`; none ever waits, so they serve
    asyncio and Twisted alike. Like everything here they belong to one thread.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._sessions: dict[str, StreamSession] = {}
        self._now = now

    def __len__(self) -> int:
        return len(self._sessions)

    async def create_session(self, stream_sid: str, call_sid: str) -> StreamSession:
        """Begin a session.

        :raises ValueError: the stream has one already.
        """
        if stream_sid in self._sessions:
            raise ValueError(f"stream {stream_sid} has a session already")
        session = self._sessions[stream_sid] = StreamSession(stream_sid, call_sid, self._now())
        return session

    async def get_session(self, stream_sid: str) -> StreamSession | None:
        """Return the stream's session; None when there is none."""
        return self._sessions.get(stream_sid)

    async def delete_session(self, stream_sid: str) -> StreamSession | None:
        """End the stream's session and return it; None when there was none."""
        return self._sessions.pop(stream_sid, None)


session_manager: Final = SessionRegistry()
"One registry for programs that need only one."
