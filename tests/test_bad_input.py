"""Whatever a peer sends: it is counted under its own name, logged once, and no healthy call notices."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import json
import re
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.house import House
from tests.real_caller import MEDIA, PAYLOAD, SID, START, Wire
from tests.test_start import PATIENCE_S, TWISTD, Started
from tests.websocket_wires import CONTINUATION, TEXT, Frame, MemoryTransport

STOP = {"event": "stop", **SID, "stop": {}}

DURING: dict[str, tuple[str, object]] = {
    "nothing": ("not_json", ""),
    "no JSON": ("not_json", "hello"),
    "half of JSON": ("not_json", '{"event":"media","media":'),
    "JSON and more": ("not_json", '{"event":"mark"} {}'),
    "nesting without end": ("not_json", "[" * 100_000),
    "a list": ("not_object", "[]"),
    "a number": ("not_object", "17"),
    "null": ("not_object", "null"),
    "no event": ("no_event", {}),
    "an empty event": ("no_event", {"event": " "}),
    "an event that is a number": ("wrong_type", {"event": 7}),
    "an unknown event": ("unknown_event", {"event": "transfer", **SID}),
    "media without media": ("missing_field", {"event": "media", **SID}),
    "media without a payload": ("missing_field", {"event": "media", **SID, "media": {"chunk": 1}}),
    "media that is a list": ("wrong_type", {"event": "media", **SID, "media": []}),
    "a payload that is a number": ("wrong_type", {"event": "media", **SID, "media": {"payload": 5}}),
    "a chunk that is a word": ("wrong_type", {"event": "media", **SID, "media": {"payload": "", "chunk": "one"}}),
    "a chunk beyond all numbers": (
        "wrong_type",
        {"event": "media", **SID, "media": {"payload": "", "chunk": "9" * 99}},
    ),
    "base64 that is none": ("bad_base64", {"event": "media", **SID, "media": {"payload": "!!!!"}}),
    "base64 without its padding": ("bad_base64", {"event": "media", **SID, "media": {"payload": "/w"}}),
    "a letter beyond ASCII in base64": ("bad_base64", {"event": "media", **SID, "media": {"payload": "ÿÿÿÿ"}}),
    "media of another stream": ("unknown_stream", {**MEDIA, "streamSid": "S2"}),
    "a key that is none": ("bad_digit", {"event": "dtmf", **SID, "dtmf": {"digit": "E"}}),
    "a key of nothing": ("missing_field", {"event": "dtmf", **SID, "dtmf": {}}),
    "a mark never asked for": ("unknown_mark", {"event": "mark", **SID, "mark": {"name": "test_mark_1"}}),
    "a mark without a name": ("missing_field", {"event": "mark", **SID, "mark": {}}),
    "the same start again": ("duplicate_start", START),
    "a start without a stream": ("missing_field", {"event": "start", "start": {"callSid": "C"}}),
    "a start in a codec nobody knows": (
        "unsupported_encoding",
        {"event": "start", "start": {"streamSid": "S2", "mediaFormat": {"encoding": "opus"}}},
    ),
    "a start at a rate nobody knows": (
        "unsupported_rate",
        {"event": "start", "start": {"streamSid": "S2", "mediaFormat": {"sampleRate": 44_100}}},
    ),
    "a start with a name without end": ("name_too_long", {"event": "start", "start": {"streamSid": "S" * 9_999}}),
    "a stop of another stream": ("unknown_stream", {"event": "stop", "streamSid": "S2"}),
}
"What comes during a call: its kind, and the message."


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged of the peer's mistakes."""
    seen: list[str] = []

    @implementer(ILogObserver)
    def watch(event: LogEvent) -> None:
        if "kind" in event:
            seen.append(event["kind"])

    globalLogPublisher.addObserver(watch)
    yield seen
    globalLogPublisher.removeObserver(watch)


@pytest.mark.parametrize("what", DURING)
def test_a_bad_message_costs_nothing_but_itself(what: str, lines: list[str]) -> None:
    kind, message = DURING[what]
    house = House()
    peer = house.call()
    peer.talk(200)
    for _ in range(3):
        peer.text(message)
    peer.got()
    peer.talk(400)
    assert len(peer.heard()) // 160 in range(19, 22)
    assert house.server.metrics.frames_in == 30
    assert house.server.metrics.frames_concealed == 0
    assert house.counted()[f'wire_errors_total{{carrier="smartflo",kind="{kind}"}}'] == 3
    assert sum(house.wire_errors().values()) == 3
    assert lines == [kind]
    peer.stop()
    assert house.ended() == {"caller_hung_up": 1}


