"""Resampling keeps the telephone band, drops what would alias, and does not care how the sound is cut."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.audio.resample import Resampler

RATES = (8000, 16000, 24000, 48000)
SYNTHESIZERS = [(22050, 8000), (22050, 16000), (44100, 8000), (11025, 8000), (32000, 8000), (8000, 44100)]
TELEPHONY = list(permutations(RATES, 2))
PAIRS = [*TELEPHONY, *SYNTHESIZERS]
AMPLITUDE = 10_000


def convert(from_hz: int, to_hz: int, pcm: bytes) -> bytes:
    resampler = Resampler(from_hz, to_hz)
    return resampler.feed(pcm) + resampler.flush()


def tone(hz: float, rate_hz: int) -> bytes:
    """Half a second of a sine."""
    sine = AMPLITUDE * np.sin(2 * np.pi * hz / rate_hz * np.arange(rate_hz // 2))
    return bytes(np.rint(sine).astype("<i2"))


def levels_db(pcm: bytes, rate_hz: int, hz: float) -> tuple[float, float]:
    """Measure the tone and the strongest other line, against a tone of `AMPLITUDE`, away from the ends."""
    sound = np.frombuffer(pcm, "<i2").astype(float)[rate_hz // 20 : -rate_hz // 20]
    window = np.blackman(len(sound))
    lines = np.abs(np.fft.rfft(sound * window)) / window.sum() * 2 / AMPLITUDE + 1e-9
    near = np.abs(np.fft.rfftfreq(len(sound), 1 / rate_hz) - hz) < 40
    tone_db = 20 * np.log10(lines[near].max()) if near.any() else -180.0
    return float(tone_db), float(20 * np.log10(lines[~near].max()))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("hz", [300, 1000, 2000, 3000, 3400])
def test_telephone_band_is_kept_without_images(from_hz: int, to_hz: int, hz: float) -> None:
    tone_hz = hz * min(from_hz, to_hz) / 8000
    tone_db, other_db = levels_db(convert(from_hz, to_hz, tone(tone_hz, from_hz)), to_hz, tone_hz)
    assert abs(tone_db) < 0.1
    assert other_db < -60


ALIASES = [
    (from_hz, to_hz, hz * to_hz / 8000)
    for from_hz, to_hz in PAIRS
    for hz in (4600, 4800, 5000, 5500, 6000, 7000, 7900, 11000, 20000)
    if hz * to_hz / 8000 < from_hz / 2
]


@pytest.mark.parametrize(("from_hz", "to_hz", "tone_hz"), ALIASES)
def test_what_would_alias_is_gone(from_hz: int, to_hz: int, tone_hz: float) -> None:
    assert max(levels_db(convert(from_hz, to_hz, tone(tone_hz, from_hz)), to_hz, tone_hz)) < -60


@pytest.mark.parametrize(("from_hz", "to_hz"), TELEPHONY)
def test_delay_is_at_most_2_ms(from_hz: int, to_hz: int) -> None:
    resampler = Resampler(from_hz, to_hz)
    assert resampler.delay_ms <= 2
    out = resampler.feed(bytes(from_hz // 25))
    assert len(out) / 2 >= (20 - resampler.delay_ms) * to_hz / 1000 - 1


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_sound_stays_where_it_was(from_hz: int, to_hz: int) -> None:
    click = np.zeros(from_hz // 10, "<i2")
    click[from_hz // 20] = 30_000
    out = np.frombuffer(convert(from_hz, to_hz, click.tobytes()), "<i2")
    assert abs(int(np.argmax(np.abs(out))) / to_hz - (from_hz // 20) / from_hz) <= 1 / min(from_hz, to_hz)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_constant_passes_exactly(from_hz: int, to_hz: int) -> None:
    out = np.frombuffer(convert(from_hz, to_hz, np.full(from_hz // 10, 12345, "<i2").tobytes()), "<i2")
    edge = len(out) // 5
    assert set(out[edge:-edge].tolist()) == {12345}


def test_full_scale_is_clipped_not_wrapped() -> None:
    square = np.repeat(np.array([32767, -32768] * 100, "<i2"), 20)
    out = np.frombuffer(convert(8000, 16000, square.tobytes()), "<i2")
    assert out.max() == 32767
    assert out.min() == -32768


def test_same_rate_passes_the_same_object() -> None:
    pcm = bytes(320)
    assert Resampler(8000, 8000).feed(pcm) is pcm


@given(
    pair=st.sampled_from([*PAIRS, (16000, 16000)]),
    pcm=st.binary(max_size=3000),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
)
def test_any_split_gives_the_same_bytes(pair: tuple[int, int], pcm: bytes, cuts: list[int]) -> None:
    whole = convert(*pair, pcm)
    resampler = Resampler(*pair)
    edges = sorted({0, len(pcm), *(cut for cut in cuts if cut < len(pcm))})
    pieces = [resampler.feed(pcm[start:stop]) for start, stop in pairwise(edges)]
    assert b"".join(pieces) + resampler.flush() == whole
    assert len(whole) // 2 == -(-(len(pcm) // 2) * pair[1] // pair[0])


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_byte_for_byte_gives_the_same_bytes(from_hz: int, to_hz: int) -> None:
    pcm = np.random.default_rng(5).integers(-32768, 32768, from_hz // 25).astype("<i2").tobytes()
    resampler = Resampler(from_hz, to_hz)
    out = b"".join(resampler.feed(pcm[place : place + 1]) for place in range(len(pcm)))
    assert out + resampler.flush() == convert(from_hz, to_hz, pcm)


def test_flush_starts_over() -> None:
    resampler, pcm = Resampler(8000, 16000), tone(440, 8000)
    first = resampler.feed(pcm + b"x") + resampler.flush()
    assert resampler.feed(pcm) + resampler.flush() == first
    assert resampler.flush() == b""
