"""The RTCP of one leg: reports every five seconds, and what the peer's reports tell (RFC 3550, section 6)."""

from typing import Final

from voicemedia.sip_bridge.burst_wire import GAP_MINIMUM
from voicemedia.sip_bridge.rtcp_wire import Block, Bye, Name, Reception, Report, read_rtcp, round_trip_ms, write_rtcp
from voicemedia.sip_bridge.rtp_receiver_wire import RtpReceiver
from voicemedia.sip_bridge.rtp_sender_wire import RtpSender
from voicemedia.sip_bridge.rtp_wire import Packet
from voicemedia.sip_bridge.run_wire import Run
from voicemedia.sip_bridge.score_wire import PACKET_MS, rate
from voicemedia.sip_bridge.xr_wire import ENHANCED_ADAPTIVE, ExtendedReport, VoipMetrics, of_256

EVERY_MS: Final = 5_000
MOST: Final = 0xFFFF
"What 16 bits of an extended report can hold."


class Quality:
    """How the sound of a call gets through, both ways.

    :param cname: our lasting name; says nothing of who or where we are (RFC 7022).
    """

    __slots__ = (
        "_cname",
        "_extended",
        "_lost_before",
        "_peer",
        "_peer_hears",
        "_reception",
        "_ssrc",
        "due_ms",
        "round_trip_ms",
        "sent_hz",
    )

    def __init__(self, ssrc: int, cname: str) -> None:
        self._ssrc, self._cname = ssrc, cname
        self._reception: Reception | None = None
        self.due_ms = 0
        "When the next report is due; 0 before the first look."
        self.sent_hz = 8000
        "The clock of what we send."
        self._lost_before = 0
        "Of sources that are no more."
        self._peer: Block | None = None
        self.round_trip_ms: float | None = None
        self._extended: RtpReceiver | None = None
        "Whose metrics the peer is told, when that was agreed on."
        self._peer_hears: VoipMetrics | None = None

    def take(self, packet: Packet, clock_hz: int, now_ms: int) -> None:
        """Count a packet of sound."""
        reception = self._reception
        if reception is not None and reception.ssrc == packet.ssrc and reception.clock_hz == clock_hz:
            reception.take(packet, now_ms)
            return
        self._lost_before += max(0, reception.lost) if reception else 0
        self._reception = Reception(packet, clock_hz, now_ms)

    def count(self, packet: Packet) -> None:
        """Count a packet of anything else."""
        if self._reception is not None and self._reception.ssrc == packet.ssrc:
            self._reception.count(packet)

    def run(self, packet: Packet, ticks: int) -> Run | None:
        """Return what takes the packets behind the last one, if they may come in a run."""
        return self._reception.run(packet, ticks) if self._reception is not None else None

    def skip(self, run: Run) -> None:
        """Count what came in a run."""
        if self._reception is not None:
            self._reception.skip(run)

    def take_rtcp(self, datagram: bytes, now_ms: int) -> None:
        """Take the peer's RTCP.

        :raises WireError: it cannot be read.
        """
        for part in read_rtcp(datagram):
            if isinstance(part, ExtendedReport):
                self._peer_hears = next((each for each in part.metrics if each.ssrc == self._ssrc), self._peer_hears)
            if not isinstance(part, Report):
                continue
            if self._reception is not None and part.ssrc == self._reception.ssrc:
                self._reception.reported(part, now_ms)
            for block in part.blocks:
                if block.ssrc == self._ssrc:
                    self._peer = block
                    took_ms = round_trip_ms(block, _ntp(now_ms))
                    self.round_trip_ms = self.round_trip_ms if took_ms is None else took_ms

    def due(self, sender: RtpSender, now_ms: int) -> bytes:
        """Return the next report when it is time, else nothing."""
        if self.due_ms == 0:
            self.due_ms = now_ms + EVERY_MS // 2
        if now_ms < self.due_ms:
            return b""
        # Calls begun together must not report together (section 6.3.1).
        self.due_ms = now_ms + EVERY_MS // 2 + self._ssrc % EVERY_MS
        return write_rtcp(self._report(sender, now_ms), Name(self._ssrc, self._cname), *self._metrics(now_ms))

    def goodbye(self, sender: RtpSender, now_ms: int) -> bytes:
        """Return the last report, with a BYE; nothing from whom nothing was ever heard (section 6.3.7)."""
        if not sender.packets and not self.due_ms:
            return b""
        name, bye = Name(self._ssrc, self._cname), Bye((self._ssrc,))
        return write_rtcp(self._report(sender, now_ms), name, *self._metrics(now_ms), bye)

    def extend(self, receiver: RtpReceiver | None) -> None:
        """Tell the peer how it is heard (RFC 3611); None: it has not asked to be told."""
        self._extended = receiver

    def _metrics(self, now_ms: int) -> tuple[ExtendedReport, ...]:
        receiver, reception = self._extended, self._reception
        if receiver is None or reception is None or not receiver.frames:
            return ()
        heard, figures = receiver.heard(now_ms), receiver.bursts.figures(receiver.frames)
        rating = rate(heard, self.round_trip_ms)
        buffer_ms = round(heard.buffer_ms)
        metrics = VoipMetrics(
            reception.ssrc,
            loss=of_256(reception.lost / reception.expected),
            discarded=of_256(receiver.late / reception.expected),
            burst_density=of_256(figures.burst_density),
            gap_density=of_256(figures.gap_density),
            burst_ms=min(figures.burst_ms, MOST),
            gap_ms=min(figures.gap_ms, MOST),
            round_trip_ms=min(round(self.round_trip_ms or 0), MOST),
            end_system_ms=min(PACKET_MS + buffer_ms, MOST),
            gap_minimum=GAP_MINIMUM,
            r=round(rating.r),
            mos_listening=round(10 * rating.mos_listening),
            mos_conversation=round(10 * rating.mos),
            config=ENHANCED_ADAPTIVE,
            buffer_ms=min(buffer_ms, MOST),
            buffer_most_ms=min(max(buffer_ms, receiver.deadline_ms), MOST),
            buffer_limit_ms=min(max(buffer_ms, receiver.deadline_most_ms), MOST),
        )
        return (ExtendedReport(self._ssrc, (metrics,)),)

    def _report(self, sender: RtpSender, now_ms: int) -> Report:
        blocks = (self._reception.block(now_ms),) if self._reception else ()
        if not sender.packets:
            return Report(self._ssrc, blocks)
        return Report(self._ssrc, blocks, _ntp(now_ms), sender.timestamp, sender.packets, sender.octets)

    def totals(self) -> dict[str, int]:
        """Return loss, jitter and delay for the record of the call."""
        reception = self._reception
        found = {
            "lost": self._lost_before + (max(0, reception.lost) if reception else 0),
            "jitter_ms": round(reception.jitter_ms) if reception else 0,
        }
        if self._peer is not None:
            found["peer_lost"] = self._peer.lost
            found["peer_jitter_ms"] = self._peer.jitter * 1000 // self.sent_hz
        if (hears := self._peer_hears) is not None:
            found |= {"peer_discarded_percent": hears.discarded * 100 // 256, "peer_buffer_ms": hears.buffer_ms}
            found |= {"peer_r": hears.r} if hears.r <= 100 else {}
            found |= {"peer_mos_hundredths": hears.mos_conversation * 10} if hears.mos_conversation <= 50 else {}
        if self.round_trip_ms is not None:
            found["round_trip_ms"] = round(self.round_trip_ms)
        return found


def _ntp(now_ms: int) -> int:
    """Return 64 bits of seconds; a clock that only counts is enough (section 4)."""
    return (now_ms << 32) // 1000 & (1 << 64) - 1
