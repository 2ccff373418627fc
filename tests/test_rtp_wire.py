"""RTP, telephone-events, RTCP, latching and the timeline, without sockets."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.errors import WireError
from voicemedia.sip_bridge.latch_wire import Latch
from voicemedia.sip_bridge.rtcp_wire import (
    Block,
    Bye,
    Name,
    Part,
    Reception,
    Report,
    read_rtcp,
    round_trip_ms,
    write_rtcp,
)
from voicemedia.sip_bridge.rtp_wire import Packet, Timeline, is_rtcp, read_rtp
from voicemedia.sip_bridge.telephone_event_wire import KeysIn, press

PCAPS = Path("/usr/share/sip-tester")


def pcap(path: Path) -> list[tuple[int, bytes]]:
    """Read (time in ms, UDP payload) out of a classic pcap file of Ethernet frames."""
    raw = path.read_bytes()
    order = "<" if raw[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    at, found = 24, []
    while at < len(raw):
        seconds, micros, size, _ = struct.unpack_from(order + "IIII", raw, at)
        frame = raw[at + 16 : at + 16 + size]
        found.append((seconds * 1000 + micros // 1000, frame[14 + (frame[14] & 15) * 4 + 8 :]))
        at += 16 + size
    return found


# --- the header ---


def test_a_packet_is_read_as_it_was_written() -> None:
    packet = Packet(8, 65535, 0xFFFFFFFF, 0xDEE0EE8F, b"\xd5" * 160, marker=True)
    assert packet.encode()[:12].hex() == "8088ffffffffffffdee0ee8f"
    assert read_rtp(packet.encode()) == packet


def test_sources_extension_and_padding_are_taken_off() -> None:
    head = bytes.fromhex("b2000001000000020000000300000004000000050001000100000000")
    assert read_rtp(head + b"sound" + b"\0\0\x03").payload == b"sound"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("80", "rtp_too_short"),
        ("00000001000000020000000300", "not_rtp"),
        ("8f0000010000000200000003", "rtp_too_short"),
        ("900000010000000200000003", "rtp_too_short"),
        ("90000001000000020000000300000009", "rtp_too_short"),
        ("a0000001000000020000000300", "bad_rtp_padding"),
        ("a00000010000000200000003ff", "rtp_too_short"),
    ],
)
def test_a_broken_packet_is_refused_by_name(text: str, kind: str) -> None:
    with pytest.raises(WireError) as caught:
        read_rtp(bytes.fromhex(text))
    assert caught.value.kind == kind


@given(st.binary(max_size=200))
def test_only_the_declared_error_comes_out_of_noise(noise: bytes) -> None:
    for read in (read_rtp, read_rtcp):
        try:
            read(noise)
        except WireError:
            continue


# --- the timeline ---


def placed(*packets: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Place (ssrc, sequence, timestamp) packets of 160 samples."""
    timeline = Timeline(40_000)
    return [timeline.place(Packet(0, seq % 65536, ts % 2**32, ssrc, b""), 160) for ssrc, seq, ts in packets]


def test_packets_in_order_lie_end_to_end_over_the_wrap() -> None:
    assert placed((1, 65535, -160), (1, 65536, 0), (1, 65537, 160)) == [(0, 0), (160, 0), (320, 0)]


def test_a_lost_packet_leaves_a_hole_and_a_late_one_fills_it() -> None:
    assert placed((1, 1, 0), (1, 3, 320), (1, 2, 160)) == [(0, 0), (320, 0), (160, 0)]


def test_silence_suppression_is_a_pause_and_no_loss() -> None:
    assert placed((1, 1, 0), (1, 2, 8000))[1] == (8000, 7840)


@pytest.mark.parametrize(
    "second",
    [(2, 900, 5), (1, 2, 10_000_000), (1, 2, -8000), (1, 30_000, 160), (1, 65_000, 400)],
    ids=["other source", "far ahead", "back in time", "sequence jumps", "sequence back"],
)
def test_a_stream_that_begins_anew_goes_on_where_it_was(second: tuple[int, int, int]) -> None:
    assert placed((1, 1, 0), second)[1] == (160, 0)


