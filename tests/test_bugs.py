"""A bug of an agent or a recognizer costs its own call, at most, and is seen in the log."""

from collections.abc import Callable

import pytest

from tests.faulty_provider import Bug
from tests.house import ECHO, House, Peer
from tests.loudness import LOUD
from voicemedia.config import Route

AGENT = ("converse", "greet", "reply", "heard", "overhear", "over")
RECOGNIZER = ("listen", "feed", "onset", "endpoint", "expect", "close")
APOLOGIZED = ("greet", "reply")
"An answer that fails is not the end of the call."


def house_with(fails: str) -> House:
    faulty = {"faulty": {"provider": "tests.faulty_provider", "fails": fails}}
    return House(ECHO, Route("/faulty", agent="faulty", stt="faulty", tts="none"), agents=faulty, stt=faulty)


def converse(peer: Peer) -> None:
    """Speak, be answered, press a key, and hang up, with everything a call can meet."""
    peer.talk(600)
    peer.talk(600, LOUD)
    peer.talk(1_500)
    peer.event("dtmf", {"digit": "1"})
    peer.talk(1_000)
    peer.stop()
    peer.house.pass_ms(4_000)


@pytest.mark.parametrize("fails", AGENT + RECOGNIZER)
def test_a_bug_in_any_method_costs_at_most_its_own_call(fails: str, caught: Callable[[type[Exception]], int]) -> None:
    house = house_with(fails)
    other = house.call("/echo", "other")
    converse(house.call("/faulty", "lost"))
    # `converse` lets only its own peer talk: the other one shows now that it is there.
    other.got()
    other.talk(400)
    assert len(other.heard()) >= 160 * 15
    assert len(house.server.switchboard) == 1
    if fails in APOLOGIZED:
        assert caught(Bug) >= 1
        assert house.ended() == {"caller_hung_up": 1}
    else:
        assert caught(Bug) == 1, "logged once, however often it happens"
        assert sum(house.ended().values()) == 1
        assert ("failed" in house.ended()) == (fails not in ("over", "close"))
    other.lose()
    assert len(house.server.switchboard) == 0
    assert sum(house.server.switchboard._held.values()) == len(house.server._sockets)


def test_without_a_bug_the_same_conversation_ends_as_it_should() -> None:
    house = house_with("nothing")
    converse(house.call("/faulty"))
    assert house.ended() == {"caller_hung_up": 1}
    assert house.server.metrics.turns >= 2


def test_a_call_lost_to_a_bug_is_closed_with_a_goodbye(caught: Callable[[type[Exception]], int]) -> None:
    house = house_with("overhear")
    peer = house.call("/faulty")
    peer.media()
    assert peer.close_code() == 1000
    assert caught(Bug) == 1


def test_a_call_that_could_not_even_begin_is_counted(caught: Callable[[type[Exception]], int]) -> None:
    house = house_with("converse")
    peer = house.call("/faulty")
    peer.media()
    peer.event("dtmf", {"digit": "1"})
    house.pass_ms(100)
    assert house.ended() == {"failed": 1}
    assert house.get("/streaming/stats")[1]["routes"]["/faulty"] == {"active": 0, "total": 1}
    assert house.counted()["calls_started_total"] == 1
    assert caught(Bug) == 1
