"""A network of SIP user agents without sockets: a fake clock, delay, and with a seed loss, disorder and duplicates."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random

from voicemedia.errors import WireError
from voicemedia.sip_bridge.call_wire import CallState
from voicemedia.sip_bridge.codec_wire import PCMA, PCMU
from voicemedia.sip_bridge.flow_wire import Destination, Ended, Event, Flow, Incoming, Transmit
from voicemedia.sip_bridge.framing_wire import read_datagram
from voicemedia.sip_bridge.incoming_wire import IncomingCall
from voicemedia.sip_bridge.offer_wire import Negotiation, Terms
from voicemedia.sip_bridge.outgoing_wire import OutgoingCall
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.user_agent_wire import Settings, UserAgent


@dataclass
class Weather:
    """What a network does to datagrams."""

    loss: float = 0.0
    duplicates: float = 0.0
    delay_ms: tuple[int, int] = (10, 10)
    "From, to: what is not the same for all puts them out of order."
    mangle: Callable[[bytes], bytes] = bytes
    "What becomes of a datagram on its way."


@dataclass
class Host:
    """One end: a user agent, what it told, and what its owner does about it."""

    name: str
    agent: UserAgent
    net: "Net"
    transport: str = "UDP"
    events: list[Event] = field(default_factory=list)
    on_event: Callable[[Event], None] = lambda event: None
    calls: list[IncomingCall] = field(default_factory=list)
    drop: Callable[[Request | Response], bool] = lambda message: False
    "Tells which of the messages it sends get lost."

    def media(self, port: int = 4000, **terms: object) -> Negotiation:
        key = self.net.random.randbytes
        return Negotiation(Terms(f"{self.name}.test", port, (PCMU, PCMA), **terms), 1, key)  # type: ignore[arg-type]

    def flow(self, peer: str) -> Flow:
        return Flow(
            self.transport, f"{self.name}.test:5060", (f"{peer}.test", 5060), 0 if self.transport == "UDP" else 1
        )

    def dial(
        self, peer: str, media: Negotiation | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> OutgoingCall:
        to = Destination(f"sip:bot@{peer}.test:5060", f'"A, B" <sip:{self.name}@{self.name}.test>', headers)
        call = self.agent.dial(to, media or self.media(), self.flow(peer), self.net.now_ms)
        self.net.flush(self)
        return call

    def said(self) -> str:
        """Return the names of the events so far."""
        return " ".join(type(event).__name__ for event in self.events)

    def last(self, kind: type[Event]) -> Event:
        return [event for event in self.events if isinstance(event, kind)][-1]


class Net:
    """Hosts, the datagrams between them, and the time."""

    def __init__(self, seed: int = 0, weather: Weather | None = None) -> None:
        self.random = Random(seed)
        self.weather = weather or Weather()
        self.now_ms = 0
        self.hosts: dict[str, Host] = {}
        self.ladder: list[str] = []
        "Every message that was sent: `a>b INVITE`, `b>a 180 INVITE`, with `(lost)` when it was."
        self.sent: list[Request | Response] = []
        self._serial = count()
        self._under_way: list[tuple[int, int, Callable[[], None]]] = []

    def host(self, name: str, settings: Settings | None = None, transport: str = "UDP") -> Host:
        numbers = count(1)
        agent = UserAgent(lambda: f"{name}{next(numbers)}", self.random.random, settings)
        self.hosts[name] = Host(name, agent, self, transport)
        return self.hosts[name]

    def at(self, at_ms: int, act: Callable[[], object]) -> None:
        """Do something later; what agents then want sent is sent."""

        def run() -> None:
            act()
            for host in self.hosts.values():
                self.flush(host)

        heapq.heappush(self._under_way, (at_ms, next(self._serial), run))

    def run(self, until_ms: int) -> None:
        """Let time pass."""
        while True:
            due = [(host.agent.next_due_ms, name) for name, host in self.hosts.items()]
            first = min((at_ms for at_ms, _ in due if at_ms is not None), default=until_ms + 1)
            if self._under_way:
                first = min(first, self._under_way[0][0])
            if first > until_ms:
                self.now_ms = until_ms
                return
            self.now_ms = max(self.now_ms, first)
            while self._under_way and self._under_way[0][0] <= self.now_ms:
                heapq.heappop(self._under_way)[2]()
            for host in self.hosts.values():
                host.agent.due(self.now_ms)
                self.flush(host)

    def do(self, act: Callable[[], object], then_ms: int = 100) -> None:
        """Do something now, and let a moment pass."""
        self.at(self.now_ms, act)
        self.run(self.now_ms + then_ms)

    def flush(self, host: Host) -> None:
        while outputs := host.agent.outputs():
            for output in outputs:
                if isinstance(output, Transmit):
                    self._send(host, output)
                else:
                    host.events.append(output)
                    if isinstance(output, Incoming):
                        host.calls.append(output.call)
                    host.on_event(output)

    def _send(self, host: Host, output: Transmit) -> None:
        message = output.message
        peer = output.hop.host if output.hop is not None else output.address[0]
        target = self.hosts.get(peer.removesuffix(".test"))
        lost = target is None or host.drop(message) or self.random.random() < self.weather.loss
        what = (
            message.method
            if isinstance(message, Request)
            else f"{message.status} {(message.headers.first('cseq') or '').partition(' ')[2]}"
        )
        raw = message.encode()
        self.ladder.append(f"{host.name}>{peer.removesuffix('.test')} {what}{' (lost)' if lost else ''}")
        self.sent.append(message)
        if lost or target is None:
            return
        for _ in range(2 if self.random.random() < self.weather.duplicates else 1):
            arrive_ms = self.now_ms + self.random.randint(*self.weather.delay_ms)
            self.at(arrive_ms, self._arrival(host, target, raw))

    def _arrival(self, source: Host, target: Host, raw: bytes) -> Callable[[], None]:
        def arrive() -> None:
            arrived = self.weather.mangle(raw)
            try:
                message = read_datagram(arrived)
            except WireError:
                assert self.weather.mangle is not bytes, "what a host sends must be what anybody can read"
                return
            target.agent.receive(message, target.flow(source.name), self.now_ms)

        return arrive


def answering(host: Host, after_ms: int = 0) -> None:
    """Let a host ring, and answer after a while."""

    def on_event(event: Event) -> None:
        if isinstance(event, Incoming):
            call, net = event.call, host.net
            call.ring(net.now_ms)
            net.at(net.now_ms + after_ms, lambda: call.answer(host.media(), net.now_ms))

    host.on_event = on_event


QUIET = Settings(session=SessionTerms(0))
"No session timers: the ladder shows only what the test is about."


def pair(settings: Settings = QUIET) -> tuple[Net, Host, Host]:
    net = Net()
    return net, net.host("a", settings), net.host("b", settings)


def up(settings: Settings = QUIET) -> tuple[Net, Host, Host, OutgoingCall, IncomingCall]:
    """Return a call that is up, with the ladder cleared."""
    net, a, b = pair(settings)
    answering(b)
    call = a.dial("b")
    net.run(200)
    assert call.state is b.calls[0].state is CallState.UP
    net.ladder.clear()
    return net, a, b, call, b.calls[0]


def ended(host: Host) -> tuple[bool, int, int]:
    """Return how the one call of a host ended: by the peer, status, cause."""
    (event,) = [event for event in host.events if isinstance(event, Ended)]
    return event.by_peer, event.status, event.cause


def first(method: str, times: int = 1) -> "Losing":
    return Losing(method, times)


class Losing:
    """Loses the first few of a kind of message: `INVITE`, `200 INVITE`."""

    def __init__(self, what: str, times: int) -> None:
        self.what, self.times = what, times

    def __call__(self, message: Request | Response) -> bool:
        name = message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"
        self.times -= name == self.what
        return name == self.what and self.times >= 0
