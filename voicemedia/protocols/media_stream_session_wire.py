"""One socket of a carrier that speaks media streams: which stream is live, and the messages we send on it."""

from binascii import b2a_base64
from dataclasses import dataclass
from typing import Final

import msgspec

from voicemedia.audio.g711 import CODECS
from voicemedia.errors import WireError
from voicemedia.protocols.media_stream_wire import Connected, Custom, Dtmf, Event, Mark, Media, Start, Stop, read

CONNECTED: Final = b'{"event":"connected","protocol":"Call","version":"1.0.0"}'
"The greeting, for those who wait for one."

NAME_LIMIT: Final = 256
"Characters of a stream's or a call's name, which is kept and logged long after its message is gone."

MARKS_KEPT: Final = 1000
"A carrier that never echoes a mark must not fill memory."


@dataclass(frozen=True, slots=True)
class Dialect:
    """What distinguishes one carrier's messages from its siblings'."""

    carrier: str
    chunk: bool = False
    "Media we send carry `chunk`, counted from 1."
    sequence: bool = False
    "Media and marks we send carry `sequenceNumber`, counted from 1 over all we send."
    block_samples: int = 1
    "Media we send hold a multiple of this many samples."


class StreamWriter:
    """What we say on one stream: counts, and remembers the marks that are out."""

    def __init__(self, dialect: Dialect, start: Start) -> None:
        self._dialect = dialect
        self._sid = msgspec.json.encode(start.stream_id)
        codec = CODECS[start.codec]
        self._block = dialect.block_samples * codec.sample_bytes
        self._silence = codec.silence * dialect.block_samples
        head = b'{"event":"media","streamSid":' + self._sid.replace(b"%", b"%%")
        sequence = b',"sequenceNumber":%(sequence)d' if dialect.sequence else b""
        chunk = b',"chunk":%(chunk)d' if dialect.chunk else b""
        self._media = head + sequence + b',"media":{"payload":"%(payload)b"' + chunk + b"}}"
        self._chunk = 0
        self._sequence = 0
        self._marks: dict[str, bool] = {}
        "Names that have not come back yet: whether we cleared since."

    def media(self, sound: bytes) -> bytes:
        """Write sound in the stream's codec; give whole frames, for a last part of a block is filled with silence."""
        if len(sound) % self._block:
            missing = self._block - len(sound) % self._block
            sound += self._silence[-missing:]
        self._sequence += 1
        self._chunk += 1
        payload = b2a_base64(sound, newline=False)
        return self._media % {b"sequence": self._sequence, b"payload": payload, b"chunk": self._chunk}

    def mark(self, name: str) -> bytes:
        """Write a mark; it comes back once all before it is played or cleared. Use each name once."""
        self._sequence += 1
        self._marks[name] = False
        if len(self._marks) > MARKS_KEPT:
            del self._marks[next(iter(self._marks))]
        sequence = b',"sequenceNumber":%d' % self._sequence if self._dialect.sequence else b""
        return b'{"event":"mark","streamSid":%b%b,"mark":{"name":%b}}' % (
            self._sid,
            sequence,
            msgspec.json.encode(name),
        )

    def clear(self) -> bytes:
        """Write the order to forget what is not yet played."""
        self._sequence += 1
        # An echo that is on its way already counts as cleared too: better forget a heard word than invent one.
        self._marks = dict.fromkeys(self._marks, True)
        return b'{"event":"clear","streamSid":%b}' % self._sid

    def came_back(self, mark: Mark) -> Mark:
        """Match an echo with what we sent.

        :raises WireError: `unknown_mark`: never sent, or back already.
        """
        cleared = self._marks.pop(mark.name, None)
        if cleared is None:
            raise WireError("unknown_mark")
        return Mark(mark.stream_id, mark.sequence, mark.name, cleared)


