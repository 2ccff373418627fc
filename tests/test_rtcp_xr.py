"""Extended reports: VoIP metrics on the wire, agreed on, sent, and read into the record of a call (RFC 3611)."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, bridge_of, serving, until
from tests.test_calls_out import TOKEN, address, calling
from tests.test_sip_bridge import phone, tone
from voicemedia.errors import WireError
from voicemedia.sip_bridge.burst_wire import GAP_MINIMUM, Bursts, Figures
from voicemedia.sip_bridge.codec_wire import PCMA
from voicemedia.sip_bridge.offer_wire import Negotiation, Terms
from voicemedia.sip_bridge.rtcp_wire import Bye, Report, read_rtcp, write_rtcp
from voicemedia.sip_bridge.xr_wire import ExtendedReport, VoipMetrics, wants_metrics

WANTED = "a=rtcp-xr:voip-metrics\n"

# --- on the wire ---

WIRE = bytes.fromhex(
    "80cf000a"
    "0000a001"  # an extended report of ten words, and whose it is
    "07000008"
    "0000b002"  # VoIP metrics, eight words, of which source
    "05010c00"
    "00780fa0"  # loss, discarded, densities; a burst of 120 ms, gaps of 4 s
    "00640028"
    "d0b07f10"  # round trip 100 ms, end system 40 ms; -48 and -80 dBm0, echo unknown, Gmin 16
    "5d7f2b29"
    "b0000014"  # R 93, none outside, MOS 4.3 and 4.1; enhanced and adaptive; 20 ms
    "003c00c8"  # at most 60 ms now, and 200 ever
)
METRICS = VoipMetrics(
    ssrc=0xB002,
    loss=5,
    discarded=1,
    burst_density=12,
    burst_ms=120,
    gap_ms=4000,
    round_trip_ms=100,
    end_system_ms=40,
    signal_dbm0=-48,
    noise_dbm0=-80,
    r=93,
    mos_listening=43,
    mos_conversation=41,
    config=0b10_11_0000,
    buffer_ms=20,
    buffer_most_ms=60,
    buffer_limit_ms=200,
)


def test_voip_metrics_are_where_the_rfc_has_them() -> None:
    report = ExtendedReport(0xA001, (METRICS,))
    assert read_rtcp(WIRE) == [report]
    assert write_rtcp(report) == WIRE


def test_blocks_of_other_types_are_passed_over() -> None:
    # The receiver's reference time, a block without a body, and metrics of another length.
    others = bytes.fromhex("040000020102030405060708630000000700000100000009")
    body = WIRE[4:8] + others + WIRE[8:] + others
    datagram = struct.pack("!BBH", 0x80, 207, len(body) // 4) + body
    assert read_rtcp(datagram + write_rtcp(Bye((5,)))) == [ExtendedReport(0xA001, (METRICS,)), Bye((5,))]


@pytest.mark.parametrize("words", range(10))
def test_a_report_cut_short_is_refused(words: int) -> None:
    cut = struct.pack("!BBH", 0x80, 207, words) + WIRE[4 : 4 + words * 4]
    if words == 1:
        assert read_rtcp(cut) == []
        return
    with pytest.raises(WireError, match="rtcp_too_short"):
        read_rtcp(cut)


@given(st.binary(max_size=80))
def test_no_report_breaks_anything_else(octets: bytes) -> None:
    body = octets + bytes(-len(octets) % 4)
    try:
        read_rtcp(struct.pack("!BBH", 0x80, 207, len(body) // 4) + body)
    except WireError as error:
        assert error.kind == "rtcp_too_short"


# --- bursts ---


def figures(stream: str) -> Figures:
    """Read a stream, `.` for a frame that came and `x` for one that did not."""
    bursts = Bursts()
    for number, frame in enumerate(stream, 1):
        if frame == "x":
            bursts.lost(number)
    return bursts.figures(len(stream))


GAP = "." * GAP_MINIMUM


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("." * 50, Figures(0.0, 0.0, 0, 1000)),
        # One alone belongs to the gap.
        (GAP + "x" + "." * 33, Figures(0.0, 1 / 50, 0, 1000)),
        (GAP + "x.x" + GAP, Figures(2 / 3, 0.0, 60, 320)),
        # Fifteen in between are too few to part two losses, sixteen are enough.
        (GAP + "x" + "." * 15 + "x" + GAP, Figures(2 / 17, 0.0, 340, 320)),
        (GAP + "x" + GAP + "x" + GAP, Figures(0.0, 2 / 50, 0, 1000)),
        (GAP + "xx" + GAP + "xxxx" + GAP + "x" + "." * 15, Figures(1.0, 1 / 64, 60, 64 * 20 // 3)),
        ("xx" + GAP, Figures(1.0, 0.0, 40, 160)),
        ("x", Figures(0.0, 1.0, 0, 20)),
    ],
)
def test_losses_are_told_as_bursts_and_gaps(stream: str, expected: Figures) -> None:
    assert figures(stream) == expected


def test_figures_may_be_asked_for_in_the_middle_of_a_burst() -> None:
    bursts = Bursts()
    bursts.lost(20)
    bursts.lost(21)
    assert bursts.figures(21).burst_ms == 40
    bursts.lost(23)
    assert bursts.figures(23).burst_ms == 80 and bursts.figures(23).burst_density == 3 / 4


# --- agreed on ---


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["voip-metrics"], True),
        (["rcvr-rtt=all:10000 stat-summary=loss,jitt VoIP-Metrics"], True),
        (["pkt-loss-rle", "voip-metrics"], True),
        (["voip-metrics-2 xvoip-metrics"], False),
        ([""], False),
        ([], False),
    ],
)
def test_the_wish_is_one_word_of_several(values: list[str], wanted: bool) -> None:
    assert wants_metrics(values) is wanted


@pytest.mark.parametrize(("ours", "theirs"), [(True, True), (True, False), (False, True), (False, False)])
def test_metrics_are_sent_when_both_have_said_so(ours: bool, theirs: bool) -> None:
    one, other = (
        Negotiation(Terms("127.0.0.1", port, (PCMA,), voip_metrics=wanted), 1, bytes)
        for port, wanted in ((4000, ours), (4002, theirs))
    )
    offer = one.offer()
    answered = other.answer(offer)
    assert answered is not None
    answer, agreement = answered
    accepted = one.accept(answer)
    assert accepted is not None
    assert (b"a=rtcp-xr:voip-metrics\r\n" in offer, b"a=rtcp-xr:voip-metrics\r\n" in answer) == (ours, ours and theirs)
    assert accepted.voip_metrics is agreement.voip_metrics is (ours and theirs)


def test_the_wish_may_stand_for_the_whole_session() -> None:
    offer = Negotiation(Terms("127.0.0.1", 4000, (PCMA,)), 1, bytes).offer()
    offer = offer.replace(b"t=0 0\r\n", b"t=0 0\r\na=rtcp-xr:voip-metrics\r\n")
    answered = Negotiation(Terms("127.0.0.1", 4002, (PCMA,), voip_metrics=True), 1, bytes).answer(offer)
    assert answered is not None and answered[1].voip_metrics


# --- on the running server ---


async def metrics_of(caller: Telephone) -> VoipMetrics:
    """Hang up; return what the last report says."""
    await caller.hang_up()
    await until(lambda: caller.reports.got)
    report, _, extended, _ = read_rtcp(caller.reports.got[-1])
    assert isinstance(report, Report) and isinstance(extended, ExtendedReport) and extended.ssrc == report.ssrc
    return extended.metrics[0]


@in_reactor
async def test_a_caller_is_told_how_it_was_heard() -> None:
    async with serving() as server, phone(server) as caller:
        answer = await caller.call(caller.sdp(WANTED))
        assert "a=rtcp-xr:voip-metrics" in answer
        said = tone(60)
        await caller.talk(said[:30])
        # Three in a row are lost on the way.
        caller._sequence, caller._timestamp = caller._sequence + 3, caller._timestamp + 480
        await caller.talk(said[33:])
        metrics = await metrics_of(caller)
        assert metrics.ssrc == caller.ssrc
        assert (metrics.loss, metrics.discarded) == (3 * 256 // 60, 0)
        assert (metrics.burst_density, metrics.burst_ms, metrics.gap_density) == (255, 60, 0)
        assert 50 <= metrics.r <= 93 and 30 <= metrics.mos_conversation <= metrics.mos_listening <= 44
        assert metrics.buffer_limit_ms >= metrics.buffer_most_ms >= metrics.buffer_ms
        assert (metrics.gap_minimum, metrics.signal_dbm0, metrics.external_r) == (16, 127, 127)


@in_reactor
async def test_how_a_caller_hears_us_is_in_the_record_of_the_call() -> None:
    async with serving() as server, phone(server) as caller:
        await caller.call(caller.sdp(WANTED))
        await until(lambda: len(server.switchboard) == 1)
        (live,) = bridge_of(server).lines[0].calls
        await caller.talk(tone(10))
        await until(lambda: caller.sound.got)
        ours = int.from_bytes(caller.sound.got[-1][8:12])
        assert "peer_r" not in live.leg.totals()
        told = (VoipMetrics(77, r=1), VoipMetrics(ours, discarded=64, r=81, mos_conversation=40, buffer_ms=45))
        report = write_rtcp(Report(caller.ssrc), ExtendedReport(caller.ssrc, told))
        caller.reports.transport.write(report, (caller.sound_to[0], caller.sound_to[1] + 1))  # type: ignore[union-attr]
        await until(lambda: "peer_r" in live.leg.totals())
        totals = live.leg.totals()
        known = {name: totals[name] for name in ("peer_r", "peer_mos_hundredths", "peer_buffer_ms")}
        assert known == {"peer_r": 81, "peer_mos_hundredths": 400, "peer_buffer_ms": 45}
        assert totals["peer_discarded_percent"] == 25


@in_reactor
async def test_a_telephone_we_call_is_asked_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)
    async with calling() as (server, client, bob):
        await client.place(address(bob))
        invite = await bob.invited()
        assert "a=rtcp-xr:voip-metrics\r\n" in invite
        bob.reply(invite, "200 OK", bob.sdp(WANTED))
        await until(lambda: len(server.switchboard) == 1)
        await bob.talk(tone(10))
        bob.ask("BYE")
        await until(lambda: bob.reports.got)
        assert any(isinstance(part, ExtendedReport) for part in read_rtcp(bob.reports.got[-1]))


@in_reactor
async def test_who_has_not_asked_is_told_nothing() -> None:
    async with serving() as server, phone(server) as caller:
        assert "rtcp-xr" not in await caller.call()
        await caller.talk(tone(10))
        # Who was sent nothing is told nothing either.
        await until(lambda: caller.sound.got)
        await caller.hang_up()
        await until(lambda: caller.reports.got)
        assert not any(isinstance(part, ExtendedReport) for part in read_rtcp(caller.reports.got[-1]))
