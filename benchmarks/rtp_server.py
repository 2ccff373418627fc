"""The server of `benchmarks.rtp`: the legs of so many SIP calls without their signalling, in a process of its own.

Prints the ports of the legs, and serves until its standard input is closed.
"""

import argparse
import json
import os
import socket
import sys
from collections import deque
from functools import partial
from typing import Any

from twisted.internet import reactor as twisted_reactor
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO

from voicemedia.config import Config, Grpc, History, Limits, Server, Sip, Trunk
from voicemedia.interfaces import Caller, Goodbye
from voicemedia.protocols.fast_websocket import tune_garbage_collector
from voicemedia.service import MediaServer
from voicemedia.sip_bridge.codec_wire import CODECS
from voicemedia.sip_bridge.crypto_wire import SUITES, Crypto
from voicemedia.sip_bridge.offer_wire import Agreement
from voicemedia.sip_bridge.rtp_leg import RtpLeg

reactor: Any = twisted_reactor
SUITE = "AES_CM_128_HMAC_SHA1_80"
AHEAD = 3
"Frames it waits for, to be ahead of its time as a voice is: one of them is always with the leg already."
KEY = bytes(range(SUITES[SUITE]))


class Mirror:
    """Plays what it hears, a frame in each tick: the media path and nothing else."""

    __slots__ = ("_begun", "_frames", "_leg")

    def __init__(self, leg: RtpLeg) -> None:
        self._leg = leg
        self._frames: deque[bytes] = deque(maxlen=2 * AHEAD)
        self._begun = False

    def hear(self, pcm: bytes, concealed: bool) -> None:
        self._frames.append(pcm)

    def tick(self, now_ms: int) -> None:
        # As a call does it: first what is to be said, then the leg.
        if not self._begun and len(self._frames) >= AHEAD:
            self._begun = True
            self._leg.play(self._frames.popleft())
        if self._begun and self._frames:
            self._leg.play(self._frames.popleft())
        self._leg.tick(now_ms)

    def sweep(self, now_ms: int) -> None: ...
    def digit(self, key: str) -> None: ...
    def said(self, text: str) -> None: ...
    def marked(self, number: int) -> None: ...
    def gone(self, why: Goodbye) -> None: ...


def send_back(udp: socket.socket, datagram: bytes, source: tuple[Any, ...], now_ms: int) -> None:
    """Do what the kernel and an interpreter cannot do without."""
    udp.sendto(datagram, source)


class Input(Protocol):
    """Ends the process with its standard input."""

    def connectionLost(self, reason: object = None) -> None:
        reactor.stop()


def agreement(peer: int, port: int, *, srtp: bool) -> Agreement:
    """Make what a call agrees on."""
    pcma = CODECS["pcma"]
    key = Crypto(1, SUITE, KEY) if srtp else None
    rtcp = ("127.0.0.1", peer)
    return Agreement(
        "127.0.0.1", peer, rtcp, pcma, 8, ((8, pcma),), (101, 8000), ((101, 8000),), 20, protect=key, unprotect=key
    )


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--peer", type=int, required=True, help="port everything comes from and goes to")
    parser.add_argument("--srtp", action="store_true")
    parser.add_argument("--bare", action="store_true", help="no legs: what comes goes back, read by the same hub")
    parser.add_argument("--agent", action="store_true", help="whole calls: voice detection and the agent echo")
    parser.add_argument("--core", type=int)
    args = parser.parse_args()
    if args.core is not None:
        os.sched_setaffinity(0, {args.core})
    config = Config(
        server=Server(port=0),
        limits=Limits(max_calls=100_000),
        grpc=Grpc(enabled=False),
        history=History(enabled=False),
        routes=(),
        sip=Sip(enabled=True, port=0, rtp_first_port=0),
        trunks=(Trunk("bench", agent="echo", stt="none", tts="none"),),
    )
    server = MediaServer(config, reactor)
    server.startService()
    assert server.sip is not None
    desk = server.sip.lines[0].calls.desk
    ports = []
    for number in range(args.streams):
        pair = desk.room.ports.lend("127.0.0.1")
        ports.append(pair.port)
        if args.bare:
            desk.room.hub.add(pair.rtp, partial(send_back, pair.rtp))
            continue
        caller = Caller(f"call-{number}", "sip", 8000, desk.route)
        leg = RtpLeg(caller, pair, desk.room, lambda host: True, lambda why: None)
        leg.agree(agreement(args.peer, pair.port, srtp=args.srtp))
        if args.agent:
            leg.begin(desk.answer(leg))
        else:
            mirror = Mirror(leg)
            leg.begin(mirror)
            desk.join(mirror)
    tune_garbage_collector()
    print(json.dumps(ports), flush=True)
    StandardIO(Input())
    reactor.run()


if __name__ == "__main__":
    sys.exit(main())
