"""How a fast WebSocket ends, what it does with a peer that does not read, and who is let in."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from tests.loopback import Loopback
from tests.websocket_wires import (
    CLOSE,
    HANDSHAKE,
    PING,
    PONG,
    TEXT,
    Frame,
    MemoryTransport,
    Recorder,
    Served,
    close,
    ours,
    text,
)
from voicemedia.protocols.fast_websocket import (
    UNSENT_BYTES,
    FastWebSocketFactory,
    WebSocketLimits,
    install_lean_poll,
    whole_frame,
)
from voicemedia.protocols.status import Refusal
from voicemedia.protocols.websocket_resource import FastWebSocketResource

LIMITS = WebSocketLimits(high_water_bytes=20_000, max_waiting_bytes=100_000)

pytestmark = pytest.mark.looks_at_the_log


@pytest.fixture
def failures() -> Iterator[list[type]]:
    """What was logged with a traceback, by `Logger.failure` or Twisted's older `log.err`."""
    seen: list[type] = []

    @implementer(ILogObserver)
    def watch(event: LogEvent) -> None:
        failure = event.get("log_failure") or event.get("failure")
        if failure is not None:
            seen.append(failure.type)

    globalLogPublisher.addObserver(watch)
    yield seen
    globalLogPublisher.removeObserver(watch)


# --- the end ---


def test_a_peer_that_answers_our_close_is_dropped_without_a_reset() -> None:
    server = ours()
    server.protocol.say_close(1001, "drained")
    assert server.receive(close(1001)) == [(CLOSE, b"\x03\xe9drained")]
    assert server.dropped
    assert not server.transport.aborted
    assert server.lose() == [("opened",), ("closed", True, 1001, "")]


def test_a_peer_that_never_answers_our_close_is_dropped_after_a_while() -> None:
    server = ours()
    server.protocol.say_close(1000, "goodbye")
    server.clock.advance(2.9)
    before = server.dropped
    server.clock.advance(0.2)
    assert (before, server.dropped) == (False, True)
    was_clean, code = server.lose()[-1][1:3]
    assert (was_clean, code) == (False, 1006)


def test_a_peer_that_says_goodbye_but_does_not_read_ours_is_dropped_after_a_while() -> None:
    server = ours()
    server.receive(close(1000))
    assert not server.transport.aborted
    server.clock.advance(3.1)
    assert server.transport.aborted


def test_nothing_is_left_to_do_once_the_connection_is_lost() -> None:
    server = ours()
    server.receive(text("hello"), close(1000))
    assert server.lose().count(("closed", True, 1000, "")) == 1
    server.clock.advance(100)
    assert not server.transport.aborted


def test_a_connection_lost_without_a_word_is_closed_uncleanly() -> None:
    told = ours().lose()
    assert [event[:3] for event in told] == [("opened",), ("closed", False, 1006)]


def test_a_connection_lost_before_its_handshake_was_never_open() -> None:
    clock = Clock()
    protocol: Any = FastWebSocketFactory(Recorder, clock).buildProtocol(None)
    transport: Any = MemoryTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(HANDSHAKE[:20])
    clock.advance(10.1)
    assert transport.aborted
    protocol.connectionLost()
    assert protocol.told == []


def test_a_long_reason_is_cut_between_characters() -> None:
    server = ours()
    server.protocol.say_close(1008, "é" * 100)
    assert server.receive() == [(CLOSE, struct.pack("!H", 1008) + "é".encode() * 61)]


def test_nothing_is_sent_after_our_close() -> None:
    server = ours()
    server.protocol.say_close(1000)
    server.protocol.send_text(b"late")
    server.protocol.send_binary(b"late")
    server.protocol.say_close(1001)
    assert server.receive() == [(CLOSE, b"\x03\xe8")]


class Buggy(Recorder):
    def opened(self) -> None:
        super().opened()
        if self.http_request_path.endswith("stillborn"):
            raise LookupError("bug in opened")

    def text_received(self, payload: bytes) -> None:
        raise LookupError("bug in text_received")


@pytest.mark.parametrize("cut", [0, 3], ids=["directly", "through Autobahn"])
def test_a_bug_of_ours_ends_that_connection_with_1011_and_is_logged(cut: int, failures: list[type]) -> None:
    server = ours(Buggy)
    octets = text("hello") * 2
    answer = server.receive(octets[:cut], octets[cut:], close(1011))
    assert answer == [(CLOSE, struct.pack("!H", 1011) + b"internal error")]
    assert failures == [LookupError]
    assert server.lose()[-1] == ("closed", True, 1011, "")


def test_a_bug_at_the_opening_is_answered_too(failures: list[type]) -> None:
    clock = Clock()
    server = Served(FastWebSocketFactory(Buggy, clock).buildProtocol(None), clock, path=b"/stillborn")
    assert server.response.endswith(struct.pack("!H", 1011) + b"internal error")
    assert len(failures) == 1


# --- pings ---


def test_a_peer_that_answers_no_ping_is_dropped() -> None:
    server = ours()
    server.clock.advance(20)
    assert [opcode for opcode, _ in server.receive()] == [PING]
    server.clock.advance(20)
    assert server.dropped


