"""Streaming recognition for a Python program: sessions by name, made, started, fed and closed.

    manager = StreamingSessionManager(recognizer, reactor, result_callback=print)
    manager.create_session("talk-1", presentation_id="slides", language_code="en-US")
    manager.start_session("talk-1")
    manager.send_audio_chunk("talk-1", pcm)          # again and again
    summary = await manager.close_session("talk-1")  # when every word has been said

The recognizer is any of ours, wrapped in `RenewingRecognizer` so that a stream that ends costs no word. No method
blocks; all are called on the reactor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from voicemedia.audio.voice import Endpointer, make_detector
from voicemedia.config import Stream
from voicemedia.errors import VoicemediaError
from voicemedia.interfaces import Recognizer, Word
from voicemedia.transcribing.events import RATES_HZ, Event, Heard, Over, Trouble, Wish
from voicemedia.transcribing.session import Session
from voicemedia.transcribing.setting import Provided, Setting
from voicemedia.transcribing.tally import Tally

MIN_SPEECH_MS: Final = 60


class StreamingError(VoicemediaError):
    """Streaming did not go as asked."""


class SessionNotFoundError(StreamingError):
    """There is no session of this name, or it is over."""


class AudioChunkError(StreamingError):
    """What was sent is no sound: a chunk is a whole number of 16-bit samples."""


class SessionState(Enum):
    """Where a session is in its life."""

    INITIALIZING = "initializing"
    "Created, not started."
    ACTIVE = "active"
    RENEWING = "renewing"
    "Its sound waits for a new stream of the provider's; nothing of it is lost."
    CLOSING = "closing"
    "The last words are still to come."
    CLOSED = "closed"
    ERROR = "error"
    "No recognizer could go on."


@dataclass(frozen=True, slots=True)
class StreamingResult:
    """Words, interim or final."""

    session_id: str
    text: str = field(repr=False)
    is_final: bool
    confidence: float
    timestamp: float
    "Seconds since 1970."
    language: str = ""
    words: tuple[Word, ...] = field(default=(), repr=False)


@dataclass(eq=False)
class StreamingSession:
    """One session; what it is told comes through the manager."""

    session_id: str
    presentation_id: str
    wish: Wish
    created_s: float
    on_result: Callable[[StreamingResult], object]
    session: Session | None = None
    "None: not started."
    ended: Deferred[dict[str, Any]] = field(default_factory=Deferred)
    closing: bool = False
    troubles: list[str] = field(default_factory=list)
    "What went wrong on the way, in words."
    _over: Over | None = None

    @property
    def status(self) -> SessionState:
        """Where it is in its life."""
        if self._over is not None:
            return SessionState.ERROR if self._over.reason == "failed" else SessionState.CLOSED
        if self.session is None:
            return SessionState.INITIALIZING
        if self.closing:
            return SessionState.CLOSING
        return SessionState.RENEWING if self.session.renewing else SessionState.ACTIVE

    # --- Reader ---

    writable = idle = True
    "A function that is called has room for everything."

    def take(self, number: int, event: Event, *, replayed: bool) -> None:
        """Pass on what the session says."""
        match event:
            case Heard() if event.transcript.text:
                said = event.transcript
                self.on_result(
                    StreamingResult(
                        self.session_id, said.text, said.final, said.confidence, event.at_s, event.language, said.words
                    )
                )
            case Trouble():
                self.troubles.append(event.message)
            case Over():
                self._over = event
                self.ended.callback(self.summary(event.summary))

    def dismissed(self) -> None:
        """Nobody else reads it."""

    def summary(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Add what only the manager knows."""
        session = {**told["session"], "presentation_id": self.presentation_id}
        return {**told, "session": session, "errors": list(self.troubles)}


