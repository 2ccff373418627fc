"""Browsers: `/audio-stream?sessionId=...`, as AudioStreamingServer has it, and more for a page that asks for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.iweb import IRequest

from voicemedia.audio.arriving import Arriving
from voicemedia.errors import ConfigError, WireError
from voicemedia.interfaces import Caller, Goodbye, Leg, Listener
from voicemedia.protocols import browser_wire as wire
from voicemedia.protocols.access import SECRET_KEYS
from voicemedia.protocols.browser_session import BrowserLeg, Speak, Surroundings
from voicemedia.protocols.fast_websocket import FastWebSocketProtocol
from voicemedia.protocols.own_hosts import OwnHosts
from voicemedia.protocols.status import Refusal

POLICY_VIOLATION: Final = 1008
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
SESSION_NAMES: Final = ("sessionId", "session_id", "session")
LONGEST_NAME: Final = 200
MAX_PARAMETERS: Final = 20
CARRIER: Final = "browser"

Query = Mapping[str, Sequence[str]]
Admit = Callable[[IRequest], Refusal | None]


@dataclass(frozen=True, slots=True)
class Choice:
    """The providers of one conversation."""

    answer: Callable[[Leg], Listener]
    "The switchboard's: makes a call of a leg."
    speak: Speak
    names: Mapping[str, object]
    "What `session` says of them."


@dataclass(frozen=True, slots=True)
class Browsers:
    """What all sockets of one route share."""

    around: Surroundings
    choose: Callable[[Mapping[str, str]], Choice]
    "Finds the agent, recognizer and voice a query asks for; raises `ConfigError` if one cannot serve."
    sessions: dict[str, BrowserLeg]
    "Those that live, by name."
    sockets: dict["BrowserSocket", None]
    "Those that are open, of all routes."
    hosts: OwnHosts

    def admit(self, request: Any, door: Admit, side_door: Admit) -> Refusal | None:
        """Let a page in if it is one of our own or of a friend's.

        :param side_door: for those who come back to a session that has its place already.
        """
        # Who sends no Origin is no page, and may call us as it likes.
        renamed = self.hosts.refusal(request) if request.getHeader("Origin") else None
        if renamed is not None:
            self.around.metrics.peers_denied += 1
            return renamed
        foreign = foreign_origin(request, self.around.browser.origins, self.around.public_url)
        if foreign:
            self.around.metrics.peers_denied += 1
            return Refusal(403, f"Pages of {foreign} may not call here; browser.origins names those that may.")
        query = {
            key.decode("utf-8", "replace"): [one.decode("utf-8", "replace") for one in values]
            for key, values in request.args.items()
        }
        return (side_door if session_name(query) in self.sessions else door)(request)


def session_name(query: Query) -> str:
    """Find the name of the session; empty when there is none that could be."""
    for key in SESSION_NAMES:
        name = next(iter(query.get(key, ())), "").strip()
        if name and len(name) <= LONGEST_NAME and name.isprintable():
            return name
    return ""


def foreign_origin(request: Any, allowed: Sequence[str], public_url: str) -> str:
    """Return the origin of a page that may not call; empty for our own, those allowed, and whoever is no page."""
    origin = (request.getHeader("Origin") or "").strip().lower().rstrip("/")
    if not origin or "*" in allowed or origin in (one.lower().rstrip("/") for one in allowed):
        return ""
    ours = {(request.getHeader("Host") or "").lower(), urlsplit(public_url).netloc.lower()}
    parts = urlsplit(origin)
    # A proxy may speak another scheme than we do; host and port it passes on.
    return "" if parts.scheme in ("http", "https") and parts.netloc and parts.netloc in ours else origin[:100]


class BrowserSocket(FastWebSocketProtocol):
    """One socket of a session."""

    log = Logger()

    def __init__(self, browsers: Browsers) -> None:
        super().__init__()
        self._browsers = browsers
        limits = browsers.around.browser
        self._arriving = Arriving(limits.pending_bytes, limits.zero_share)
        self._leg: BrowserLeg | None = None
        self._choice: Choice | None = None
        self._complained: set[str] = set()
        self._ours = False
        "Whether we have closed it."
        self.streams = False
        self.is_gone: Deferred[None] = Deferred()
        "Fires when the connection is closed."

    # --- FastWebSocketProtocol ---

    def connectionMade(self) -> None:
        self._browsers.sockets[self] = None
        super().connectionMade()

    def connectionLost(self, reason: object = None) -> None:
        self._browsers.sockets.pop(self, None)
        try:
            super().connectionLost(reason)  # type: ignore[arg-type]
        finally:
            self.is_gone.callback(None)

    def opened(self) -> None:
        """Begin a session, or join the one of that name."""
        query: Query = self.http_request_params
        name = session_name(query)
        if not name:
            self._turn_away("Session ID required")
            return
        asked = {key: values[0][:LONGEST_NAME] for key, values in list(query.items())[:MAX_PARAMETERS] if values}
        self.streams = asked.get("stream") in ("1", "true")
        leg = self._browsers.sessions.get(name)
        if leg is None:
            self._begin(name, asked)
        elif len(leg.screens) >= self._browsers.around.browser.sockets:
            self._turn_away("Too many connections of this session")
        else:
            self._leg = leg
            leg.join(self, resumed=True)

    def text_received(self, payload: bytes) -> None:
        """Take one message of the page."""
        self._take(lambda leg: self._act(wire.read_message(payload), leg))

    def binary_received(self, payload: bytes) -> None:
        """Take sound."""
        self._take(lambda leg: self._hear(payload, leg))

    def closed(self, was_clean: bool, code: int | None, reason: str) -> None:
        """The socket is gone; the session lives on for a while."""
        leg, self._leg = self._leg, None
        if leg is not None:
            if self._arriving.begun:
                leg.unfinished = self._arriving
            leg.part(self, Goodbye.CALLER_HUNG_UP if was_clean else Goodbye.PEER_VANISHED)

    # --- for the service ---

    def hang_up(self, why: Goodbye) -> None:
        """Close the socket, and end its session."""
        if self._leg is not None:
            self._leg.hang_up(why)
        else:
            self.say_close(NORMAL, why.value)

    # --- inside ---

    def _turn_away(self, reason: str) -> None:
        self.say_close(POLICY_VIOLATION, reason)

    def _begin(self, name: str, asked: Mapping[str, str]) -> None:
        browsers = self._browsers
        around = browsers.around
        try:
            choice = browsers.choose(asked)
        except ConfigError as error:
            self.send_text(wire.Writer(name, around.wall_ms).error(str(error), "not_available"))
            self._turn_away("not available")
            return
        caller = Caller(
            call_id=name,
            carrier=CARRIER,
            rate_hz=wire.RATE_HZ,
            route=around.route.path,
            stream_id=name,
            parameters=_parameters(name, asked),
        )

        def over(leg: BrowserLeg) -> None:
            browsers.sessions.pop(name, None)
            around.hold(-1)

        leg = BrowserLeg(caller, around, over, streams=self.streams)
        leg.settings = {**choice.names, "hangoverMs": around.hangover_ms}
        leg.speak = choice.speak
        around.hold(+1)
        self._leg = browsers.sessions[name] = leg
        leg.join(self, resumed=False)
        leg.listener = choice.answer(leg)

    def _take(self, work: Callable[[BrowserLeg], None]) -> None:
        leg = self._leg
        if leg is None:
            return
        leg.last_message_ms = self._browsers.around.clock()
        try:
            work(leg)
        except WireError as error:
            self._complain(error, leg)

    def _hear(self, payload: bytes, leg: BrowserLeg) -> None:
        if len(payload) > self._browsers.around.browser.chunk_bytes:
            raise WireError("chunk_too_long", f"{len(payload)} bytes of sound in one message")
        if leg.unfinished is not None:
            self._arriving.go_on(leg.unfinished)
            leg.unfinished = None
        leg.sound(self, self._arriving.feed(payload))

    def _act(self, message: wire.Message, leg: BrowserLeg) -> None:
        match message:
            case wire.Utterance():
                self._hear(message.sound, leg)
                leg.end_of_speech()
            case wire.Typed():
                leg.listener.said(message.text)
            case wire.Marked():
                leg.listener.marked(message.number)
            case _:
                self._act_rarely(message, leg)

    def _act_rarely(self, message: wire.Message, leg: BrowserLeg) -> None:
        match message:
            case wire.Key():
                leg.listener.digit(message.digit)
            case wire.Interrupt():
                leg.listener.said("")
            case wire.EndOfSpeech():
                leg.end_of_speech()
            case wire.HangUp():
                leg.hang_up(Goodbye.CALLER_HUNG_UP)
            case wire.Speak():
                self._speak(message.text, leg)
            case wire.Test() | wire.Ready():
                self.send_text(leg.writer.status("The connection works"))
            case wire.NotOffered():
                self.send_text(leg.writer.status(f"{message.kind} is not offered here"))

    def _speak(self, text: str, leg: BrowserLeg) -> None:
        """Answer a `tts_request`; without a voice the words come back alone."""
        spoken = leg.speak(text)
        spoken.addErrback(lambda failure: self.send_text(leg.writer.error(failure.getErrorMessage(), "tts")))
        spoken.addCallback(lambda pcm: self.send_text(leg.writer.speech(text, pcm or b"", "tts_response")))

    def _complain(self, error: WireError, leg: BrowserLeg) -> None:
        """Count what the page does wrong; tell it once of each kind."""
        self._browsers.around.metrics.wire_error(CARRIER, error.kind)
        if error.kind not in self._complained:
            self._complained.add(error.kind)
            self.send_text(leg.writer.error(str(error), error.kind))
            self.log.warn(
                "a browser sent something wrong on {call}: {kind}; it is counted from now on",
                call=leg.caller.call_id,
                kind=error.kind,
                pii_detail=str(error),
            )


def _parameters(name: str, asked: Mapping[str, str]) -> dict[str, str]:
    """Name the query's parameters as all agents know them."""
    email = {"email": asked["userEmail"]} if asked.get("userEmail") else {}
    public = {key: value for key, value in asked.items() if key not in SECRET_KEYS}
    return {**public, **email, "sessionId": name}
