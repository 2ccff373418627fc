"""The JSON media-stream dialect that Smartflo, Twilio and their siblings speak: what they say to us.

Twenty milliseconds of sound in the documented form are read by one typed decoder, base64 included, in half a
microsecond. Whatever that decoder does not take goes to the tolerant reader, which knows every spelling of a field
and says what is wrong. Both give the same flat events and raise nothing but `WireError`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from voicemedia.errors import WireError
from voicemedia.protocols.media_format_wire import read_format

ABSENT: Final = -1
"A number the message did not carry."

NUMBER_LIMIT: Final = 2**62
"Counters and milliseconds beyond this are nonsense, and would leave 64 bits once something is added."

KEYS: Final = frozenset("0123456789*#ABCD")

ALIASES: Final = {"streamid": "streamsid", "callid": "callsid", "accountid": "accountsid"}
"Folded key: the folded key it stands for."


# --- events ---


class Event(Struct, frozen=True):
    """Something the carrier said; every message gives one."""

    stream_id: str = ""
    "Empty when the message named no stream."
    sequence: int = ABSENT
    "Counts all messages of the carrier; gaps mean nothing."

    def __repr__(self) -> str:
        """Show no field that may hold what a caller said or dialed: events end up in logs."""
        return f"<{type(self).__name__} of {self.stream_id or 'no stream'}>"


class Connected(Event, frozen=True):
    """The first word on the socket; means nothing."""


class Start(Event, frozen=True):
    """A stream, and as a rule a call, begins."""

    call_id: str = ""
    "The carrier's name of the call; the only key to match calls by. Empty when not said."
    account_id: str = ""
    number: str = ""
    "Who calls."
    to: str = ""
    direction: str = "inbound"
    parameters: dict[str, str] = {}
    codec: str = "PCMU"
    "`PCMU`, `PCMA` or `L16` (s16le)."
    rate_hz: int = 8000
    encoding: str = ""
    "The codec in the carrier's own words."
    tracks: tuple[str, ...] = ()
    implied: bool = False
    "Sound came before any `start`; all but the stream's name is assumed."


class Media(Event, frozen=True, gc=False):
    """Sound, still in the stream's codec; any length, also none."""

    payload: bytes = b""
    chunk: int = ABSENT
    "Counts the media messages of the stream, from 1."
    timestamp_ms: int = ABSENT
    "Since the start of the stream; sometimes on a clock of the carrier's own. Only differences mean something."
    track: str = ""


class Dtmf(Event, frozen=True):
    """The caller pressed a key."""

    digit: str = ""
    "One of `0123456789*#ABCD`."
    duration_ms: int = 0


class Mark(Event, frozen=True):
    """All we sent before our mark has left the carrier's buffer."""

    name: str = ""
    cleared: bool = False
    "We told the carrier to clear before this came: what preceded the mark was perhaps not heard."


class Stop(Event, frozen=True):
    """The stream ends; nothing may be sent any more."""

    call_id: str = ""
    reason: str = ""
    "Free text of the carrier."
    replaced: bool = False
    "Not said by the carrier: another stream began on the same socket."


class Custom(Event, frozen=True):
    """An event this dialect does not know; somebody may have registered for it."""

    name: str = ""
    "Lower-case."
    fields: dict[str, Any] = {}
    "The whole message."


# --- the strict decoder: sound in the documented form ---

_Number = Annotated[int, Meta(ge=-NUMBER_LIMIT, le=NUMBER_LIMIT)]


class _Sound(Struct, gc=False):
    payload: bytes
    chunk: _Number = ABSENT
    timestamp: _Number = ABSENT
    track: str = ""


class _MediaMessage(Struct, gc=False):
    event: Literal["media"]
    media: _Sound
    stream_id: str = field(name="streamSid", default="")
    sequence: _Number = field(name="sequenceNumber", default=ABSENT)


# Not strict: digits in a string are a number.
_decode_media = msgspec.json.Decoder(_MediaMessage, strict=False).decode
_decode_any = msgspec.json.Decoder().decode


