"""A small server for the simulated callers to call: enough of the carrier's protocol to talk back.

`EchoBrain` returns all sound; `AnswerBrain` greets, answers an utterance with a tone and stops when interrupted. Both
are without I/O, so a call can be run on a fake clock; `FakeServer` puts one behind a real port.
"""

import audioop
import base64
import json
import math
from collections.abc import Callable
from typing import Any, Protocol

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

SILENT_PEAK = 500


def tone(ms: int, hz: int = 440, level: float = 8000) -> bytes:
    """A tone in mu-law at 8 kHz."""
    samples = [int(level * math.sin(2 * math.pi * hz * n / 8000)) for n in range(8 * ms)]
    return audioop.lin2ulaw(b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples), 2)


class Brain(Protocol):
    def receive(self, text: str, now_ms: float) -> list[str]:
        """Take a message of the carrier; return what to send."""

    def due(self, now_ms: float) -> list[str]:
        """Let time pass; return what to send."""


class Sender:
    """Writes the server's messages of one call."""

    def __init__(self) -> None:
        self.stream_id = ""
        self._chunk = 0

    def media(self, ulaw: bytes) -> str:
        self._chunk += 1
        media = {"payload": base64.b64encode(ulaw).decode(), "chunk": self._chunk}
        return json.dumps({"event": "media", "streamSid": self.stream_id, "media": media})

    def mark(self, name: str) -> str:
        return json.dumps({"event": "mark", "streamSid": self.stream_id, "mark": {"name": name}})

    def clear(self) -> str:
        return json.dumps({"event": "clear", "streamSid": self.stream_id})


class EchoBrain:
    """Returns every packet at once; `mangle` may lose or repeat some."""

    def __init__(self, mangle: Callable[[int, bytes], list[bytes]] = lambda _, ulaw: [ulaw]) -> None:
        self._mangle = mangle
        self._sender = Sender()
        self.seen: list[dict[str, Any]] = []

    def receive(self, text: str, now_ms: float) -> list[str]:
        message = json.loads(text)
        self.seen.append(message)
        if message["event"] == "start":
            self._sender.stream_id = message["streamSid"]
        if message["event"] != "media":
            return []
        ulaw = base64.b64decode(message["media"]["payload"])
        return [self._sender.media(piece) for piece in self._mangle(int(message["media"]["chunk"]), ulaw)]

    def due(self, now_ms: float) -> list[str]:
        return []


class AnswerBrain:
    """Greets at `start`; answers `think_ms` after the end of speech (300 ms of quiet) or a key."""

    def __init__(self, greeting_ms: int = 200, answer_ms: int = 400, think_ms: int = 100, dumb: bool = False) -> None:
        self._greeting_ms = greeting_ms
        self._answer_ms = answer_ms
        self._think_ms = think_ms
        self._dumb = dumb
        self._sender = Sender()
        self._quiet_ms = 1e9
        self._answer_at: float | None = None
        self._talks_until = 0.0
        self.seen: list[dict[str, Any]] = []
        self.marks_returned: list[tuple[str, float]] = []

    def receive(self, text: str, now_ms: float) -> list[str]:
        message = json.loads(text)
        self.seen.append(message)
        match message["event"]:
            case "start":
                self._sender.stream_id = message["streamSid"]
                return self._talk(self._greeting_ms, now_ms) if self._greeting_ms else []
            case "media":
                return self._hear(base64.b64decode(message["media"]["payload"]), now_ms)
            case "dtmf":
                self._answer_at = now_ms + self._think_ms
            case "mark":
                self.marks_returned.append((message["mark"]["name"], now_ms))
        return []

    def _hear(self, ulaw: bytes, now_ms: float) -> list[str]:
        packet_ms = len(ulaw) / 8
        if audioop.max(audioop.ulaw2lin(ulaw, 2), 2) > SILENT_PEAK:
            self._quiet_ms = 0.0
            if now_ms < self._talks_until:
                self._talks_until = now_ms
                return [self._sender.clear()]
            return []
        if self._quiet_ms < 300 <= self._quiet_ms + packet_ms:
            self._answer_at = now_ms + self._think_ms
        self._quiet_ms += packet_ms
        return []

    def due(self, now_ms: float) -> list[str]:
        if self._answer_at is None or now_ms < self._answer_at or self._dumb:
            return []
        self._answer_at = None
        return self._talk(self._answer_ms, now_ms)

    def _talk(self, ms: int, now_ms: float) -> list[str]:
        self._talks_until = now_ms + ms
        sound = tone(ms)
        pieces = [sound[at : at + 1600] for at in range(0, len(sound), 1600)]
        return [*(self._sender.media(piece) for piece in pieces), self._sender.mark(f"m{ms}")]


class _Socket(WebSocketServerProtocol):
    brain: Brain
    server: "FakeServer"

    def onOpen(self) -> None:
        reactor = self.server.reactor
        self.brain = self.server.make_brain()
        self._began = reactor.seconds()
        self._clock = LoopingCall(lambda: self._say(self.brain.due(self._now_ms)))
        self._clock.clock = reactor
        self._clock.start(0.01)

    @property
    def _now_ms(self) -> float:
        return float(self.server.reactor.seconds() - self._began) * 1000

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self._say(self.brain.receive(payload.decode(), self._now_ms))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if hasattr(self, "_clock"):
            self._clock.stop()

    def _say(self, texts: list[str]) -> None:
        for text in texts:
            self.sendMessage(text.encode())  # type: ignore[no-untyped-call]


class _Turns(Resource):
    """`/calls/{call_id}/turns`: one more exchange each time it is asked, three at most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._asked = 0

    def getChild(self, path: bytes, request: Request) -> Resource:
        return self

    def render_GET(self, request: Request) -> bytes:
        self._asked += 1
        exchange = [
            {"who": "caller", "text": "two idlis", "at_ms": 1},
            {"who": "agent", "text": "noted", "heard_text": "noted", "at_ms": 2, "latency_ms": {"think": 3.5}},
        ]
        return json.dumps(exchange * min(self._asked, 3)).encode()


class FakeServer:
    """Listens on a port the system chooses; every call gets a brain of its own."""

    def __init__(self, reactor: Any, make_brain: Callable[[], Brain], tells: bool = False) -> None:
        self.reactor = reactor
        self.make_brain = make_brain
        factory: Any = WebSocketServerFactory(reactor=reactor)  # type: ignore[no-untyped-call]
        factory.protocol = type("Socket", (_Socket,), {"server": self})
        factory.startFactory()
        root: Any = Resource()  # type: ignore[no-untyped-call]
        for path in (b"vendor-stream", b"twilio"):
            root.putChild(path, WebSocketResource(factory))  # type: ignore[no-untyped-call]
        if tells:
            root.putChild(b"calls", _Turns())
        site = Site(root)  # type: ignore[no-untyped-call]
        self._port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.port: int = self._port.getHost().port

    def url(self, path: str = "/vendor-stream") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def stop(self) -> Any:
        return self._port.stopListening()
