"""`POST /stt/stream-chunk`: sound in pieces over HTTP, for clients without WebSockets.

With a `session_id` of the client's own choice (or `new`) the chunks are one stream, and each answer has the text so
far; without one each chunk stands alone.
"""
# twisted.web carries few types.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from multipart import MultipartError, MultipartParser, ParserLimitReached, parse_options_header
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from voicemedia import config
from voicemedia.audio.wav import is_wav, other_sound, read_head
from voicemedia.errors import WireError
from voicemedia.protocols import stt_stream_wire as wire
from voicemedia.protocols.door import Door, peer_address
from voicemedia.protocols.status import answer
from voicemedia.transcribing.events import RATES_HZ, Event, Heard, Over, Trouble
from voicemedia.transcribing.session import Session
from voicemedia.transcribing.sessions import Key, Sessions
from voicemedia.transcribing.sound import Sound

PATH: Final = "/stt/stream-chunk"
LOOK_S: Final = 0.5
"How long a chunk that is not the last one waits for words at most."
FIELD_BYTES: Final = 1024
"Of a form field that is no sound."
FIELDS: Final = 20
OWNER: Final = "http"
"Sessions of this door are not found by the other one, nor by another address if the client has named them."
KNOWS_ALL: Final = 1 << 60
"Nothing is told again: every answer has the whole text."
RETRY_AFTER_S: Final = 1
NEW: Final = "new"
"The `session_id` that asks for one."
STATUS: Final = {
    "invalid_request": 400,
    "forbidden": 403,
    "session_not_found": 404,
    "session_expired": 404,
    "method_not_allowed": 405,
    "audio_too_large": 413,
    "unsupported_media_type": 415,
    "unsupported_audio_format": 415,
    "invalid_parameter": 422,
    "unsupported_language": 422,
    "unsupported_sample_rate": 422,
    "audio_format_error": 422,
    "too_fast": 429,
    "server_full": 503,
    "provider_unavailable": 503,
    "transcription_timeout": 503,
}
"Status by code."
UNPROCESSABLE: Final = 422


class Refused(Exception):
    """The request is answered with an error.

    :param status: where it is not that of the code.
    """

    def __init__(self, code: str, message: str, retry_after_s: int | None = None, *, status: int = 0) -> None:
        super().__init__(message)
        self.code, self.message, self.retry_after_s = code, message, retry_after_s
        self.status = status or STATUS[code]


# --- the form ---


@dataclass(frozen=True, slots=True)
class Form:
    """One chunk and what is asked for it."""

    audio: bytes
    request: wire.Request
    final: bool


def read_form(request: Any) -> Form:
    """Read the request.

    :raises Refused: it is no form, or one of its fields is at fault.
    """
    kind, options = parse_options_header(request.getHeader("Content-Type") or "")
    if kind != "multipart/form-data":
        raise Refused("unsupported_media_type", "expected multipart/form-data with a file audio_chunk")
    fields, audio = _parts(request.content, options.get("boundary", ""))
    for name, values in request.args.items():
        fields.setdefault(name.decode("utf-8", "replace"), [values[-1].decode("utf-8", "replace")])
    if header := request.getHeader("X-Session-ID"):
        fields.setdefault("session_id", [header])
    if audio is None:
        raise Refused("invalid_parameter", "there is no audio_chunk in the form")
    asked = wire.read_parameters(fields)
    if asked.faults:
        fault = asked.faults[0]
        code = "invalid_parameter" if fault.code == "session_not_found" else fault.code
        raise Refused(code, fault.message, status=UNPROCESSABLE)
    try:
        final = wire.read_flag("is_final_chunk")(fields.get("is_final_chunk", ["false"])[-1].strip() or "false")
    except WireError as error:
        raise Refused("invalid_parameter", error.detail) from error
    return Form(audio, asked, final)


def _parts(content: Any, boundary: str) -> tuple[dict[str, list[str]], bytes | None]:
    """Take the form apart: its fields, and the sound."""
    fields: dict[str, list[str]] = {}
    audio = None
    try:
        # The body has been limited before; what is a file is kept in memory like the body itself.
        for part in MultipartParser(content, boundary, part_limit=FIELDS, spool_limit=1 << 30, memory_limit=1 << 31):
            if part.name == "audio_chunk" or (audio is None and part.filename):
                audio = part.raw
            elif part.size > FIELD_BYTES:
                raise Refused("invalid_parameter", f"the field {part.name[:40]} is too long")
            else:
                fields.setdefault(part.name, []).append(part.raw.decode("utf-8", "replace"))
    except ParserLimitReached as error:
        raise Refused("invalid_request", f"the form is too large: {error}") from error
    except MultipartError as error:
        raise Refused("invalid_request", f"the form is broken: {error}") from error
    return fields, audio


