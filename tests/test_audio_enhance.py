"""High-pass, noise suppression and gate."""

from math import log10

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.audio.enhance import SUPPRESSOR_HZ, Gate, HighPass, Suppressor


def tone(hz: float, rate_hz: int, seconds: float = 1.0, level: float = 8000) -> bytes:
    at = np.arange(int(rate_hz * seconds)) / rate_hz
    return np.rint(level * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes()


def level_of(pcm: bytes) -> float:
    samples = np.frombuffer(pcm, "<i2").astype(float)
    return float(np.sqrt(np.mean(samples[len(samples) // 2 :] ** 2)))


def loss_db(hz: float, rate_hz: int, cutoff_hz: int = 100) -> float:
    pcm = tone(hz, rate_hz)
    return -20 * log10(max(level_of(HighPass(rate_hz, cutoff_hz).feed(pcm)), 1e-3) / level_of(pcm))


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_the_high_pass_loses_what_a_butterworth_of_second_order_loses(rate_hz: int) -> None:
    # 10 log10(1 + (cutoff / f) ** 4)
    for hz in (25, 50, 100, 200, 1000, 3000):
        assert loss_db(hz, rate_hz) == pytest.approx(10 * log10(1 + (100 / hz) ** 4), abs=0.2)


def test_the_high_pass_takes_away_an_offset() -> None:
    pcm = np.full(8000, 5000, "<i2").tobytes()
    assert level_of(HighPass(8000).feed(pcm)) < 1


@given(cuts=st.lists(st.integers(0, 400), max_size=12))
def test_the_high_pass_gives_the_same_for_any_split(cuts: list[int]) -> None:
    pcm = tone(300, 8000, 0.2)
    whole = HighPass(8000).feed(pcm)
    split, out, at = HighPass(8000), b"", 0
    for cut in [*cuts, len(pcm)]:
        out += split.feed(pcm[at : at + 2 * cut])
        at += 2 * cut
    assert np.abs(np.frombuffer(out, "<i2").astype(int) - np.frombuffer(whole, "<i2")).max() <= 1


def test_loud_sound_is_clipped_and_not_wrapped() -> None:
    pcm = np.where(np.arange(800) // 10 % 2, 32767, -32768).astype("<i2").tobytes()
    out = np.frombuffer(HighPass(8000, 400).feed(pcm), "<i2")
    # Each edge goes beyond full scale, and stays on its side.
    assert set(out[10:400:20]) == {32767}
    assert set(out[20:400:20]) == {-32768}


def test_noise_is_suppressed_and_a_voice_band_tone_in_it_is_not() -> None:
    noise = np.random.default_rng(7).normal(0, 600, 3 * SUPPRESSOR_HZ).astype("<i2").tobytes()
    quiet = Suppressor(3).feed(noise)
    assert len(quiet) == len(noise)
    assert level_of(quiet) < level_of(noise) / 3


def test_soft_speech_is_made_louder() -> None:
    soft = b"".join(tone(200 + 40 * number, SUPPRESSOR_HZ, 0.15, level=400) + bytes(1600) for number in range(20))
    assert level_of(Suppressor(0, 3).feed(soft)) > 2 * level_of(soft)


def test_the_suppressor_takes_pieces_of_any_length() -> None:
    pcm = tone(440, SUPPRESSOR_HZ, 0.5)
    pieces = Suppressor(2)
    out = b"".join(pieces.feed(pcm[at : at + 1234]) for at in range(0, len(pcm), 1234))
    assert out == Suppressor(2).feed(pcm)[: len(out)]
    assert len(pcm) - len(out) < 320


# A frame for each letter: "s" silence, "S" speech; "(" the onset, ")" the endpoint. What goes through, by number.
GATES = [
    ("open until the first utterance has ended", "sss(SS)", "0 1 2 3 4"),
    ("then shut", "(SS)ssss", "0 1"),
    ("speech comes with what was before it", "(S)sssss(SS", "0 4 5 6 7"),
    ("less when there is less", "(S)s(SS", "0 1 2 3"),
    ("a sign of life", "(S)" + "s" * 12, "0 6 7 8 9 10"),
    ("another one", "(S)" + "s" * 22, "0 6 7 8 9 10 16 17 18 19 20"),
    ("a second onset changes nothing", "(S(S)", "0 1"),
]


@pytest.mark.parametrize(("script", "passed"), [row[1:] for row in GATES], ids=[row[0] for row in GATES])
def test_the_gate_lets_through(script: str, passed: str) -> None:
    gate = Gate(before_ms=40, silence_every_ms=200)
    number, through = 0, []
    for letter in script:
        if letter == "(":
            through += gate.speech()
        elif letter == ")":
            gate.silence()
        else:
            through += gate.feed(b"%d" % number)
            number += 1
    assert b" ".join(through).decode() == passed
    # What stands at a place behind the gate was said when it was said.
    assert [gate.clock.said_ms(20 * at) for at in range(len(through))] == [20 * int(frame) for frame in through]
