"""Concealment of a hole: no click into it, none out of it, silence when it is long, both its sides used."""

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


def with_hole(sound: Sound, rate_hz: int, first: int, frames: int, *, mended: bool = False) -> Sound:
    """Pass the sound in frames of 20 ms, of which some are lost; what is behind them is known when they are mended."""
    size, concealer, out = rate_hz // 50, Concealer(rate_hz), []
    for number in range(len(sound) // size):
        lost = first <= number < first + frames
        frame = sound[number * size : (number + 1) * size].tobytes()
        if not lost:
            out.append(concealer.good(frame))
        elif not mended:
            out.append(concealer.conceal(size))
        elif number == first:
            behind = sound[(first + frames) * size : (first + frames + 1) * size].tobytes()
            out.append(concealer.conceal(frames * size, behind))
    return np.frombuffer(b"".join(out), "<i2")


@RATES
@pytest.mark.parametrize("hz", [70, 110, 173.3, 220, 340, 455])
@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("mended", [False, True])
def test_a_hole_in_a_voice_does_not_click(hz: float, rate_hz: int, frames: int, mended: bool) -> None:
    sound = voiced(hz, rate_hz, 400)
    out = with_hole(sound, rate_hz, 8, frames, mended=mended)
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


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_voice_that_changes_in_the_hole_is_met_on_both_sides(frames: int) -> None:
    size, low, high = 160, voiced(110, 8000, 200), voiced(240, 8000, 200) // 3
    sound = np.concatenate((low, np.zeros(frames * size, "<i2"), high)).astype("<i2")
    out = with_hole(sound, 8000, 10, frames, mended=True)
    hole = out[10 * size : (10 + frames) * size].astype(float)
    edge = frames * size // 5
    before, after = (np.fft.rfft(piece * np.hanning(edge), 8000) for piece in (hole[:edge], hole[-edge:]))
    assert abs(before[110]) > abs(before[240])
    assert abs(after[240]) > abs(after[110])
    assert np.array_equal(out[(10 + frames) * size :], high), "what comes is heard as it is"


def test_the_silence_of_a_long_hole_ends_with_what_leads_to_the_sound_behind_it() -> None:
    sound = voiced(150, 8000, 800)
    out = with_hole(sound, 8000, 8, 20, mended=True)
    loud = [float(np.abs(frame.astype(int)).max()) for frame in np.split(out[8 * 160 : 28 * 160], 20)]
    assert loud[0] > 5000 and loud[-1] > 5000
    assert loud[7:13] == [0.0] * 6


@pytest.mark.parametrize("ms", [1, 5, 8, 10, 30])
def test_sound_behind_the_hole_may_be_of_any_length(ms: int) -> None:
    sound, concealer = voiced(200, 8000, 200), Concealer(8000)
    concealer.good(sound[:800].tobytes())
    made = concealer.conceal(160, sound[960 : 960 + 8 * ms].tobytes())
    assert len(made) == 320
    after = concealer.good(sound[960 : 960 + 8 * ms].tobytes())
    joined = np.frombuffer(made + after, "<i2").astype(int)
    assert np.abs(np.diff(joined)).max() <= 1.5 * np.abs(np.diff(sound.astype(int))).max()


@RATES
def test_made_up_sound_fades_to_silence_by_120_ms(rate_hz: int) -> None:
    concealer, size = Concealer(rate_hz), rate_hz // 50
    for frame in np.split(voiced(150, rate_hz, 100), 5):
        concealer.good(frame.tobytes())
    energies = [float(np.sum(np.frombuffer(concealer.conceal(size), "<i2").astype(float) ** 2)) for _ in range(7)]
    assert energies[0] > energies[1] > energies[2] > energies[3] > energies[4] > energies[5] > energies[6] == 0


def test_good_sound_passes_untouched() -> None:
    concealer, frame = Concealer(8000), bytes(range(256)) + bytes(64)
    assert concealer.good(frame) is frame
    concealer.conceal(160)
    assert concealer.good(frame)[64:] == frame[64:]
    assert concealer.good(frame) is frame


def test_nothing_heard_yet_is_concealed_by_silence() -> None:
    assert Concealer(8000).conceal(160) == bytes(320)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 400), st.integers(0, 200))))
def test_length_is_exact_whatever_happens(events: list[tuple[bool, int, int]]) -> None:
    concealer = Concealer(8000)
    for lost, samples, behind in events:
        out = concealer.conceal(samples, bytes(2 * behind)) if lost else concealer.good(b"\x10\x27" * samples)
        assert len(out) == 2 * samples