def samples_of(form: Form, sound: Sound) -> bytes:
    """Return the chunk as s16le mono.

    :param sound: of the session; has taken the chunk then.
    :raises Refused: it is neither WAV nor PCM.
    """
    octets = form.audio
    if is_wav(octets):
        _look_at(octets)
    elif not sound.in_file:
        if name := other_sound(octets):
            raise Refused("unsupported_audio_format", f"this is {name}; send WAV, or 16-bit PCM")
        if len(octets) % 2:
            raise Refused("audio_format_error", f"{len(octets)} bytes: 16-bit samples have an even number")
    return sound.feed(octets)


def _look_at(file: bytes) -> None:
    """See that a WAV file can be read."""
    try:
        rate_hz = read_head(file).rate_hz
    except WireError as error:
        code = "audio_format_error" if error.kind == "bad_wav" else "unsupported_audio_format"
        raise Refused(code, error.detail) from error
    if rate_hz not in RATES_HZ:
        raise Refused("unsupported_sample_rate", f"the WAV file has {rate_hz} Hz")


# --- one request ---


class Answering:
    """Reads a session on behalf of one request, until there is something to answer.

    :param last_chunk: as the client has said.
    :param done: told the status and the body.
    """

    writable = idle = True

    def __init__(
        self, session: Session, reactor: IReactorTime, last_chunk: bool, done: Callable[[int, dict[str, Any]], None]
    ) -> None:
        self._session, self._reactor, self._last_chunk, self._done = session, reactor, last_chunk, done
        self._heard: Heard | None = None
        self._trouble: Trouble | None = None
        self._patience: IDelayedCall | None = None
        self._begun = self._answered = False

    def look(self, chunk_s: float) -> None:
        """Wait a moment for words, for more chunks are to come: who sends one after the other keeps up with the time.

        :param chunk_s: length of this one.
        """
        self._begun = True
        if self._heard is not None or self._session.over is not None:
            self._finish()
        else:
            self._patience = self._reactor.callLater(min(LOOK_S, chunk_s / 2), self._finish)

    def take(self, number: int, event: Event, *, replayed: bool) -> None:
        """Keep what will be answered (`Reader`)."""
        match event:
            case Heard():
                self._heard = event
                if self._begun:
                    self._finish()
            case Trouble():
                self._trouble = event
            case Over():
                self._finish()

    def dismissed(self) -> None:
        """Leave the session to the next request (`Reader`)."""
        self._finish()

    def cancel(self) -> None:
        """Answer nobody: the client has gone."""
        self._answered = True
        self._let_go()

    def _let_go(self) -> None:
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._session.detach(self)

    def _finish(self) -> None:
        if self._answered:
            return
        self._answered = True
        self._let_go()
        session = self._session
        if session.over is not None and session.over.reason == "failed" and self._trouble is not None:
            self._done(STATUS[self._trouble.code], wire.error(self._trouble))
            return
        guess = self._heard if self._heard is not None and not self._heard.transcript.final else None
        self._done(200, wire.chunk_reply(session, guess, self._last_chunk))


