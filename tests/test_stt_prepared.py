"""Recognizer `prepared`: what the recognizer behind hears, and the times its owner is told."""

from typing import Any

import numpy as np
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from tests.clouds.ears import stamped
from tests.hearing import Notes
from voicemedia.errors import ConfigError, ProviderError
from voicemedia.interfaces import Expected, Hearing, Recognition, Traits, Transcript, Word
from voicemedia.providers import load
from voicemedia.stt.prepared import Options, PreparedRecognizer, missing

OFF = Options(high_pass_hz=0)


class Behind:
    """A recognizer that keeps what it hears."""

    name = "behind"
    trouble = "tired"
    traits = Traits(usd_per_hour=3)

    def __init__(self) -> None:
        self.rate_hz = 0
        self.told: list[str] = []
        self.frames: list[bytes] = []
        self.backlog_ms = 40

    def start(self) -> Deferred[None]:
        return succeed(None)

    stop = start

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        self.rate_hz, self.hearing = rate_hz, hearing
        return self

    def feed(self, pcm: bytes) -> None:
        self.frames.append(pcm)
        self.told.append("f")

    def onset(self) -> None:
        self.told.append("(")

    def endpoint(self) -> None:
        self.told.append(")")

    def expect(self, expected: Expected) -> None:
        self.told.append(expected.language)

    def close(self) -> None:
        self.told.append("closed")


def room(options: Options, rate_hz: int = 8000) -> tuple[Recognition, Behind, Notes]:
    behind, notes = Behind(), Notes()
    return PreparedRecognizer(options, behind).listen(rate_hz, notes), behind, notes


def test_with_every_step_off_all_is_passed_on_as_it_is() -> None:
    recognition, behind, notes = room(OFF)
    frames = stamped(4, 8000)
    recognition.feed(frames[0])
    recognition.onset()
    recognition.feed(frames[1])
    recognition.endpoint()
    recognition.feed(frames[2] + frames[3])
    recognition.expect(Expected(language="fr"))
    recognition.close()
    assert behind.frames == frames
    assert "".join(behind.told) == "f(f)fffrclosed"
    transcript = Transcript("yes", True, 0.5, 20, 40, words=(Word("yes", 20, 40),))
    behind.hearing.heard(transcript)
    behind.hearing.deaf(ProviderError("no"))
    assert notes.told == [transcript] and notes.error is not None


def test_the_high_pass_keeps_rate_and_length() -> None:
    recognition, behind, _ = room(Options(high_pass_hz=100))
    for _ in range(50):
        recognition.feed(np.full(160, 3000, "<i2").tobytes())
    assert (behind.rate_hz, len(behind.frames), {len(frame) for frame in behind.frames}) == (8000, 50, {320})
    assert np.abs(np.frombuffer(behind.frames[-1], "<i2")).max() <= 1


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_noise_suppression_hands_on_frames_at_16_khz(rate_hz: int) -> None:
    recognition, behind, _ = room(Options(noise_suppression=2), rate_hz)
    for _ in range(50):
        recognition.feed(bytes(rate_hz // 50 * 2))
    assert behind.rate_hz == 16000
    assert len(behind.frames) in (49, 50)
    assert {len(frame) for frame in behind.frames} == {640}


def test_the_gate_leaves_out_pauses_and_the_owner_is_told_times_of_the_call() -> None:
    recognition, behind, notes = room(Options(high_pass_hz=0, gate=True, gate_before_ms=300))
    frames = stamped(200, 8000)
    for frame in frames[:20]:
        recognition.feed(frame)
    recognition.onset()
    recognition.endpoint()
    for frame in frames[20:120]:
        recognition.feed(frame)
    recognition.onset()
    for frame in frames[120:140]:
        recognition.feed(frame)
    recognition.endpoint()
    # 300 ms before the second onset, and no more of the pause.
    assert behind.frames == frames[:20] + frames[105:140]
    assert "".join(behind.told) == "f" * 20 + "()" + "f" * 15 + "(" + "f" * 20 + ")"
    behind.hearing.heard(
        Transcript("one two", True, 0.5, 380, 1100, words=(Word("one", 380, 400), Word("two", 400, 1100)))
    )
    told = notes.told[0]
    assert (told.start_ms, told.end_ms) == (380, 2800)
    assert [(word.start_ms, word.end_ms) for word in told.words] == [(380, 400), (2100, 2800)]


def test_what_the_recognizer_behind_is_like_is_told() -> None:
    recognizer = PreparedRecognizer(OFF, Behind())
    assert (recognizer.trouble, recognizer.traits.usd_per_hour, recognizer.languages) == ("tired", 3, ())
    recognition: Any = recognizer.listen(8000, Notes())
    assert recognition.backlog_ms == 40


def test_a_table_names_the_recognizer_behind_and_its_options() -> None:
    table = {"provider": "prepared", "recognizer": "whisper", "options": {"key_env": ""}, "noise_suppression": 2}
    module, options = load("stt", "street", table)
    assert module.missing(options) == ""
    assert module.make(options, Clock()).name == "prepared"


def test_what_is_wrong_behind_is_told() -> None:
    assert "NO_SUCH_KEY is not set" in missing(Options(recognizer="whisper", options={"key_env": "NO_SUCH_KEY"}))
    assert missing(Options(recognizer="nobody")).startswith("recognizer: nobody is none; known are ")
    assert missing(Options(recognizer="prepared")).startswith("recognizer: prepared is none")
    with pytest.raises(ConfigError, match=r"options\.modle: unknown key; did you mean model"):
        missing(Options(recognizer="whisper", options={"modle": "x"}))
