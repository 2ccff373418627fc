"""WAV files of every kind become what a telephone sends."""

import audioop
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from voicemedia.callers.sound import load_utterance, read_wav, resample, voiced_ms, write_wav
from voicemedia.errors import ConfigError


def sine(rate_hz: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate_hz * seconds)) / rate_hz)


def riff(code: int, channels: int, rate_hz: int, bits: int, sound: bytes, extensible: bool = False) -> bytes:
    form = struct.pack("<HHIIHH", code, channels, rate_hz, rate_hz * channels * bits // 8, channels * bits // 8, bits)
    if extensible:
        form = struct.pack("<H", 0xFFFE) + form[2:] + struct.pack("<HHI", 22, bits, 0) + struct.pack("<H14x", code)
    # An odd chunk before the format, padded, as editors write them.
    body = b"WAVE" + b"LIST\x03\0\0\0abc\0" + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm(samples: np.ndarray[tuple[int], np.dtype[np.float64]], bits: int) -> bytes:
    if bits == 8:
        return (samples * 127 + 128).astype(np.uint8).tobytes()
    whole = (samples * (2 ** (bits - 1) - 1)).astype("<i4")
    return whole.tobytes() if bits == 32 else b"".join(int(x).to_bytes(bits // 8, "little", signed=True) for x in whole)


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_integer_samples_of_any_width_are_read(tmp_path: Path, bits: int, extensible: bool) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(riff(1, 1, 16000, bits, pcm(sine(16000), bits), extensible))
    rate_hz, samples = read_wav(file)
    assert rate_hz == 16000
    assert np.abs(samples - sine(16000)).max() < 0.02


@pytest.mark.parametrize("code", ["<f4", "<f8"])
def test_floating_samples_are_read(tmp_path: Path, code: str) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(riff(3, 1, 8000, int(code[2]) * 8, sine(8000).astype(code).tobytes()))
    assert np.abs(read_wav(file)[1] - sine(8000)).max() < 1e-6


@pytest.mark.parametrize("code", [6, 7])
def test_telephone_codes_are_read(tmp_path: Path, code: int) -> None:
    linear = pcm(sine(8000), 16)
    sound = audioop.lin2alaw(linear, 2) if code == 6 else audioop.lin2ulaw(linear, 2)
    file = tmp_path / "a.wav"
    file.write_bytes(riff(code, 1, 8000, 8, sound))
    assert np.abs(read_wav(file)[1] - sine(8000)).max() < 0.02


def test_channels_are_mixed_down(tmp_path: Path) -> None:
    both = np.stack([sine(8000), np.zeros(8000)], axis=1).reshape(-1)
    file = tmp_path / "a.wav"
    file.write_bytes(riff(1, 2, 8000, 16, pcm(both, 16)))
    assert np.abs(read_wav(file)[1] - sine(8000) / 2).max() < 0.001


def test_a_file_cut_short_gives_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(riff(1, 1, 8000, 16, pcm(sine(8000), 16))[:-4001])
    assert len(read_wav(file)[1]) == 8000 - 2001


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 24000, 44100, 48000])
def test_a_tone_of_any_rate_is_the_same_tone_at_8_khz(rate_hz: int) -> None:
    got = resample(sine(rate_hz), rate_hz)
    assert len(got) == 8000
    assert np.abs(got - sine(8000))[100:-100].max() < 0.005


def test_what_8_khz_cannot_carry_is_filtered_out() -> None:
    assert np.abs(resample(sine(48000, hz=5500), 48000))[200:-200].max() < 0.0006


def test_the_voice_is_found_between_the_silences() -> None:
    silence = np.random.default_rng(1).normal(0, 0.0003, 4000)
    assert voiced_ms(np.concatenate([silence, sine(8000), silence])) == (500.0, 1500.0)


def test_silence_has_no_voice() -> None:
    assert voiced_ms(np.zeros(8000)) is None
    assert voiced_ms(np.zeros(3)) is None


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        (b"ID3\x04 an mp3", "is not a WAV file; convert it with: ffmpeg"),
        (b"", "is not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "is a damaged WAV file"),
        (riff(1, 0, 8000, 16, b""), "is a damaged WAV file"),
        (riff(2, 1, 8000, 4, b"1234"), "WAV format 2 with 4 bits is not supported"),
        (riff(1, 1, 8000, 16, bytes(16000)), "nothing but silence"),
    ],
)
def test_a_useless_file_is_refused_with_the_cure(tmp_path: Path, content: bytes, cure: str) -> None:
    file = tmp_path / "speech.wav"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=cure):
        load_utterance(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothere\.wav: No such file"):
        load_utterance(tmp_path / "nothere.wav")


def test_a_recording_has_a_channel_for_each_side(tmp_path: Path) -> None:
    write_wav(tmp_path / "both.wav", b"\xff" * 80, b"\x80" * 160)
    with wave.open(str(tmp_path / "both.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth(), file.getnframes()) == (2, 8000, 2, 160)
        left_right = np.frombuffer(file.readframes(160), "<i2").reshape(-1, 2)
    assert not left_right[:, 0].any()
    assert (left_right[:, 1] > 30000).all()