class ChunkPage(Resource):
    """Answers `POST /stt/stream-chunk`.

    :param trusted: proxies whose word is taken for who calls.
    """

    isLeaf = True

    def __init__(
        self, sessions: Sessions, door: Door, reactor: Any, stream: config.Stream, trusted: tuple[config.Network, ...]
    ) -> None:
        super().__init__()
        self._sessions, self._door, self._reactor, self._stream = sessions, door, reactor, stream
        self._trusted = trusted

    def too_long(self, most: int) -> bytes:
        """Word, like any other error here, that a body is longer than `most` bytes; nobody has read it then."""
        message = f"the form is longer than {most} bytes (server.max_message_bytes); send the sound in shorter chunks"
        return msgspec.json.encode(wire.error(Trouble("audio_too_large", message, self._reactor.seconds())))

    def render(self, request: Any) -> int:
        """Answer one chunk."""
        if request.method != b"POST":
            request.setHeader("Allow", "POST")
            return self._refuse(request, Refused("method_not_allowed", "only POST is taken here"))
        try:
            self._take(request)
        except Refused as refused:
            return self._refuse(request, refused)
        return NOT_DONE_YET

    def _refuse(self, request: Any, refused: Refused) -> int:
        if refused.retry_after_s is not None:
            request.setHeader("Retry-After", str(refused.retry_after_s))
        body = wire.error(Trouble(refused.code, refused.message, self._reactor.seconds()))
        return answer(request, refused.status, msgspec.json.encode(body))

    def _take(self, request: Any) -> None:
        refusal = self._door.admit(request)
        if refusal is not None:
            raise Refused("forbidden", refusal.message)
        form = read_form(request)
        alone = not form.request.session_id
        peer = peer_address(request, self._trusted)
        found = self._find(form.request.session_id, peer)
        # A chunk that is refused has not been: the client may send it again.
        sound = deepcopy(found.sound) if found is not None else Sound()
        pcm = samples_of(form, sound)
        session = found or self._open(form, peer)
        self._check(session, form, sound.rate_hz, len(pcm))
        session.sound = sound
        answering = Answering(session, self._reactor, form.final, lambda status, body: _reply(request, status, body))
        request.notifyFinish().addErrback(lambda _gone: _abandon(answering, session, alone))
        session.attach(answering, KNOWS_ALL)
        step = self._stream.max_chunk_s * session.wish.rate_hz * 2
        for start in range(0, len(pcm), step):
            session.hear(pcm[start : start + step])
        if form.final or alone:
            session.end()
        else:
            answering.look(len(pcm) / session.wish.rate_hz / 2)

    def _find(self, session_id: str, peer: str) -> Session | None:
        """Find the session of a chunk.

        :raises Refused: it has expired.
        """
        for key in _keys(session_id, peer):
            if session_id and (session := self._sessions.find(key)):
                return session
            if self._sessions.was(key) == "expired":
                raise Refused("session_expired", f"session {session_id} has expired")
        return None

    def _open(self, form: Form, peer: str) -> Session:
        """Begin a session."""
        session_id = form.request.session_id
        if refused := self._sessions.refusal():
            raise Refused("server_full", refused.reason, refused.retry_after_s)
        wish, troubles = self._sessions.choose(form.request.wish)
        if wish is None or troubles:
            trouble = troubles[0]
            if trouble.code != "provider_unavailable":
                raise Refused(trouble.code, trouble.message)
            if not self._sessions.knows(form.request.wish.provider):
                raise Refused(trouble.code, trouble.message, status=UNPROCESSABLE)
            raise Refused(trouble.code, trouble.message, RETRY_AFTER_S)
        if refused := self._sessions.crowded(wish.provider):
            raise Refused("server_full", refused.reason, refused.retry_after_s)
        minted = session_id in ("", NEW)
        return self._sessions.open(wish, (OWNER, "") if minted else _keys(session_id, peer)[1], attended=False)

    def _check(self, session: Session, form: Form, file_hz: int, size: int) -> None:
        """See that the session can take the chunk.

        :param file_hz: of the WAV file it belongs to; 0: none.
        """
        rate_hz = file_hz or form.request.wish.rate_hz
        if (file_hz or "sample_rate" in form.request.given) and not session.rate_is(rate_hz):
            raise Refused("unsupported_sample_rate", f"the session has {session.wish.rate_hz} Hz, the chunk {rate_hz}")
        if size > self._stream.max_ahead_s * session.wish.rate_hz * 2:
            if not form.request.session_id:
                session.close("refused")
            raise Refused("audio_too_large", f"a chunk may be {self._stream.max_ahead_s} s long")
        if session.congested:
            message = f"sound is more than {self._stream.max_ahead_s} s ahead of time"
            raise Refused("too_fast", message, RETRY_AFTER_S)


def _keys(session_id: str, peer: str) -> tuple[Key, Key]:
    """Return by what a session is known: one that we have named to whoever knows the name, else to that client."""
    return (OWNER, session_id), (f"{OWNER} {peer}", session_id)


def _reply(request: Any, status: int, body: dict[str, Any]) -> None:
    answer(request, status, msgspec.json.encode(body))


def _abandon(answering: Answering, session: Session, alone: bool) -> None:
    answering.cancel()
    if alone:
        session.close("abandoned")
