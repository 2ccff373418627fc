import struct
from typing import Any

import numpy as np
import pytest

from voicemedia.audio.wav import write_wav
from voicemedia.errors import WireError
from voicemedia.transcribing.sound import Sound

TONE: Any = np.sin(np.arange(8000) / 5) * 0.9
PCM = (TONE * 32767).astype("<i2").tobytes()
LIST = b"LIST" + struct.pack("<I", 5) + b"INFO\0\0"


def riff(sound: bytes, code: int, bits: int, *, before: bytes = b"", size: int | None = None) -> bytes:
    width = bits // 8
    form = struct.pack("<HHIIHH", code, 1, 8000, 8000 * width, width, bits)
    length = len(sound) if size is None else size
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + before + b"data" + struct.pack("<I", length) + sound
    return b"RIFF" + struct.pack("<I", len(body)) + body


FILES = {
    "16 bits": riff(PCM, 1, 16),
    "with a list before the sound": riff(PCM, 1, 16, before=LIST),
    "with a list after the sound": riff(PCM, 1, 16) + LIST,
    "24 bits": riff((TONE * 8388607).astype("<i4").view("u1").reshape(-1, 4)[:, :3].tobytes(), 1, 24),
    "float": riff(TONE.astype("<f4").tobytes(), 3, 32),
    "double": riff(TONE.astype("<f8").tobytes(), 3, 64),
    "of unknown length": riff(PCM, 1, 16, size=0xFFFFFFFF),
    "never finished": riff(PCM, 1, 16, size=0),
}


def in_pieces(file: bytes, size: int) -> bytes:
    sound = Sound()
    return b"".join(sound.feed(file[start : start + size]) for start in range(0, len(file), size))


@pytest.mark.parametrize("size", [12, 45, 100, 1023, 1 << 20])
@pytest.mark.parametrize("kind", FILES)
def test_a_wav_file_sounds_the_same_wherever_it_is_cut(kind: str, size: int) -> None:
    pcm = in_pieces(FILES[kind], size)[: len(PCM)]
    assert len(pcm) == len(PCM)
    assert np.abs(np.frombuffer(pcm, "<i2").astype(int) - np.frombuffer(PCM, "<i2")).max() <= 2


def test_samples_are_left_as_they_are() -> None:
    assert in_pieces(PCM, 1023) == PCM


def test_one_file_may_follow_another_and_samples_a_file() -> None:
    sound = Sound()
    file = write_wav(PCM, 16000)
    assert [sound.feed(file), sound.feed(file), sound.feed(b"ab")] == [PCM, PCM, b"ab"]
    assert sound.rate_hz == 0


def test_what_is_no_number_is_silence_and_what_is_too_loud_is_clipped() -> None:
    floats = struct.pack("<4f", float("nan"), 9.0, -9.0, float("inf"))
    assert struct.unpack("<4h", Sound().feed(riff(floats, 3, 32))) == (0, 32767, -32767, 32767)


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"OggS" + bytes(100), "wrong_format"),
        (riff(PCM, 0x55, 16), "unsupported_wav"),
        (write_wav(PCM, 7000), "unsupported_wav"),
        (b"RIFF" + bytes(4) + b"WAVE" + bytes(8) * 9000, "bad_wav"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_to_be_one_and_samples_may_follow(octets: bytes, kind: str) -> None:
    sound = Sound()
    with pytest.raises(WireError) as error:
        sound.feed(octets)
    assert error.value.kind == kind
    assert sound.feed(PCM) == PCM