class StreamingSessionManager:
    """Sessions by name.

    :param recognizer: started by the caller.
    :param result_callback: told every result of every session.
    :param summaries: told the summary of every session that is over.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        reactor: Any,
        result_callback: Callable[[StreamingResult], object] | None = None,
        *,
        stream: Stream | None = None,
        summaries: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._recognizer, self._reactor = recognizer, reactor
        self._provided = Provided(recognizer, Tally())
        self._callback = result_callback or (lambda _result: None)
        self._setting = Setting(
            stream or Stream(max_ahead_s=3600),
            _endpointer,
            lambda: int(reactor.seconds() * 1000),
            reactor.seconds,
            summaries or (lambda _summary: None),
        )
        self._sessions: dict[str, StreamingSession] = {}
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = reactor

    def create_session(
        self,
        session_id: str,
        presentation_id: str = "",
        language_code: str = "en-US",
        *,
        sample_rate: int = 16000,
        enable_interim_results: bool = True,
    ) -> StreamingSession:
        """Make a session.

        :raises ValueError: there is one of this name, or the sample rate is none we take.
        """
        if session_id in self._sessions:
            raise ValueError(f"session {session_id} exists; close it first, or choose another name")
        if sample_rate not in RATES_HZ:
            raise ValueError(f"sample rate {sample_rate}: choose one of {', '.join(map(str, RATES_HZ))}")
        wish = Wish(language_code, self._recognizer.name, sample_rate, words=True, interim=enable_interim_results)
        session = StreamingSession(session_id, presentation_id, wish, self._reactor.seconds(), self._callback)
        self._sessions[session_id] = session
        return session

    def start_session(
        self, session_id: str, on_result: Callable[[StreamingResult], object] | None = None
    ) -> StreamingSession:
        """Let a session listen from now on; the provider is not waited for.

        :param on_result: told its results in place of the manager's callback.
        :raises SessionNotFoundError: there is none of this name.
        :raises StreamingError: it has been started before.
        """
        session = self._find(session_id)
        if session.session is not None:
            raise StreamingError(f"session {session_id} has been started before")
        session.on_result = on_result or session.on_result
        session.session = Session(session_id, session.wish, self._provided, self._setting, lambda _over: None)
        session.session.attach(session)
        if not self._sweeping.running:
            self._sweeping.start(1.0, now=False)
        return session

    def send_audio_chunk(self, session_id: str, chunk: bytes) -> bool:
        """Send 16-bit little-endian mono sound, any length up to ten seconds; False: the session takes none now.

        :raises SessionNotFoundError: there is none of this name.
        :raises AudioChunkError: half a sample.
        """
        session = self._find(session_id)
        if len(chunk) % 2:
            raise AudioChunkError(f"a chunk of {len(chunk)} bytes: 16-bit samples have an even number")
        if session.session is None or session.status not in (SessionState.ACTIVE, SessionState.RENEWING):
            return False
        session.session.hear(chunk)
        return session.session.over is None

    def close_session(self, session_id: str) -> Deferred[dict[str, Any]]:
        """Send no more, wait for the last words, and give the summary.

        :raises SessionNotFoundError: there is none of this name.
        """
        session = self._find(session_id)
        if session.session is None:
            self.start_session(session_id)
        session.closing = True
        if session.session is not None:
            session.session.end()
        return session.ended.addCallback(self._forget, session_id)

    def _forget(self, summary: dict[str, Any], session_id: str) -> dict[str, Any]:
        self._sessions.pop(session_id, None)
        if not self._sessions and self._sweeping.running:
            self._sweeping.stop()
        return summary

    def get_session(self, session_id: str) -> StreamingSession | None:
        """Find a session that has not been closed."""
        return self._sessions.get(session_id)

    def get_active_sessions(self) -> list[StreamingSession]:
        """List the sessions that listen."""
        active = (SessionState.ACTIVE, SessionState.RENEWING)
        return [session for session in self._sessions.values() if session.status in active]

    def get_session_count(self) -> int:
        """Count the sessions that have not been closed."""
        return len(self._sessions)

    def _find(self, session_id: str) -> StreamingSession:
        if session_id not in self._sessions:
            raise SessionNotFoundError(f"no session {session_id}; create it first")
        return self._sessions[session_id]

    def _sweep(self) -> None:
        now_ms = self._setting.clock()
        for session in tuple(self._sessions.values()):
            if session.session is not None:
                session.session.sweep(now_ms)


def _endpointer(rate_hz: int, silence_ms: int) -> Endpointer:
    detector = make_detector("webrtc", rate_hz)
    return Endpointer(detector, min_speech_ms=MIN_SPEECH_MS, hangover_ms=silence_ms, ignore_first_ms=0)
