"""The features of the offline recognizer: the model's own numbers at 16 kHz, and nearly the same from 8 kHz."""

import importlib.util
import wave
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

if importlib.util.find_spec("pocketsphinx") is None:
    pytest.skip("needs the extra `offline` (pocketsphinx)", allow_module_level=True)

import pocketsphinx

from voicemedia.agent.diet_grammar import grammar
from voicemedia.agent.diet_table import State
from voicemedia.audio.pcm import lin2ulaw, ulaw2lin
from voicemedia.audio.resample import Resampler
from voicemedia.stt.pocketsphinx_decoders import DICTATION, Decoders
from voicemedia.stt.pocketsphinx_features import FRAMES_PER_S, Features, Quieter, Spectra
from voicemedia.stt.pocketsphinx_model import CEPSTRA, to_cepstra
from voicemedia.stt.pocketsphinx_wire import Setup

ROOT: Final = Path(__file__).parent
SILENCE: Final = bytes(2 * 16000 * 4 // 10)
SPOKEN: Final = {
    "examples/breakfast": "i had two eggs and a slice of toast",
    "examples/boiled": "boiled",
    "examples/lunch": "for lunch i had a chicken sandwich and a bowl of tomato soup",
    "examples/correction": "no three eggs",
    "examples/done": "that is all",
    "examples/yes": "yes",
    "examples/repeat": "what did i eat today",
    "examples/goodbye": "goodbye",
}


def sound(name: str) -> bytes:
    with wave.open(str(ROOT.parent / f"{name}.wav")) as file:
        assert file.getframerate() == 16000
        return b"".join((SILENCE, file.readframes(file.getnframes()), SILENCE))


def telephone(pcm: bytes, gain: float = 1.0) -> bytes:
    narrow = np.frombuffer(Resampler(16000, 8000).feed(pcm), "<i2") * gain
    return ulaw2lin(lin2ulaw(narrow.astype("<i2").tobytes(), 2), 2)


def cepstra(pcm: bytes, rate_hz: int, step: int = 3200) -> NDArray[np.float32]:
    features = Features(rate_hz)
    pieces = [features.feed(pcm[at : at + step]) for at in range(0, len(pcm), step)]
    return np.frombuffer(b"".join(pieces) + features.finish(), "<f4").reshape(-1, CEPSTRA)


@cache
def decoders() -> Decoders:
    return Decoders(Setup(1, 1, 200, -1.7, {}))


def understood(pcm: bytes, rate_hz: int, expected: str) -> str:
    ears = decoders().take(expected)
    assert ears is not None
    ears.hear(cepstra(pcm, rate_hz).tobytes())
    answer = ears.finish(1)
    decoders().give_back(ears)
    return answer.text if answer is not None else ""


def test_cepstra_have_the_mean_that_the_models_own_front_end_gives_them() -> None:
    pcm = sound("tests/vectors/speech/go_forward")[len(SILENCE) : -len(SILENCE)]
    reference: Any = pocketsphinx.Decoder(lm=None, loglevel="FATAL", jsgf=None)
    reference.add_jsgf_string("any", "#JSGF V1.0; grammar any; public <any> = yes;")
    reference.activate_search("any")
    reference.set_cmn(",".join(["0"] * CEPSTRA))
    reference.start_utt()
    reference.process_raw(pcm, True, False)
    # It blends the mean with 500 frames of the one it was given.
    theirs = np.array([float(each) for each in reference.get_cmn(True).split(",")])
    reference.end_utt()
    ours = np.log(Quieter(25).feed(Spectra(16000).feed(pcm)) + 1e-4) @ to_cepstra().T
    assert np.abs(theirs - ours.sum(axis=0) / (500 + len(ours))).max() < 1.0


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_cepstra_are_as_many_as_frames_and_the_same_for_any_pieces_of_a_short_utterance(rate_hz: int) -> None:
    pcm = sound("examples/yes")
    pcm = pcm if rate_hz == 16000 else telephone(pcm)
    pcm = pcm[: rate_hz * 2 * 9 // 10]
    whole = cepstra(pcm, rate_hz, step=len(pcm))
    assert len(whole) == (len(pcm) // 2 - int(rate_hz * 0.025625)) // (rate_hz // FRAMES_PER_S) + 1
    assert np.allclose(whole, cepstra(pcm, rate_hz, step=314), atol=1e-3)


def test_what_the_telephone_leaves_out_is_estimated_better_than_left_out() -> None:
    pcm = sound("tests/vectors/speech/go_forward")
    wide, narrow = cepstra(pcm, 16000), cepstra(telephone(pcm), 8000)
    loud = wide[: len(narrow), 0] > 0
    wide, narrow = wide[: len(narrow)][loud], narrow[loud]
    assert np.mean((wide - narrow) ** 2) < 0.35 * np.mean(wide**2)


def test_a_loud_callers_level_is_known_better_the_second_time() -> None:
    yes = telephone(sound("examples/yes"))
    features = Features(8000)
    peaks = []
    for _ in range(2):
        features.begin()
        heard = np.frombuffer(features.feed(yes) + features.finish(), "<f4").reshape(-1, CEPSTRA)
        peaks.append(float(heard[:, 0].max()))
    assert peaks[1] < peaks[0]


@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_nothing_digital_silence_and_full_scale_give_finite_numbers(rate_hz: int) -> None:
    assert len(cepstra(b"", rate_hz)) == 0
    square = (np.sign(np.sin(np.arange(rate_hz))) * 32767).astype("<i2").tobytes()
    for pcm in (bytes(rate_hz * 4), square, bytes(rate_hz) + square):
        assert np.isfinite(cepstra(pcm, rate_hz)).all()


@pytest.mark.parametrize("name", SPOKEN)
def test_the_diet_is_believed_over_the_telephone_also_far_from_it(name: str) -> None:
    for gain in (1.0, 0.12):
        assert understood(telephone(sound(name), gain), 8000, grammar(State.PREPARATION)) == SPOKEN[name]


def test_speech_that_is_not_about_food_is_not_believed_over_the_telephone() -> None:
    for name in ("joke", "go_forward"):
        assert understood(telephone(sound(f"tests/vectors/speech/{name}")), 8000, grammar(State.PREPARATION)) == ""


def test_a_person_is_understood_over_the_telephone_by_dictation() -> None:
    person = telephone(sound("tests/vectors/speech/go_forward"))
    assert "forward ten meters" in understood(person, 8000, DICTATION)