def test_keys_between_packets_are_no_loss() -> None:
    timeline = Timeline(40_000)
    timeline.place(Packet(0, 1, 0, 1, b""), 160)
    for sequence in (2, 3, 4):
        timeline.passed(Packet(101, sequence, 160, 1, b""))
    assert timeline.place(Packet(0, 5, 640, 1, b""), 160) == (640, 480)


# --- keys ---


def heard(packets: list[tuple[int, Packet]]) -> str:
    keys = KeysIn()
    return "".join(keys.take(packet, 8000, at_ms) for at_ms, packet in packets)


def typed(key: str, ms: int, at: int = 0, ssrc: int = 1) -> list[Packet]:
    return [
        Packet(each.payload_type, each.sequence, at + each.timestamp, ssrc, each.payload, each.marker)
        for each in press(key, 101, 8000, duration_ms=ms)
    ]


def test_a_press_is_told_once_however_often_it_is_said() -> None:
    packets = typed("5", 160)
    assert len(packets) == 10 and packets[0].marker and not any(each.marker for each in packets[1:])
    assert [each.payload[1] >> 7 for each in packets] == [0] * 7 + [1] * 3
    assert {each.timestamp for each in packets} == {0}
    assert heard([(20 * at, each) for at, each in enumerate(packets)]) == "5"


def test_any_one_packet_of_a_press_is_enough() -> None:
    for packet in typed("#", 160):
        assert heard([(0, packet)]) == "#"


def test_a_press_of_ten_seconds_is_one_key() -> None:
    packets = typed("9", 10_000)
    assert len({each.timestamp for each in packets}) == 2
    assert heard([(20 * at, each) for at, each in enumerate(packets)]) == "9"


def test_the_same_key_twice_is_two_keys_in_any_order_of_packets() -> None:
    first, second = typed("1", 100), typed("1", 100, at=1600)
    packets = [*first[:-1], *second[:2], first[-1], *second[2:]]
    assert heard([(20 * at, each) for at, each in enumerate(packets)]) == "11"


def test_a_recording_of_a_key_played_twice_is_two_keys() -> None:
    packets = typed("1", 100)
    assert heard([(20 * at, each) for at, each in enumerate(packets)]) == "1"
    assert heard([(at, each) for start in (0, 1000) for at, each in enumerate(packets, start)]) == "11"


@pytest.mark.skipif(not PCAPS.exists(), reason="needs the Debian package sip-tester")
@pytest.mark.parametrize(
    ("name", "key"), [*((str(digit), str(digit)) for digit in range(10)), ("star", "*"), ("pound", "#")]
)
def test_the_keys_of_sipp_are_understood(name: str, key: str) -> None:
    packets = [(at_ms, read_rtp(datagram)) for at_ms, datagram in pcap(PCAPS / f"dtmf_2833_{name}.pcap")]
    assert heard(packets) == key


def test_a_broken_event_is_refused() -> None:
    with pytest.raises(WireError, match="bad_telephone_event"):
        KeysIn().take(Packet(101, 1, 0, 1, b"\x01\x0a"), 8000, 0)


def test_events_that_are_no_keys_are_passed_over() -> None:
    assert KeysIn().take(Packet(101, 1, 0, 1, bytes((16, 10, 0, 80))), 8000, 0) == ""


# --- RTCP ---


def test_a_sender_report_is_read_as_others_write_it() -> None:
    datagram = bytes.fromhex(
        "81c8000c" "f3cb2001" "83ab03a1eb020b3a" "00008d80" "00000ab1" "00001234"
        "9dac4d0a" "0afffffe" "00010203" "00000010" "03a1eb02" "00008000"
    )  # fmt: skip
    block = Block(0x9DAC4D0A, 10, -2, 0x10203, 16, 0x03A1EB02, 0x8000)
    report = Report(0xF3CB2001, (block,), 0x83AB03A1EB020B3A, 0x8D80, 0xAB1, 0x1234)
    assert is_rtcp(datagram)
    assert read_rtcp(datagram) == [report]
    assert write_rtcp(report) == datagram


