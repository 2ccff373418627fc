"""What two hypotheses agree on is settled, and said once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clouds.ears import Heard, TimelineEar, stamped
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Transcript
from voicemedia.stt.agreement import Agreement, best_prefix
from voicemedia.stt.windows import MOST_WAITING_MS, Sizes, Window, Windows
from voicemedia.stt.words import HeardWord, confidence_of

RATE_HZ = 8000


def hypothesis_of(text: str, *, exact: bool) -> list[HeardWord]:
    """Words of 100 ms each, in a row from 0; `go@700` stands at 700 ms."""
    words, at = [], 0
    for piece in text.split():
        spelled, _, place = piece.partition("@")
        at = int(place) if place else at
        words.append(HeardWord(spelled, at, at + 100, exact=exact))
        at += 100
    return words


# Hypotheses one after another -> what each settles; the last one is final.
TALKS = [
    ("a cut word grows", "go for | go forward ten | go forward ten meters", "go / forward ten meters"),
    ("two answers settle", "go for | go forward ten | go forward ten meters | go forward ten", "go / forward ten / -"),
    ("a guess changes", "I scream | ice cream | ice cream please", "- / ice cream please"),
    ("case and commas are no change", "yes | Yes, I do | yes I do | yes I do", "Yes, / I do / -"),
    ("a word said twice is said twice", "no | no no | no no | no no", "no / no / -"),
    ("nothing at all", "| | ", "- / -"),
    ("a hypothesis that forgets", "one two | one two three | | one two three", "one two / - / three"),
]


@pytest.mark.parametrize("exact", [True, False], ids=["with times", "without times"])
@pytest.mark.parametrize(("talk", "settled"), [row[1:] for row in TALKS], ids=[row[0] for row in TALKS])
def test_two_hypotheses_settle_a_word(talk: str, settled: str, exact: bool) -> None:
    agreement = Agreement()
    first, *between, last = [hypothesis_of(text, exact=exact) for text in talk.split("|")]
    assert agreement.hear(first) == []
    told = [agreement.hear(words) for words in between] + [agreement.finish(last)]
    assert " / ".join(" ".join(word.text for word in words) or "-" for words in told) == settled


def test_what_the_overlap_repeats_is_left_out_by_its_time() -> None:
    agreement = Agreement()
    agreement.finish(hypothesis_of("go forward", exact=True))
    agreement.cut(200)
    assert [word.text for word in agreement.finish(hypothesis_of("ward@120 ten@220 ten", exact=True))] == ["ten", "ten"]


def test_what_the_overlap_repeats_is_left_out_by_its_text_when_there_are_no_times() -> None:
    agreement = Agreement()
    agreement.finish(hypothesis_of("go forward", exact=False))
    agreement.cut(200)
    assert [word.text for word in agreement.finish(hypothesis_of("forward ten@250 meters", exact=False))] == [
        "ten",
        "meters",
    ]


@pytest.mark.parametrize(
    ("known", "words", "count"),
    [("good bye", "goodbye now", 1), ("a b", "a b c", 2), ("a b", "a x c", 2), ("", "a", 0), ("a b", "", 0)],
)
def test_a_known_beginning_is_found_though_it_is_spelled_otherwise(known: str, words: str, count: int) -> None:
    assert best_prefix(known.split(), words.split()) == count


def test_confidence_is_the_mean_log_probability_by_duration_less_the_chance_of_silence() -> None:
    sure, unsure = HeardWord("a", 0, 300, logprob=0.0), HeardWord("b", 300, 400, logprob=-4.0)
    assert confidence_of([sure, unsure]) == pytest.approx(2.718281828**-1)
    assert confidence_of([HeardWord("a", 0, 100, logprob=-0.0, no_speech=0.25)]) == pytest.approx(0.75)
    assert confidence_of([HeardWord("a", 0, 100)]) == 0.0


class Caller:
    """A caller whose stamped sound goes through windows to an ear, answers coming some frames late."""

    def __init__(self, words: list[tuple[str, float, float]], sizes: Sizes, *, exact: bool, late: int) -> None:
        self.windows = Windows(RATE_HZ, sizes)
        self.ear = TimelineEar(words)
        self.told: list[Transcript] = []
        self.exact = exact
        self.late = late
        self.asked: list[Window] = []
        self._under_way: tuple[Window, int] | None = None

    def speak(self, first: int, last: int) -> None:
        for number, frame in enumerate(stamped(last - first, RATE_HZ, first), first):
            self.windows.feed(frame)
            self.go_on(number)

    def go_on(self, now: int) -> None:
        if self._under_way and now - self._under_way[1] >= self.late:
            self.answer()
        if not self._under_way and (window := self.windows.ask()):
            self.asked.append(window)
            self._under_way = window, now

    def answer(self) -> None:
        assert self._under_way
        window, _ = self._under_way
        heard = self.ear.hear(window.pcm, RATE_HZ)
        self.told += self.windows.answered(window, [self.word(each, window.start_ms) for each in heard])
        self._under_way = None

    def word(self, heard: Heard, start_ms: int) -> HeardWord:
        begin, end = round(heard.start_s * 1000), round(heard.end_s * 1000)
        return HeardWord(heard.text, start_ms + begin, start_ms + end, exact=self.exact)

    def stop(self) -> None:
        self.windows.endpoint()
        while self.windows.urgent:
            if self._under_way:
                self.answer()
            self.go_on(0)
        self.told += self.windows.empties()

    @property
    def closing(self) -> list[str]:
        return [transcript.text for transcript in self.told if transcript.final and transcript.closes]

    @property
    def finals(self) -> list[str]:
        return [transcript.text for transcript in self.told if transcript.final]


def spoken(count: int, word_s: float, gap_s: float) -> list[tuple[str, float, float]]:
    """Words one after another from 0.2 s on; every third is said again."""
    words, at = [], 0.2
    for number in range(count):
        words.append((f"word{number - (number % 3 == 2)}", at, at + word_s))
        at += word_s + gap_s
    return words


@given(
    count=st.integers(1, 40),
    word_ms=st.integers(120, 700),
    gap_ms=st.integers(20, 400),
    late=st.integers(0, 120),
    exact=st.booleans(),
    step_ms=st.sampled_from([400, 1000, 1700]),
)
def test_every_word_is_said_once_however_windows_cut_the_speech(
    count: int, word_ms: int, gap_ms: int, late: int, exact: bool, step_ms: int
) -> None:
    words = spoken(count, word_ms / 1000, gap_ms / 1000)
    # Without times nothing tells a word heard again from a word said again but long windows.
    sizes = Sizes(step_ms=step_ms, keep_ms=3000, longest_ms=8000 if exact else 100_000)
    caller = Caller(words, sizes, exact=exact, late=late)
    frames = int(words[-1][2] * 50) + 30
    caller.windows.onset()
    caller.speak(0, frames)
    caller.stop()
    assert " ".join(caller.finals).split() == [text for text, _, _ in words]
    assert len(caller.closing) == 1


def test_a_long_window_is_cut_where_its_words_are_settled() -> None:
    caller = Caller(spoken(60, 0.25, 0.05), Sizes(keep_ms=3000), exact=True, late=10)
    caller.windows.onset()
    caller.speak(0, 900)
    assert max(window.end_ms - window.start_ms for window in caller.asked) <= 3000 + 2000
    assert caller.asked[-1].context.split()[-1].startswith("word")


def test_a_window_without_end_is_believed() -> None:
    caller = Caller([("hmm", 0.1, 60.0)], Sizes(longest_ms=4000), exact=False, late=0)
    caller.windows.onset()
    caller.speak(0, 1000)
    assert max(window.end_ms - window.start_ms for window in caller.asked) <= 5000


def test_interim_words_follow_settled_ones_and_are_told_when_they_change() -> None:
    words = [("go", 0.0, 0.3), ("forward", 0.3, 0.9), ("ten", 1.2, 1.5), ("meters", 2.1, 2.8)]
    caller = Caller(words, Sizes(), exact=True, late=0)
    caller.windows.onset()
    caller.speak(0, 160)
    caller.stop()
    assert [("F " if each.final else "i ") + each.text for each in caller.told] == [
        "i go forward",
        "F go forward",
        "i ten",
        "F ten",
        "i meters",
        "F meters",
    ]


def test_sound_before_the_onset_belongs_to_the_utterance() -> None:
    caller = Caller([("hello", 0.6, 1.0)], Sizes(), exact=True, late=0)
    caller.speak(0, 50)
    caller.windows.onset()
    caller.speak(50, 90)
    caller.stop()
    assert caller.finals == ["hello"]
    assert caller.told[-1].start_ms == 600


def test_every_endpoint_is_answered_in_order_also_those_without_speech() -> None:
    caller = Caller([("one", 0.2, 0.6), ("two", 2.2, 2.6)], Sizes(), exact=True, late=10_000)
    caller.windows.onset()
    caller.speak(0, 60)
    caller.windows.endpoint()
    caller.windows.endpoint()
    caller.speak(60, 90)
    caller.windows.onset()
    caller.speak(90, 160)
    caller.stop()
    assert caller.finals == ["one", "", "two"]


def test_sound_nobody_answers_for_is_not_kept_for_ever() -> None:
    windows = Windows(RATE_HZ, Sizes())
    windows.onset()
    frame = bytes(320)
    with pytest.raises(ProviderError):
        for _ in range(MOST_WAITING_MS // 20 + 1):
            windows.feed(frame)


def test_an_owner_without_voice_detection_gets_what_it_fed() -> None:
    caller = Caller([("hello", 0.2, 0.6), ("again", 1.2, 1.6)], Sizes(), exact=True, late=0)
    caller.speak(0, 50)
    caller.stop()
    caller.speak(50, 100)
    caller.stop()
    assert caller.finals == ["hello", "again"]


def test_a_key_pressed_in_silence_asks_nothing_of_the_server() -> None:
    caller = Caller([("hello", 0.2, 0.6)], Sizes(), exact=True, late=0)
    caller.windows.onset()
    caller.speak(0, 50)
    caller.stop()
    caller.speak(50, 100)
    caller.windows.endpoint()
    assert [transcript.text for transcript in caller.windows.empties()] == [""]


@pytest.mark.parametrize("frames_at_once", [1, 7, 100])
def test_sound_may_come_in_pieces_of_any_length(frames_at_once: int) -> None:
    caller = Caller([("hello", 0.2, 0.6), ("again", 1.2, 1.6)], Sizes(), exact=True, late=0)
    caller.windows.onset()
    frames = stamped(100, RATE_HZ)
    for at in range(0, 100, frames_at_once):
        caller.windows.feed(b"".join(frames[at : at + frames_at_once]))
        caller.go_on(at)
    caller.stop()
    assert " ".join(caller.finals) == "hello again"
    assert [word.text for each in caller.told if each.final for word in each.words] == ["hello", "again"]
    assert caller.told[-1].billed_s * 1000 == sum(window.end_ms - window.start_ms for window in caller.asked)
