"""The streaming API under the names it was first described with, for programs written against those.

`StreamingSessionManager` runs over the same sessions as the WebSocket and HTTP doors. `StreamingSession` also cuts
the sound into overlapping chunks, as a recognizer without streaming of its own wants it.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

from twisted.internet.defer import Deferred

from voicemedia.errors import CallRefused, ProviderError
from voicemedia.transcribing.events import Event, Heard, Over, Trouble, Wish
from voicemedia.transcribing.session import Session
from voicemedia.transcribing.sessions import Sessions

OWNER = "manager"
"Sessions of a manager are not found by the doors."


def _now_s() -> float:
    return datetime.now(UTC).timestamp()


@dataclass(frozen=True, slots=True)
class StreamTranscriptionRequest:
    """What a session is begun with."""

    language: str = "en"
    provider: str = ""
    "Name of a recognizer; empty: the default one."
    sample_rate: int = 16000
    chunk_size: int = 1024


@dataclass(frozen=True, slots=True)
class StreamTranscriptionResponse:
    """Words, as the WebSocket tells them."""

    text: str
    is_final: bool
    confidence: float
    language: str
    timestamp: str
    "ISO 8601."


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A piece of a session's sound; begins with the end of the one before."""

    sequence_id: int
    timestamp: float
    "When it was complete, in seconds since 1970."
    data: bytes
    is_final: bool = False


