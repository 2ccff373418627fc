"""One answer on its way: what of it was said, heard, owed, and what is left when the floor is taken away."""

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.fakes import FakeSynthesizer
from voicemedia.audio.playout import Playout
from voicemedia.errors import ProviderError, Unable
from voicemedia.interfaces import Expected
from voicemedia.reply import Reply, Sentence

FRAME = bytes(320)
SECOND = FRAME * 50


class Bench:
    """A reply and a clock."""

    def __init__(self, *, instant: bool = False, silent: bool = False) -> None:
        self.now_ms = 0
        self.voice = FakeSynthesizer(instant=instant)
        self.playout = Playout(320, 200)
        self.failures: list[Failure] = []
        self.expected: list[Expected] = []
        self.sent = 0
        self.reply = Reply(
            None if silent else self.voice,
            8_000,
            self.playout,
            lambda: self.now_ms,
            send=self._send,
            expect=self.expected.append,
            failed=lambda failure, _reply: self.failures.append(failure),
            interruptible=True,
        )

    def _send(self, now_ms: int) -> None:
        self.sent += sum(len(item) // 320 for item in self.playout.due(now_ms) if isinstance(item, bytes))

    def pass_ms(self, ms: int) -> None:
        for _ in range(ms // 20):
            self.now_ms += 20
            self._send(self.now_ms)
            self.reply.advance()
            self.reply.move(self.now_ms)

    def speak(self, seconds: int) -> None:
        """Let the synthesizer deliver the sentence it was given last, whole."""
        _, put, done = self.voice.waiting.pop()
        put(SECOND * seconds)
        done.callback(None)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_sentences_are_synthesized_in_order_and_not_far_ahead(bench: Bench) -> None:
    for text in ("one", "two", "three"):
        bench.reply.say(text)
    assert bench.voice.spoken == ["one"]
    bench.speak(2)
    assert bench.voice.spoken == ["one", "two"]
    bench.speak(2)
    assert bench.voice.spoken == ["one", "two"], "more than three seconds lie ahead"
    bench.pass_ms(1_500)
    assert bench.voice.spoken == ["one", "two", "three"]


@pytest.mark.parametrize("said", ["", "   ", "\n\t"])
def test_nothing_to_say_is_not_said(bench: Bench, said: str) -> None:
    bench.reply.say(said)
    assert bench.voice.spoken == []
    assert bench.reply.sentences == []


def test_a_sentence_that_waits_for_room_is_not_a_stuck_voice(bench: Bench) -> None:
    bench.reply.say("a sentence of forty seconds")
    bench.reply.say("another one")
    bench.speak(40)
    for _ in range(36):
        bench.pass_ms(1_000)
        assert not bench.reply.stuck(bench.now_ms, 30_000)
    bench.pass_ms(2_000)
    assert bench.voice.spoken[-1] == "another one"
    assert not bench.reply.stuck(bench.now_ms, 30_000)
    bench.pass_ms(30_000)
    assert bench.reply.stuck(bench.now_ms, 30_000)


def test_an_agent_that_owes_an_answer_is_stuck_after_its_time(bench: Bench) -> None:
    bench.reply.answer = Deferred()
    bench.pass_ms(29_980)
    assert not bench.reply.stuck(bench.now_ms, 30_000)
    bench.pass_ms(20)
    assert bench.reply.stuck(bench.now_ms, 30_000)


def test_an_answer_ends_once_it_is_said_and_heard(bench: Bench) -> None:
    bench.reply.say("one")
    bench.speak(1)
    bench.pass_ms(1_000)
    assert not bench.reply.ended(bench.now_ms)
    bench.playout.marked(1, bench.now_ms)
    bench.pass_ms(20)
    assert bench.reply.ended(bench.now_ms)
    assert not bench.reply.ended(bench.now_ms)
    bench.reply.say("two")
    bench.speak(1)
    bench.pass_ms(3_000)
    assert bench.reply.ended(bench.now_ms)


def test_without_the_floor_nothing_can_be_said_or_heard(bench: Bench) -> None:
    bench.reply.say("one two")
    _, put, _ = bench.voice.waiting[0]
    put(SECOND)
    answer: Deferred[None] = Deferred()
    bench.reply.answer = answer
    cancelled: list[object] = []
    answer.addErrback(cancelled.append)
    assert bench.reply.cut()
    assert (bench.voice.cancelled, len(cancelled)) == (["one two"], 1)
    frames = bench.playout.put_frames
    bench.reply.say("three")
    bench.reply.play(SECOND)
    bench.reply.expect(Expected())
    bench.reply.hang_up()
    put(SECOND)
    assert bench.playout.put_frames == frames
    assert bench.expected == []
    assert not bench.reply.wants_hang_up
    assert bench.failures == []


def test_a_voice_that_fails_is_told_once_and_only_while_it_matters(bench: Bench) -> None:
    bench.reply.say("one")
    bench.voice.fail()
    assert [failure.type for failure in bench.failures] == [ProviderError]
    bench.reply.say("two")
    bench.reply.cut()
    assert len(bench.failures) == 1


def test_without_a_voice_sentences_count_as_said_at_once() -> None:
    bench = Bench(silent=True)
    bench.reply.say("one")
    bench.reply.say("two")
    bench.playout.marked(2, bench.now_ms)
    assert bench.reply.ended(bench.now_ms)
    assert bench.reply.text == "one two"
    assert bench.sent == 0


@pytest.mark.parametrize(
    ("position", "words"),
    [
        (0, ""),
        (10, ""),
        (11, ""),
        (41, "the quick"),
        (65, "the quick brown"),
        (109, "the quick brown fox jumps"),
        (110, "the quick brown fox jumps"),
        (999, "the quick brown fox jumps"),
    ],
)
def test_what_was_heard_is_told_by_the_word(position: int, words: str) -> None:
    sentence = Sentence("the quick brown fox jumps", interruptible=True)
    sentence.start, sentence.end = 10, 110
    assert sentence.heard(position) == words


class FakeSwitching:
    """Records what is asked; it comes about when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.pending: Deferred[None] = Deferred()

    def transfer(self, target: str) -> Deferred[None]:
        self.asked.append(f"transfer {target}")
        return self.pending

    def hold(self) -> Deferred[None]:
        self.asked.append("hold")
        return self.pending

    def resume(self) -> Deferred[None]:
        self.asked.append("resume")
        return self.pending

    def press(self, keys: str) -> None:
        self.asked.append(f"press {keys}")


def moving(bench: Bench) -> FakeSwitching:
    switching = FakeSwitching()
    bench.reply._switching = switching
    return switching


def outcome(asked: "Deferred[None]") -> list[str]:
    """Tell how it ended, if it has."""
    told: list[str] = []
    asked.addCallbacks(lambda _: told.append("done"), lambda failure: told.append(str(failure.value)))
    return told


def test_a_transfer_waits_until_its_announcement_has_been_heard(bench: Bench) -> None:
    switching = moving(bench)
    bench.reply.say("I connect you.")
    told = outcome(bench.reply.transfer("+91123"))
    bench.pass_ms(100)
    assert switching.asked == []
    bench.speak(1)
    bench.pass_ms(900)
    assert switching.asked == []
    bench.pass_ms(2_000)  # no mark comes back in this bench
    assert switching.asked == ["transfer +91123"] and told == []
    bench.reply.answer = Deferred()
    bench.pass_ms(60_000)
    assert not bench.reply.stuck(bench.now_ms, 30_000), "a telephone may ring long"
    switching.pending.callback(None)
    assert told == ["done"]


def test_a_transfer_that_fails_says_why_and_another_can_be_tried(bench: Bench) -> None:
    switching = moving(bench)
    told = outcome(bench.reply.transfer("+91123"))
    assert outcome(bench.reply.hold()) == ["the caller is being moved already"]
    bench.pass_ms(20)
    switching.pending.errback(Unable("busy", 486))
    assert told == ["busy"]
    switching.pending = Deferred()
    bench.reply.hold()
    bench.pass_ms(20)
    assert switching.asked == ["transfer +91123", "hold"]


def test_a_caller_who_interrupts_the_announcement_is_not_transferred(bench: Bench) -> None:
    switching = moving(bench)
    bench.reply.say("I connect you.")
    bench.reply.transfer("+91123")
    bench.reply.cut()
    bench.pass_ms(5_000)
    assert switching.asked == []
    assert outcome(bench.reply.transfer("+91123")) == ["the caller has taken the floor"]


def test_a_line_that_cannot_transfer_says_so(bench: Bench) -> None:
    told = outcome(bench.reply.transfer("+91123"))
    bench.pass_ms(20)
    assert told == ["this line cannot transfer calls"]
    with pytest.raises(Unable, match="takes no keys"):
        bench.reply.press("1")
