"""Agents of the user's own: over HTTP and WebSockets, and the example in another language."""
# mypy: disallow-untyped-calls=False

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.protocol import ProcessProtocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.in_reactor import in_reactor
from voicemedia.agent import remote, remote_wire
from voicemedia.errors import ProviderError, Unable, WireError
from voicemedia.interfaces import Caller, Expected, Goodbye, Said
from voicemedia.switching import Unswitched

CALLER = Caller("C1", "fake", 8000, route="/fake", number="+4930", parameters={"first_name": "Asha"})
EXAMPLE = Path(__file__).parent.parent / "examples" / "agent.mjs"


class Floor(Unswitched):
    def __init__(self) -> None:
        self.events: list[str] = []

    def say(self, text: str, *, interruptible: bool = True) -> None:
        self.events.append(text if interruptible else text + "!")

    def play(self, pcm: bytes) -> None:
        raise AssertionError

    def expect(self, expected: Expected) -> None:
        self.events.append(f"expects {', '.join(expected.phrases)}")

    def hang_up(self) -> None:
        self.events.append("hangs up")

    def transfer(self, target: str) -> Deferred[None]:
        self.events.append(f"transfers to {target}")
        return succeed(None) if target == "+49" else fail(Unable("nobody answered"))


class TheirAgent:
    """What both servers of the test share: answers by event, and what they were told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.answers: dict[str, str] = {"greet": '{"say": "Hello. I am here."}', "said": '{"say": "Right."}'}
        self.waiting: list[tuple[int, Deferred[None]]] = []

    def take(self, event: dict[str, Any]) -> str:
        self.told.append(event)
        for number, waiting in self.waiting:
            if len(self.told) >= number and not waiting.called:
                waiting.callback(None)
        return self.answers.get(event["event"], "")

    async def until_told(self, number: int) -> list[str]:
        if len(self.told) < number:
            waiting: Deferred[None] = Deferred()
            self.waiting.append((number, waiting))
            from twisted.internet import reactor

            await waiting.addTimeout(5, reactor)
        return [event["event"] for event in self.told]


class Page(Resource):
    isLeaf = True

    def __init__(self, theirs: TheirAgent) -> None:
        super().__init__()
        self.theirs = theirs
        self.tokens: set[str | None] = set()

    def render_POST(self, request: Any) -> int:
        self.tokens.add(request.getHeader("authorization"))
        request.notifyFinish().addErrback(lambda _failure: None)
        answer = self.theirs.take(json.loads(request.content.read()))
        if answer == "refuse":
            request.setResponseCode(500)
        elif answer == "wait":
            return NOT_DONE_YET
        else:
            request.write(answer.encode())
        request.finish()
        return NOT_DONE_YET


class Socket(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        event = json.loads(payload)
        answer = self.factory.theirs.take(event)
        if answer == "leave":
            self.sendClose(1000)
        elif answer and answer != "wait":
            for line in filter(None, answer.splitlines()):
                self.sendMessage(line.encode())
            self.sendMessage(b'{"done": true}')


class Served:
    """A server of the user's and a conversation through it."""

    def __init__(self, kind: str, **options: Any) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.theirs = TheirAgent()
        self.page = Page(self.theirs)
        factory: Any = Site(self.page)
        if kind == "ws":
            factory = WebSocketServerFactory(reactor=reactor)
            factory.protocol, factory.theirs = Socket, self.theirs
        self.port: Any = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        address: Any = self.port.getHost()
        url = f"{kind}://127.0.0.1:{address.port}/"
        self.agent: Any = remote.make(remote.Options(url=url, **options), reactor)

    async def __aenter__(self) -> "Served":
        await self.agent.start()
        self.talk = self.agent.converse(CALLER)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.talk.over(Goodbye.CALLER_HUNG_UP)
        await self.theirs.until_told(len(self.theirs.told) + 1)
        await self.agent.stop()
        await maybeDeferred(self.port.stopListening)

    async def greet(self) -> list[str]:
        floor = Floor()
        await self.talk.greet(floor)
        return floor.events

    async def say(self, text: str = "hello") -> list[str]:
        floor = Floor()
        await self.talk.reply(Said(text, confidence=0.9), floor)
        return floor.events


BOTH = pytest.mark.parametrize("kind", ["http", "ws"])


@BOTH
@in_reactor
async def test_a_conversation(kind: str) -> None:
    async with Served(kind) as served:
        assert await served.greet() == ["Hello.", "I am here."]
        served.talk.heard("Hello.", complete=False)
        served.theirs.answers["said"] = (
            '{"expect": {"phrases": ["yes", "no"]}, "say": "One."}\n\n[{"say": "Two.", "interruptible": false}]\n'
            '{"hang_up": true}'
        )
        assert await served.say() == ["expects yes, no", "One.", "Two.!", "hangs up"]
        events = sorted(await served.theirs.until_told(4))
        assert events == ["greet", "heard", "said", "start"]
        told = {event["event"]: event for event in served.theirs.told}
        assert told["start"]["parameters"] == {"first_name": "Asha"}
        assert told["said"] == {
            "event": "said",
            "call": "C1",
            "turn": 2,
            "text": "hello",
            "keys": "",
            "confidence": 0.9,
        }
        assert told["heard"] == {"event": "heard", "call": "C1", "turn": 1, "text": "Hello.", "complete": False}


