# mypy: disallow-untyped-calls=False
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver, StringTransport
from twisted.logger import globalLogPublisher
from twisted.web.resource import IResource, Resource

from voicemedia import __version__
from voicemedia.metrics import Metrics
from voicemedia.protocols.fast_websocket import FastWebSocketFactory, FastWebSocketProtocol
from voicemedia.protocols.status import LINGER_BYTES, World, make_site
from voicemedia.protocols.websocket_resource import FastWebSocketResource


class FakeSessions:
    def __init__(self) -> None:
        self.draining = False
        self.total = 5
        self.refused = 2
        self.ended_by = Counter(idle=1, too_long=1, caller_hung_up=1)
        self.total_by_route = Counter({"/vendor-stream": 4, "/twilio": 1})
        self.live = Counter({"/vendor-stream": 2})

    def __len__(self) -> int:
        return self.live.total()

    def live_by_route(self) -> Counter[str]:
        return self.live


class Peer:
    """A web server in memory, and one connection to it."""

    def __init__(self, streams: Mapping[str, IResource] | None = None) -> None:
        self.clock = Clock()
        self.sessions = FakeSessions()
        self.metrics = Metrics()
        self.troubles: dict[str, str] = {"agents.diet": ""}
        world = World(self.sessions, self.metrics, lambda: self.troubles)
        pages = {"/calls": Echo("calls")}
        self.site = make_site(streams or {}, world, self.clock, pages=pages, max_body_bytes=1000)
        self.connect()

    def connect(self) -> None:
        transport: Any = StringTransport()
        self.transport = transport
        self.channel: Any = self.site.buildProtocol(None)
        # A WebSocket takes a connection over by putting itself in this place.
        self.transport.protocol = self.channel
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        self.channel.dataReceived(data)
        return bytes(self.transport.value())

    def ask(self, path: str, method: str = "GET", head: str = "") -> tuple[int, dict[str, str], bytes]:
        self.connect()
        self.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode())
        return self.answer()

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        top, _, body = self.transport.value().partition(b"\r\n\r\n")
        status, *fields = top.decode().split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        return int(status.split()[1]), {name.lower(): value for name, value in headers.items()}, body

    def ask_json(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask(path)[2])
        return found