def read(raw: bytes | str) -> Event:
    """Read one message.

    :raises WireError: `bad_utf8`, `not_json`, or what `read_message` raises.
    """
    # The decoder skips fields it does not know without looking into them: other than ASCII goes the long way.
    if raw.isascii():
        try:
            message = _decode_media(raw)
        except (msgspec.DecodeError, RecursionError):
            return read_message(decode_json(raw))
        sound = message.media
        if not message.stream_id or (sound.chunk == ABSENT and sound.timestamp == ABSENT):
            # Perhaps they are there under another spelling, or in another place.
            return read_message(decode_json(raw))
        return Media(message.stream_id, message.sequence, sound.payload, sound.chunk, sound.timestamp, sound.track)
    return read_message(decode_json(raw))


def decode_json(raw: bytes | str) -> object:
    """Decode JSON of any shape.

    :raises WireError: `bad_utf8`, `not_json`.
    """
    try:
        return _decode_any(raw if isinstance(raw, str) else str(raw, "utf-8"))
    except UnicodeError:
        raise WireError("bad_utf8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        # A document nested deeper than the interpreter's stack is as useless as one that is not closed.
        raise WireError("not_json", str(error)) from None


# --- the tolerant reader ---


class Fields:
    """A message's fields under any spelling, in the object named after the event first and then around it.

    A field that is null is a field that is absent.
    """

    def __init__(self, outer: dict[str, Any], inner: dict[str, Any]) -> None:
        self._values = _folded(outer) | _folded(inner)

    def raw(self, key: str) -> Any:
        """Return the value as it came; None when absent."""
        return self._values.get(key)

    def text(self, key: str, default: str = "") -> str:
        """Return a text, or a number as text."""
        value = self._values.get(key, default)
        if isinstance(value, str):
            return value
        return str(_number(key, value))

    def number(self, key: str, default: int = ABSENT) -> int:
        """Return a whole number, also from text."""
        value = self._values.get(key, default)
        return default if value == "" else _number(key, value)

    def inner(self, key: str) -> dict[str, Any]:
        """Return an object; an empty one when absent."""
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise WireError("wrong_type", key)
        return value

    def required(self, key: str) -> str:
        """Return a text that must be there and not be empty."""
        value = self.text(key)
        if not value:
            raise WireError("missing_field", key)
        return value


def _fold(key: str) -> str:
    """Make `streamSid`, `stream_sid`, `streamId` and `stream-id` one key."""
    folded = key.replace("_", "").replace("-", "").lower()
    return ALIASES.get(folded, folded)


def _folded(message: dict[str, Any]) -> dict[str, Any]:
    return {_fold(key): value for key, value in message.items() if isinstance(key, str) and value is not None}


def _number(key: str, value: object) -> int:
    """Take an int, a float (rounded towards zero), or either of them as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise WireError("wrong_type", key)
    try:
        number = int(float(value)) if isinstance(value, str) and "." in value else int(value)
    except (ValueError, OverflowError):
        raise WireError("wrong_type", key) from None
    if not -NUMBER_LIMIT <= number <= NUMBER_LIMIT:
        raise WireError("wrong_type", key)
    return number


def event_name(message: object) -> str:
    """Return the event's name, lower-case and stripped.

    :raises WireError: `not_object`, `no_event`, `wrong_type`.
    """
    if not isinstance(message, dict):
        raise WireError("not_object")
    name = message.get("event")
    if name is None:
        raise WireError("no_event")
    if not isinstance(name, str):
        raise WireError("wrong_type", "event")
    name = name.strip().lower()
    if not name:
        raise WireError("no_event")
    return name


def fields_of(name: str, message: dict[str, Any]) -> Fields:
    """Open the message of an event; `"dtmf": "1"` stands for `"dtmf": {"digit": "1"}`, and marks likewise."""
    body = message.get(name)
    if body is None:
        body = {}
    elif name in _SHORT_FORMS and isinstance(body, (str, int)):
        body = {_SHORT_FORMS[name]: body}
    elif not isinstance(body, dict):
        raise WireError("wrong_type", name)
    # The object around must not stand in for what its own inner object lacks under the same name.
    return Fields({key: value for key, value in message.items() if key != name}, body)


def read_message(message: object) -> Event:
    """Read one message that is already decoded.

    :raises WireError: `not_object`, `no_event`, `missing_field`, `wrong_type`, `bad_base64`, `bad_digit`,
        `unsupported_encoding`, `unsupported_rate`.
    """
    name = event_name(message)
    assert isinstance(message, dict)
    reader = _READERS.get(name)
    if reader is None:
        fields = Fields(message, {})
        # What such an event means by these two is not for us to judge.
        sid = fields.raw("streamsid")
        return Custom(sid if isinstance(sid, str) else "", ABSENT, name, message)
    fields = fields_of(name, message)
    return reader(fields, fields.text("streamsid"), fields.number("sequencenumber"))


def _connected(fields: Fields, stream_id: str, sequence: int) -> Connected:
    return Connected(stream_id, sequence)


def _start(fields: Fields, stream_id: str, sequence: int) -> Start:
    media_format = Fields(fields.inner("mediaformat"), {})
    encoding = media_format.text("encoding")
    codec, rate_hz = read_format(encoding, media_format.number("samplerate", 0), media_format.number("channels", 1))
    return Start(
        fields.required("streamsid"),
        sequence,
        call_id=fields.text("callsid"),
        account_id=fields.text("accountsid"),
        number=fields.text("from"),
        to=fields.text("to"),
        direction=fields.text("direction", "inbound"),
        parameters={str(key): _as_text(value) for key, value in fields.inner("customparameters").items()},
        codec=codec,
        rate_hz=rate_hz,
        encoding=encoding,
        tracks=_tracks(fields.raw("tracks")),
    )


def _as_text(value: object) -> str:
    """Write a parameter that is no text as JSON."""
    try:
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        # Only a dict that never was JSON, or one nested to the limit, ends here.
        raise WireError("wrong_type", "customParameters") from None


def _tracks(value: object) -> tuple[str, ...]:
    """Take a list (Twilio), one text (Smartflo), or nothing."""
    if isinstance(value, str):
        return (value,)
    return tuple(track for track in value if isinstance(track, str)) if isinstance(value, list) else ()


def _media(fields: Fields, stream_id: str, sequence: int) -> Media:
    payload = fields.raw("payload")
    if payload is None:
        raise WireError("missing_field", "payload")
    return Media(
        stream_id,
        sequence,
        read_base64(payload),
        fields.number("chunk"),
        fields.number("timestamp"),
        fields.text("track"),
    )


def read_base64(text: object) -> bytes:
    """Decode base64 with the standard alphabet and its padding (RFC 4648, section 4), exactly as the decoder does.

    :raises WireError: `wrong_type`, `bad_base64`.
    """
    if not isinstance(text, str):
        raise WireError("wrong_type", "payload")
    try:
        return msgspec.convert(text, bytes)
    except (msgspec.ValidationError, UnicodeError):
        raise WireError("bad_base64") from None


def _dtmf(fields: Fields, stream_id: str, sequence: int) -> Dtmf:
    digit = fields.required("digit").strip().upper()
    if digit not in KEYS:
        raise WireError("bad_digit")
    return Dtmf(stream_id, sequence, digit, max(0, fields.number("duration", 0)))


def _mark(fields: Fields, stream_id: str, sequence: int) -> Mark:
    return Mark(stream_id, sequence, fields.required("name"))


def _stop(fields: Fields, stream_id: str, sequence: int) -> Stop:
    return Stop(stream_id, sequence, fields.text("callsid"), fields.text("reason"))


_SHORT_FORMS: Final = {"dtmf": "digit", "mark": "name"}

_READERS: Final[dict[str, Callable[[Fields, str, int], Event]]] = {
    "connected": _connected,
    "start": _start,
    "media": _media,
    "dtmf": _dtmf,
    "mark": _mark,
    "stop": _stop,
}
