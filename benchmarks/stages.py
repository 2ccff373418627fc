"""What does each stage of a frame's way through the server cost?

    python -m benchmarks.stages

Each stage alone, in memory, best of many rounds: everything is in the processor's caches, which flatters. In the
server, where frames come one at a time, the same work takes about twice as long.
"""

import os
import socket
import timeit
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final

from twisted.internet import reactor as any_reactor

from voicemedia.audio.conceal import Concealer
from voicemedia.audio.frames import Framer
from voicemedia.audio.g711 import decode_mulaw, encode_mulaw
from voicemedia.audio.jitter import JitterBuffer
from voicemedia.audio.media_clock import MediaClock
from voicemedia.audio.playout import Playout
from voicemedia.audio.voice import Endpointer, make_detector
from voicemedia.callers.dialect import new_identity
from voicemedia.callers.smartflo import Smartflo
from voicemedia.protocols.fast_websocket import WHOLE_TEXT, install_lean_poll, unmask, whole_frame
from voicemedia.protocols.media_stream_session_wire import MediaStreamSession
from voicemedia.protocols.smartflo_wire import SMARTFLO

RATE_HZ: Final = 8000
FRAMES_PER_S: Final = 50
ROUNDS, TIMES = 9, 10_000

Stage = tuple[str, Callable[[], Any]]
"What it is, and 20 ms of it."


def wire_stages() -> Iterator[Stage]:
    """Unmask, read and write the carrier's messages."""
    caller, session = Smartflo(new_identity()), MediaStreamSession(SMARTFLO)
    session.receive(caller.start(1))
    writer = session.writer
    assert writer is not None
    sound, mask = os.urandom(160), os.urandom(4)
    text = caller.media(3, 1, 0, sound).encode()
    yield "unmask", lambda: unmask(text, mask)
    yield "read JSON and base64, check the stream", lambda: session.receive(text)
    yield "write JSON and base64", lambda: writer.media(sound)
    yield "write the frame's header", lambda: whole_frame(WHOLE_TEXT, text)


def sound_stages() -> Iterator[Stage]:
    """Order, decode, listen, play, encode."""
    sound = os.urandom(160)
    pcm = decode_mulaw(sound)
    clock, jitter, playout = MediaClock(RATE_HZ), JitterBuffer(RATE_HZ), Playout(len(pcm), 200)
    concealer, framer, packets, frames = Concealer(RATE_HZ), Framer(RATE_HZ), count(), count()
    endpointer = Endpointer(make_detector("webrtc", RATE_HZ))

    def order() -> object:
        number = next(packets)
        return jitter.put(clock.position(160, number, number * 20), 160, sound, number * 20)

    def play() -> object:
        now_ms = next(frames) * 20
        playout.put(pcm, now_ms)
        return playout.due(now_ms)

    yield "media clock and jitter buffer", order
    yield "decode", lambda: decode_mulaw(sound)
    yield "remember for concealment, cut into frames", lambda: framer.feed(concealer.good(pcm))
    yield "voice detection and endpointing", lambda: endpointer.hear(pcm)
    yield "playout, in and out", play
    yield "encode", lambda: encode_mulaw(pcm)


def reactor_stages() -> Iterator[Stage]:
    """Be woken, receive, send."""
    reactor: Any = any_reactor
    install_lean_poll(reactor)
    reactor.callLater(3600, lambda: None)
    listener = socket.create_server(("127.0.0.1", 0))
    peer = socket.create_connection(listener.getsockname())
    ours, _ = listener.accept()
    for end in (peer, ours):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    octets = bytes(350)

    def turn() -> None:
        reactor.runUntilCurrent()
        reactor.timeout()
        reactor.doIteration(0)

    def send_and_receive() -> None:
        ours.send(octets)
        peer.recv(65_536)

    yield "a turn of the reactor with nothing to do", turn
    yield "kernel: one send and one receive", send_and_receive


def best_us(work: Callable[[], object]) -> float:
    """Time it, at its best."""
    return min(timeit.repeat(work, number=TIMES, repeat=ROUNDS)) / TIMES * 1e6


def main() -> None:
    print("| stage | us per frame | ms per call-second |\n|---|---|---|")
    total_us = 0.0
    for stages in (wire_stages(), sound_stages(), reactor_stages()):
        for what, work in stages:
            took_us = best_us(work)
            total_us += took_us
            print(f"| {what} | {took_us:.2f} | {took_us * FRAMES_PER_S / 1000:.3f} |")
    print(f"| all | {total_us:.1f} | {total_us * FRAMES_PER_S / 1000:.2f} |")


if __name__ == "__main__":
    main()
