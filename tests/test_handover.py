"""A caller on the way to somebody else: a whole call between doubles, on a fake clock."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from tests.fakes import FakeLeg
from tests.test_call import Stage
from voicemedia.errors import Unable
from voicemedia.interfaces import Floor, Goodbye, Said
from voicemedia.reply import LONGEST_MOVE_MS


class TransferringLeg(FakeLeg):
    """A leg of a line that can transfer; the test says what comes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.switching = self
        self.work: Deferred[None] = Deferred(lambda _work: self.events.append("no longer awaited"))

    def transfer(self, target: str) -> Deferred[None]:
        self.events.append(f"transfer {target}")
        return self.work


class Receptionist:
    """Connects everybody with the desk; tells what came of it."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def greet(self, floor: Floor) -> Deferred[None]:
        floor.say("One moment please.")
        return self._connected(floor)

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        self.events.append(f"asked {said.text}")
        return succeed(None)

    def _connected(self, floor: Floor) -> Deferred[None]:
        def stays(failure: Any) -> None:
            failure.trap(Unable)
            self.events.append(failure.getErrorMessage())
            floor.say("They are not in.")

        return floor.transfer("+49").addCallbacks(lambda _: self.events.append("gone"), stays)

    def heard(self, text: str, *, complete: bool) -> None:
        self.events.append(f"heard {text}" if complete else f"cut after {text}")

    def overhear(self, pcm: bytes) -> None:
        pass

    def over(self, why: Goodbye) -> None:
        self.events.append(f"over {why.value}")


class Reception(Stage):
    """A call to the receptionist."""

    def __init__(self, leg: FakeLeg) -> None:
        super().__init__()
        self.leg, self.mind = leg, Receptionist()  # type: ignore[assignment]
        self.begin()

    @property
    def told(self) -> list[str]:
        return self.mind.events


@pytest.fixture
def leg() -> TransferringLeg:
    return TransferringLeg()


def test_the_caller_is_connected_once_our_last_word_was_heard(leg: TransferringLeg) -> None:
    stage = Reception(leg)
    stage.pass_ms(600)
    assert "transfer +49" not in leg.events
    stage.pass_ms(400)
    stage.echo_marks()
    stage.pass_ms(40)
    assert leg.events[-1] == "transfer +49"
    leg.work.callback(None)
    stage.pass_ms(40)
    stage.call.gone(Goodbye.TRANSFERRED)
    assert stage.told == ["gone", "heard One moment please.", "over transferred"]


def test_words_said_while_it_rings_take_nothing_back(leg: TransferringLeg) -> None:
    stage = Reception(leg)
    stage.pass_ms(1000)
    stage.echo_marks()
    stage.pass_ms(40)
    stage.speak()
    assert leg.events[-1] == "transfer +49"
    assert stage.told == []
    leg.work.errback(Unable("busy"))
    stage.pass_ms(800)
    assert stage.told[:3] == ["busy", "cut after One moment please.", "asked two eggs"]


def test_who_interrupts_us_before_stays(leg: TransferringLeg) -> None:
    stage = Reception(leg)
    stage.pass_ms(300)
    stage.speak()
    stage.pass_ms(200)
    assert "transfer +49" not in leg.events
    assert stage.told == ["cut after One moment", "asked two eggs", "heard "]


def test_a_telephone_may_ring_for_longer_than_a_provider_may_be_silent_but_not_for_ever(leg: TransferringLeg) -> None:
    stage = Reception(leg)
    stage.pass_ms(1000)
    stage.echo_marks()
    stage.pass_ms(LONGEST_MOVE_MS - 1000)
    assert stage.told == []
    stage.pass_ms(3000)
    assert leg.events[-3:] == ["no longer awaited", "play", "mark 2"]
    stage.echo_marks()
    stage.pass_ms(100)
    assert stage.told == ["nobody answered in time", "heard One moment please. They are not in."]


def test_a_line_that_cannot_transfer_says_so() -> None:
    stage = Reception(FakeLeg())
    stage.pass_ms(1000)
    stage.echo_marks()
    stage.pass_ms(1200)
    stage.echo_marks()
    stage.pass_ms(100)
    assert stage.told == ["this line cannot transfer calls", "heard One moment please. They are not in."]
