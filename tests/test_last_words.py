"""What a caller was saying when the call ended is understood, written down, and given to the agent."""

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.test_call import Stage
from voicemedia.errors import ProviderError, Unable
from voicemedia.interfaces import Goodbye


@pytest.fixture
def stage() -> Stage:
    """A caller in mid-sentence."""
    stage = Stage()
    stage.begin().pass_ms(2000)
    stage.echo_marks()
    stage.voiced = True
    stage.pass_ms(800)
    return stage


def turns(stage: Stage) -> list[object]:
    return [turn["text"] for turn in stage.call.diary.read() if turn["who"] == "caller"]


def test_a_caller_who_hangs_up_in_mid_sentence_is_heard_to_the_end(stage: Stage) -> None:
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    assert stage.ears.events[-1] == "endpoint"
    stage.pass_ms(300)
    assert (stage.over, turns(stage)) == (0, [])
    stage.ears.say("two eggs and toast")
    stage.pass_ms(20)
    assert turns(stage) == ["two eggs and toast"]
    assert stage.mind.events[-3:] == ["asked two eggs and toast/", "cut after ", "over caller_hung_up"]
    assert stage.ears.events[-1] == "close"
    assert stage.over == 1


def test_the_last_guess_stands_in_for_a_final_that_does_not_come(stage: Stage) -> None:
    stage.ears.say("two eggs", final=False)
    stage.call.gone(Goodbye.PEER_VANISHED)
    stage.pass_ms(5020)
    assert turns(stage) == ["two eggs"]
    assert stage.over == 1


def test_who_said_nothing_is_forgotten_at_once() -> None:
    stage = Stage()
    stage.begin().pass_ms(2000)
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    assert (stage.over, stage.ears.events, stage.mind.events[-1]) == (1, ["close"], "over caller_hung_up")


def test_a_noise_at_the_end_is_no_turn(stage: Stage) -> None:
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    stage.ears.say("")
    stage.pass_ms(20)
    assert (stage.over, turns(stage)) == (1, [])
    assert not [event for event in stage.mind.events if event.startswith("asked")]


def test_keys_that_wait_for_more_are_a_turn(stage: Stage) -> None:
    stage.voiced = False
    stage.pass_ms(400)
    stage.ears.say("")
    stage.call.digit("4")
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    stage.pass_ms(20)
    assert "asked /4" in stage.mind.events
    assert [turn["keys"] for turn in stage.call.diary.read() if turn["who"] == "caller"][-1] == "4"


def test_words_whose_answer_was_not_ready_are_asked_again_and_written_once(stage: Stage) -> None:
    never: Deferred[None] = Deferred()
    stage.mind.answers = [never, "Got it."]
    stage.voiced = False
    stage.pass_ms(400)
    stage.ears.say("two eggs")
    stage.pass_ms(100)
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    assert [event for event in stage.mind.events if event.startswith("asked")] == ["asked two eggs/"] * 2
    assert turns(stage) == ["two eggs"]
    assert stage.over == 1


@pytest.mark.parametrize("why", [Goodbye.AGENT_HUNG_UP, Goodbye.TRANSFERRED, Goodbye.REPLACED, Goodbye.FAILED])
def test_an_agent_that_has_left_is_asked_nothing_but_the_words_are_kept(stage: Stage, why: Goodbye) -> None:
    stage.call.gone(why)
    stage.ears.say("thank you")
    stage.pass_ms(20)
    assert turns(stage) == ["thank you"]
    assert not [event for event in stage.mind.events if event.startswith("asked")]
    assert stage.mind.events[-1] == f"over {why.value}"


def test_an_agent_that_does_not_answer_is_waited_for_and_then_given_up(stage: Stage) -> None:
    canceled: list[object] = []
    stage.mind.answers = [Deferred(canceled.append)]
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    stage.ears.say("two eggs")
    stage.pass_ms(stage.call.setting.limits.provider_s * 1000 - 100)
    assert (stage.over, canceled) == (0, [])
    stage.pass_ms(200)
    assert (stage.over, len(canceled), stage.mind.events[-1]) == (1, 1, "over caller_hung_up")


def test_an_agent_that_fails_is_counted(stage: Stage) -> None:
    answer: Deferred[None] = Deferred()
    stage.mind.answers = [answer]
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    stage.ears.say("two eggs")
    stage.pass_ms(20)
    answer.errback(ProviderError("quota"))
    assert stage.over == 1
    assert stage.metrics.providers_failed == {"agent": 1}


def test_on_the_floor_of_a_caller_who_has_gone_nothing_can_be_done(stage: Stage) -> None:
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    stage.mind.answers = ["Got it.|bye"]
    played = len(stage.leg.events)
    stage.ears.say("two eggs")
    stage.pass_ms(100)
    assert len(stage.leg.events) == played
    failed: list[Failure] = []
    stage.mind.floors[-1].transfer("+91").addErrback(failed.append)
    assert isinstance(failed[0].value, Unable)


def test_an_answer_that_nobody_waits_for_any_more_is_canceled_before_the_agent_hears_the_end(stage: Stage) -> None:
    canceled: list[str] = []
    stage.mind.answers = [Deferred(lambda _answer: canceled.append(stage.mind.events[-1]))]
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    stage.ears.say("two eggs")
    stage.pass_ms(20)
    assert stage.last_words is not None
    stage.last_words.end()
    assert canceled == ["asked two eggs/"]
    assert stage.mind.events[-1] == "over caller_hung_up"
    assert stage.over == 1
