"""RTCP: sender and receiver reports, names and goodbyes (RFC 3550, section 6), extended reports (RFC 3611)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.rtp_wire import Packet, sequence_step, time_step
from voicemedia.sip_bridge.run_wire import Run
from voicemedia.sip_bridge.xr_wire import XR, ExtendedReport, read_extended, write_extended

SENDER: Final = 200
RECEIVER: Final = 201
NAMES: Final = 202
BYE: Final = 203
_CNAME: Final = 1

_HEADER: Final = struct.Struct("!BBH")
_SENDER: Final = struct.Struct("!IIIIII")
_BLOCK: Final = struct.Struct("!IIIIII")
_ID: Final = struct.Struct("!I")
_MIDDLE: Final = 0xFFFFFFFF
_LOST_MOST: Final = (1 << 23) - 1


@dataclass(frozen=True, slots=True)
class Block:
    """What one end has received of one source."""

    ssrc: int
    fraction_lost: int
    "Of 256, since the report before."
    lost: int
    "In all; negative when duplicates outnumber what was lost."
    highest: int
    "Sequence number with its wraps above."
    jitter: int
    "In ticks of the media clock."
    last_sender_report: int = 0
    "Middle of the NTP time of the last sender report; 0: none came."
    delay: int = 0
    "Since it came, in 1/65536 s."


@dataclass(frozen=True, slots=True)
class Report:
    """A sender report, or a receiver report when nothing was sent."""

    ssrc: int
    blocks: tuple[Block, ...] = ()
    ntp: int | None = None
    "64 bits of NTP time; None: a receiver report."
    timestamp: int = 0
    packets: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True)
class Name:
    """The lasting name of a source."""

    ssrc: int
    cname: str


@dataclass(frozen=True, slots=True)
class Bye:
    """Sources that leave."""

    ssrcs: tuple[int, ...]
    reason: str = ""


Part = Report | Name | Bye | ExtendedReport


def read_rtcp(datagram: bytes) -> list[Part]:
    """Read the parts of a compound packet; kinds we do not know are passed over.

    :raises WireError: `not_rtcp`, `rtcp_too_short`.
    """
    parts: list[Part] = []
    at = 0
    while at < len(datagram):
        if len(datagram) - at < 4:
            raise WireError("rtcp_too_short")
        first, kind, words = _HEADER.unpack_from(datagram, at)
        end = at + 4 + words * 4
        if first >> 6 != 2:
            raise WireError("not_rtcp")
        body = datagram[at + 4 : end]
        if end > len(datagram):
            raise WireError("rtcp_too_short")
        if first & 0x20:
            body = _unpadded(body)
        try:
            parts += _read_part(kind, first & 0x1F, body)
        except struct.error as error:
            raise WireError("rtcp_too_short") from error
        at = end
    return parts


def _unpadded(body: bytes) -> bytes:
    if not body or not 0 < body[-1] <= len(body):
        raise WireError("bad_rtcp_padding")
    return body[: -body[-1]]


def _read_part(kind: int, count: int, body: bytes) -> list[Part]:
    match kind:
        case 200:
            ssrc, high, low, timestamp, packets, octets = _SENDER.unpack_from(body)
            return [Report(ssrc, _blocks(count, body[24:]), high << 32 | low, timestamp, packets, octets)]
        case 201:
            return [Report(_ID.unpack_from(body)[0], _blocks(count, body[4:]))]
        case 202:
            return list(_names(count, body))
        case 203:
            ssrcs = tuple(_ID.unpack_from(body, 4 * place)[0] for place in range(count))
            rest = body[4 * count :]
            return [Bye(ssrcs, rest[1 : 1 + rest[0]].decode("utf-8", "replace") if rest else "")]
        case 207:
            extended = read_extended(body)
            return [extended] if extended.metrics else []
    return []


def _blocks(count: int, body: bytes) -> tuple[Block, ...]:
    found = []
    for place in range(count):
        ssrc, loss, highest, jitter, last, delay = _BLOCK.unpack_from(body, place * _BLOCK.size)
        lost = loss & 0xFFFFFF
        found.append(Block(ssrc, loss >> 24, lost - (lost >> 23 << 24), highest, jitter, last, delay))
    return tuple(found)


def _names(count: int, body: bytes) -> Iterator[Name]:
    at = 0
    for _ in range(count):
        ssrc = _ID.unpack_from(body, at)[0]
        at += 4
        while at < len(body) and body[at]:
            if at + 1 >= len(body) or at + 2 + body[at + 1] > len(body):
                raise WireError("rtcp_too_short")
            if body[at] == _CNAME:
                yield Name(ssrc, body[at + 2 : at + 2 + body[at + 1]].decode("utf-8", "replace"))
            at += 2 + body[at + 1]
        at = (at // 4 + 1) * 4


def write_rtcp(*parts: Part) -> bytes:
    """Return a compound packet: a report first, then names, then goodbyes (section 6.1)."""
    return b"".join(map(_write_part, parts))


def _write_part(part: Part) -> bytes:
    if isinstance(part, Report):
        return _write_report(part)
    if isinstance(part, Name):
        cname = part.cname.encode()[:255]
        item = _ID.pack(part.ssrc) + bytes((_CNAME, len(cname))) + cname
        # At least one zero byte ends the list, and zeros fill the word.
        return _framed(NAMES, 1, item + bytes(4 - len(item) % 4))
    if isinstance(part, ExtendedReport):
        return _framed(XR, 0, write_extended(part))
    reason = part.reason.encode()[:255]
    text = bytes((len(reason),)) + reason if reason else b""
    body = b"".join(map(_ID.pack, part.ssrcs)) + text
    return _framed(BYE, len(part.ssrcs), body + bytes(-len(body) % 4))


def _write_report(report: Report) -> bytes:
    blocks = b"".join(
        _BLOCK.pack(
            block.ssrc,
            block.fraction_lost << 24 | block.lost & 0xFFFFFF,
            block.highest,
            block.jitter,
            block.last_sender_report,
            block.delay,
        )
        for block in report.blocks
    )
    if report.ntp is None:
        return _framed(RECEIVER, len(report.blocks), _ID.pack(report.ssrc) + blocks)
    high, low = report.ntp >> 32, report.ntp & _MIDDLE
    head = _SENDER.pack(report.ssrc, high, low, report.timestamp, report.packets, report.octets)
    return _framed(SENDER, len(report.blocks), head + blocks)


def _framed(kind: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(0x80 | count, kind, len(body) // 4) + body


class Reception:
    """What came of one source: loss and jitter as RFC 3550 counts them (appendices A.1, A.3 and A.8)."""

    __slots__ = (
        "_base",
        "_expected_before",
        "_jitter",
        "_last_ms",
        "_received_before",
        "_report",
        "_report_ms",
        "_timestamp",
        "clock_hz",
        "highest",
        "received",
        "ssrc",
    )

    def __init__(self, packet: Packet, clock_hz: int, now_ms: int) -> None:
        self.ssrc, self.clock_hz = packet.ssrc, clock_hz
        self.highest = self._base = packet.sequence
        self.received = 1
        self._expected_before = self._received_before = 0
        self._timestamp, self._last_ms, self._jitter = packet.timestamp, now_ms, 0.0
        self._report, self._report_ms = 0, 0

    def take(self, packet: Packet, now_ms: int) -> None:
        """Count a packet of sound."""
        self.count(packet)
        timestamp, clock_hz = packet.timestamp, self.clock_hz
        passed = (now_ms - self._last_ms) * clock_hz // 1000
        off = abs(passed - timestamp + self._timestamp)
        if off >= clock_hz:
            off = abs(passed - time_step(self._timestamp, timestamp))
        if off < clock_hz:
            self._jitter += (off - self._jitter) / 16
        self._timestamp, self._last_ms = timestamp, now_ms

    def count(self, packet: Packet) -> None:
        """Count a packet whose timestamp says nothing of when it was sent, such as a key's."""
        if packet.sequence == (self.highest + 1) & 0xFFFF:
            self.highest += 1
        else:
            self._jump(packet)
        self.received += 1

    def run(self, packet: Packet, ticks: int) -> Run | None:
        """Return what takes the packets behind the last one; None when that was a late one."""
        if packet.sequence != self.highest & 0xFFFF:
            return None
        return Run(packet, ticks, self.clock_hz, self._last_ms, self._jitter)

    def skip(self, run: Run) -> None:
        """Count what came in a run."""
        self.highest += run.packets
        self.received += run.packets
        self._timestamp = (self._timestamp + run.packets * run.ticks) & _MIDDLE
        self._last_ms, self._jitter = run.came_ms, run.jitter

    def _jump(self, packet: Packet) -> None:
        """Take note of a packet that is not the next."""
        step = sequence_step(self.highest & 0xFFFF, packet.sequence)
        if abs(step) > 3000:
            # The source began anew: nobody can say what was lost in between.
            self._base = self.highest = packet.sequence
            self.received = self._expected_before = self._received_before = 0
        elif step > 0:
            self.highest += step

    def reported(self, report: Report, now_ms: int) -> None:
        """Note a sender report of this source, whose echo lets it measure the round trip."""
        if report.ntp is not None:
            self._report, self._report_ms = report.ntp >> 16 & _MIDDLE, now_ms

    @property
    def lost(self) -> int:
        """Packets that did not come."""
        return self.expected - self.received

    @property
    def expected(self) -> int:
        """Packets that should have come."""
        return self.highest - self._base + 1

    @property
    def jitter_ms(self) -> float:
        """The mean deviation of the spacing."""
        return self._jitter * 1000 / self.clock_hz

    def block(self, now_ms: int) -> Block:
        """Return the next report of it."""
        expected = self.expected
        due, got = expected - self._expected_before, self.received - self._received_before
        self._expected_before, self._received_before = expected, self.received
        fraction = min(255, max(0, due - got) * 256 // due) if due > 0 else 0
        lost = max(-_LOST_MOST - 1, min(_LOST_MOST, self.lost))
        delay = (now_ms - self._report_ms) * 65536 // 1000 if self._report else 0
        highest = self.highest & _MIDDLE
        return Block(self.ssrc, fraction, lost, highest, int(self._jitter), self._report, delay & _MIDDLE)


def round_trip_ms(block: Block, ntp: int) -> float | None:
    """Return how long a report and its echo took; None when the peer has not heard a report of ours."""
    if not block.last_sender_report:
        return None
    took = ((ntp >> 16) - block.last_sender_report - block.delay) & _MIDDLE
    return took / 65.536 if took < 1 << 31 else None