@BOTH
@in_reactor
async def test_a_caller_is_transferred_and_one_who_cannot_be_is_told_what_comes_then(kind: str) -> None:
    async with Served(kind) as served:
        served.theirs.answers |= {
            "said": '{"say": "One moment.", "transfer": "+49"}',
            "not_transferred": '{"say": "Sorry."}',
        }
        assert await served.say() == ["One moment.", "transfers to +49"]
        served.theirs.answers["said"] = '{"transfer": "+1"}'
        assert await served.say() == ["transfers to +1", "Sorry."]
        (failed,) = [event for event in served.theirs.told if event["event"] == "not_transferred"]
        assert failed == {"event": "not_transferred", "call": "C1", "turn": 3, "why": "nobody answered"}


@BOTH
@in_reactor
async def test_an_interruption_is_told(kind: str) -> None:
    async with Served(kind) as served:
        await served.greet()
        served.theirs.answers["said"] = "wait"
        answering = served.talk.reply(Said("hello"), Floor())
        await served.theirs.until_told(3)
        answering.cancel()
        with pytest.raises(CancelledError):
            await answering
        assert (await served.theirs.until_told(4))[-1] == "interrupted"


FAILURES = [
    ("http", "refuse", "HTTP 500"),
    ("http", "{not json", "cannot read what the agent said: bad_command"),
    ("http", "wait", "no answer in 0.2 s|silent for 0.2 s"),
    ("ws", '{"sing": "la"}', "cannot read what the agent said: bad_command"),
    ("ws", "wait", "silent for 0.2 s"),
    ("ws", "leave", "connection lost"),
]


@pytest.mark.parametrize(("kind", "answer", "says"), FAILURES)
@in_reactor
async def test_a_turn_may_fail_and_the_next_one_succeed(kind: str, answer: str, says: str) -> None:
    async with Served(kind, answer_s=0.2) as served:
        await served.greet()
        served.theirs.answers["said"] = answer
        with pytest.raises(ProviderError, match=says):
            await served.say()
        assert served.agent.trouble
        served.theirs.answers["said"] = '{"say": "Back again."}'
        assert await served.say() == ["Back again."]
        assert served.agent.trouble == ""


@in_reactor
async def test_nobody_at_the_address_is_a_failure() -> None:
    from twisted.internet import reactor

    for kind in ("http", "ws"):
        agent: Any = remote.make(remote.Options(url=f"{kind}://127.0.0.1:1/"), reactor)
        await agent.start()
        with pytest.raises(ProviderError, match="cannot connect"):
            await agent.converse(CALLER).greet(Floor())
        await agent.stop()


@in_reactor
async def test_a_token_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", "t")
    async with Served("http", token_env="TEST_TOKEN") as served:
        await served.greet()
        assert served.page.tokens == {"Bearer t"}
    assert "NO_SUCH_TOKEN is not set" in remote.missing(remote.Options(token_env="NO_SUCH_TOKEN"))


@given(st.one_of(st.binary(), st.sampled_from([b"[]", b"null", b'{"say": 7}', b'[{"turn": "x"}]', b'{"expect": []}'])))
def test_nothing_but_a_wire_error_leaves_the_reader(payload: bytes) -> None:
    with suppress(WireError):
        remote_wire.read(payload)


class Program(ProcessProtocol):
    """The example, until it says where it listens."""

    def __init__(self) -> None:
        self.url: Deferred[str] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        if not self.url.called:
            self.url.callback(data.decode().strip())

    def processEnded(self, _reason: Any) -> None:
        self.ended.callback(None)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
@in_reactor
async def test_the_example_in_another_language_holds_a_conversation() -> None:
    from twisted.internet import reactor

    any_reactor: Any = reactor
    program = Program()
    node = str(shutil.which("node"))
    process = any_reactor.spawnProcess(program, node, [node, str(EXAMPLE)], {**os.environ, "PORT": "0"})
    url = await program.url
    agent: Any = remote.make(remote.Options(url=url), reactor)
    await agent.start()
    talk, floor = agent.converse(CALLER), Floor()
    await talk.greet(floor)
    await talk.reply(Said("when are you open"), floor)
    await talk.reply(Said("goodbye"), floor)
    assert floor.events == [
        "expects opening hours, goodbye",
        "Hello.",
        "Ask me for the opening hours.",
        "We are open from nine to five.",
        "Anything else?",
        "Goodbye.!",
        "hangs up",
    ]
    await agent.stop()
    process.signalProcess("TERM")
    await program.ended
