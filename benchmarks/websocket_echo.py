"""What does each trick of `voicemedia.protocols.fast_websocket` gain? An echo server of Smartflo media tells.

    python benchmarks/websocket_echo.py [--calls 100] [--seconds 5] [--runs 3] [VARIANT ...]

100 connections send 50 media events a second; the server decodes the JSON and the base64, encodes both anew and sends
them back. Server and load have a core each. The figure is the server's CPU time (user and system) per call-second.
"""

import argparse
import base64
import json
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.web.server import Site

from voicemedia.protocols import fast_websocket
from voicemedia.protocols.fast_websocket import FastWebSocketFactory, FastWebSocketProtocol

SLOTS = 20
"Of 1 ms each: the calls do not all send at the same moment."


class Media(msgspec.Struct):
    payload: bytes
    chunk: int
    timestamp: str


class Event(msgspec.Struct, rename="camel"):
    event: str
    sequence_number: str
    stream_sid: str
    media: Media


decode = msgspec.json.Decoder(Event).decode
encode = msgspec.json.Encoder().encode


def echo(payload: bytes) -> bytes:
    return encode(decode(payload))


class Stock(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(echo(payload), False)


class Direct(FastWebSocketProtocol):
    """Whole frames are parsed directly; the rest is Autobahn's."""

    def text_received(self, payload: bytes) -> None:
        self.sendMessage(echo(payload), False)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        WebSocketServerProtocol.sendData(self, data, sync, chopsize)


class OwnHeader(FastWebSocketProtocol):
    def connectionMade(self) -> None:
        super().connectionMade()
        self._socket = None

    def text_received(self, payload: bytes) -> None:
        self.send_text(echo(payload))


class EarlySend(FastWebSocketProtocol):
    def text_received(self, payload: bytes) -> None:
        self.send_text(echo(payload))


def nvx_unmask(payload: bytes, mask: bytes) -> bytes:
    from autobahn.websocket.xormasker import create_xor_masker

    return create_xor_masker(mask, len(payload)).process(payload)


def c_unmask(payload: bytes, mask: bytes) -> bytes:
    from websockets.speedups import apply_mask

    return apply_mask(payload, mask)


VARIANTS: dict[str, tuple[str, type[WebSocketServerProtocol], set[str]]] = {
    "stock": ("Autobahn as it comes", Stock, set()),
    "direct": ("+ whole frames parsed directly, no debug formatting", Direct, set()),
    "header": ("+ own header and transport.write", OwnHeader, set()),
    "send": ("+ socket.send at once", EarlySend, set()),
    "poll": ("+ lean poll", EarlySend, {"poll"}),
    "all": ("+ tuned garbage collector", EarlySend, {"poll", "gc"}),
    "nvx": ("all, but unmasked by NVX", EarlySend, {"poll", "gc", "nvx"}),
    "websockets": ("all, but unmasked by websockets.speedups", EarlySend, {"poll", "gc", "websockets"}),
}


def serve(variant: str) -> None:
    """Be the server; says its port on standard output."""
    os.sched_setaffinity(0, {0})
    from twisted.internet import reactor

    _, build, tricks = VARIANTS[variant]
    if "poll" in tricks:
        assert fast_websocket.install_lean_poll(reactor)
    if "nvx" in tricks:
        fast_websocket.unmask = nvx_unmask
    if "websockets" in tricks:
        fast_websocket.unmask = c_unmask
    if issubclass(build, FastWebSocketProtocol):
        factory: Any = FastWebSocketFactory(build, reactor)
    else:
        factory = WebSocketServerFactory(reactor=reactor)
        factory.protocol = build
    any_reactor: Any = reactor
    port = any_reactor.listenTCP(0, Site(WebSocketResource(factory)), backlog=1024, interface="127.0.0.1")
    if "gc" in tricks:
        any_reactor.callLater(1, fast_websocket.tune_garbage_collector)
    print(port.getHost().port, flush=True)
    any_reactor.run()


def media_frames(call: int) -> list[bytes]:
    """Make a second of masked frames, as a carrier sends them."""
    frames = []
    for number in range(50):
        event = {
            "event": "media",
            "sequenceNumber": f"{number + 1000}",
            "streamSid": f"MZ{call:032x}",
            "media": {
                "payload": base64.b64encode(os.urandom(160)).decode(),
                "chunk": number + 1000,
                "timestamp": f"{20 * number + 10_000}",
            },
        }
        payload, mask = json.dumps(event, separators=(",", ":")).encode(), os.urandom(4)
        header = struct.pack("!BBH", 0x81, 0x80 | 126, len(payload)) + mask
        frames.append(header + fast_websocket.unmask(payload, mask))
    return frames


def connect(port: int) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port))
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.sendall(
        b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += peer.recv(4096)
    assert b" 101 " in answer, answer
    return peer


def cpu_seconds(pid: int) -> float:
    """Read what the process has used, user and system, to the nanosecond."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def slots(seconds: float) -> Iterator[int]:
    """Give the number of each millisecond when it has come, late ones at once."""
    start = time.monotonic()
    for number in range(int(seconds * 1000)):
        wait = start + number / 1000 - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        yield number


def load(port: int, pid: int, calls: int, seconds: float) -> dict[str, float]:
    """Be all the callers; give back what the server used and how much came back."""
    os.sched_setaffinity(0, {1})
    peers = [connect(port) for _ in range(calls)]
    frames = [media_frames(call) for call in range(calls)]
    poll = select.epoll()
    by_descriptor = {}
    for peer in peers:
        peer.setblocking(False)
        poll.register(peer, select.EPOLLIN)
        by_descriptor[peer.fileno()] = peer
    warm_up, sent, received, used = 1500, 0, 0, 0.0
    begin = 0.0
    for number in slots(seconds + warm_up / 1000):
        if number == warm_up:
            used, begin = cpu_seconds(pid), time.monotonic()
        round_number = number // SLOTS % 50
        for call in range(number % SLOTS, calls, SLOTS):
            sent += peers[call].send(frames[call][round_number])
        for descriptor, _ in poll.poll(0):
            received += len(by_descriptor[descriptor].recv(65_536))
    used, lasted = cpu_seconds(pid) - used, time.monotonic() - begin
    # The client's mask of 4 bytes is all that does not come back.
    missing = sent - received - sent // len(frames[0][0]) * 4
    return {"ms": 1000 * used / (calls * lasted), "frames_under_way": missing / len(frames[0][0])}


def run(variant: str, calls: int, seconds: float) -> dict[str, float]:
    this = [sys.executable, __file__]
    with subprocess.Popen([*this, "--serve", variant], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            told = [*this, "--load", port, "--pid", str(server.pid), "--calls", str(calls), "--seconds", str(seconds)]
            result: dict[str, float] = json.loads(
                subprocess.run(told, capture_output=True, check=True, text=True).stdout
            )
            return result
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pid", type=int, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.serve:
        serve(told.serve)
    elif told.load:
        print(json.dumps(load(told.load, told.pid, told.calls, told.seconds)))
    else:
        report(told)


def report(told: argparse.Namespace) -> None:
    """Measure the variants in turn, run by run, so that a noisy minute hits all of them alike."""
    figures: dict[str, list[float]] = {variant: [] for variant in told.variants}
    for _ in range(told.runs):
        for variant in told.variants:
            figures[variant].append(run(variant, told.calls, told.seconds)["ms"])
    print("ms per call-second  (all runs)")
    for variant, all_runs in figures.items():
        runs = " ".join(f"{ms:.2f}" for ms in sorted(all_runs))
        print(f"{statistics.median(all_runs):6.2f}  {variant:11}{VARIANTS[variant][0]:55}({runs})")


if __name__ == "__main__":
    main()
