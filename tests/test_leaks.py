"""Nothing is left of a call that is over."""

import gc
from collections import Counter
from random import Random
from typing import Any

from twisted.logger import globalLogBeginner

from tests.house import ECHO, TWILIO, House, Peer
from tests.websocket_wires import Frame
from voicemedia.call import Call
from voicemedia.config import Limits, Route
from voicemedia.guards import GuardedConversation
from voicemedia.interfaces import Goodbye
from voicemedia.protocols.media_stream import MediaStreamLeg, MediaStreamSocket
from voicemedia.reply import Reply
from voicemedia.speaker import Speaker
from voicemedia.switchboard import Live

LIVING = (Call, Live, MediaStreamLeg, MediaStreamSocket, Reply, Speaker, GuardedConversation)
TALK = Route("/talk", agent="tests.faulty_provider", stt="tests.faulty_provider", tts="none")


def alive() -> Counter[str]:
    # Twisted keeps all that is logged, and so whoever logged, until logging has begun; in a server it has.
    buffered: Any = globalLogBeginner._initialBuffer
    buffered._buffer.clear()
    gc.collect()
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, LIVING))


def stop(peer: Peer) -> None:
    peer.stop()
    peer.lose()


def another_start(peer: Peer) -> None:
    peer.start(f"{peer.sid}-again")
    peer.lose()


def close_frame(peer: Peer) -> None:
    peer.raw(bytes(Frame(8, b"\x03\xe8")))


def broken_frame(peer: Peer) -> None:
    peer.raw(bytes(Frame(3, b"?")))


def broken_text(peer: Peer) -> None:
    peer.raw(bytes(Frame(1, b"\xff")))


def we_hang_up(peer: Peer) -> None:
    for call in peer.house.server.switchboard:
        if call.caller.stream_id == peer.sid:
            call.leg.hang_up(Goodbye.AGENT_HUNG_UP)


def behind_a_hole(peer: Peer) -> None:
    peer.media(chunk=40)
    peer.lose()


def mute(peer: Peer) -> None:
    peer.alive = False
    we_hang_up(peer)


WAYS = (stop, another_start, close_frame, broken_frame, broken_text, we_hang_up, behind_a_hole, mute, Peer.lose)


def test_five_hundred_calls_that_ended_in_every_way_leave_nothing_behind() -> None:
    before, random = alive(), Random(5)
    house = House(ECHO, TWILIO, TALK, limits=Limits(idle_s=30))
    for number in range(500):
        path = ("/echo", "/twilio", "/talk")[number % 3]
        peer = house.call(path, f"S{number}")
        for _ in range(random.randrange(4)):
            peer.media()
        house.pass_ms(random.choice((0, 20)))
        WAYS[number % len(WAYS)](peer)
    del peer
    house.pass_ms(10_000, 50)
    switchboard = house.server.switchboard
    assert switchboard.total == 500 + sum(number % len(WAYS) == 1 for number in range(500))
    assert sum(house.ended().values()) == switchboard.total
    assert len(switchboard) == 0
    assert sum(switchboard._held.values()) == 0
    assert house.server._sockets == {}
    assert house.peers == []
    # Only the sweep of the house itself is still to come.
    assert len(house.reactor.getDelayedCalls()) == 1
    assert alive() - before == Counter()