@pytest.mark.parametrize("answer", ["pong", "text"])
def test_a_peer_that_answers_or_talks_is_kept(answer: str) -> None:
    server = ours()
    for _ in range(3):
        server.clock.advance(20)
        [(opcode, payload)] = server.receive()
        assert opcode == PING
        server.receive(bytes(Frame(PONG, payload)) if answer == "pong" else text("I am here"))
    assert not server.dropped


def test_endless_empty_fragments_take_no_memory() -> None:
    server = ours()
    server.receive(bytes(Frame(TEXT, b"", fin=False)), *[bytes(Frame(0, b"", fin=False)) * 100] * 10)
    assert server.protocol.message_data == []


# --- a peer that does not read ---


@pytest.fixture
def small() -> Iterator[Loopback]:
    """A connection whose kernel buffers are small, its handshake done."""
    connection = Loopback(FastWebSocketFactory(Recorder, Clock(), LIMITS), buffer_bytes=32_768)
    with closing(connection):
        assert connection.send(HANDSHAKE).startswith(b"HTTP/1.1 101 ")
        yield connection


def stuff(connection: Loopback) -> bytes:
    """Send until the peer is known not to read, and the kernel takes no more; give back all that was sent."""
    protocol: Any = connection.server.protocol
    sent = b""
    while protocol.writable:
        payload = b"%d" % len(sent) * 100
        protocol.send_text(payload)
        sent += whole_frame(0x81, payload)
        if not protocol.writable:
            connection.turn()
        assert len(sent) < 10_000_000
    return sent


def test_a_frame_for_a_peer_that_reads_leaves_at_once(small: Loopback) -> None:
    small.server.protocol.send_text(b"hello")
    assert small.client.recv(100) == b"\x81\x05hello"
    assert small.server.protocol.buffered_bytes == 0


def test_nagle_is_off(small: Loopback) -> None:
    assert small.server.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_peer_that_stalls_is_known_before_the_kernel_holds_minutes_of_sound() -> None:
    connection = Loopback(FastWebSocketFactory(Recorder, Clock(), LIMITS))
    connection.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    connection.send(HANDSHAKE)
    sent = stuff(connection)
    held_by_peer = connection.client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert len(sent) < held_by_peer + UNSENT_BYTES + LIMITS.high_water_bytes + 10_000
    assert connection.read() == sent
    connection.close()


def test_a_peer_that_reads_again_gets_everything_in_order(small: Loopback) -> None:
    protocol: Any = small.server.protocol
    for _ in range(3):
        sent = stuff(small)
        assert small.read() == sent
        assert protocol.writable
        assert protocol.buffered_bytes == 0


def test_sound_dropped_while_the_peer_does_not_read_takes_no_memory(small: Loopback) -> None:
    protocol: Any = small.server.protocol
    stuff(small)
    dropped = 0
    for _ in range(50_000):
        if protocol.writable:
            protocol.send_text(b"s" * 300)
        else:
            dropped += 1
        if dropped % 1_000 == 0:
            small.turn()
    assert dropped > 49_000
    held = len(small.server.dataBuffer) + sum(map(len, small.server._tempDataBuffer))
    assert held <= protocol.buffered_bytes <= LIMITS.high_water_bytes + 1_000


def test_a_server_that_sends_regardless_drops_the_peer(small: Loopback) -> None:
    protocol: Any = small.server.protocol
    stuff(small)
    for _ in range(1_000):
        protocol.send_text(b"s" * 300)
    assert protocol.buffered_bytes <= LIMITS.max_waiting_bytes + 1_000
    small.turn()
    assert protocol.told[-1][:3] == ("closed", False, 1006)
    assert "does not read" in protocol.told[-1][3]


def test_of_a_flood_of_pings_from_a_peer_that_does_not_read_the_last_is_answered() -> None:
    server = ours()
    server.protocol.pauseProducing()
    assert server.receive(*(bytes(Frame(PING, b"%d" % number)) for number in range(1_000))) == []
    server.protocol.resumeProducing()
    assert server.receive() == [(PONG, b"999")]
    assert server.receive(bytes(Frame(PING, b"again"))) == [(PONG, b"again")]


def test_a_close_waits_its_turn_behind_what_was_sent(small: Loopback) -> None:
    protocol: Any = small.server.protocol
    sent = stuff(small)
    protocol.say_close(1000)
    assert small.read() == sent + b"\x88\x02\x03\xe8"


def test_sending_to_a_peer_that_vanished_ends_the_connection_as_twisted_does(small: Loopback) -> None:
    protocol: Any = small.server.protocol
    small.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    small.client.close()
    protocol.send_text(b"anyone?")
    protocol.send_text(b"no?")
    small.turn()
    assert [event[:3] for event in protocol.told] == [("opened",), ("closed", False, 1006)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.integers(0, 40_000), st.sampled_from(["read", "turn", "ping"])), max_size=30))
