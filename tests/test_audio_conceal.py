"""Concealment of a hole: no click into it, none out of it, silence when it is long."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from voicemedia.audio.conceal import Concealer

Sound = NDArray[np.int16]

RATES = pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])


def voiced(hz: float, rate_hz: int, ms: int) -> Sound:
    """Make a sound of three harmonics."""
    phase = 2 * np.pi * hz / rate_hz * np.arange(rate_hz * ms // 1000)
    wave = 6000 * np.sin(phase) + 3000 * np.sin(2 * phase + 1) + 1500 * np.sin(3 * phase + 2)
    return np.asarray(np.rint(wave), "<i2")


def with_hole(sound: Sound, rate_hz: int, first: int, frames: int) -> Sound:
    """Pass the sound in frames of 20 ms, of which some are lost."""
    size, concealer, out = rate_hz // 50, Concealer(rate_hz), []
    for number in range(len(sound) // size):
        lost = first <= number < first + frames
        frame = sound[number * size : (number + 1) * size].tobytes()
        out.append(concealer.conceal(size) if lost else concealer.good(frame))
    return np.frombuffer(b"".join(out), "<i2")


@RATES
@pytest.mark.parametrize("hz", [70, 110, 173.3, 220, 340, 455])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_a_hole_in_a_voice_does_not_click(hz: float, rate_hz: int, frames: int) -> None:
    sound = voiced(hz, rate_hz, 400)
    out = with_hole(sound, rate_hz, 8, frames)
    assert len(out) == len(sound)
    steepest = np.abs(np.diff(sound.astype(int))).max()
    assert np.abs(np.diff(out.astype(int))).max() <= 1.5 * steepest + 2


@pytest.mark.parametrize("hz", [100, 160, 200, 250])
def test_one_lost_frame_of_a_steady_voice_is_hardly_heard(hz: float) -> None:
    sound = voiced(hz, 8000, 400)
    out = with_hole(sound, 8000, 8, 1)
    hole = slice(8 * 160, 8 * 160 + 80)
    wrong = out[hole].astype(float) - sound[hole]
    assert np.sum(wrong**2) < 0.01 * np.sum(sound[hole].astype(float) ** 2)


@RATES
def test_made_up_sound_fades_to_silence_by_60_ms(rate_hz: int) -> None:
    concealer, size = Concealer(rate_hz), rate_hz // 50
    for frame in np.split(voiced(150, rate_hz, 100), 5):
        concealer.good(frame.tobytes())
    energies = [float(np.sum(np.frombuffer(concealer.conceal(size), "<i2").astype(float) ** 2)) for _ in range(5)]
    assert energies[0] > energies[1] > energies[2] > energies[3] == energies[4] == 0


def test_good_sound_passes_untouched() -> None:
    concealer, frame = Concealer(8000), bytes(range(256)) + bytes(64)
    assert concealer.good(frame) is frame
    concealer.conceal(160)
    assert concealer.good(frame)[64:] == frame[64:]
    assert concealer.good(frame) is frame


def test_nothing_heard_yet_is_concealed_by_silence() -> None:
    assert Concealer(8000).conceal(160) == bytes(320)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400))))
def test_length_is_exact_whatever_happens(events: list[tuple[bool, int]]) -> None:
    concealer = Concealer(8000)
    for lost, samples in events:
        out = concealer.conceal(samples) if lost else concealer.good(b"\x10\x27" * samples)
        assert len(out) == 2 * samples
