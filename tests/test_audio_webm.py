"""Sound as browsers send it: WebM and Ogg with Opus, WAV, PCM, whole or in pieces, sound or damaged."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chromium import likeness as found
from voicemedia.audio.arriving import Arriving
from voicemedia.audio.ogg import OggReader
from voicemedia.audio.wav import read_wav
from voicemedia.audio.webm import WebmReader
from voicemedia.errors import WireError

pytest.importorskip("av", reason="the extra opus is not installed")

HERE = Path(__file__).parent
WEBM = (HERE / "vectors/browser/breakfast.webm").read_bytes()
OGG = (HERE / "vectors/browser/yes.ogg").read_bytes()
EXAMPLES = HERE.parent / "examples"
EBML_HEAD = bytes.fromhex("1A45DFA380")


def pieces(octets: bytes, size: int) -> list[bytes]:
    return [octets[at : at + size] for at in range(0, len(octets), size)]


def element(name: str, body: bytes) -> bytes:
    return bytes.fromhex(name) + (len(body) | 1 << 28).to_bytes(4, "big") + body


def stream(*blocks: bytes, codec: bytes = b"A_OPUS", track: int = 1) -> bytes:
    """A WebM stream of clusters with unknown size."""
    entry = element("AE", element("D7", bytes([track])) + element("86", codec) + element("63A2", b"head"))
    return (
        element("1A45DFA3", element("4282", b"webm"))
        + bytes.fromhex("1853806701FFFFFFFFFFFFFF")
        + element("1549A966", b"\0" * 30)
        + element("1654AE6B", entry)
        + bytes.fromhex("1F43B67501FFFFFFFFFFFFFF")
        + element("E7", b"\0")
        + b"".join(blocks)
    )


def block(payload: bytes, *, flags: int = 0x80, track: int = 1) -> bytes:
    return element("A3", bytes([0x80 | track, 0, 0, flags]) + payload)


def likeness(one: bytes, other: bytes) -> float:
    """How alike two sounds are at the best of all delays up to 50 ms, 0 to 1."""
    first, second = (np.frombuffer(pcm, "<i2").astype(float) for pcm in (one, other))
    length = min(len(first), len(second)) - 800
    return max(float(np.corrcoef(first[lag : lag + length], second[:length])[0, 1]) for lag in range(0, 800, 4))


def original(name: str) -> bytes:
    return Arriving().feed((EXAMPLES / name).read_bytes())


@pytest.mark.parametrize("size", [1, 7, 100, 1000, len(WEBM)])
def test_packets_are_the_same_for_any_split(size: int) -> None:
    whole, split = WebmReader().feed(WEBM), WebmReader()
    assert len(whole) > 50
    assert [packet for piece in pieces(WEBM, size) for packet in split.feed(piece)] == whole


@pytest.mark.parametrize("size", [1, 300, len(OGG)])
def test_ogg_packets_are_the_same_for_any_split(size: int) -> None:
    whole, split = OggReader().feed(OGG), OggReader()
    assert len(whole) > 20
    assert [packet for piece in pieces(OGG, size) for packet in split.feed(piece)] == whole


@pytest.mark.parametrize("size", [1, 250, len(WEBM)])
def test_webm_sounds_as_what_was_recorded(size: int) -> None:
    arriving = Arriving()
    pcm = b"".join(arriving.feed(piece) for piece in pieces(WEBM, size))
    assert likeness(pcm, original("breakfast.wav")) > 0.95


@pytest.mark.parametrize("size", [1, 50, len(OGG)])
def test_ogg_sounds_as_what_was_recorded(size: int) -> None:
    arriving = Arriving()
    pcm = b"".join(arriving.feed(piece) for piece in pieces(OGG, size))
    assert likeness(pcm, original("yes.wav")) > 0.95


def test_a_recording_of_chromium_is_heard_while_it_is_made() -> None:
    octets = (HERE / "vectors/browser/chromium-156.webm").read_bytes()
    arriving, heard_ms = Arriving(), []
    pcm, at = b"", 0
    for size in json.loads((HERE / "vectors/browser/chromium-156.sizes.json").read_text()):
        piece = arriving.feed(octets[at : at + size])
        pcm, at = pcm + piece, at + size
        heard_ms.append(len(piece) // 32)
    assert all(200 <= ms <= 300 for ms in heard_ms)
    assert pcm == b"".join(map(Arriving().feed, [octets]))
    heard, said = (np.frombuffer(sound, "<i2").astype(float) for sound in (pcm, original("breakfast.wav")))
    assert found(heard, said[8000:16000]) > 0.97


def test_ogg_pages_in_messages_of_their_own_are_one_stream() -> None:
    pages = [b"OggS" + page for page in OGG.split(b"OggS")[1:]]
    arriving = Arriving()
    assert b"".join(map(arriving.feed, pages)) == Arriving().feed(OGG)


@pytest.mark.parametrize("size", [1, 44, 333])
def test_wav_passes_at_its_rate(size: int) -> None:
    octets = (EXAMPLES / "yes.wav").read_bytes()
    rate_hz, pcm = read_wav(octets)
    assert rate_hz == 16_000
    arriving = Arriving()
    assert b"".join(arriving.feed(piece) for piece in pieces(octets, size)) == pcm


def test_a_new_recording_begins_in_the_middle_of_a_block_of_the_old_one() -> None:
    arriving = Arriving()
    arriving.feed(WEBM[:2000])
    assert likeness(arriving.feed(WEBM), original("breakfast.wav")) > 0.95


@pytest.mark.parametrize("lost", [0, 1, 130, 700])
@pytest.mark.parametrize("size", [1, 90, 5000])
def test_a_recorder_goes_on_after_some_of_it_was_lost(lost: int, size: int) -> None:
    before, after = Arriving(), Arriving()
    before.feed(WEBM[:4000])
    after.go_on(before)
    rest = Arriving().feed(WEBM)[-len(Arriving().feed(WEBM)) // 2 :]
    pcm = b"".join(map(after.feed, pieces(WEBM[4000 + lost :], size)))
    assert likeness(rest[-24_000:], pcm[-24_000:]) > 0.99


@pytest.mark.parametrize("size", [640, 6400])
def test_samples_after_a_recorder_whose_connection_was_lost_are_samples(size: int) -> None:
    before, after = Arriving(), Arriving()
    before.feed(WEBM[:4000])
    after.go_on(before)
    said = original("breakfast.wav")
    assert b"".join(map(after.feed, pieces(said, size))) == said


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.just(b"\xa3\x84\x81\0"), max_size=8))
def test_noise_after_a_lost_connection_raises_nothing_but_wire_errors(noise: list[bytes]) -> None:
    before, after = Arriving(), Arriving()
    before.feed(WEBM[:1000])
    after.go_on(before)
    for piece in noise:
        try:
            after.feed(piece)
        except WireError:
            continue


def test_silent_pcm_is_legal_and_samples_may_be_cut() -> None:
    arriving = Arriving()
    assert arriving.feed(bytes(641)) == bytes(640)
    assert arriving.feed(b"\1") == b"\0\1"


def test_compressed_sound_of_zeros_is_corrupt_and_its_rest_is_not_taken_for_pcm() -> None:
    arriving = Arriving()
    arriving.feed(WEBM[:1000])
    with pytest.raises(WireError, match="corrupt_audio"):
        arriving.feed(bytes(5000))
    with pytest.raises(WireError, match="stray_audio"):
        arriving.feed(WEBM[1000:2000])
    assert arriving.feed(WEBM)


@pytest.mark.parametrize(
    ("flags", "payload", "frames"),
    [
        (0x80, b"abc", [b"abc"]),
        (0x84, b"\x02aabbcc", [b"aa", b"bb", b"cc"]),
        (0x82, b"\x02\x01\x02abbccc", [b"a", b"bb", b"ccc"]),
        (0x82, b"\x01\xff\x01" + b"x" * 256 + b"yz", [b"x" * 256, b"yz"]),
        (0x86, b"\x02\x82\xc0aabbbc", [b"aa", b"bbb", b"c"]),
    ],
    ids=["none", "fixed", "xiph", "xiph long", "ebml"],
)
def test_every_lacing_is_taken_apart(flags: int, payload: bytes, frames: list[bytes]) -> None:
    assert WebmReader().feed(stream(block(payload, flags=flags))) == frames


def test_a_block_in_a_group_counts_and_one_of_another_track_does_not() -> None:
    group = element("A0", element("A1", b"\x81\0\0\0abc") + element("9B", b"\1"))
    reader = WebmReader()
    assert reader.feed(stream(block(b"video", track=2), group, block(b"def"))) == [b"abc", b"def"]
    assert reader.codec_private == b"head"


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"GIF89a..........", "bad_webm"),
        (stream(codec=b"A_VORBIS"), "unsupported_codec"),
        (EBML_HEAD + b"\xa3\x84\x81\0\0\0", "bad_webm"),
        (EBML_HEAD + b"\xa3\xff", "bad_webm"),
        (EBML_HEAD + b"\xa3\x08\x7f\xff\xff\xff\xff", "webm_too_long"),
        (EBML_HEAD + b"\0\0\0", "bad_webm"),
        (stream(block(b"\x05", flags=0x82)), "bad_webm"),
        (stream(block(b"\x01\xf0abc", flags=0x82)), "bad_webm"),
    ],
)
def test_what_is_no_webm_is_refused(octets: bytes, kind: str) -> None:
    with pytest.raises(WireError) as refused:
        WebmReader().feed(octets)
    assert refused.value.kind == kind


def test_an_element_that_is_not_needed_may_be_long_and_is_not_kept() -> None:
    reader = WebmReader(max_pending=100)
    reader.feed(EBML_HEAD + b"\xec" + struct.pack(">BI", 0x08, 0x00FFFFFF)[:1] + b"\xff\xff\xff\xff")
    for _ in range(10):
        reader.feed(bytes(10_000))
    assert len(vars(reader)["_pending"]) < 100


@pytest.mark.parametrize("octets", [b"fLaC" + bytes(100), b"ID3" + bytes(100), b"\0\0\0\x24ftypiso5" + bytes(100)])
def test_sound_that_cannot_be_read_is_not_played_as_noise(octets: bytes) -> None:
    with pytest.raises(WireError, match="unsupported_audio"):
        Arriving().feed(octets)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([WEBM[:3000], OGG[:3000]]), st.integers(0, 2900), st.binary(min_size=1, max_size=40))
def test_damage_raises_nothing_but_wire_errors(octets: bytes, at: int, damage: bytes) -> None:
    arriving = Arriving()
    for piece in pieces(octets[:at] + damage + octets[at + len(damage) :], 700):
        try:
            arriving.feed(piece)
        except WireError:
            continue


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", EBML_HEAD, b"OggS", b"RIFF", stream()]), st.binary(max_size=300))
def test_noise_raises_nothing_but_wire_errors(start: bytes, noise: bytes) -> None:
    try:
        Arriving().feed(start + noise)
    except WireError:
        return
