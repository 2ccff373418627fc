"""Sounds of the telephone itself: keys made and heard, ringing, music."""

import wave
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicemedia.audio.frames import frame_bytes
from voicemedia.audio.g711 import decode_mulaw, encode_mulaw
from voicemedia.errors import ConfigError
from voicemedia.sip_bridge.dtmf_wire import KEYS
from voicemedia.sip_bridge.music import Music
from voicemedia.sip_bridge.tone_detector_wire import ToneDetector
from voicemedia.sip_bridge.tones_wire import key_tone, looped, ringing

EXAMPLES = Path(__file__).parent.parent / "examples"


def heard(pcm: bytes, rate_hz: int = 8000, piece: int = 320) -> str:
    detector = ToneDetector(rate_hz)
    return "".join("".join(detector.feed(pcm[at : at + piece])) for at in range(0, len(pcm), piece))


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_every_key_is_heard_once(rate_hz: int) -> None:
    pcm = b"".join(key_tone(key, 100, rate_hz) for key in KEYS)
    assert heard(pcm, rate_hz) == KEYS
    assert len(pcm) % frame_bytes(rate_hz) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.text(KEYS, min_size=1, max_size=6),
    st.sampled_from([40, 60, 100, 400]),
    st.integers(0, 400),
    st.integers(0, 2**32),
)
def test_keys_are_heard_wherever_they_begin_in_noise_and_mu_law(keys: str, ms: int, late: int, seed: int) -> None:
    pcm = bytes(2 * late) + b"".join(key_tone(key, ms, 8000) for key in keys) + bytes(640)
    noise = Random(seed)
    samples = np.frombuffer(pcm, "<i2") + np.array([noise.gauss(0, 80) for _ in range(len(pcm) // 2)])
    wire = encode_mulaw(samples.astype("<i2").tobytes())
    assert heard(decode_mulaw(wire)) == keys


def test_speech_is_no_key() -> None:
    for path in sorted(EXAMPLES.glob("*.wav")):
        with wave.open(str(path)) as file:
            rate_hz = file.getframerate()
            pcm = file.readframes(file.getnframes())
        assert heard(pcm, rate_hz) == ""


def test_one_tone_or_noise_is_no_key() -> None:
    at = np.arange(16_000)
    for pitch in (697, 941, 1209, 1633, 425, 1000):
        assert heard((8000 * np.sin(2 * np.pi * pitch * at / 8000)).astype("<i2").tobytes()) == ""
    noise = Random(7)
    assert heard(b"".join(noise.randbytes(2) for _ in range(16_000))) == ""


def test_it_rings_a_second_and_is_quiet_for_four() -> None:
    source = ringing(8000)
    loud = [any(source()) for _ in range(500)]
    assert loud == ([True] * 50 + [False] * 200) * 2


def test_music_begins_anew_and_silence_is_endless() -> None:
    source = looped(b"\1\0" * 200, 8000)
    assert [source()[:2], source()[:2], source()] == [b"\1\0", b"\1\0", b"\1\0" * 160]
    assert looped(b"", 8000)() == bytes(320)


def test_music_is_read_once_and_played_at_any_rate(tmp_path: Path) -> None:
    path = tmp_path / "music.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\x00\x10\x00\x10" * 16_000)
    music = Music(str(path))
    for rate_hz in (8000, 16_000):
        source = music.play(rate_hz)
        frames = [source() for _ in range(10)]
        assert {len(frame) for frame in frames} == {frame_bytes(rate_hz)}
        assert abs(int.from_bytes(frames[5][:2], "little") - 0x1000) < 50


def test_music_that_cannot_be_read_is_found_out_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"ID3")
    for name in ("no.wav", "absent.wav"):
        with pytest.raises(ConfigError, match="hold_music"):
            Music(str(tmp_path / name))