class StreamingSession:
    """Sound in overlapping chunks, and what was understood of it.

    :param buffer_ms: length of a chunk.
    :param overlap_ms: how much of it comes again in the next one.
    """

    def __init__(
        self,
        session_id: str,
        request: StreamTranscriptionRequest,
        *,
        buffer_ms: int = 1000,
        overlap_ms: int = 200,
        now_s: Callable[[], float] = _now_s,
    ) -> None:
        if not 0 <= overlap_ms < buffer_ms:
            raise ValueError("overlap_ms: must be less than buffer_ms")
        self.session_id, self.request = session_id, request
        self.audio_buffer = bytearray()
        self.sequence_counter = 0
        self.accumulated_text = ""
        self.last_final_text = ""
        self.created_at = self.last_activity = now_s()
        self._now_s = now_s
        self._size, self._overlap = (request.sample_rate * ms // 1000 * 2 for ms in (buffer_ms, overlap_ms))
        self._fresh = 0
        "Bytes in the buffer that no chunk has had."
        self._confidences: list[float] = []

    def add_audio_data(self, audio: bytes, is_final: bool = False) -> list[AudioChunk]:
        """Take sound; return the chunks that are now complete, and with `is_final` the rest."""
        self.last_activity = self._now_s()
        self.audio_buffer += audio
        self._fresh += len(audio)
        chunks = []
        while len(self.audio_buffer) >= self._size:
            chunks.append(self._cut(self._size))
        if is_final and self._fresh:
            chunks.append(self._cut(len(self.audio_buffer)))
        if is_final and chunks:
            last = chunks[-1]
            chunks[-1] = AudioChunk(last.sequence_id, last.timestamp, last.data, is_final=True)
            self.audio_buffer.clear()
        return chunks

    def _cut(self, size: int) -> AudioChunk:
        chunk = AudioChunk(self.sequence_counter, self.last_activity, bytes(self.audio_buffer[:size]))
        self.sequence_counter += 1
        del self.audio_buffer[: max(0, size - self._overlap)]
        self._fresh = max(0, len(self.audio_buffer) - self._overlap)
        return chunk

    def is_expired(self, timeout_seconds: float = 300) -> bool:
        """Tell whether no sound has come for so long."""
        return self._now_s() - self.last_activity > timeout_seconds

    def update_transcription(self, response: StreamTranscriptionResponse) -> None:
        """Take words."""
        if response.is_final and response.text:
            self.last_final_text = response.text
            self.accumulated_text = f"{self.accumulated_text} {response.text}".strip()
            if response.confidence > 0:
                self._confidences.append(response.confidence)

    def get_average_confidence(self) -> float:
        """Return the mean confidence of the finals that have one; 0 without any."""
        return sum(self._confidences) / len(self._confidences) if self._confidences else 0.0


class Service(Protocol):
    """What has sessions: `MediaServer.speech`."""

    sessions: Sessions


class _Queue:
    """Reads a session into a list (`Reader`)."""

    writable = idle = True

    def __init__(self, shown: StreamingSession) -> None:
        self._shown = shown
        self._waiting: Deferred[None] | None = None
        self.responses: list[StreamTranscriptionResponse] = []
        self.trouble: Trouble | None = None
        self.over = False

    def take(self, number: int, event: Event, *, replayed: bool) -> None:
        """Keep an event."""
        match event:
            case Heard():
                self._take_words(event)
            case Trouble():
                self.trouble = event
            case Over():
                self.over = True
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def _take_words(self, event: Heard) -> None:
        words, when = event.transcript, datetime.fromtimestamp(event.at_s, UTC).isoformat()
        response = StreamTranscriptionResponse(words.text, words.final, words.confidence, event.language, when)
        self._shown.update_transcription(response)
        self.responses.append(response)

    def dismissed(self) -> None:
        """Nobody else reads a manager's session."""

    def more(self) -> Deferred[None]:
        """Fire with the next event."""
        self._waiting = Deferred()
        return self._waiting


class StreamingSessionManager:
    """Sessions by their id.

    :param stt_service: whose recognizers hear; `MediaServer.speech`.
    """

    def __init__(self, stt_service: Service) -> None:
        self._all = stt_service.sessions
        self.sessions: dict[str, StreamingSession] = {}
        self._readers: dict[str, _Queue] = {}

    async def start(self) -> None:
        """Take note that sessions may begin; the server itself sweeps those that expire."""

    async def stop(self) -> None:
        """End all sessions of this manager."""
        for session_id in tuple(self.sessions):
            self.remove_session(session_id)

    def create_session(self, request: StreamTranscriptionRequest, session_id: str = "") -> StreamingSession:
        """Begin a session.

        :raises ValueError: there is one of this id.
        :raises CallRefused: there is no room.
        :raises ProviderError: the recognizer asked for cannot serve.
        """
        session_id = session_id or str(uuid4())
        if session_id in self.sessions:
            raise ValueError(f"session {session_id} exists")
        refused: CallRefused | None = self._all.refusal()
        if refused is not None:
            raise refused
        wish = Wish(request.language, request.provider, request.sample_rate, request.chunk_size)
        chosen, troubles = self._all.choose(wish)
        if chosen is None or troubles:
            raise ProviderError(troubles[0].message, code=troubles[0].code)
        self.sessions[session_id] = shown = StreamingSession(session_id, request)
        self._readers[session_id] = reader = _Queue(shown)
        self._all.open(chosen, (OWNER, session_id), attended=False).attach(reader)
        return shown

    def get_session(self, session_id: str) -> StreamingSession | None:
        """Find a session."""
        return self.sessions.get(session_id)

    def remove_session(self, session_id: str) -> None:
        """End a session, whatever it still waits for."""
        if session := self._all.find((OWNER, session_id)):
            session.close("ended")
        self.sessions.pop(session_id, None)
        self._readers.pop(session_id, None)

    async def process_audio_chunk(
        self, session_id: str, audio: bytes, is_final: bool = False
    ) -> AsyncIterator[StreamTranscriptionResponse]:
        """Take sound; yield what has been understood since, and after the last chunk everything there is.

        :raises KeyError: there is no such session, or it has expired.
        :raises ProviderError: the session has failed.
        """
        session, reader = self._all.find((OWNER, session_id)), self._readers.get(session_id)
        if session is None or reader is None:
            self.remove_session(session_id)
            raise KeyError(session_id)
        self.sessions[session_id].add_audio_data(audio, is_final)
        session.hear(audio)
        if is_final:
            session.end()
        while True:
            for response in self._take(reader):
                yield response
            if not is_final or reader.over:
                break
            await reader.more()
        if reader.over:
            self._settle(session, reader)

    def _take(self, reader: _Queue) -> list[StreamTranscriptionResponse]:
        responses, reader.responses = reader.responses, []
        return responses

    def _settle(self, session: Session, reader: _Queue) -> None:
        self.remove_session(session.session_id)
        if session.over is not None and session.over.reason == "failed" and reader.trouble is not None:
            raise ProviderError(reader.trouble.message, code=reader.trouble.code)
