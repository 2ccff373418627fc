"""The codecs of calls: what goes in comes out, at the quality the codec has, and holes are mended."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voicemedia.audio import libopus
from voicemedia.audio.coding import Wish, make_decoding, make_encoding
from voicemedia.errors import WireError

Sound = NDArray[np.float64]


def speech_like(rate_hz: int, seconds: float = 2.0) -> Sound:
    """Make harmonics of a pitch that glides, loud and soft in turn."""
    at = np.arange(int(rate_hz * seconds)) / rate_hz
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * at)) / rate_hz
    harmonics = sum(np.sin(number * phase) / number for number in range(1, 20))
    return np.asarray(4000 * harmonics * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * at)))


def frames(sound: Sound, rate_hz: int) -> list[bytes]:
    pcm = np.rint(sound).astype("<i2").tobytes()
    size = rate_hz // 50 * 2
    return [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]


def likeness_db(one: Sound, pcm: bytes) -> float:
    """Say how far the difference lies below the sound, at the best delay up to 40 ms."""
    other = np.frombuffer(pcm, "<i2").astype(np.float64)
    part = one[2000:20000]
    best = min(float(((other[2000 + lag : 20000 + lag] - part) ** 2).sum()) for lag in range(640))
    return float(10 * np.log10(float((part**2).sum()) / best))


@pytest.mark.parametrize(
    ("codec", "rate_hz", "least_db"), [("PCMU", 8000, 33), ("PCMA", 8000, 33), ("G722", 16000, 20)]
)
@pytest.mark.parametrize("ptime_ms", [10, 20, 30, 40])
def test_what_goes_in_comes_out(codec: str, rate_hz: int, least_db: float, ptime_ms: int) -> None:
    sound = speech_like(rate_hz, 3.0)
    encoding, decoding = make_encoding(codec, Wish(rate_hz, ptime_ms)), make_decoding(codec)
    payloads = [each for frame in frames(sound, rate_hz) for each in encoding.feed(frame)]
    assert {(len(payload), ticks) for payload, ticks in payloads} == {(8 * ptime_ms, 8 * ptime_ms)}
    assert all(decoding.ticks(payload) == ticks for payload, ticks in payloads)
    assert likeness_db(sound, b"".join(decoding.decode(payload) for payload, _ in payloads)) > least_db


@pytest.mark.parametrize(("ptime_ms", "packet_ms"), [(10, 10), (20, 20), (30, 20), (40, 40)])
def test_opus_packets_have_lengths_opus_knows(ptime_ms: int, packet_ms: int) -> None:
    sound = speech_like(16000)
    encoding, decoding = make_encoding("opus", Wish(16000, ptime_ms)), make_decoding("opus")
    payloads = [each for frame in frames(sound, 16000) for each in encoding.feed(frame)]
    assert {ticks for _, ticks in payloads} == {48 * packet_ms}
    assert all(decoding.ticks(payload) == ticks for payload, ticks in payloads)
    out = b"".join(decoding.decode(payload) for payload, _ in payloads)
    assert len(out) == len(payloads) * packet_ms * 32
    # Opus keeps what is heard, the shape of the wave only roughly.
    assert likeness_db(sound, out) > 3


@pytest.mark.parametrize("codec", ["PCMU", "G722", "opus"])
@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_every_slot_of_20_ms_makes_a_packet_whatever_the_rate_of_the_call(codec: str, rate_hz: int) -> None:
    encoding = make_encoding(codec, Wish(rate_hz))
    for frame in [*frames(speech_like(rate_hz, 0.4), rate_hz), None, None]:
        assert [ticks for _, ticks in encoding.feed(frame)] == [encoding.clock_hz // 50]
    assert not list(encoding.flush())


def test_what_was_gathered_for_a_longer_packet_is_not_lost() -> None:
    encoding = make_encoding("PCMU", Wish(8000, 40))
    assert not list(encoding.feed(None))
    assert list(encoding.flush()) == [(b"\xff" * 160, 160)]


def _opus_with_holes(*, fec: bool) -> float:
    """Return how like the sound is what came through with every fifth packet lost."""
    sound = speech_like(16000)
    encoding = make_encoding("opus", Wish(16000, fmtp={"useinbandfec": "1" if fec else "0"}))
    decoding, whole = make_decoding("opus"), make_decoding("opus")
    payloads = [payload for frame in frames(sound, 16000) for payload, _ in encoding.feed(frame)]
    out, lost = b"", 0
    for number, payload in enumerate(payloads):
        if number % 5 == 3:
            lost += 960
            continue
        if lost:
            out += decoding.hole(lost, payload)
            lost = 0
        out += decoding.decode(payload)
    ideal = np.frombuffer(b"".join(whole.decode(payload) for payload in payloads), "<i2").astype(np.float64)
    assert len(out) == 2 * len(ideal)
    return likeness_db(ideal, out)


def test_a_lost_opus_packet_is_mended_from_the_next_one() -> None:
    assert _opus_with_holes(fec=True) > _opus_with_holes(fec=False) + 3


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "opus"])
def test_a_hole_is_as_long_as_what_was_lost(codec: str) -> None:
    decoding, encoding = make_decoding(codec), make_encoding(codec, Wish(16000))
    payload, ticks = next(encoding.feed(frames(speech_like(16000, 0.1), 16000)[2]))
    decoding.decode(payload)
    for following in (payload, None):
        assert len(decoding.hole(3 * ticks, following)) == 3 * decoding.rate_hz // 50 * 2


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722"])
def test_what_is_behind_a_hole_is_heard_as_if_it_had_not_helped_to_mend_it(codec: str) -> None:
    encoding, mended, skipped = make_encoding(codec, Wish(8000)), make_decoding(codec), make_decoding(codec)
    payloads = [payload for frame in frames(speech_like(8000), 8000) for payload, _ in encoding.feed(frame)]
    for number, payload in enumerate(payloads):
        if number % 7 == 5:
            assert any(mended.hole(160, payloads[number + 1]))
        else:
            assert mended.decode(payload) == skipped.decode(payload)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_no_payload_breaks_the_opus_decoder(payload: bytes) -> None:
    decoding = make_decoding("opus")
    assert 0 <= decoding.ticks(payload) <= 48 * libopus.LONGEST_MS
    try:
        sound = decoding.decode(payload)
    except WireError as error:
        assert error.kind == "bad_opus"
    else:
        assert len(sound) * 3 == decoding.ticks(payload) * 2


def test_the_bit_rate_the_peer_asks_for_is_kept() -> None:
    sound = frames(speech_like(16000), 16000)

    def octets(fmtp: dict[str, str]) -> int:
        encoding = make_encoding("opus", Wish(16000, fmtp=fmtp))
        return sum(len(payload) for frame in sound for payload, _ in encoding.feed(frame))

    assert octets({"maxaveragebitrate": "8000"}) < octets({}) / 1.5
    assert octets({"maxaveragebitrate": "nonsense"}) == octets({})
