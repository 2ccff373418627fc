"""Comfort noise: as loud and as colored as it is described."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.audio.comfort_noise import ComfortNoise


def level_db(pcm: bytes) -> float:
    sound = np.frombuffer(pcm, "<i2").astype(np.float64)
    return float(20 * np.log10(np.sqrt(np.mean(sound * sound)) / 32767))


@pytest.mark.parametrize("level", [40, 55, 70])
def test_it_has_the_level_it_is_described_with(level: int) -> None:
    noise = ComfortNoise(8000)
    noise.describe(bytes([level]))
    assert level_db(noise.make(8000)) == pytest.approx(-level, abs=0.5)


def test_before_it_is_described_it_is_silence() -> None:
    noise = ComfortNoise(8000)
    noise.describe(b"")
    assert noise.make(160) == bytes(320)


def test_nobody_is_made_to_roar() -> None:
    noise = ComfortNoise(8000)
    noise.describe(b"\x00")
    assert level_db(noise.make(8000)) < -29


def test_its_spectrum_follows_the_coefficients() -> None:
    def low_share(payload: bytes) -> float:
        noise = ComfortNoise(8000)
        noise.describe(payload)
        power = np.abs(np.fft.rfft(np.frombuffer(noise.make(8000), "<i2").astype(np.float64))) ** 2
        return float(power[: len(power) // 4].sum() / power.sum())

    # The first reflection coefficient is the lean towards low tones (negative) or high ones.
    assert low_share(bytes([40, 27])) > 0.8 > 0.35 > low_share(bytes([40])) > 0.15 > low_share(bytes([40, 227]))


@given(st.lists(st.tuples(st.binary(max_size=30), st.integers(0, 400)), max_size=12))
def test_any_description_makes_as_much_as_is_asked_for(steps: list[tuple[bytes, int]]) -> None:
    noise = ComfortNoise(8000)
    for payload, samples in steps:
        noise.describe(payload)
        assert len(noise.make(samples)) == 2 * samples
