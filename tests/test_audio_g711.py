"""G.711 sample for sample against the decision and output values of the standard."""

import struct
import subprocess
import sys
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.audio import g711
from voicemedia.audio.g711 import CODECS, encode_mulaw, encode_mulaw_once

# The tables of ITU-T G.711: eight segments of sixteen steps; the step doubles from segment to segment.
MU_DECISIONS = [((2 * step + 32) << segment) - 33 for segment in range(8) for step in range(16)][1:]
"Magnitudes on the 14-bit scale (table 2a): a magnitude of the n-th or more has a code above n."
MU_OUTPUTS = [((2 * step + 33) << segment) - 33 for segment in range(8) for step in range(16)]
A_DECISIONS = [2 * step for step in range(1, 16)] + [
    (step + 16) << segment for segment in range(1, 8) for step in range(16)
]
"Magnitudes on the 13-bit scale (table 1a), where the first two segments share one step."
A_OUTPUTS = [2 * step + 1 for step in range(16)] + [
    (2 * step + 33) << (segment - 1) for segment in range(1, 8) for step in range(16)
]


def mulaw_of(sample: int) -> int:
    scaled = sample >> 2
    magnitude = bisect_right(MU_DECISIONS, min(abs(scaled), 8158))
    return (0xFF if scaled >= 0 else 0x7F) - magnitude


def sample_of_mulaw(code: int) -> int:
    magnitude = 4 * MU_OUTPUTS[0x7F - (code & 0x7F)]
    return magnitude if code & 0x80 else -magnitude


def alaw_of(sample: int) -> int:
    scaled = sample >> 4
    magnitude = bisect_right(A_DECISIONS, (scaled if scaled >= 0 else ~scaled) * 2 + 1)
    return ((0x80 if scaled >= 0 else 0) | magnitude) ^ 0x55


def sample_of_alaw(code: int) -> int:
    code ^= 0x55
    magnitude = 8 * A_OUTPUTS[code & 0x7F]
    return magnitude if code & 0x80 else -magnitude


EVERY_SAMPLE = range(-32768, 32768)
EVERY_SAMPLE_PCM = struct.pack("<65536h", *EVERY_SAMPLE)


def samples(pcm: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(pcm) // 2}h", pcm))


def test_every_sample_becomes_the_mulaw_code_of_the_standard() -> None:
    assert list(g711.encode_mulaw(EVERY_SAMPLE_PCM)) == [mulaw_of(sample) for sample in EVERY_SAMPLE]


def test_every_sample_becomes_the_alaw_code_of_the_standard() -> None:
    assert list(g711.encode_alaw(EVERY_SAMPLE_PCM)) == [alaw_of(sample) for sample in EVERY_SAMPLE]


def test_every_mulaw_code_becomes_the_sample_of_the_standard() -> None:
    assert samples(g711.decode_mulaw(bytes(range(256)))) == [sample_of_mulaw(code) for code in range(256)]


def test_every_alaw_code_becomes_the_sample_of_the_standard() -> None:
    assert samples(g711.decode_alaw(bytes(range(256)))) == [sample_of_alaw(code) for code in range(256)]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_silence_on_the_wire_is_silence_inside(codec: g711.Codec) -> None:
    pcm = codec.decode(codec.silence * 160)
    assert max(map(abs, samples(pcm))) <= 8
    assert codec.encode(bytes(320)) == codec.silence * 160
    assert len(codec.silence) == codec.sample_bytes


@given(wire=st.binary(max_size=500))
def test_decoding_what_was_encoded_changes_nothing_more(wire: bytes) -> None:
    for codec in CODECS.values():
        once = codec.decode(wire)
        assert len(once) == len(wire) // codec.sample_bytes * 2
        assert codec.decode(codec.encode(once)) == once


def test_import_is_free_of_warnings() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", "import voicemedia.audio.g711"], check=True)


def test_what_is_compressed_once_is_what_is_compressed_each_time() -> None:
    loud, soft = b"\x10\x20" * 80, b"\x01\x00" * 80
    for pcm in (loud, loud, soft, bytes(bytearray(soft)), loud):
        assert encode_mulaw_once(pcm) == encode_mulaw(pcm)
    assert encode_mulaw_once(soft) is encode_mulaw_once(soft)
