"""Sessions opened and dropped in every way leave nothing behind."""
# mypy: disallow-untyped-calls=False

import gc
from collections import Counter
from collections.abc import Callable
from typing import Final

from twisted.internet.testing import MemoryReactorClock

from tests.fake_stream import SECOND, FakeService
from tests.fakes import FakeRecognizer
from tests.loopback import Loopback
from tests.test_status import FakeSessions
from tests.test_stt_stream import Client
from tests.websocket_wires import BINARY, HANDSHAKE, Frame, close, text
from voicemedia.config import Config, Stream
from voicemedia.metrics import Metrics
from voicemedia.protocols.fast_websocket import WebSocketLimits
from voicemedia.protocols.status import World, make_site
from voicemedia.protocols.stt_stream import StreamSocket
from voicemedia.recognizers import Recognizers
from voicemedia.speech_service import SpeechService
from voicemedia.transcribing.ear import Ear
from voicemedia.transcribing.session import Session

COUNT: Final = 1000


def end(client: Client) -> None:
    client.send({"type": "end"})
    client.api.ear.say("the end")
    client.lose()


def leave_before_the_final(client: Client) -> None:
    client.send({"type": "end"})
    client.lose()


def close_cleanly(client: Client) -> None:
    client.served.receive(close(1000))
    client.lose()


def break_the_protocol(client: Client) -> None:
    client.served.receive(b"\xff\xff")
    client.lose()


def resume_and_leave(client: Client) -> None:
    client.lose()
    Client(client.api, session_id=client.session_id).lose()


def be_taken_over(client: Client) -> None:
    Client(client.api, session_id=client.session_id).lose()
    client.lose()


def fail(client: Client) -> None:
    client.api.ear.fail(retryable=False)
    client.lose()


def flood(client: Client) -> None:
    for _ in range(4):
        client.send(SECOND)
    client.lose()


WAYS: Final[list[Callable[[Client], None]]] = [
    Client.lose,
    end,
    leave_before_the_final,
    close_cleanly,
    break_the_protocol,
    resume_and_leave,
    be_taken_over,
    fail,
    flood,
]


def living() -> Counter[str]:
    gc.collect()
    kinds = (Session, StreamSocket, Ear)
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))


def test_a_thousand_sessions_dropped_in_every_way_leave_nothing_behind() -> None:
    before = living()
    api = FakeService(max_sessions=COUNT, max_ahead_s=2)
    for number in range(COUNT):
        client = Client(api)
        client.send(SECOND)
        WAYS[number % len(WAYS)](client)
        assert client.sockets == {}
    assert api.sessions.total == COUNT
    api.wait(31)
    assert len(api.sessions) == 0
    counts = api.sessions.read()
    assert counts["active_sessions"] == 0
    assert sum(api.sessions.ended_by.values()) == COUNT
    assert set(api.sessions.ended_by) == {"abandoned", "ended", "failed"}
    assert api.clock.getDelayedCalls() == []
    del client
    api.ear.hearing = None
    # What tests before have left may have gone meanwhile.
    assert living() <= before


def test_a_session_leaves_nothing_for_the_garbage_collector() -> None:
    reactor = MemoryReactorClock()
    recognizers = Recognizers({("stt", "fake"): FakeRecognizer()}, reactor)
    config = Config(stream=Stream(resume_s=1, final_s=1))
    speech = SpeechService(config, reactor, lambda: int(reactor.seconds() * 1000), recognizers, dict)
    world = World(FakeSessions(), Metrics(), dict)
    site = make_site(speech.streams(WebSocketLimits(), Metrics()), world, reactor)

    def visit(last: bytes) -> None:
        line = Loopback(site, reactor=reactor)
        line.send(HANDSHAKE.replace(b"/vendor-stream/secret?token=7", b"/stt/stream"))
        line.send(bytes(Frame(BINARY, SECOND)))
        line.send(last)
        line.close()
        for _ in range(5):
            reactor.advance(1)
            speech.sweep()
        assert len(speech.sessions) == 0

    # In good order, without a word, in the middle of a frame, and by breaking the protocol.
    lasts = (text('{"type":"end"}'), close(1000), b"", bytes(Frame(BINARY, SECOND))[:100], b"\xff\xff")
    for last in (text('{"type":"finalize"}'), *lasts):
        visit(last)
    gc.collect()
    # What tests before have left, and lets go now, is not ours.
    gc.freeze()
    gc.disable()
    try:
        for last in lasts:
            visit(last)
            assert gc.collect() == 0, last
    finally:
        gc.unfreeze()
        gc.enable()
