"""`WS /stt/stream`: sound in, transcripts out. The socket of one client of a session.

No decision about sound or words is made here: bytes go to the reader of messages, what they mean to the session.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voicemedia.errors import WireError
from voicemedia.metrics import Metrics
from voicemedia.protocols import stt_stream_wire as wire
from voicemedia.protocols.door import Door
from voicemedia.protocols.fast_websocket import FastWebSocketProtocol
from voicemedia.protocols.status import Refusal, no_room
from voicemedia.transcribing.events import Event, Over, Trouble, Wish
from voicemedia.transcribing.session import Session
from voicemedia.transcribing.sessions import Sessions

PATH: Final = "/stt/stream"
CARRIER: Final = "stt_stream"
"In the counts of what broke the protocol."
CODES: Final = {"failed": 1011, "drained": 1012}
"Close code by the reason of the end; else 1000 (RFC 6455, section 7.4; 1012 and 1013: IANA)."
TRY_AGAIN_LATER: Final = 1013
DISMISSED: Final = 4001
"Close code: the session has been resumed by another connection."
WAIT_S: Final = 10
"How long a client waits for a recognizer while none can serve: one may be loading its model."


@dataclass(frozen=True, slots=True)
class Service:
    """What all sockets share."""

    sessions: Sessions
    metrics: Metrics
    time_of_day: Callable[[], float]
    "Seconds since 1970."
    sockets: dict["StreamSocket", None]
    "Those that are open."


class StreamSocket(FastWebSocketProtocol):
    """One client's connection; a session may outlive it."""

    log = Logger()

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service
        self._session: Session | None = None
        self._waiting: Wish | None = None
        "What the client wants, while no recognizer can serve."
        self._patience = WAIT_S
        self._paused = False
        self._skipping = ""
        "Why the message that is coming is not kept; empty: it is."
        self.is_gone: Deferred[None] = Deferred()
        "Fires when the connection is closed."

    # --- FastWebSocketProtocol ---

    def connectionMade(self) -> None:
        self._service.sockets[self] = None
        super().connectionMade()

    def connectionLost(self, reason: object = None) -> None:
        super().connectionLost(reason)  # type: ignore[arg-type]
        self._service.sockets.pop(self, None)
        self.is_gone.callback(None)

    def opened(self) -> None:
        """Begin a session, or go on with one."""
        params: dict[str, list[str]] = self.http_request_params
        asked = wire.read_parameters(params)
        for fault in asked.faults:
            self._complain(Trouble(fault.code, fault.message, self._service.time_of_day()))
        if asked.session_id and self._resume(asked):
            return
        self._begin(asked.wish)

    def _max_message_size_exceeded(self, _size: int, _most: int, reason: str) -> None:
        # Autobahn's hook, which would close the connection: one message too long is no reason to lose a session.
        self._skipping = reason

    def onMessageFrameData(self, payload: bytes) -> None:
        if not self._skipping:
            super().onMessageFrameData(payload)

    def onMessageEnd(self) -> None:
        if not self._skipping:
            return super().onMessageEnd()
        reason, self._skipping, self.message_data = self._skipping, "", []
        self._service.metrics.wire_error(CARRIER, "too_long")
        if self._session is not None:
            self._session.trouble("audio_too_large", reason)

    def text_received(self, payload: bytes) -> None:
        """Take one text message."""
        try:
            self._obey(wire.read_text(payload))
        except WireError as error:
            self._broke("invalid_message", error)

    def binary_received(self, payload: bytes) -> None:
        """Take sound."""
        try:
            self._sound(payload)
        except WireError as error:
            self._broke("audio_format_error", error)

    def closed(self, was_clean: bool, code: int | None, reason: str) -> None:
        """The client is gone; it may come back."""
        self._waiting = None
        session, self._session = self._session, None
        if session is not None:
            session.detach(self)

    def resumeProducing(self) -> None:
        """Everything written has left: say what had to wait."""
        super().resumeProducing()
        if self._session is not None:
            self._session.flush()

    # --- Reader ---

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return self.writable and not self.buffered_bytes

    def take(self, number: int, event: Event, *, replayed: bool) -> None:
        """Send one event; after the last one, say goodbye."""
        assert self._session is not None
        self.send_text(wire.event_message(number, event, self._session.session_id, replayed=replayed))
        if isinstance(event, Over):
            self._session = None
            self.say_close(CODES.get(event.reason, 1000), event.reason)

    def dismissed(self) -> None:
        """Leave the session to another connection."""
        self._session = None
        self.say_close(DISMISSED, "resumed elsewhere")

    # --- for the service ---

    def sweep(self) -> None:
        """Let a second pass: read on when the client may send again."""
        if self._waiting is not None:
            self._begin(self._waiting)
        if self._paused and self._waiting is None and (self._session is None or not self._session.congested):
            self._paused = False
            self.transport.resumeProducing()

    def hang_up(self) -> None:
        """Close a socket without a session; one with a session closes when that is over."""
        self._waiting = None
        if self._session is None:
            self.say_close(CODES["drained"], "drained")

    # --- inside ---

    def _obey(self, message: wire.Message) -> None:
        match message:
            case wire.Audio():
                self._sound(message.pcm)
                if message.final:
                    self._end()
            case wire.Finalize():
                if self._session is not None:
                    self._session.finalize()
            case wire.End():
                self._end()
            case wire.Ping():
                self.send_text(wire.pong(message, self._service.time_of_day()))
            case wire.Pong():
                pass

    def _begin(self, asked: Wish) -> None:
        sessions = self._service.sessions
        wish, troubles = sessions.choose(asked)
        self._patience -= 1
        if wish is None and sessions.hopeful and self._patience >= 0:
            # Recognizers may still be loading. What the client sends meanwhile is not read, so nothing is lost.
            self._waiting = asked
            self._pause()
            return
        self._waiting = None
        for trouble in troubles:
            self._complain(trouble)
        if wish is None:
            self.say_close(TRY_AGAIN_LATER, "no provider can serve")
            return
        if refused := sessions.refusal() or sessions.crowded(wish.provider):
            # A client that wanted to resume came past the door, which would have said so; it knows no provider.
            self._complain(Trouble("server_full", refused.reason, self._service.time_of_day()))
            self.say_close(TRY_AGAIN_LATER, "no room")
            return
        self._session = session = sessions.open(wish)
        self.send_text(wire.started(session.session_id, wish, self._service.time_of_day()))
        session.attach(self)

    def _resume(self, asked: wire.Request) -> bool:
        sessions, key = self._service.sessions, ("", asked.session_id)
        session = sessions.find(key)
        if session is None:
            expired = sessions.was(key)
            code = "session_expired" if expired else "session_not_found"
            what = "is over" if expired else "is not known here"
            message = f"session {asked.session_id} {what}; a new one begins"
            self._complain(Trouble(code, message, self._service.time_of_day()))
            return False
        sessions.resumed += 1
        self._session = session
        lost = session.lost_events
        self.send_text(
            wire.started(session.session_id, session.wish, self._service.time_of_day(), resumed=True, lost=lost)
        )
        session.attach(self, asked.last_seq)
        return True

    def _sound(self, octets: bytes) -> None:
        session = self._session
        if session is None:
            return
        pcm = session.sound.feed(octets)
        rate_hz = session.sound.rate_hz
        if rate_hz and not session.rate_is(rate_hz):
            raise WireError("other_rate", f"the session has {session.wish.rate_hz} Hz, the WAV file {rate_hz}")
        session.hear(pcm)
        if session.congested:
            # The kernel's buffers fill, and the client has to wait: nothing is lost.
            self._pause()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _end(self) -> None:
        if self._session is not None:
            self._session.end()

    def _broke(self, code: str, error: WireError) -> None:
        self._service.metrics.wire_error(CARRIER, error.kind)
        if self._session is not None:
            self._session.trouble(code, error.detail)

    def _complain(self, trouble: Trouble) -> None:
        self.send_text(wire.error_message(trouble))


def make_admit(door: Door, sessions: Sessions) -> Callable[[Any], Refusal | None]:
    """Make the question asked before the upgrade: who resumes a session takes no more room than before."""

    def admit(request: Any) -> Refusal | None:
        refused = door.admit(request)
        if refused is not None or any(request.args.get(b"session_id", ())):
            return refused
        full = sessions.refusal()
        return no_room(full) if full is not None else None

    return admit
