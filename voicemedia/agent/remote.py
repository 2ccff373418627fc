"""Agent `remote`: an agent of the user's own, behind a WebSocket or HTTP address, written in any language.

A WebSocket is opened for each call and stays; over HTTP every event is a POST, and the lines of its answer are
commands. The messages are the same (`remote_wire`).
"""
# mypy: disallow-untyped-calls=False

from collections.abc import Mapping
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.agent import remote_wire as wire
from voicemedia.agent.sentences import Sentences
from voicemedia.config import secret
from voicemedia.errors import ConfigError, ProviderError, Unable, WireError
from voicemedia.interfaces import Agent, Caller, Conversation, Floor, Goodbye, Said
from voicemedia.web.posting import Poster
from voicemedia.web.trouble import Trouble
from voicemedia.web.websocket_client import Link, open_websocket


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    url: str = "ws://127.0.0.1:9000/"
    "Address of the agent: `ws://`, `wss://`, `http://` or `https://`."
    token_env: str = ""
    "Environment variable with a token, sent as `Authorization: Bearer ...`; empty: none."
    answer_s: Annotated[float, Meta(gt=0)] = 10.0
    "How long the agent may be silent before its turn has failed, in seconds."

    def __post_init__(self) -> None:
        if not self.url.startswith(("ws://", "wss://", "http://", "https://")):
            raise ValueError("url: expected ws://, wss://, http:// or https://")


def missing(options: Options) -> str:
    """Say whether the token is absent."""
    try:
        _token(options)
    except ConfigError as error:
        return str(error)
    return ""


def _token(options: Options) -> str:
    return secret(options.token_env, "token_env").reveal() if options.token_env else ""


def make(options: Options, reactor: Any) -> Agent:
    """Make the agent."""
    return RemoteAgent(options, reactor)


class Line(Protocol):
    """The way to the agent for one call."""

    def ask(self, event: wire.Event, turn: "Turn") -> None:
        """Send an event that wants an answer; the turn is told what comes."""

    def tell(self, event: wire.Event) -> None:
        """Send an event that wants none."""

    def close(self) -> None:
        """The call is over, and all has been told."""


class RemoteAgent:
    """Introduces callers to the agent."""

    name = "remote"

    def __init__(self, options: Options, reactor: Any) -> None:
        self._options, self._reactor = options, reactor
        self._poster = Poster(reactor, options.answer_s)
        self._headers: dict[str, str] = {}
        self.news = Trouble(reactor.seconds)

    @property
    def trouble(self) -> str:
        """Why it cannot answer now."""
        return self.news.text

    def start(self) -> Deferred[None]:
        """Read the token."""
        token = _token(self._options)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Close the connections that wait for use."""
        return self._poster.close()

    def converse(self, caller: Caller) -> Conversation:
        """Begin a conversation."""
        url, start = self._options.url, wire.started(caller)
        line: Line
        if url.startswith("ws"):
            line = SocketLine(self._reactor, url, self._headers, start)
        else:
            line = HttpLine(self._poster, url, self._headers)
            line.tell(start)
        return RemoteTalk(line, caller.call_id, self)

    def turn(self, floor: Floor) -> "Turn":
        """Open a turn."""
        return Turn(floor, self._reactor, self._options.answer_s, self)


class Turn:
    """One answer: commands come until it is done."""

    def __init__(self, floor: Floor, reactor: Any, answer_s: float, agent: RemoteAgent) -> None:
        self._floor, self._answer_s, self._agent = floor, answer_s, agent
        self.done: Deferred[None] = Deferred(self._cancelled)
        self.stop: Any = lambda: None
        "Ends what the line does for this turn; set by the line."
        self.transfer_to = ""
        self._patience = reactor.callLater(answer_s, self._overdue)

    @property
    def open(self) -> bool:
        """Whether it waits for commands."""
        return not self.done.called

    def take(self, command: wire.Command) -> None:
        """Do what the agent wants."""
        if not self.open:
            return
        self._patience.reset(self._answer_s)
        if command.expect is not None:
            self._floor.expect(command.expect.expected())
        cutter = Sentences(hurry=False)
        for sentence in [*cutter.feed(command.say), *cutter.finish()]:
            self._floor.say(sentence, interruptible=command.interruptible)
        if command.hang_up:
            self._floor.hang_up()
        self.transfer_to = command.transfer or self.transfer_to
        if command.done:
            self.finish()

    def finish(self) -> None:
        """The answer is complete."""
        if self.open:
            self._patience.cancel()
            self._agent.news.served()
            self.done.callback(None)

    def fail(self, error: ProviderError) -> None:
        """The answer will not come."""
        if self.open:
            if self._patience.active():
                self._patience.cancel()
            self._agent.news.failed(error)
            self.done.errback(error)

    def _overdue(self) -> None:
        self.stop()
        self.fail(ProviderError(f"the agent was silent for {self._answer_s:g} s", code="silent"))

    def _cancelled(self, _done: Deferred[None]) -> None:
        self._patience.cancel()
        self.stop()


class RemoteTalk:
    """One caller's talk with the agent."""

    def __init__(self, line: Line, call: str, agent: RemoteAgent) -> None:
        self._line, self._call, self._agent = line, call, agent
        self._number = 0

    def greet(self, floor: Floor) -> Deferred[None]:
        """Let the agent open the conversation."""
        self._number += 1
        return self._ask(wire.greet(self._call, self._number), floor)

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        """Let the agent answer."""
        self._number += 1
        return self._ask(wire.said(self._call, self._number, said), floor)

    def heard(self, text: str, *, complete: bool) -> None:
        """Tell what was heard."""
        self._line.tell(wire.heard(self._call, self._number, text, complete))

    def overhear(self, pcm: bytes) -> None:
        """Do nothing with single frames."""

    def over(self, why: Goodbye) -> None:
        """Say that the call has ended."""
        self._line.tell(wire.over(self._call, why))
        self._line.close()

    def _ask(self, event: wire.Event, floor: Floor) -> Deferred[None]:
        def interrupted(failure: Failure) -> Failure:
            if failure.check(CancelledError):
                self._line.tell(wire.interrupted(self._call, self._number))
            return failure

        return self._take_turn(event, floor).addErrback(interrupted)

    def _take_turn(self, event: wire.Event, floor: Floor) -> Deferred[None]:
        turn = self._agent.turn(floor)
        self._line.ask(event, turn)
        return turn.done.addCallback(lambda _: self._hand_over(turn.transfer_to, floor))

    def _hand_over(self, target: str, floor: Floor) -> Deferred[None]:
        """Connect the caller with whom the agent named; if that cannot be, the agent has another turn."""
        if not target:
            return succeed(None)

        def stays(failure: Failure) -> Deferred[None]:
            failure.trap(Unable)
            self._number += 1
            why = failure.getErrorMessage()
            return self._take_turn(wire.not_transferred(self._call, self._number, why), floor)

        return floor.transfer(target).addErrback(stays)


