"""Agent `echo`: each frame of the caller comes back, on the floor held last, until the call is over."""

from twisted.internet.task import Clock

from voicemedia.agent import echo
from voicemedia.interfaces import Agent, Caller, Conversation, Expected, Goodbye, Said
from voicemedia.switching import Unswitched

CALLER = Caller("CA1", "smartflo", 8000)


class Floor(Unswitched):
    """Records what is played; speech is none of echo's."""

    def __init__(self) -> None:
        self.played: list[bytes] = []

    def say(self, text: str, *, interruptible: bool = True) -> None:
        raise AssertionError(text)

    def play(self, pcm: bytes) -> None:
        self.played.append(pcm)

    def expect(self, expected: Expected) -> None:
        raise AssertionError(expected)

    def hang_up(self) -> None:
        raise AssertionError


def agent() -> Agent:
    return echo.make(echo.Options(), Clock())


def conversation() -> Conversation:
    return agent().converse(CALLER)


def test_every_frame_comes_back_unchanged_and_in_order() -> None:
    floor, talk = Floor(), conversation()
    assert talk.greet(floor).called
    frames = [bytes([number]) * 320 for number in range(5)]
    for frame in frames:
        talk.overhear(frame)
    assert floor.played == frames


def test_a_turn_moves_the_echo_to_the_new_floor() -> None:
    first, second, talk = Floor(), Floor(), conversation()
    talk.greet(first)
    talk.overhear(b"ab")
    assert talk.reply(Said("hello"), second).called
    talk.overhear(b"cd")
    assert (first.played, second.played) == ([b"ab"], [b"cd"])


def test_sound_before_the_greeting_and_after_the_end_is_dropped() -> None:
    floor, talk = Floor(), conversation()
    talk.overhear(b"ab")
    talk.greet(floor)
    talk.over(Goodbye.CALLER_HUNG_UP)
    talk.overhear(b"cd")
    assert floor.played == []


def test_two_callers_do_not_hear_one_another() -> None:
    room, left, right = agent(), Floor(), Floor()
    one, other = room.converse(CALLER), room.converse(CALLER)
    one.greet(left)
    other.greet(right)
    one.overhear(b"ab")
    other.overhear(b"cd")
    assert (left.played, right.played) == ([b"ab"], [b"cd"])


def test_it_starts_and_stops_at_once_and_lacks_nothing() -> None:
    assert agent().start().called
    assert agent().stop().called
    assert echo.missing(echo.Options()) == ""
