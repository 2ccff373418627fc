"""Sessions of voice gateways on a clock of the test's own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.fake_stream import FakeService
from tests.fakes import FakeRecognizer
from voicemedia.errors import ProviderError
from voicemedia.gateway.segment_wire import Format, Segment
from voicemedia.gateway.session import Refused, Reply, Setting
from voicemedia.gateway.sessions import GatewaySessions
from voicemedia.transcribing.events import Wish

LOUD = b"\x10\x27" * 320


class CountingRecognizer(FakeRecognizer):
    def __init__(self) -> None:
        super().__init__()
        self.frames = 0
        self.sound = b""

    def feed(self, pcm: bytes) -> None:
        self.frames += 1
        self.sound += pcm


class Door:
    """The sessions of gateways, over a recognizer that says what the test makes it say."""

    def __init__(self, **options: Any) -> None:
        self.ear = CountingRecognizer()
        self.service = FakeService(recognizers={"fake": self.ear}, **options)
        setting = Setting(self.service.clock, self.service.now_ms, 40)
        self.sessions = GatewaySessions(self.service.sessions, Wish(), setting)

    def send(self, number: int, *, last: bool = False, payload: bytes = LOUD, name: str = "s1", at: int = 0) -> str:
        """Send a segment; return the answer as a line, "..." while there is none."""
        return line(self.ask(Segment(name, number, payload, Format.LINEAR16, 16000, last, at)))

    def ask(self, segment: Segment) -> Deferred[Reply]:
        """Send a segment; raise what it is refused with at once."""
        answer = self.sessions.transcribe(segment)
        refused: list[Failure] = []
        if isinstance(getattr(answer, "result", None), Failure):
            answer.addErrback(refused.append)
            refused[0].raiseException()
        return answer

    def say(self, text: str, *, final: bool = True) -> None:
        self.ear.say(text, final=final)

    @property
    def frames(self) -> int:
        return self.ear.frames


def line(answer: Deferred[Reply]) -> str:
    result = getattr(answer, "result", None)
    if not isinstance(result, Reply):
        return "..."
    return f"{result.number}{' final' if result.final else ''}: {result.transcript}".strip()


def test_a_segment_is_answered_with_the_guess_so_far_and_the_last_one_with_the_final() -> None:
    door = Door()
    assert door.send(0) == "0:"
    door.say("go", final=False)
    assert door.send(1) == "1: go"
    answer = door.ask(Segment("s1", 2, LOUD, Format.LINEAR16, 16000, last=True))
    assert line(answer) == "..."
    door.say("go forward")
    assert line(answer) == "2 final: go forward"
    assert len(door.sessions) == 0
    assert len(door.service.sessions) == 0


def test_the_answers_have_all_utterances_of_the_session() -> None:
    door = Door()
    door.send(0)
    door.send(1, payload=bytes(16000))
    door.say("one")
    door.send(2)
    door.say("tw", final=False)
    assert door.send(3) == "3: one tw"
    answer = door.ask(Segment("s1", 4, b"", Format.LINEAR16, 16000, last=True))
    door.say("two")
    assert line(answer) == "4 final: one two"


def test_a_last_segment_without_sound_ends_the_session() -> None:
    door = Door()
    door.send(0)
    answer = door.ask(Segment("s1", 1, b"", None, last=True))
    door.say("done")
    assert line(answer) == "1 final: done"
    assert line(door.ask(Segment("nobody", 1, b"", None, last=True))) == "1 final:"


def test_words_that_do_not_come_within_five_seconds_are_answered_as_a_guess() -> None:
    door = Door()
    door.send(0)
    door.say("per", final=False)
    answer = door.ask(Segment("s1", 1, LOUD, Format.LINEAR16, 16000, last=True))
    door.service.clock.advance(4.9)
    assert line(answer) == "..."
    door.service.clock.advance(0.2)
    assert line(answer) == "1: per"
    assert len(door.sessions) == 0


def test_a_segment_that_comes_twice_is_heard_once() -> None:
    door = Door()
    for number in (1, 1, 2, 1, 2, 3):
        door.send(number)
        door.service.clock.advance(0.01)
    door.service.clock.advance(0.1)
    assert door.frames == 3
    for _ in range(2):
        counts = door.sessions.read()
        assert (counts["received_segments"], counts["duplicate_segments"]) == (6, 3)
        for session in door.service.sessions:
            session.close("ended")


def test_a_last_segment_that_overtook_another_waits_for_it() -> None:
    door = Door()
    door.send(0)
    answer = door.ask(Segment("s1", 2, LOUD, Format.LINEAR16, 16000, last=True))
    assert door.ear.events == ["onset"]
    door.service.clock.advance(0.02)
    late = door.ask(Segment("s1", 1, LOUD, Format.LINEAR16, 16000))
    assert door.frames == 3
    door.say("three")
    assert [line(answer), line(late)] == ["2 final: three", "1 final: three"]


def test_a_hole_before_the_last_segment_is_given_up() -> None:
    door = Door()
    door.send(0)
    answer = door.ask(Segment("s1", 3, LOUD, Format.LINEAR16, 16000, last=True))
    door.service.clock.advance(0.2)
    assert door.frames == 4
    door.say("gone")
    assert line(answer) == "3 final: gone"


def test_a_last_segment_sent_again_gets_the_same_answer() -> None:
    door = Door()
    door.send(0)
    last = Segment("s1", 1, LOUD, Format.LINEAR16, 16000, last=True, timestamp_ms=20)
    first = door.ask(last)
    again = door.ask(last)
    door.say("only once")
    assert [line(first), line(again), line(door.ask(last))] == ["1 final: only once"] * 3
    assert door.send(0, at=19) == "0: only once"
    assert len(door.sessions) == 0
    # A new call by the old name is a new session.
    assert door.send(0, at=5000) == "0:"
    assert len(door.sessions) == 1


def test_a_gateway_that_numbers_nothing_is_heard() -> None:
    door = Door()
    for shade in range(1, 6):
        door.send(0, payload=bytes([0, shade]) * 320)
    assert door.frames == 5


def test_sessions_are_apart() -> None:
    door = Door()
    door.send(0, name="a")
    door.send(0, name="b")
    assert sorted(session.session_id for session in door.service.sessions) == ["a", "b"]


def test_one_session_too_many_is_refused() -> None:
    door = Door(max_sessions=1)
    door.send(0, name="a")
    with pytest.raises(Refused, match=r"1 sessions are open; grpc.max_sessions allows no more") as caught:
        door.send(0, name="b")
    assert caught.value.code == "RESOURCE_EXHAUSTED"


def test_a_session_without_segments_expires() -> None:
    door = Door(idle_s=300)
    door.send(0)
    for _ in range(301):
        door.service.clock.advance(1)
        door.sessions.sweep(door.service.now_ms())
    assert len(door.sessions) == 0
    assert door.send(1) == "1:"


def test_sound_much_faster_than_speech_is_refused() -> None:
    door = Door(max_ahead_s=1)
    with pytest.raises(Refused, match="faster than it is spoken") as caught:
        for number in range(100):
            door.send(number)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert door.frames == 51


def test_a_session_keeps_its_format_and_language() -> None:
    door = Door()
    door.send(0)
    for other in (
        Segment("s1", 1, LOUD, Format.PCMU, 8000),
        Segment("s1", 1, LOUD, Format.LINEAR16, 8000),
        Segment("s1", 1, LOUD, Format.LINEAR16, 16000, language="fr"),
    ):
        with pytest.raises(Refused, match="in a session that began with") as caught:
            door.ask(other)
        assert caught.value.code == "INVALID_ARGUMENT"
    assert door.frames == 1


def test_a_recognizer_that_fails_for_good_is_told_to_the_gateway() -> None:
    door = Door()
    door.send(0)
    answer = door.ask(Segment("s1", 1, LOUD, Format.LINEAR16, 16000, last=True))
    failures = list[str]()

    def note(failure: Failure) -> None:
        assert isinstance(failure.value, Refused)
        failures.append(f"{failure.value.code} {failure.value}")

    answer.addErrback(note)
    assert door.ear.hearing is not None
    door.ear.hearing.deaf(ProviderError("no such model", retryable=False))
    assert failures == ["UNAVAILABLE fake has failed: no such model"]


def test_a_recognizer_that_is_loading_is_waited_for_but_not_for_ever() -> None:
    door = Door()
    for ready in (True, False):
        door.service.troubles["fake"] = "is starting"
        answer = door.ask(Segment("s1", 0, LOUD, Format.LINEAR16, 16000))
        door.service.clock.pump([0.1] * 70)
        assert line(answer) == "..."
        if ready:
            del door.service.troubles["fake"]
        refused = list[Failure]()
        answer.addErrback(refused.append)
        door.service.clock.pump([0.1] * 11)
        if ready:
            assert len(door.sessions) == 1
            next(iter(door.service.sessions)).close("ended")
        else:
            assert str(refused[0].value) == "fake cannot serve: is starting"
            assert isinstance(refused[0].value, Refused)
            assert refused[0].value.code == "UNAVAILABLE"


def test_draining_lets_sessions_end_and_begins_none() -> None:
    door = Door()
    door.send(0)
    door.sessions.draining = True
    with pytest.raises(Refused, match="about to stop"):
        door.send(0, name="another")
    answer = door.ask(replace(Segment("s1", 1, LOUD, Format.LINEAR16, 16000), last=True))
    door.service.clock.advance(3)
    assert door.sessions.busy
    door.say("bye")
    assert line(answer) == "1 final: bye"
    assert not door.sessions.busy


def test_a_gateway_that_has_fallen_silent_is_not_waited_for() -> None:
    door = Door()
    door.send(0)
    assert door.sessions.busy
    door.service.clock.advance(1.1)
    assert not door.sessions.busy


def test_a_session_that_would_begin_with_what_is_no_sound_does_not_begin() -> None:
    pytest.importorskip("av", reason="the extra opus is not installed")
    door = Door()
    with pytest.raises(Refused, match="no Opus packet"):
        door.ask(Segment("s1", 0, b"\xff\xff\xff", Format.OPUS, 48000))
    assert len(door.sessions) == 0


def test_a_bug_ends_one_session_and_is_told_as_such(caught: Callable[[type[Exception]], int]) -> None:
    door = Door()
    door.send(0, name="another")
    door.send(0)
    door.ear.frames = None  # type: ignore[assignment]
    with pytest.raises(Refused, match="lost to a bug") as refused:
        door.send(1)
    assert refused.value.code == "INTERNAL"
    assert caught(TypeError) == 1
    assert [session.session_id for session in door.service.sessions] == ["another"]


def test_long_segments_that_change_places_are_put_right() -> None:
    door = Door()
    for number in (0, 2, 1, 3):
        door.send(number, payload=LOUD * 10)
        door.service.clock.advance(0.2)
    door.service.clock.advance(1)
    counts = door.sessions.read()
    assert (door.frames, counts["reordered_segments"], counts["late_segments"]) == (40, 1, 0)


def test_sound_is_made_up_for_a_segment_that_never_came_and_this_is_said() -> None:
    door = Door()
    tone = (np.sin(np.arange(320 * 8) * 2 * np.pi / 80) * 8000).astype("<i2").tobytes()
    pieces = [tone[at : at + 640] for at in range(0, len(tone), 640)]
    for number in (0, 1, 2, 4, 5):
        door.send(number, payload=pieces[number])
    door.service.clock.advance(1)
    answer = door.ask(Segment("s1", 6, pieces[6], Format.LINEAR16, 16000))
    assert cast(Any, answer).result.lost == 1
    heard = np.frombuffer(door.ear.sound, "<i2").astype(float)
    wanted = np.frombuffer(b"".join(pieces[:7]), "<i2").astype(float)
    assert len(heard) == len(wanted)
    # The tone goes on over the hole, fading from its tenth millisecond on.
    assert np.abs(heard - wanted)[3 * 320 : 3 * 320 + 160].max() < 100
    assert door.sessions.read()["lost_segments"] == 1
    (session,) = door.service.sessions
    door.ask(Segment("s1", 7, b"", None, last=True))
    door.say("a tone")
    assert session.over is not None
    assert session.over.summary["audio_metrics"]["concealed_s"] == 0.02
    assert door.sessions.segments()["lost_segments"] == 1


def test_a_hole_is_filled_from_behind_too_where_a_word_begins_in_it() -> None:
    door = Door()
    tone = (np.sin(np.arange(320 * 3) * 2 * np.pi / 80) * 8000).astype("<i2").tobytes()
    for number, piece in ((0, bytes(640)), (1, bytes(640)), (3, tone[640:1280]), (4, tone[1280:])):
        door.send(number, payload=piece)
    door.service.clock.advance(1)
    heard = np.frombuffer(door.ear.sound, "<i2").astype(float)
    missing, wanted = heard[2 * 320 : 3 * 320], np.frombuffer(tone[:640], "<i2").astype(float)
    assert len(heard) == 5 * 320
    # Silence becomes the tone, in phase with what follows.
    assert np.abs(missing[:80]).max() < np.abs(missing[-80:]).max() > 5000
    assert np.corrcoef(missing[-80:], wanted[-80:])[0, 1] > 0.95


def test_a_language_that_is_to_be_found_out_is_the_only_one_there_is() -> None:
    door = Door()
    vars(door.ear)["languages"] = ("en-US",)
    door.ask(Segment("s1", 0, LOUD, Format.LINEAR16, 16000, language="auto"))
    (session,) = door.service.sessions
    assert session.wish.language == "en-US"
    with pytest.raises(Refused, match="does not hear fr"):
        door.ask(Segment("s2", 0, LOUD, Format.LINEAR16, 16000, language="fr"))


def test_what_may_never_have_been_sent_is_not_lost() -> None:
    door = Door()
    door.send(3)
    door.service.clock.advance(1)
    assert (door.sessions.read()["lost_segments"], door.frames) == (0, 1)


def test_a_session_of_one_segment_waits_for_none_before_it() -> None:
    door = Door()
    answer = door.ask(Segment("s1", 1, LOUD * 10, Format.LINEAR16, 16000, last=True))
    assert door.frames == 10
    door.say("yes")
    assert line(answer) == "1 final: yes"
