"""A whole call between doubles, on a fake clock: who may speak, what is heard, what is remembered."""

import io
import json
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from tests.fakes import SILENT, VOICED, FakeConversation, FakeEndpointer, FakeLeg, FakeRecognizer, FakeSynthesizer
from voicemedia import config
from voicemedia.audio.voice import Endpointer
from voicemedia.call import Call, Setting
from voicemedia.interfaces import Expected, Goodbye
from voicemedia.last_words import LastWords
from voicemedia.log import LineObserver
from voicemedia.metrics import Metrics


class Stage:
    """One call and everything around it."""

    def __init__(self, *, lead_ms: int = 200, instant: bool = True, limits: config.Limits | None = None) -> None:
        self.clock = Clock()
        self.leg = FakeLeg(lead_ms)
        self.ears, self.voice, self.mind = FakeRecognizer(), FakeSynthesizer(instant=instant), FakeConversation()
        self.metrics = Metrics()
        self.over = 0
        self.voiced = False
        self.call: Call
        self.last_words: LastWords | None = None

    def begin(self, limits: config.Limits | None = None, turns: config.Turns | None = None) -> "Stage":
        setting = Setting(
            limits or config.Limits(),
            turns or config.Turns(),
            config.Voice(hangover_ms=300),
            self.metrics,
            lambda: self.now_ms,
            self.ears,
            self.voice,
            "night diet",
        )
        endpointer: Endpointer = FakeEndpointer()  # type: ignore[assignment]
        self.call = Call(self.leg, self.mind, endpointer, setting, self._left)
        self.call.begin()
        return self

    @property
    def now_ms(self) -> int:
        return round(self.clock.seconds() * 1000)

    def _left(self, why: Goodbye) -> None:
        self.last_words = LastWords(self.call, why, self.now_ms, self._over)
        self.last_words.tick(self.now_ms)

    def _over(self, why: Goodbye) -> None:
        self.over += 1

    def pass_ms(self, ms: int, *, media: bool = True) -> None:
        """Let time pass in frames of 20 ms, with sound from the caller."""
        for _ in range(ms // 20):
            self.clock.advance(0.02)
            now_ms = self.now_ms
            if self.last_words is not None:
                self.last_words.tick(now_ms)
                continue
            if media:
                self.leg.last_message_ms = now_ms
                self.call.hear(VOICED if self.voiced else SILENT, False)
            self.call.tick(now_ms)
            if now_ms % 1000 == 0:
                self.call.sweep(now_ms)

    def speak(self, ms: int = 500, text: str | None = "two eggs") -> None:
        """The caller speaks, stops, and is understood."""
        self.voiced = True
        self.pass_ms(ms)
        self.voiced = False
        self.pass_ms(400)
        if text is not None:
            self.ears.say(text)

    def echo_marks(self) -> None:
        for number in self.leg.marks:
            self.call.marked(number)
        self.leg.marks.clear()


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_turn_goes_from_speech_to_words_to_answer_to_speech(stage: Stage) -> None:
    stage.mind.answers.append("How many?")
    stage.begin().pass_ms(1000)
    stage.echo_marks()
    stage.pass_ms(100)
    stage.speak(text="eggs")
    stage.pass_ms(600)
    stage.echo_marks()
    stage.pass_ms(100)
    assert stage.mind.events == ["greet", "heard Hello there.", "asked eggs/", "heard How many?"]
    assert stage.ears.events == ["onset", "endpoint"]
    assert stage.leg.events == ["play", "mark 1", "play", "mark 2"]
    assert [(turn["who"], turn["text"], turn["interrupted"]) for turn in stage.call.diary.read()] == [
        ("agent", "Hello there.", False),
        ("caller", "eggs", False),
        ("agent", "How many?", False),
    ]


def test_speech_leaves_no_faster_than_the_lead_allows(stage: Stage) -> None:
    stage.mind.answers = ["one two three four five six seven eight nine ten"]
    stage.begin().pass_ms(20)
    assert stage.leg.frames == 12
    stage.pass_ms(1000)
    assert stage.leg.frames == 62


def test_caller_speaking_over_us_silences_us_within_a_tick(stage: Stage) -> None:
    stage.mind.answers = ["one two three four five six seven eight nine ten"]
    stage.begin().pass_ms(1000)
    stage.voiced = True
    stage.pass_ms(20)
    assert stage.leg.events[-1] == "clear"
    assert stage.mind.events[-1] == "cut after one two three four five"
    sent = stage.leg.frames
    stage.pass_ms(500)
    assert stage.leg.frames == sent


def test_a_key_interrupts_and_is_a_turn(stage: Stage) -> None:
    stage.mind.answers = ["one two three four five six seven eight nine ten", "You pressed one."]
    stage.begin().pass_ms(400)
    stage.call.digit("1")
    assert stage.mind.events == ["greet", "cut after one two", "asked /1"]
    assert stage.leg.events[-2:] == ["clear", "play"]


def test_keys_that_belong_together_are_one_turn(stage: Stage) -> None:
    stage.begin().pass_ms(1000)
    stage.mind.floors[0].expect(Expected(keys=0))
    for key in "12#":
        stage.call.digit(key)
    assert stage.mind.events[-1] == "asked /12#"


def test_marks_that_come_back_because_of_clear_are_not_heard(stage: Stage) -> None:
    stage.mind.answers = ["one two three four five|six seven eight"]
    stage.begin().pass_ms(600)
    stage.voiced = True
    stage.pass_ms(20)
    stage.echo_marks()
    assert stage.mind.events == ["greet", "cut after one two three"]


def test_an_interrupted_synthesizer_is_cancelled_and_cannot_speak() -> None:
    stage = Stage(instant=False).begin()
    stage.voice.deliver(words=1, finish=False)
    stage.pass_ms(100)
    stage.voiced = True
    stage.pass_ms(20)
    assert stage.voice.cancelled == ["Hello there."]
    sent = stage.leg.frames
    stage.voice.deliver(finish=False)
    stage.pass_ms(100)
    assert stage.leg.frames == sent


def test_an_announcement_is_not_interrupted_and_the_words_said_over_it_are_kept(stage: Stage) -> None:
    stage.mind.answers = ["!This call is recorded for training purposes all of it", "Fine."]
    stage.begin().pass_ms(200)
    stage.speak(text="hello")
    assert "clear" not in stage.leg.events
    assert stage.mind.events == ["greet"]
    stage.pass_ms(2000)
    stage.echo_marks()
    stage.pass_ms(40)
    assert stage.mind.events[:3] == [
        "greet",
        "heard This call is recorded for training purposes all of it",
        "asked hello/",
    ]


def test_words_of_an_unfinished_answer_come_again_with_the_next(stage: Stage) -> None:
    slow: Deferred[None] = Deferred()
    stage.mind.answers += [slow, "All right."]
    stage.begin().pass_ms(1000)
    stage.echo_marks()
    stage.speak(text="two eggs")
    stage.speak(text="and toast")
    assert [event for event in stage.mind.events if event.startswith("asked")] == [
        "asked two eggs/",
        "asked two eggs and toast/",
    ]


def test_a_late_transcript_never_reaches_a_dead_call(stage: Stage) -> None:
    stage.begin().pass_ms(1000)
    stage.voiced = True
    stage.pass_ms(400)
    stage.call.gone(Goodbye.CALLER_HUNG_UP)
    stage.pass_ms(5020)
    stage.ears.say("too late")
    stage.pass_ms(100)
    assert stage.mind.events[-1] == "over caller_hung_up"
    assert stage.ears.events[-1] == "close"
    assert stage.over == 1


def test_a_stuck_agent_ends_in_an_apology_and_the_next_turn(stage: Stage) -> None:
    stuck: Deferred[None] = Deferred()
    stage.mind.answers += [stuck, "Here I am."]
    stage.begin(limits=config.Limits(provider_s=3)).pass_ms(1000)
    stage.echo_marks()
    stage.speak()
    stage.pass_ms(3100)
    assert stage.voice.spoken[-1].startswith("Sorry")
    stage.pass_ms(3000)
    stage.speak(text="hello")
    assert stage.voice.spoken[-1] == "Here I am."


def test_a_bug_in_the_agent_ends_in_an_apology(stage: Stage, caught: Callable[[type[Exception]], int]) -> None:
    stage.mind.answers.append("bug")
    stage.begin().pass_ms(1000)
    stage.speak()
    assert stage.voice.spoken[-1].startswith("Sorry")
    assert caught(RuntimeError) == 1


def test_a_voice_that_always_fails_ends_the_call() -> None:
    stage = Stage(instant=False).begin()
    for _ in range(4):
        stage.voice.fail()
    assert stage.leg.events == ["hang up failed"]


def test_a_voice_that_fails_after_the_agent_has_answered_is_the_one_to_blame() -> None:
    stage = Stage(instant=False).begin()
    stage.voice.fail()
    assert stage.metrics.providers_failed == {"tts": 1}


def test_a_bug_in_the_voice_is_an_apology_and_a_failure_in_the_log(caught: Callable[[type[Exception]], int]) -> None:
    stage = Stage(instant=False).begin()
    stage.voice.fail(LookupError("a bug"))
    assert stage.voice.spoken[-1].startswith("Sorry")
    assert caught(LookupError) == 1
    assert stage.metrics.providers_failed == {"tts": 1}


def test_a_dead_recognizer_is_listened_to_anew_and_the_words_are_asked_for(stage: Stage) -> None:
    stage.begin().pass_ms(1000)
    stage.voiced = True
    stage.pass_ms(300)
    stage.ears.fail()
    assert stage.ears.listens == 2
    assert stage.voice.spoken[-1].startswith("Sorry")


def test_a_recognizer_that_is_deaf_for_good_ends_in_apologies_and_then_the_call(stage: Stage) -> None:
    stage.begin().pass_ms(1000)
    stage.echo_marks()
    stage.ears.fail(retryable=False)
    for spoken in range(1, 4):
        stage.speak(text=None)
        stage.pass_ms(3000)
        stage.echo_marks()
        assert sum(sentence.startswith("Sorry") for sentence in stage.voice.spoken) == spoken
    assert not [event for event in stage.leg.events if event.startswith("hang")]
    stage.speak(text=None)
    assert stage.leg.events[-1] == "hang up failed"


def test_a_transcript_that_never_comes_is_not_waited_for(stage: Stage) -> None:
    stage.begin().pass_ms(1000)
    stage.speak(ms=800, text=None)
    stage.pass_ms(5000)
    assert stage.mind.events[-1] == "asked /"


def test_a_carrier_that_sends_nothing_in_silence_still_ends_the_utterance(stage: Stage) -> None:
    stage.begin().pass_ms(1000)
    stage.voiced = True
    stage.pass_ms(500)
    stage.pass_ms(600, media=False)
    assert stage.ears.events == ["onset", "endpoint"]


def test_a_recorder_that_sends_by_the_second_is_heard_as_one_utterance(stage: Stage) -> None:
    stage.begin().pass_ms(1000)
    for _ in range(3):
        stage.pass_ms(1000, media=False)
        for _ in range(50):
            stage.call.hear(VOICED, False)
    assert stage.ears.events == ["onset"]
    stage.pass_ms(1000 + 300 + 200 + 20, media=False)
    assert stage.ears.events == ["onset", "endpoint"]


def test_hanging_up_waits_until_everything_was_heard(stage: Stage) -> None:
    stage.mind.answers = ["Good bye.|bye"]
    stage.begin().pass_ms(380)
    assert stage.leg.events == ["play", "mark 1"]
    stage.echo_marks()
    stage.pass_ms(100)
    assert stage.leg.events[-1] == "hang up agent_hung_up"


def test_a_call_without_any_message_ends_idle(stage: Stage) -> None:
    stage.begin(limits=config.Limits(idle_s=60)).pass_ms(59_000, media=False)
    assert "hang up idle" not in stage.leg.events
    stage.pass_ms(2000, media=False)
    assert stage.leg.events[-1] == "hang up idle"


def test_minutes_of_silence_are_not_idle(stage: Stage) -> None:
    stage.begin(limits=config.Limits(idle_s=60)).pass_ms(120_000)
    assert not [event for event in stage.leg.events if event.startswith("hang")]


def test_the_longest_call_ends_with_a_goodbye(stage: Stage) -> None:
    stage.begin(limits=config.Limits(max_call_s=60)).pass_ms(61_000)
    assert stage.voice.spoken[-1].startswith("We have to end")
    stage.pass_ms(6000)
    assert stage.leg.events[-1] == "hang up too_long"


def test_no_barge_in_where_it_is_switched_off(stage: Stage) -> None:
    stage.mind.answers = ["one two three four five six seven eight"]
    stage.begin(turns=config.Turns(barge_in=False)).pass_ms(400)
    stage.voiced = True
    stage.pass_ms(100)
    assert "clear" not in stage.leg.events


def test_every_frame_is_overheard_by_the_agent(stage: Stage) -> None:
    stage.begin().pass_ms(1000)
    assert stage.mind.overheard == 50


def test_the_latency_of_a_turn_is_split_into_stages(stage: Stage) -> None:
    stage.begin().pass_ms(1000)
    stage.echo_marks()
    stage.speak(text=None)
    stage.pass_ms(200)
    stage.ears.say("two eggs")
    stage.pass_ms(100)
    latency = stage.call.diary.read()[-1]["latency_ms"]
    assert latency == {"transcript": 300, "agent": 0, "voice": 0, "total": 300}


def test_the_life_of_a_call_is_readable_from_its_lines_alone(stage: Stage) -> None:
    out = io.BytesIO()
    observer = LineObserver(config.Log(), out)
    globalLogPublisher.addObserver(observer)
    try:
        stage.mind.answers = ["one two three four|five six seven eight", "How many?", "Got it."]
        stage.begin().pass_ms(400)
        stage.speak(text="eggs")
        stage.pass_ms(1000)
        stage.echo_marks()
        stage.pass_ms(20)
        stage.call.digit("1")
        stage.pass_ms(1000)
        stage.echo_marks()
        stage.pass_ms(20)
        stage.call.gone(Goodbye.CALLER_HUNG_UP)
    finally:
        globalLogPublisher.removeObserver(observer)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["message"] for line in lines] == [
        "call C1 answered on /fake: fake -> fake -> night diet -> fake",
        "call C1: turn 1 was ours, interrupted",
        "call C1: turn 2 was the caller's",
        "call C1: turn 3 was ours, heard to its end, first sound 100 ms after the endpoint",
        "call C1: turn 4 was the caller's",
        "call C1: turn 5 was ours, heard to its end, first sound 0 ms after the endpoint",
        "call C1 ended: caller_hung_up after 3.3 s, 5 turns",
    ]
    assert {line["call"] for line in lines} == {"C1"}
    assert lines[-1]["totals"] == {"frames_out": stage.leg.frames}
    # What was said is nobody's business.
    assert not [word for word in ("eggs", "How many", "one two") if word in out.getvalue().decode()]


def test_words_said_before_the_greeting_sounds_take_its_place() -> None:
    stage = Stage(instant=False).begin()
    stage.call.digit("1")
    assert stage.mind.events == ["greet", "cut after ", "asked /1"]
    assert stage.voice.cancelled == ["Hello there."]
    assert stage.voice.spoken == ["Hello there.", "Go on."]


def test_nothing_takes_the_place_of_a_goodbye_that_is_still_to_sound() -> None:
    stage = Stage(instant=False).begin()
    stage.call.end(Goodbye.DRAINED)
    stage.call.digit("1")
    stage.speak(text="wait")
    assert stage.voice.cancelled == ["Hello there."]
    stage.voice.deliver()
    stage.pass_ms(3000)
    assert [event for event in stage.mind.events if event.startswith("asked")] == []
    assert stage.leg.events[-1] == "hang up drained"


def test_a_goodbye_that_cannot_be_said_is_left_unsaid() -> None:
    stage = Stage(instant=False).begin()
    stage.call.end(Goodbye.DRAINED)
    stage.voice.fail()
    assert stage.leg.events == ["hang up drained"]
