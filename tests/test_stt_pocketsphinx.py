"""The offline recognizer: its bookkeeping with fake processes, then real children and real speech."""

import importlib.util
import os
import signal
import wave
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from twisted.internet.defer import Deferred, inlineCallbacks

from tests.fake_processes import FakeProcess, FakeReactor
from voicemedia.audio.pcm import lin2ulaw, ratecv, ulaw2lin
from voicemedia.child import ALIVE, POOL
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Recognition, Transcript, Word
from voicemedia.stt import pocketsphinx
from voicemedia.stt.pocketsphinx import AHEAD_MS, PREROLL_MS, Options, PocketsphinxRecognizer
from voicemedia.stt.pocketsphinx_wire import ORDERS, Answer, Endpoint, Guess, Leave, Listen, News, Onset, Sound, Took

SPEECH = Path(__file__).parent / "vectors" / "speech"
ROBOT = "#JSGF V1.0; grammar robot; public <order> = go (forward | back) (one | two | ten) meters | stop;"
DIET = """#JSGF V1.0; grammar diet;
public <said> = i had <item> [and <item>] | <item> [and <item>] | yes | no | that is all;
<item> = [<amount>] <food>;
<amount> = (a | two | three) | (a slice | two slices | a cup) of;
<food> = eggs | toast | chicken | rice | coffee | milk | an apple | zhoug;
"""

needs_pocketsphinx = pytest.mark.skipif(
    importlib.util.find_spec("pocketsphinx") is None, reason="needs the extra `offline` (pocketsphinx)"
)


class Ears:
    """A `Hearing` that records."""

    def __init__(self) -> None:
        self.all: list[Transcript] = []
        self.errors: list[ProviderError] = []
        self.final: Deferred[Transcript] = Deferred()

    def heard(self, transcript: Transcript) -> None:
        self.all.append(transcript)
        if transcript.final:
            final, self.final = self.final, Deferred()
            final.callback(transcript)

    def deaf(self, error: ProviderError) -> None:
        self.errors.append(error)

    @property
    def finals(self) -> list[str]:
        return [transcript.text for transcript in self.all if transcript.final]


# --- bookkeeping, with fake processes ---

FRAME = bytes(320)


def listening(options: Options | None = None) -> tuple[FakeReactor, Recognition, Ears]:
    reactor = FakeReactor()
    recognizer = PocketsphinxRecognizer(options or Options(workers=1), reactor)
    recognizer.start()
    for process in reactor.processes:
        process.ready()
    ears = Ears()
    return reactor, recognizer.listen(8000, ears), ears