@pytest.mark.parametrize("kind", ["media", "dtmf", "mark", "stop"])
def test_what_comes_before_the_start_or_after_the_stop_is_no_call(kind: str, lines: list[str]) -> None:
    message: dict[str, Any] = {
        "event": kind, **SID, "media": {"payload": PAYLOAD}, "dtmf": {"digit": 1}, "mark": {"name": "s1"}, "stop": {}
    }  # fmt: skip
    house = House()
    peer = house.connect()
    for _ in range(3):
        peer.text(message)
    assert house.wire_errors() == {f"{kind}_before_start": 3}
    peer.text(START)
    peer.talk(100)
    peer.stop()
    for _ in range(3):
        peer.text(message)
    after = "duplicate_stop" if kind == "stop" else f"{kind}_after_stop"
    assert house.wire_errors() == {f"{kind}_before_start": 3, after: 3}
    assert lines == [f"{kind}_before_start", after]
    assert house.ended() == {"caller_hung_up": 1}


def test_half_a_sample_is_not_heard() -> None:
    house = House()
    peer = house.call(mediaFormat={"encoding": "audio/l16", "sampleRate": 16_000})
    peer.media(bytes(641))
    peer.media(bytes(640))
    assert house.wire_errors() == {"odd_length": 1}
    assert house.server.metrics.frames_in == 1


def test_a_socket_that_never_starts_is_counted_when_it_is_closed() -> None:
    house = House()
    peer = house.connect()
    house.pass_ms(62_000, 50)
    assert peer.gone()
    assert house.wire_errors() == {"no_start": 1}
    assert house.ended() == {}