class HttpLine:
    """Every event is a POST; the lines of the answer are commands, its end is the end of the turn."""

    log = Logger()

    def __init__(self, poster: Poster, url: str, headers: Mapping[str, str]) -> None:
        self._poster, self._url, self._headers = poster, url, headers

    def ask(self, event: wire.Event, turn: Turn) -> None:
        """Post, and do the lines of the answer as they come."""
        lines = wire.Lines()

        def take(octets: bytes) -> None:
            for line in lines.feed(octets):
                self._do(line, turn)

        def ended(_done: None) -> None:
            for line in lines.finish():
                self._do(line, turn)
            turn.finish()

        asked = self._poster.stream(self._url, self._headers, event, take)
        turn.stop = asked.cancel
        asked.addCallback(ended).addErrback(self._failed, turn)

    def tell(self, event: wire.Event) -> None:
        """Post; an answer is not wanted."""
        told = self._poster.stream(self._url, self._headers, event, lambda _octets: None)
        told.addErrback(lambda failure: self.log.warn("agent not told: {why}", why=failure.getErrorMessage()))

    def close(self) -> None:
        """Nothing is open."""

    def _do(self, line: bytes, turn: Turn) -> None:
        for command in wire.read(line):
            turn.take(command)

    def _failed(self, failure: Failure, turn: Turn) -> None:
        if not failure.check(CancelledError):
            turn.fail(_error(failure.value))


class SocketLine:
    """One WebSocket for the call; lost, it is opened again with the next turn."""

    def __init__(self, reactor: Any, url: str, headers: Mapping[str, str], start: wire.Event) -> None:
        self._reactor, self._url, self._headers, self._start = reactor, url, headers, start
        self._link: Link | None = None
        self._opening: Deferred[Link] | None = None
        self._unsent: list[bytes] = []
        self._turn: Turn | None = None
        self._number: object = 0
        self._closing = False

    def ask(self, event: wire.Event, turn: Turn) -> None:
        """Send an event; commands that come are its answer."""
        self._turn, self._number = turn, event["turn"]
        if self._link is None and self._opening is None:
            self._unsent.append(msgspec.json.encode(self._start))
            self._opening = open_websocket(self._reactor, self._url, self._headers, self)
            self._opening.addCallbacks(self._opened, self._not_opened)
        self._send(event)

    def tell(self, event: wire.Event) -> None:
        """Send an event, if there is anybody to tell."""
        if self._link is not None or self._opening is not None:
            self._send(event)

    def close(self) -> None:
        """Close the socket once all has been sent."""
        self._closing = True
        if self._link is not None:
            self._link.close()

    def _send(self, event: wire.Event) -> None:
        payload = msgspec.json.encode(event)
        if self._link is not None:
            self._link.send(payload)
        else:
            self._unsent.append(payload)

    # --- what the socket tells (Talk) ---

    def message(self, payload: bytes) -> None:
        """Take commands; those of a turn that is over go nowhere."""
        turn = self._turn
        if turn is None:
            return
        try:
            for command in wire.read(payload):
                if command.turn in (None, self._number):
                    turn.take(command)
        except WireError as error:
            # What follows such a message may belong to it: the next turn begins on a new socket.
            link, self._link = self._link, None
            if link is not None:
                link.close()
            turn.fail(_error(error))

    def lost(self, reason: str) -> None:
        """The socket is gone."""
        self._link = None
        if self._turn is not None:
            self._turn.fail(ProviderError(f"connection lost: {reason}", code="connection_lost"))

    def _opened(self, link: Link) -> None:
        self._link, self._opening = link, None
        unsent, self._unsent = self._unsent, []
        for payload in unsent:
            link.send(payload)
        if self._closing:
            link.close()

    def _not_opened(self, failure: Failure) -> None:
        self._opening = None
        self._unsent.clear()
        if self._turn is not None:
            self._turn.fail(_error(failure.value))


def _error(error: BaseException | None) -> ProviderError:
    if isinstance(error, ProviderError):
        return error
    return ProviderError(f"cannot read what the agent said: {error}", code="bad_command")