def told(process: FakeProcess) -> list[object]:
    """What a child was told, sound in milliseconds."""
    orders = [ORDERS.decode(msgspec.msgpack.encode(message)) for job, message in process.told if job != POOL]
    process.told.clear()
    return [len(order.pcm) // 16 if isinstance(order, Sound) else order for order in orders]


def say(process: FakeProcess, *news: News) -> None:
    for each in news:
        process.say(1, msgspec.msgpack.encode(each))


def feed(recognition: Recognition, ms: int) -> None:
    for _ in range(ms // 20):
        recognition.feed(FRAME)


def test_only_speech_and_what_came_just_before_goes_to_the_child() -> None:
    reactor, recognition, _ = listening()
    feed(recognition, 5000)
    recognition.onset()
    feed(recognition, 130)
    recognition.endpoint()
    feed(recognition, 5000)
    assert told(reactor.processes[0]) == [
        Listen(8000, ""), Onset(1), *[100] * (PREROLL_MS // 100), 100, 20, Endpoint(),
    ]  # fmt: skip


def test_times_are_on_the_media_time_line() -> None:
    reactor, recognition, ears = listening()
    feed(recognition, 5000)
    recognition.onset()
    feed(recognition, 600)
    say(reactor.processes[0], Took(1, 800), Guess(1, "two"))
    recognition.endpoint()
    say(reactor.processes[0], Answer(1, "two eggs", 0.9, 300, 950, (("two", 300, 600), ("eggs", 600, 950))))
    interim, final = ears.all
    assert (interim.text, interim.final, interim.start_ms, interim.end_ms) == ("two", False, 4600, 5400)
    assert (final.text, final.final, final.confidence) == ("two eggs", True, 0.9)
    assert (final.start_ms, final.end_ms) == (4900, 5550)
    assert final.words == (Word("two", 4900, 5200, 0.9), Word("eggs", 5200, 5550, 0.9))


def test_sound_waits_here_when_the_child_does_not_keep_up() -> None:
    reactor, recognition, _ = listening()
    recognition.onset()
    feed(recognition, 10_000)
    child = reactor.processes[0]
    assert sum(each for each in told(child) if isinstance(each, int)) == AHEAD_MS
    say(child, Took(1, 500))
    assert told(child) == [100] * 5


def test_backlog_is_bounded_and_what_is_dropped_is_counted() -> None:
    reactor = FakeReactor()
    recognizer = PocketsphinxRecognizer(Options(workers=1, max_utterance_s=5, backlog_s=10), reactor)
    recognizer.start()
    recognition = recognizer.listen(8000, Ears())
    recognition.onset()
    feed(recognition, 30_000)
    assert 950 <= recognizer.frames_dropped <= 1000
    reactor.processes[0].ready()
    assert sum(each for each in told(reactor.processes[0]) if isinstance(each, int)) == AHEAD_MS


def test_a_child_too_many_callers_wait_for_is_full() -> None:
    _, first, _ = listening()
    recognizer = cast(Any, first)._recognizer
    callers = [first, *(recognizer.listen(8000, Ears()) for _ in range(3))]
    for caller in callers[:3]:
        caller.onset()
        feed(caller, 20_000)
    assert recognizer.full == "", "of each five seconds count"
    callers[3].onset()
    feed(callers[3], 5000)
    assert recognizer.full == "20 s of speech wait for 1 decoders"
    callers[3].close()
    assert recognizer.full == ""


def test_an_utterance_without_end_is_cut_into_several() -> None:
    reactor, recognition, ears = listening(Options(workers=1, max_utterance_s=5))
    recognition.onset()
    child = reactor.processes[0]
    for second in range(1, 8):
        feed(recognition, 1000)
        say(child, Took(1, second * 1000), Took(2, max(0, second - 5) * 1000))
    say(child, Answer(1, "first"))
    recognition.endpoint()
    say(child, Answer(2, "second"))
    assert ears.finals == ["first", "second"]
    assert sum(each for each in told(child) if isinstance(each, int)) == 7000
    assert [transcript.start_ms for transcript in ears.all] == [0, 5000]


def test_an_endpoint_without_onset_gets_an_empty_final() -> None:
    reactor, recognition, ears = listening()
    recognition.endpoint()
    assert told(reactor.processes[0]) == [Listen(8000, ""), Onset(1), Endpoint()]
    say(reactor.processes[0], Answer(1, ""))
    assert ears.finals == [""]


def test_a_new_child_gets_what_has_no_answer_yet_with_the_grammar_of_then() -> None:
    reactor, recognition, ears = listening()
    recognition.expect(Expected(grammar=ROBOT))
    recognition.onset()
    feed(recognition, 200)
    recognition.endpoint()
    say(reactor.processes[0], Answer(1, "stop"))
    recognition.onset()
    feed(recognition, 300)
    recognition.expect(Expected(grammar=DIET))
    reactor.processes[0].end(9)
    reactor.advance(1)
    reactor.processes[1].ready()
    recognition.endpoint()
    assert told(reactor.processes[1]) == [
        Listen(8000, ROBOT), Onset(2), 100, 100, 100, Endpoint(), Listen(8000, DIET)
    ]  # fmt: skip
    reactor.processes[1].say(2, msgspec.msgpack.encode(Answer(2, "go back ten meters")))
    assert ears.finals == ["stop", "go back ten meters"]


def test_an_idle_caller_outlives_any_number_of_children() -> None:
    reactor, recognition, ears = listening()
    for _ in range(6):
        for _ in range(5):
            reactor.advance(2.5)
            reactor.processes[-1].say(POOL, ALIVE)
        reactor.processes[-1].end(9)
        reactor.advance(1)
        reactor.processes[-1].ready()
    recognition.onset()
    assert (ears.errors, told(reactor.processes[-1])) == ([], [Listen(8000, ""), Onset(1)])


def test_a_broken_grammar_means_dictation() -> None:
    reactor, recognition, _ = listening()
    recognition.expect(Expected(grammar=ROBOT))
    recognition.expect(Expected(grammar="#JSGF V1.0; grammar g; public <a> = <b>;"))
    assert told(reactor.processes[0]) == [Listen(8000, ""), Listen(8000, ROBOT), Listen(8000, "")]


def test_nothing_is_said_after_close() -> None:
    reactor, recognition, ears = listening()
    recognition.onset()
    recognition.close()
    recognition.endpoint()
    recognition.onset()
    feed(recognition, 1000)
    say(reactor.processes[0], Answer(1, "too late"))
    assert told(reactor.processes[0]) == [Listen(8000, ""), Onset(1), Leave()]
    assert ears.all == []


def test_a_recognizer_whose_children_keep_dying_says_it_is_deaf() -> None:
    reactor, recognition, ears = listening()
    recognition.onset()
    for _ in range(4):
        reactor.processes[-1].end(1)
        reactor.advance(30)
    assert len(ears.errors) == 1
    feed(recognition, 200)
    recognition.endpoint()


# --- real children, real speech ---


def speech(name: str, *, telephone: bool = False) -> tuple[bytes, int]:
    with wave.open(str(SPEECH / f"{name}.wav")) as file:
        pcm, rate_hz = file.readframes(file.getnframes()), file.getframerate()
    if not telephone:
        return pcm, rate_hz
    # The mean of two neighbors is a poor low-pass filter, and enough for voices.
    halved, _ = ratecv(pcm, 2, 1, rate_hz, 8000, None, 1, 1)
    return ulaw2lin(lin2ulaw(halved, 2), 2), 8000


class Call:
    """One caller of a real recognizer; speaks as fast as it can."""

    def __init__(self, recognizer: PocketsphinxRecognizer, rate_hz: int = 16000, grammar: str = "") -> None:
        self.ears = Ears()
        self.rate_hz = rate_hz
        self.recognition: Any = recognizer.listen(rate_hz, self.ears)
        self.recognition.expect(Expected(grammar=grammar))

    def feed(self, pcm: bytes) -> None:
        size = self.rate_hz // 50 * 2
        for at in range(0, len(pcm) - size + 1, size):
            self.recognition.feed(pcm[at : at + size])

    def speak(self, pcm: bytes) -> Deferred[Transcript]:
        final = self.ears.final
        silence = bytes(self.rate_hz // 5 * 2)
        self.feed(silence)
        self.recognition.onset()
        self.feed(pcm + silence)
        self.recognition.endpoint()
        return final


def recognizer_of(**options: Any) -> PocketsphinxRecognizer:
    from twisted.internet import reactor

    return PocketsphinxRecognizer(Options(**options), cast(Any, reactor))


@needs_pocketsphinx
@inlineCallbacks
def test_a_grammar_is_heard_through_the_telephone_and_other_speech_is_not_forced_into_it() -> Any:
    recognizer = recognizer_of(workers=1, dictations=0)
    yield recognizer.start()
    try:
        robot, _ = speech("go_forward", telephone=True)
        final = yield Call(recognizer, 8000, ROBOT).speak(robot)
        assert (final.text, final.confidence > 0.5) == ("go forward ten meters", True)
        assert 200 <= final.start_ms <= 900 and 2000 <= final.end_ms <= 3000
        assert [word.text for word in final.words] == ["go", "forward", "ten", "meters"]
        assert (final.words[0].start_ms, final.words[-1].end_ms) == (final.start_ms, final.end_ms)
        for name, text in (
            ("two_eggs", "i had two eggs and a slice of toast"),
            ("chicken_and_rice", "chicken and rice"),
        ):
            pcm, rate_hz = speech(name)
            final = yield Call(recognizer, rate_hz, DIET).speak(pcm)
            assert final.text == text
        for grammar in (ROBOT, DIET):
            pcm, rate_hz = speech("joke")
            final = yield Call(recognizer, rate_hz, grammar).speak(pcm)
            assert final.text == ""
    finally:
        yield recognizer.stop()


@needs_pocketsphinx
@inlineCallbacks
def test_dictation_hears_what_no_grammar_has_and_the_same_whoever_spoke_before() -> Any:
    recognizer = recognizer_of(workers=1)
    yield recognizer.start()
    try:
        joke, _ = speech("joke")
        robot, _ = speech("go_forward")
        call, other = Call(recognizer, grammar=DIET), Call(recognizer)
        texts = []
        for between in (speech("two_eggs")[0], robot, bytes(32000)):
            final = yield call.speak(joke)
            texts.append(final.text)
            yield other.speak(between)
        assert texts == ["can you tell me a joke"] * 3
        assert any(not transcript.final for transcript in other.ears.all)
        # Two at once: one waits for the only decoder.
        both = [other.speak(robot), Call(recognizer).speak(joke)]
        texts = []
        for each in both:
            final = yield each
            texts.append(final.text)
        assert texts[1] == "can you tell me a joke" and texts[0].startswith("go forward ten")
    finally:
        yield recognizer.stop()


@needs_pocketsphinx
@inlineCallbacks
def test_a_caller_who_vanished_in_mid_word_keeps_nobody_from_being_heard() -> Any:
    recognizer = recognizer_of(workers=1)
    yield recognizer.start()
    try:
        robot, _ = speech("go_forward")
        vanished, other = Call(recognizer), Call(recognizer)
        vanished.recognition.onset()
        vanished.feed(robot[:40_000])
        for _ in range(2):
            final = yield other.speak(robot)
            assert final.text == "go forward ten meters"
        # One who comes back is heard as if nothing had been.
        final = vanished.ears.final
        vanished.feed(robot[40_000:])
        vanished.recognition.endpoint()
        transcript = yield final
        assert transcript.text == "go forward ten meters"
    finally:
        yield recognizer.stop()


@needs_pocketsphinx
@inlineCallbacks
def test_a_worker_killed_or_hung_in_mid_utterance_costs_no_word() -> Any:
    recognizer = recognizer_of(workers=1, dictations=0, hang_s=1.0)
    yield recognizer.start()
    try:
        pcm, _ = speech("go_forward", telephone=True)
        for blow in (signal.SIGKILL, signal.SIGSTOP):
            call = Call(recognizer, 8000, ROBOT)
            call.recognition.onset()
            call.feed(pcm[: len(pcm) // 2])
            os.kill(recognizer.children.pids[0], blow)
            call.feed(pcm[len(pcm) // 2 :])
            final = call.ears.final
            call.recognition.endpoint()
            transcript = yield final
            assert transcript.text == "go forward ten meters"
        assert recognizer.children.deaths == 2
    finally:
        yield recognizer.stop()


@needs_pocketsphinx
@inlineCallbacks
def test_what_has_no_child_yet_is_said_to_wait_for_one() -> Any:
    recognizer = recognizer_of(workers=1, dictations=0)
    pcm, _ = speech("go_forward", telephone=True)
    call = Call(recognizer, 8000, ROBOT)
    assert not call.recognition.renewing
    final = call.speak(pcm)
    assert call.recognition.renewing
    assert not call.recognition.decoding
    yield recognizer.start()
    try:
        transcript = yield final
        assert transcript.text == "go forward ten meters"
        assert not call.recognition.renewing
        call.recognition.onset()
        assert call.recognition.decoding
        final = call.ears.final
        call.recognition.endpoint()
        yield final
        assert not call.recognition.decoding
    finally:
        yield recognizer.stop()


@needs_pocketsphinx
@inlineCallbacks
def test_a_minute_without_a_pause_comes_as_several_finals() -> Any:
    recognizer = recognizer_of(workers=1, dictations=0, max_utterance_s=30)
    yield recognizer.start()
    try:
        call = Call(recognizer, 8000, ROBOT)
        pcm, _ = speech("go_forward", telephone=True)
        yield call.speak(pcm + bytes(16000 * 70))
        while len(call.ears.finals) < 3:
            yield call.ears.final
        assert call.ears.finals[0] == "go forward ten meters"
    finally:
        yield recognizer.stop()


def test_missing_says_how_to_get_it() -> None:
    said = pocketsphinx.missing(Options())
    assert said == "" if importlib.util.find_spec("pocketsphinx") else "voicemedia[offline]" in said