BROKEN: dict[str, tuple[int, list[Frame]]] = {
    "half a UTF-8 sequence": (1007, [Frame(TEXT, b'{"event":"m\xc3"}')]),
    "a message that ends inside a letter": (1007, [Frame(TEXT, '{"event":"é'.encode()[:-1])]),
    "a message of 10 MB": (1009, [Frame(TEXT, b" " * 10_000_000)]),
    "fragments of 10 MB": (
        1009,
        [Frame(TEXT, b" " * 500_000, fin=False), *[Frame(CONTINUATION, b" " * 500_000, fin=False)] * 19],
    ),
    "an unmasked frame": (1002, [Frame(TEXT, b"{}", mask=None)]),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_websocket_is_closed_with_its_code_and_others_are_unharmed(what: str) -> None:
    code, frames = BROKEN[what]
    house = House()
    other, peer = house.call(sid="S2"), house.call()
    peer.look()
    for frame in frames:
        peer.raw(bytes(frame))
    assert peer.close_code() == code
    other.got()
    other.talk(200)
    assert len(other.heard()) // 160 in range(9, 12)
    peer.lose()
    assert house.ended() == {"peer_broke_protocol": 1}
    assert house.wire_errors() == {f"websocket_{code}": 1}


def test_a_connection_that_never_becomes_a_request_is_closed_and_counted() -> None:
    house = House()
    site: Any = house.site
    channel, transport = site.buildProtocol(None), MemoryTransport()
    channel.makeConnection(transport)
    channel.dataReceived(b"GET /echo HTTP/1.1\r\nHost: ")
    house.pass_ms(9_000, 100)
    assert house.wire_errors() == {}
    house.pass_ms(1_500, 100)
    assert transport.disconnecting
    assert house.counted()['wire_errors_total{carrier="http",kind="request_timeout"}'] == 1


def test_a_message_that_is_never_finished_is_ended_by_ping() -> None:
    house = House()
    peer = house.call()
    peer.raw(bytes(Frame(TEXT, b" " * 1_000))[:500])
    peer.alive = False
    house.pass_ms(65_000, 50)
    assert peer.gone()
    assert house.ended() == {"peer_vanished": 1}


# --- the real process ---


class Server:
    """The real server, and one healthy call on it that is asked again and again."""

    def __init__(self, started: Started) -> None:
        self.started, self.port = started, started.port()
        self.healthy = Wire(self.port)
        self.healthy.send(START)
        self.healthy.echo()

    def memory_kb(self) -> int:
        status = Path(f"/proc/{self.started.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1])

    def metrics(self) -> dict[str, float]:
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE_S) as answer:
            pairs = [line.rpartition(" ") for line in answer.read().decode().splitlines() if line.startswith("voice")]
        return {name.removeprefix("voicemedia_"): float(value) for name, _, value in pairs}

    def errors(self, kind: str, carrier: str = "smartflo") -> float:
        return self.metrics().get(f'wire_errors_total{{carrier="{carrier}",kind="{kind}"}}', 0)

    def wait_for(self, name: str, value: float) -> None:
        """Ask until a number is reached; the healthy call goes on meanwhile."""
        until = time.monotonic() + PATIENCE_S
        while self.metrics().get(name, 0) < value:
            assert time.monotonic() < until, (name, self.metrics().get(name))
            self.healthy.echo()

    def call(self, number: int) -> Wire:
        wire = Wire(self.port)
        wire.send({**START, "start": {**SID, "callSid": f"C{number}"}})
        return wire


CONFIG = """
[server]
port = 0
handshake_timeout_s = 1
[grpc]
enabled = false
[[routes]]
path = "/echo"
agent = "echo"
stt = "none"
tts = "none"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "voicemedia.toml").write_text(CONFIG)
    with Started(Path(sys.executable), (*TWISTD, "-n", "voicemedia", "--config", "voicemedia.toml"), folder) as started:
        server = Server(started)
        with server.healthy:
            yield server


FLOODS = {
    "empty objects": ("no_event", b"{}"),
    "nothing": ("not_json", b""),
    "marks never asked for": ("unknown_mark", json.dumps({"event": "mark", "mark": {"name": "x"}}).encode()),
    "single samples": ("", b'{"event":"media","media":{"payload":"/w=="}}'),
    "whole frames, far too fast": ("media_too_fast", json.dumps(MEDIA).encode()),
}
TINY = 100_000


@pytest.mark.parametrize("what", FLOODS)
def test_a_hundred_thousand_tiny_messages_neither_fill_memory_nor_end_a_call(server: Server, what: str) -> None:
    kind, payload = FLOODS[what]
    before_kb, known = server.memory_kb(), server.errors(kind)
    with server.call(1) as flood:
        octets = bytes(Frame(TEXT, payload)) * (TINY // 20)
        for _ in range(20):
            flood.socket.sendall(octets)
            # Read what is echoed, so that only the flood counts.
            while select.select([flood.socket], [], [], 0)[0]:
                flood.socket.recv(1 << 20)
            server.healthy.echo()
        if kind:
            expected = TINY if kind != "media_too_fast" else TINY - 4_000
            server.wait_for(f'wire_errors_total{{carrier="smartflo",kind="{kind}"}}', known + expected)
        grown_kb = server.memory_kb() - before_kb
        server.healthy.echo()
        flood.send(STOP)
    assert grown_kb < 12_000


def test_a_message_of_10_mb_is_answered_with_1009(server: Server) -> None:
    before_kb, known = server.memory_kb(), server.errors("websocket_1009")
    with server.call(2) as wire:
        # It does not wait for the end.
        with suppress(BrokenPipeError, ConnectionResetError):
            wire.socket.sendall(bytes(Frame(TEXT, b" " * 10_000_000)))
        server.healthy.echo()
        server.wait_for('wire_errors_total{carrier="smartflo",kind="websocket_1009"}', known + 1)
    assert server.memory_kb() - before_kb < 12_000


def test_half_a_utf8_sequence_is_answered_with_1007(server: Server) -> None:
    with server.call(3) as wire:
        wire.socket.sendall(bytes(Frame(TEXT, b'{"event":"\xc3')))
        assert wire.close_code() == 1007
    server.wait_for('wire_errors_total{carrier="smartflo",kind="websocket_1007"}', 1)
    server.healthy.echo()


def test_sockets_that_die_without_a_word_give_their_places_back(server: Server) -> None:
    ended = 'calls_ended_total{reason="peer_vanished"}'
    known = server.metrics().get(ended, 0)
    for number in range(50):
        wire = server.call(number)
        wire.echo()
        # A reset instead of an end.
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.socket.close()
    server.wait_for(ended, known + 50)
    assert server.metrics()['calls_active{route="/echo"}'] == 1


def test_a_handshake_that_never_completes_is_closed_after_its_time(server: Server) -> None:
    known = server.errors("request_timeout", "http")
    halves = [b"", b"G", b"GET /echo HTTP/1.1\r\n", b"GET /echo HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n"]
    sockets = [socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) for _ in halves]
    for half, end in zip(halves, sockets, strict=True):
        end.sendall(half)
    server.healthy.echo()
    for end in sockets:
        with end:
            assert end.recv(1_000) == b""
    assert server.errors("request_timeout", "http") == known + len(halves)


def test_after_all_that_the_healthy_call_is_on_and_the_log_is_short(server: Server) -> None:
    for _ in range(10):
        server.healthy.echo()
    server.healthy.send(STOP)
    server.healthy.socket.close()
    server.started.stop()
    seen: set[tuple[str, str]] = set()
    for line in server.started.lines:
        if "kind" in line:
            pair = line["call"], line["kind"]
            assert pair not in seen
            seen.add(pair)
    assert {kind for _, kind in seen} >= {kind for kind, _ in FLOODS.values() if kind}
    assert not [line for line in server.started.lines if line["level"] in ("error", "critical")]