@pytest.mark.parametrize("cname", ["", "a", "ab", "abc", "bot@127.0.0.1"])
def test_a_compound_packet_is_read_as_it_was_written(cname: str) -> None:
    parts: list[Part] = [Report(1, (Block(2, 0, 0, 7, 3),)), Name(1, cname), Bye((1, 9), "camera off")]
    assert read_rtcp(write_rtcp(*parts)) == parts


def test_unknown_parts_are_passed_over() -> None:
    extended = bytes.fromhex("80cf000100000001")
    assert read_rtcp(extended + write_rtcp(Bye((5,)))) == [Bye((5,))]


def test_loss_is_reported_since_the_last_report() -> None:
    reception = Reception(Packet(0, 65534, 0, 7, b""), 8000, 0)
    for number in (1, 3, 4):
        reception.take(Packet(0, (65534 + number) % 65536, 160 * number, 7, b""), 20 * number)
    first = reception.block(80)
    assert (first.fraction_lost, first.lost, first.highest) == (51, 1, 65538)
    assert reception.block(100).fraction_lost == 0


def test_jitter_is_what_the_rfc_computes() -> None:
    reception = Reception(Packet(0, 0, 0, 7, b""), 8000, 0)
    for number, at_ms in enumerate((20, 48, 60), 1):
        reception.take(Packet(0, number, 160 * number, 7, b""), at_ms)
    jitter = 0.0
    for off in (0, 64, 64):
        jitter += (off - jitter) / 16
    assert reception.block(60).jitter == int(jitter)


def test_the_round_trip_is_measured_by_the_echo_of_a_report() -> None:
    ntp = 0x0000_1234_8000_0000
    reception = Reception(Packet(0, 0, 0, 7, b""), 8000, 0)
    reception.reported(Report(7, ntp=ntp), 1000)
    block = reception.block(1500)
    assert (block.last_sender_report, block.delay) == (ntp >> 16 & 0xFFFFFFFF, 32768)
    assert round_trip_ms(block, ntp + (6 << 32) // 10) == pytest.approx(100, abs=0.1)


def test_a_source_that_begins_anew_has_lost_nothing() -> None:
    reception = Reception(Packet(0, 10, 0, 7, b""), 8000, 0)
    reception.take(Packet(0, 40_000, 160, 7, b""), 20)
    assert reception.block(40).lost == 0


# --- latching ---

SDP, NAT, PEER = ("192.0.2.1", 4000), ("198.51.100.7", 61_000), "198.51.100.7"


def latch() -> Latch:
    return Latch(SDP, lambda host: host in (SDP[0], PEER), 0)


def test_sound_goes_back_where_it_comes_from() -> None:
    ours = latch()
    assert ours.target == SDP
    assert ours.admits(NAT, 1, 100) and ours.admits(NAT, 1, 120)
    assert ours.target == NAT


def test_a_stranger_is_never_heard_nor_sent_to() -> None:
    ours = latch()
    assert not any(ours.admits(("203.0.113.66", 5000), 1, at_ms) for at_ms in range(0, 200, 20))
    assert ours.target == SDP and ours.rejected == 10


def test_who_comes_after_the_others_is_not_heard() -> None:
    ours = latch()
    assert all(ours.admits(SDP, 1, at_ms) for at_ms in (0, 20, 40))
    assert not ours.admits(NAT, 2, 60)
    assert ours.target == SDP


def test_the_majority_of_three_decides() -> None:
    ours = latch()
    for source, ssrc, at_ms in ((NAT, 1, 0), (SDP, 2, 5), (SDP, 2, 25)):
        ours.admits(source, ssrc, at_ms)
    assert ours.target == SDP


def test_a_caller_who_begins_late_can_still_be_latched() -> None:
    ours = latch()
    ours.admits(NAT, 1, 9_000)
    ours.admits(NAT, 1, 9_020)
    assert ours.target == NAT


def test_a_new_description_opens_the_door_anew() -> None:
    ours = latch()
    for at_ms in (0, 20):
        ours.admits(SDP, 1, at_ms)
    ours.describe(("192.0.2.1", 4002), 10_000)
    assert ours.target == ("192.0.2.1", 4002)
    assert ours.admits(NAT, 3, 10_100) and ours.admits(NAT, 3, 10_120)
    assert ours.target == NAT