class Echo(Resource):
    """Says what was left of the path."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def render_GET(self, request: Any) -> bytes:
        return f"{self.name} {request.postpath}".encode()


WEBSOCKET = "Upgrade: WebSocket\r\nConnection: Upgrade\r\n"


def test_health_is_ok_when_everything_can_serve() -> None:
    peer = Peer()
    peer.clock.advance(2.5)
    status, headers, body = peer.ask("/health")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {
        "status": "ok",
        "version": __version__,
        "uptime_s": 2.5,
        "draining": False,
        "service": "voicemedia",
        "active_calls": 2,
        "active_sessions": 2,
        "streaming": {},
        "providers": {"agents.diet": {"available": True, "reason": ""}},
    }


def test_a_provider_in_trouble_degrades_health_and_says_why() -> None:
    peer = Peer()
    peer.troubles["stt.pocketsphinx"] = "pocketsphinx is not installed"
    health = peer.ask_json("/health")
    assert health["status"] == "degraded"
    away = {"available": False, "reason": "pocketsphinx is not installed"}
    assert health["providers"]["stt.pocketsphinx"] == away
    assert health["providers"]["pocketsphinx"] == away, "as a client of the streaming API names it"
    assert "diet" not in health["providers"]


def test_a_draining_server_tells_balancers_to_look_elsewhere() -> None:
    peer = Peer()
    peer.sessions.draining = True
    status, _, body = peer.ask("/health")
    assert (status, json.loads(body)["status"]) == (503, "draining")


def test_stats_count_sessions_routes_frames_and_errors() -> None:
    peer = Peer()
    peer.metrics.frames_in += 50
    peer.metrics.wire_error("smartflo", "bad_json")
    stats = peer.ask_json("/streaming/stats")
    assert (stats["active_sessions"], stats["total_sessions"], stats["expired_sessions"]) == (2, 5, 2)
    assert stats["routes"] == {
        "/vendor-stream": {"active": 2, "total": 4},
        "/twilio": {"active": 0, "total": 1},
    }
    assert stats["frames"]["in"] == 50
    assert stats["errors"] == {"smartflo": {"bad_json": 1}}


def test_metrics_are_prometheus_text() -> None:
    peer = Peer()
    peer.metrics.turns += 1
    status, headers, body = peer.ask("/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"voicemedia_turns_total 1.0" in body


@pytest.mark.parametrize("path", ["/", "/nothing", "/health/more", "/streaming", "/%ff", "/../health", "//health"])
def test_an_unknown_path_is_404_as_json(path: str) -> None:
    status, headers, body = Peer().ask(path)
    assert (status, headers["content-type"]) == (404, "application/json")
    assert json.loads(body)["error"]["code"] == "not_found"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_a_wrong_method_is_405_as_json_and_says_which_are_right(method: str) -> None:
    status, headers, body = Peer().ask("/health", method, "Content-Length: 0\r\n")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert json.loads(body)["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/health", "/metrics", "/nothing"])
def test_head_is_get_without_the_body(path: str) -> None:
    peer = Peer()
    status, headers, body = peer.ask(path)
    head_status, head_headers, head_body = peer.ask(path, "HEAD")
    assert (head_status, head_body) == (status, b"")
    assert head_headers.keys() == headers.keys()
    assert int(head_headers["content-length"]) == pytest.approx(len(body), abs=20)


@pytest.mark.parametrize("path", ["/health", "/nothing"])
def test_an_answer_is_secure_and_does_not_say_what_gave_it(path: str) -> None:
    _, headers, _ = Peer().ask(path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize(
    ("path", "reached"),
    [
        ("/vendor-stream", b"long []"),
        ("/vendor-stream/", b"long []"),
        ("/vendor-stream/hush", b"long [b'hush']"),
        ("/vendor-stream/hush%2Fhush?x=1", b"long [b'hush/hush']"),
        ("/vendor-stream/echo", b"echo []"),
        ("/vendor-stream/echo/hush", b"echo [b'hush']"),
        ("/vendor-stream/echoes", b"long [b'echoes']"),
    ],
)
def test_the_longest_stream_path_wins_and_the_rest_is_its_secret(path: str, reached: bytes) -> None:
    peer = Peer({"/vendor-stream": Echo("long"), "/vendor-stream/echo": Echo("echo")})
    status, _, body = peer.ask(path, head=WEBSOCKET)
    assert (status, body) == (200, reached)


def test_a_further_page_takes_what_is_below_it() -> None:
    assert Peer().ask("/calls/CA1/turns")[2] == b"calls [b'CA1', b'turns']"


def test_a_stream_refuses_those_who_speak_no_websocket() -> None:
    peer = Peer({"/vendor-stream": Echo("x")})
    status, headers, body = peer.ask("/vendor-stream")
    assert (status, headers["upgrade"]) == (426, "websocket")
    assert json.loads(body)["error"]["code"] == "websocket_only"
    status, headers, _ = peer.ask("/vendor-stream", "POST", "Content-Length: 0\r\n")
    assert (status, headers["allow"]) == (405, "GET")


def test_a_websocket_is_upgraded_below_a_stream_path() -> None:
    factory = FastWebSocketFactory(FastWebSocketProtocol, Clock())
    peer = Peer({"/vendor-stream": FastWebSocketResource(factory)})
    head = f"{WEBSOCKET}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    status, headers, _ = peer.ask("/vendor-stream/hush", head=head)
    assert (status, headers["sec-websocket-accept"]) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")


@pytest.mark.parametrize("announced", ["Content-Length: 1001\r\n", "Transfer-Encoding: chunked\r\n"])
def test_a_body_that_is_too_long_is_refused_before_it_is_kept(announced: str) -> None:
    peer = Peer()
    peer.send(f"POST /health HTTP/1.1\r\nHost: a\r\n{announced}\r\n".encode())
    if "chunked" in announced:
        for _ in range(3):
            peer.send(b"1f4\r\n" + b"x" * 500 + b"\r\n")
    status, _, body = peer.answer()
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_long")
    # Who sends everything before reading is let finish, or the answer would be lost with the connection.
    assert not peer.transport.disconnecting
    before = peer.transport.value()
    peer.send(b"1f4\r\n" + b"x" * 500 + b"\r\n0\r\n\r\n" if "chunked" in announced else b"x" * 1001)
    assert peer.transport.value() == before
    assert peer.transport.disconnecting


def test_a_body_without_end_is_not_waited_for() -> None:
    peer = Peer()
    peer.send(b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
    assert peer.answer()[0] == 413
    assert peer.transport.disconnecting
    peer.connect()
    peer.send(b"POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    for _ in range(LINGER_BYTES >> 20):
        peer.send(piece)
    assert not peer.transport.disconnecting
    peer.send(piece)
    assert peer.transport.disconnecting


def test_a_body_within_the_limit_is_taken() -> None:
    peer = Peer()
    peer.send(b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
    assert peer.answer()[0] == 405


def test_a_request_sent_byte_by_byte_gains_no_time() -> None:
    peer = Peer()
    for byte in b"GET /heal":
        peer.send(bytes([byte]))
        peer.clock.advance(1)
    assert not peer.transport.disconnecting
    peer.clock.advance(1)
    assert peer.transport.disconnecting


def test_a_second_request_on_the_connection_gets_its_own_time() -> None:
    peer = Peer()
    peer.clock.advance(9)
    peer.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
    peer.clock.advance(9)
    assert not peer.transport.disconnecting
    peer.send(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
    assert peer.transport.value().count(b"HTTP/1.1 ") == 2


def test_a_bug_is_500_as_json_and_in_the_log(caught: Callable[[type[Exception]], int]) -> None:
    peer = Peer()

    def bug() -> dict[str, str]:
        raise ZeroDivisionError

    peer.site = make_site({}, World(peer.sessions, peer.metrics, bug), peer.clock)
    status, _, body = peer.ask("/health")
    assert (status, json.loads(body)["error"]["code"]) == (500, "internal_error")
    assert caught(ZeroDivisionError) == 1


def test_no_request_is_logged_with_its_path() -> None:
    events = EventLoggingObserver()
    globalLogPublisher.addObserver(events)
    try:
        Peer().ask("/vendor-stream/hush")
    finally:
        globalLogPublisher.removeObserver(events)
    assert "hush" not in str(list(events))