def test_what_is_sent_early_and_late_stays_in_order(acts: list[int | str]) -> None:
    connection = Loopback(FastWebSocketFactory(Recorder, Clock()), buffer_bytes=32_768)
    connection.send(HANDSHAKE)
    sent, got = b"", b""
    for act in acts:
        if act == "read":
            got += connection.read()
        elif act == "turn":
            connection.turn()
        elif act == "ping":
            got += connection.send(bytes(Frame(PING, b"?")))
            sent += b"\x8a\x01?"
        else:
            payload = bytes([len(sent) % 251]) * int(act)
            connection.server.protocol.send_binary(payload)
            sent += whole_frame(0x82, payload)
    assert got + connection.read() == sent
    connection.close()


# --- the door ---


def site(admit: Any = None) -> Site:
    root = Resource()
    root.putChild(b"vendor-stream", FastWebSocketResource(FastWebSocketFactory(Recorder, Clock()), admit))
    any_site: Any = Site
    served: Site = any_site(root, reactor=Clock())
    return served


def answer_of(connection: Loopback, request: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    head, _, body = connection.send(request).partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    connection.close()
    return status, dict(line.lower().split(b": ", 1) for line in lines), body


def test_one_port_serves_web_and_websocket() -> None:
    connection = Loopback(site(), buffer_bytes=32_768)
    assert connection.send(HANDSHAKE).startswith(b"HTTP/1.1 101 ")
    connection.send(text("hello"))
    protocol: Any = connection.server.protocol
    assert protocol.told == [("opened",), ("text", b"hello")]
    assert protocol.peer.startswith("tcp4:127.0.0.1:")
    assert protocol.http_request_uri == "/vendor-stream/secret?token=7"
    assert protocol.http_headers["x-caller"] == "alice"
    protocol.send_text(b"at once")
    assert connection.client.recv(100) == b"\x81\x07at once"
    assert stuff(connection) == connection.read()
    connection.close()


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (Refusal(403), {"code": "forbidden", "message": "You may not call here."}),
        (Refusal(503, "full", {"Retry-After": "7"}), {"code": "unavailable", "message": "full"}),
    ],
    ids=["403", "503"],
)
def test_a_refused_peer_hears_why_before_the_upgrade(refusal: Refusal, error: dict[str, str]) -> None:
    asked: list[IRequest] = []

    def admit(request: IRequest) -> Refusal:
        asked.append(request)
        return refusal

    status, headers, body = answer_of(Loopback(site(admit)), HANDSHAKE)
    assert status.startswith(b"HTTP/1.1 %d " % refusal.status)
    assert json.loads(body) == {"error": error}
    assert headers[b"content-type"] == b"application/json"
    assert headers.get(b"retry-after") == (b"7" if refusal.status == 503 else None)
    assert [request.uri for request in asked] == [b"/vendor-stream/secret?token=7"]


def test_an_admitted_peer_gets_its_websocket() -> None:
    status, _, _ = answer_of(Loopback(site(lambda request: None)), HANDSHAKE)
    assert status == b"HTTP/1.1 101 Switching Protocols"


def test_a_browser_that_only_looks_is_told_what_this_is() -> None:
    plain = b"GET /vendor-stream HTTP/1.1\r\nHost: here\r\n\r\n"
    status, headers, body = answer_of(Loopback(site()), plain)
    assert status.startswith(b"HTTP/1.1 426 Upgrade Required")
    assert headers[b"upgrade"] == b"websocket"
    assert json.loads(body)["error"]["code"] == "websocket_only"
    status, headers, _ = answer_of(Loopback(site()), plain.replace(b"GET", b"PUT"))
    assert status.startswith(b"HTTP/1.1 405 ")
    assert headers[b"allow"] == b"get"


# --- the lean poll ---


class Descriptor:
    """Something a reactor reads."""

    def __init__(self, bug: bool) -> None:
        self.end, self.other = socket.socketpair()
        self.bug = bug
        self.read = 0
        self.lost: list[Any] = []

    def fileno(self) -> int:
        return self.end.fileno()

    def doRead(self) -> None:
        self.read += len(self.end.recv(10))
        if self.bug:
            raise LookupError("bug in doRead")

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason.type)

    def logPrefix(self) -> str:
        return "descriptor"


def test_a_bug_in_one_descriptor_drops_only_that_one(failures: list[type]) -> None:
    reactor: Any = EPollReactor()
    assert install_lean_poll(reactor)
    bad, good = Descriptor(bug=True), Descriptor(bug=False)
    for descriptor in (bad, good):
        reactor.addReader(descriptor)
    for _ in range(2):
        bad.other.send(b"x")
        good.other.send(b"x")
        reactor.doIteration(0)
    assert (bad.read, bad.lost) == (1, [LookupError])
    assert (good.read, good.lost) == (2, [])
    assert failures == [LookupError]
    reactor.removeAll()
    for descriptor in (bad, good):
        descriptor.end.close()
        descriptor.other.close()
    for waker in (reactor.waker, reactor._childWaker):
        if waker is not None:
            waker.connectionLost(None)
    reactor._poller.close()


def test_other_reactors_keep_their_poll() -> None:
    assert not install_lean_poll(Clock())
