"""Segments of voice gateways: what is taken, in which order, and what sound they are."""

from random import Random
from typing import Any

import pytest

from voicemedia.audio.jitter import Lost
from voicemedia.errors import WireError
from voicemedia.gateway.decoding import make_decoder
from voicemedia.gateway.order import SegmentOrder
from voicemedia.gateway.segment_wire import Format, read_segment
from voicemedia.proto import audio_stream_pb2 as pb

PCMU, OPUS, LINEAR16 = pb.PCMU, pb.OPUS, pb.LINEAR16


def test_a_segment_of_a_sip_gateway_is_understood() -> None:
    message = pb.AudioSegment(
        session_id="call-1", timestamp=1_700_000_000_123, audio_format=PCMU, sequence_number=7, data=b"\xff" * 160
    )
    segment = read_segment(message, 10)
    assert (segment.session_id, segment.number, segment.format, segment.rate_hz) == ("call-1", 7, Format.PCMU, 8000)
    assert (segment.timestamp_ms, segment.last, segment.language, len(segment.payload)) == (
        1_700_000_000_123,
        False,
        "",
        160,
    )


@pytest.mark.parametrize(
    ("fields", "rate_hz"),
    [
        ({"audio_format": PCMU}, 8000),
        ({"audio_format": pb.PCMA}, 8000),
        ({"audio_format": LINEAR16}, 16000),
        ({"audio_format": OPUS}, 48000),
        ({"audio_format": LINEAR16, "sample_rate_hertz": 44100}, 44100),
    ],
    ids=str,
)
def test_a_rate_that_is_not_said_is_that_of_the_format(fields: dict[str, Any], rate_hz: int) -> None:
    assert read_segment(pb.AudioSegment(session_id="s", data=b"ab", **fields), 10).rate_hz == rate_hz


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"session_id": ""}, "session_id: expected 1 to 256 printable characters"),
        ({"session_id": "x" * 257}, "session_id: expected 1 to 256 printable characters"),
        ({"session_id": "a\nb"}, "session_id: expected 1 to 256 printable characters"),
        ({"audio_format": 0}, "audio_format: 0 is none of PCMU (1), PCMA (2), OPUS (3), LINEAR16 (4)"),
        ({"audio_format": 9}, "audio_format: 9 is none of PCMU (1), PCMA (2), OPUS (3), LINEAR16 (4)"),
        ({"sample_rate_hertz": 16000}, "sample_rate_hertz: PCMU at 16000 Hz is not taken, but 8000"),
        ({"audio_format": LINEAR16, "data": b"abc"}, "data: 3 bytes; samples of LINEAR16 have two bytes each"),
        ({"data": bytes(80_001)}, "data: 10.0 s of sound; a segment may be 10 s long"),
        ({"audio_format": OPUS, "data": b"OggS" + bytes(60)}, "data: an Ogg page; send the bare Opus packets"),
        ({"audio_format": OPUS, "data": bytes(61_201)}, "data: 61201 bytes are no Opus packet"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_segment_is_said(fields: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"session_id": "s", "audio_format": PCMU, "data": bytes(160)}
    message = pb.AudioSegment(**{**right, **fields})
    with pytest.raises(WireError) as caught:
        read_segment(message, 10)
    assert said in str(caught.value)


def test_the_last_segment_may_have_no_sound_and_no_format() -> None:
    segment = read_segment(pb.AudioSegment(session_id="s", sequence_number=9, is_final=True), 10)
    assert (segment.last, segment.format, segment.payload) == (True, None, b"")


# --- order ---


def heard(numbers: str, deadline_ms: int = 40) -> str:
    """Put segments in, 10 ms apart; "." is 10 ms of nothing. Return what is heard, holes as "-"."""
    order, out, now_ms = SegmentOrder(deadline_ms, 120, 3), list[str](), 0
    for each in numbers.split():
        now_ms += 10
        got = order.due(now_ms) if each == "." else order.put(int(each), each.encode(), now_ms)
        out += ["-" * item.samples if isinstance(item, Lost) else item.decode() for item in got]
    out += ["-" * item.samples if isinstance(item, Lost) else item.decode() for item in order.flush()]
    return " ".join(out)


@pytest.mark.parametrize(
    ("came", "is_heard"),
    [
        ("0 1 2 3", "0 1 2 3"),
        ("1 2 3", "- 1 2 3"),
        ("0 0 1 1 2", "0 1 2"),
        ("0 2 1 3", "0 1 2 3"),
        ("1 0 2 3", "0 1 2 3"),
        ("2 1 3 4", "- 1 2 3 4"),
        ("0 1 3 . . . . 2 4", "0 1 - 3 4"),
        ("0 1 3 2 3 1 4", "0 1 2 3 4"),
        ("700 701 703 702", "--- 700 701 702 703"),
        ("0 1 2 4000 4001", "0 1 2 4000 4001"),
    ],
)
def test_segments_are_heard_in_the_order_of_their_numbers(came: str, is_heard: str) -> None:
    assert heard(came) == is_heard


def test_whatever_order_a_few_take_all_are_heard_once() -> None:
    random = Random(7)
    for _ in range(200):
        numbers = list(range(40))
        # Neighbors of up to three places change, and some come twice.
        shuffled = sorted(numbers + random.sample(numbers, 5), key=lambda number: number + random.uniform(0, 3))
        assert heard(" ".join(map(str, shuffled))) == " ".join(map(str, numbers))


# --- sound ---


def test_g711_becomes_linear() -> None:
    assert make_decoder(Format.PCMU, 8000).decode(b"\xff\x80\x00") == (b"", b"\x00\x00\x7c\x7d\x84\x82")
    assert make_decoder(Format.PCMA, 8000).decode(b"\xd5") == (b"", b"\x08\x00")


def test_a_hole_is_as_long_as_the_segments_before_it_and_a_second_at_most() -> None:
    decoder = make_decoder(Format.PCMU, 8000)
    segment = b"\xff" * 160
    made_up = [decoder.decode(segment, missing)[0] for missing in (1, 0)]
    decoder.decode(b"")
    made_up += [decoder.decode(segment, missing)[0] for missing in (2, 1000)]
    assert list(map(len, made_up)) == [0, 0, 640, 16000]


def test_opus_is_decoded_packet_by_packet() -> None:
    packets, rate_hz = opus_of(b"\x00\x10\x00\xf0" * 24000), 16000
    decoder = make_decoder(Format.OPUS, 48000)
    pcm = b"".join(decoder.decode(packet)[1] for packet in packets)
    assert decoder.rate_hz == rate_hz
    assert abs(len(pcm) / 2 / rate_hz - len(packets) * 0.02) < 0.005
    # Silence that was not sent, and a packet that was lost, last as long as others.
    assert [*map(len, decoder.decode(b"")), *map(len, decoder.decode(packets[1], 2))] == [0, 640, 1280, 640]
    for junk in (b"\xff\xff\xff", b"\xfb"):
        with pytest.raises(WireError, match="no Opus packet"):
            decoder.decode(junk)
    assert len(decoder.decode(packets[0])[1]) == 640


def opus_of(pcm: bytes) -> list[bytes]:
    """Encode s16le at 48 kHz, 20 ms a packet."""
    av = pytest.importorskip("av")

    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48000, "mono", "s16"
    encoder.open()
    packets = []
    for start in range(0, len(pcm) - 1919, 1920):
        frame = av.AudioFrame(format="s16", layout="mono", samples=960)
        frame.planes[0].update(pcm[start : start + 1920])
        frame.sample_rate, frame.pts = 48000, start // 2
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets
