"""Extended reports of RTCP: how a call is heard, as its VoIP metrics tell (RFC 3611, sections 2, 4.7 and 5)."""

import struct
from dataclasses import astuple, dataclass
from typing import Final

XR: Final = 207
VOIP: Final = 7
"The type of the one block that is known here."
ATTRIBUTE: Final = "rtcp-xr"
WANTED: Final = "voip-metrics"
UNKNOWN: Final = 127
ENHANCED_ADAPTIVE: Final = 0b10_11_0000
"Loss is concealed by the pitch of what came before, and the jitter buffer adapts."
_BLOCK: Final = struct.Struct("!IBBBBHHHHbbBBBBBBBxHHH")
_HEAD: Final = struct.Struct("!BBH")
_SSRC: Final = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class VoipMetrics:
    """One block, its fields in the order of the wire."""

    ssrc: int
    "The source that was heard."
    loss: int = 0
    "Of 256, since it was first heard, as are the next three."
    discarded: int = 0
    "Came too late."
    burst_density: int = 0
    gap_density: int = 0
    burst_ms: int = 0
    gap_ms: int = 0
    round_trip_ms: int = 0
    "0: unknown."
    end_system_ms: int = 0
    "Coding, decoding and the jitter buffer."
    signal_dbm0: int = UNKNOWN
    noise_dbm0: int = UNKNOWN
    echo_loss_db: int = UNKNOWN
    gap_minimum: int = 16
    r: int = UNKNOWN
    external_r: int = UNKNOWN
    mos_listening: int = UNKNOWN
    "In tenths."
    mos_conversation: int = UNKNOWN
    "In tenths."
    config: int = 0
    buffer_ms: int = 0
    "How long a packet is held back that comes in time; then the most for now, and ever."
    buffer_most_ms: int = 0
    buffer_limit_ms: int = 0


@dataclass(frozen=True, slots=True)
class ExtendedReport:
    """What one end tells of those it hears."""

    ssrc: int
    metrics: tuple[VoipMetrics, ...] = ()


def read_extended(body: bytes) -> ExtendedReport:
    """Read what follows the header of an extended report; blocks of other types are passed over.

    :raises struct.error: it is cut short.
    """
    (ssrc,) = _SSRC.unpack_from(body)
    metrics: list[VoipMetrics] = []
    at = _SSRC.size
    while at < len(body):
        kind, _, words = _HEAD.unpack_from(body, at)
        at += _HEAD.size
        if kind == VOIP and words * 4 == _BLOCK.size:
            metrics.append(VoipMetrics(*_BLOCK.unpack_from(body, at)))
        at += words * 4
    if at > len(body):
        raise struct.error("a block longer than its report")
    return ExtendedReport(ssrc, tuple(metrics))


def write_extended(report: ExtendedReport) -> bytes:
    """Write what follows the header of an extended report."""
    head = _HEAD.pack(VOIP, 0, _BLOCK.size // 4)
    return _SSRC.pack(report.ssrc) + b"".join(head + _BLOCK.pack(*astuple(each)) for each in report.metrics)


def wants_metrics(values: list[str]) -> bool:
    """Tell whether an `a=rtcp-xr` names VoIP metrics: `rcvr-rtt=all:10 voip-metrics`."""
    return any(WANTED in value.lower().split() for value in values)


def of_256(share: float) -> int:
    """Return a share as reports have it."""
    return min(255, max(0, int(share * 256)))