class MediaStreamSession:
    """The streams of one socket, one after the other.

    `receive` gives what happened; `stream` and `writer` are None whenever nothing may be sent: before a `start`
    and after a `stop`. No error ends a session: count it by its kind and go on.
    """

    def __init__(self, dialect: Dialect, *, implicit_start: bool = False, binary_audio: bool = False) -> None:
        """Begin a session.

        :param implicit_start: sound that names a stream starts it when no `start` came.
        :param binary_audio: binary frames hold sound in the stream's codec.
        """
        self.stream: Start | None = None
        self.writer: StreamWriter | None = None
        self._dialect = dialect
        self._implicit_start = implicit_start
        self._binary_audio = binary_audio
        self._sample_bytes = 1
        self._ended = ""
        "The last stream that ended."
        self._binary_chunks = 0
        self._binary_samples = 0

    def receive(self, raw: bytes | str) -> tuple[Event, ...]:
        """Take one text message; return what happened: as a rule one event.

        A `start` of another stream gives a `Stop` that says `replaced`, then the `Start`; sound that starts its stream
        gives an implied `Start`, then the `Media`.

        :raises WireError: what `read` raises; `EVENT_before_start`, `EVENT_after_stop`, `unknown_stream`,
            `name_too_long`, `duplicate_start`, `duplicate_stop`, `unknown_mark`, `outbound_track`, `odd_length`.
        """
        event = read(raw)
        # First, because nearly all are.
        if isinstance(event, Media):
            return self._heard(event)
        match event:
            case Start():
                return self._started(event)
            case Stop():
                return (self._stopped(event),)
            case Mark():
                writer = self._check_stream(event)
                return (writer.came_back(event),)
            case Dtmf():
                self._check_stream(event)
            case Connected() | Custom():
                pass
        return (event,)

    def receive_binary(self, sound: bytes) -> tuple[Event, ...]:
        """Take one binary message, sound in the stream's codec; number and time it ourselves.

        :raises WireError: `binary_frame` when not allowed, empty or before the start; `odd_length`.
        """
        if not self._binary_audio or not sound or self.stream is None:
            raise WireError("binary_frame")
        stream = self.stream
        self._binary_chunks += 1
        timestamp_ms = self._binary_samples * 1000 // stream.rate_hz
        self._binary_samples += len(sound) // self._sample_bytes
        return self._heard(Media(stream.stream_id, -1, sound, self._binary_chunks, timestamp_ms))

    def _heard(self, media: Media) -> tuple[Event, ...]:
        if self.stream is None and self._implicit_start and media.stream_id not in ("", self._ended):
            return (*self._started(Start(media.stream_id, implied=True)), *self._heard(media))
        self._check_stream(media)
        if media.track.startswith("outbound"):
            # What the caller hears, among it ourselves (Twilio, `track="both_tracks"`).
            raise WireError("outbound_track")
        if len(media.payload) % self._sample_bytes:
            raise WireError("odd_length")
        return (media,)

    def _started(self, start: Start) -> tuple[Event, ...]:
        if len(start.stream_id) > NAME_LIMIT or len(start.call_id) > NAME_LIMIT:
            raise WireError("name_too_long")
        old = self.stream
        # After an implied one, this is the first that says whose call it is.
        if old is not None and old.stream_id == start.stream_id and not old.implied:
            raise WireError("duplicate_start")
        self.stream = start
        self.writer = StreamWriter(self._dialect, start)
        self._sample_bytes = CODECS[start.codec].sample_bytes
        self._binary_chunks = self._binary_samples = 0
        if old is None:
            return (start,)
        self._ended = old.stream_id
        return (Stop(old.stream_id, call_id=old.call_id, reason="replaced", replaced=True), start)

    def _stopped(self, stop: Stop) -> Stop:
        if self.stream is None and self._ended:
            raise WireError("duplicate_stop")
        self._check_stream(stop)
        assert self.stream is not None
        self._ended = self.stream.stream_id
        self.stream = self.writer = None
        return stop

    def _check_stream(self, event: Event) -> StreamWriter:
        """Return the live stream's writer; the event must belong to that stream, or name none."""
        if self.stream is None or self.writer is None:
            when = "after_stop" if self._ended else "before_start"
            raise WireError(f"{type(event).__name__.lower()}_{when}")
        if event.stream_id and event.stream_id != self.stream.stream_id:
            raise WireError("unknown_stream")
        return self.writer
