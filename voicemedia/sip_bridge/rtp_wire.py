"""RTP packets (RFC 3550, section 5.1), and what of them is whose."""

import struct
from typing import Final, NamedTuple

from voicemedia.errors import WireError

COMFORT_NOISE: Final = 13
"Payload type of comfort noise at 8 kHz (RFC 3389)."

HEADER: Final = struct.Struct("!BBHII")
_WORDS: Final = struct.Struct("!HH")
_SEQUENCES: Final = 1 << 16
_TIMES: Final = 1 << 32
_STRAY: Final = 3000
"No loss or delay puts a sequence number so far off."


class Packet(NamedTuple):
    """One RTP packet; a tuple, since it is made fifty times a second for every call."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def __repr__(self) -> str:
        kind, sequence, timestamp, ssrc, payload, marker = self
        return f"Packet({kind}, {sequence}, {timestamp}, {ssrc:#x}, {len(payload)} bytes{', marker' if marker else ''})"

    def encode(self) -> bytes:
        """Return its bytes."""
        kind = self.payload_type | (0x80 if self.marker else 0)
        return HEADER.pack(0x80, kind, self.sequence, self.timestamp, self.ssrc) + self.payload


def read_rtp(datagram: bytes) -> Packet:
    """Read a packet; its contributing sources, extension and padding are taken off.

    :raises WireError: `not_rtp`, `rtp_too_short`, `bad_rtp_padding`.
    """
    if len(datagram) < 12:
        raise WireError("rtp_too_short")
    first, kind, sequence, timestamp, ssrc = HEADER.unpack_from(datagram)
    if first >> 6 != 2:
        raise WireError("not_rtp")
    # Nearly every packet of a telephone call has a header of twelve bytes.
    payload = datagram[12:] if first == 0x80 else _payload(datagram, first)
    return Packet(kind & 0x7F, sequence, timestamp, ssrc, payload, kind > 0x7F)


def _payload(datagram: bytes, first: int) -> bytes:
    start, end = 12 + (first & 0x0F) * 4, len(datagram)
    if first & 0x10:
        if end < start + 4:
            raise WireError("rtp_too_short")
        start += 4 + _WORDS.unpack_from(datagram, start)[1] * 4
    if first & 0x20:
        padding = datagram[-1]
        if not padding:
            raise WireError("bad_rtp_padding")
        end -= padding
    if end < start:
        raise WireError("rtp_too_short")
    return datagram[start:end]


def is_rtcp(datagram: bytes) -> bool:
    """Tell RTCP from RTP on a port that carries both (RFC 5761, section 4)."""
    return len(datagram) >= 8 and 192 <= datagram[1] <= 223


def sequence_step(before: int, after: int) -> int:
    """Return how many packets `after` is ahead of `before`, -32768 to 32767."""
    return (after - before + (_SEQUENCES >> 1)) % _SEQUENCES - (_SEQUENCES >> 1)


def time_step(before: int, after: int) -> int:
    """Return how many ticks `after` is ahead of `before`, negative when it is behind."""
    return (after - before + (_TIMES >> 1)) % _TIMES - (_TIMES >> 1)


class Timeline:
    """Places the packets of a stream on one clock that never wraps, whatever its sources do.

    A new source, a timestamp that jumps while the sequence goes on backwards or far ahead, or both jumping at once
    begin anew right behind what came before. A timestamp ahead of an unbroken sequence is a pause of the sender
    (silence suppression, a key), which nobody has to wait for.
    """

    __slots__ = ("_ahead", "_next", "_sequence", "_timestamp", "restarts", "ssrc")

    def __init__(self, most_ahead: int) -> None:
        self._ahead = most_ahead
        "Ticks of a jump that is still believed to be a pause or loss."
        self.ssrc: int | None = None
        self._sequence = self._timestamp = self._next = 0
        self.restarts = 0

    def end(self, packet: Packet) -> int | None:
        """Return where the packet ends that was placed last; None when it is not the one furthest on."""
        return self._next if packet.sequence == self._sequence and packet.ssrc == self.ssrc else None

    def skip(self, packets: int, samples: int) -> None:
        """Go on behind so many packets, each the very next."""
        self._sequence, self._next = (self._sequence + packets) % _SEQUENCES, self._next + samples
        self._timestamp = (self._timestamp + samples) % _TIMES

    def place(self, packet: Packet, samples: int) -> tuple[int, int]:
        """Return (position, pause): where the packet lies, and how much of the time before it is a pause."""
        position, pause = self._place(packet)
        if position + samples >= self._next:
            self._sequence, self._next = packet.sequence, position + samples
            self._timestamp = (packet.timestamp + samples) % _TIMES
        return position, pause

    def _place(self, packet: Packet) -> tuple[int, int]:
        if packet.ssrc != self.ssrc:
            self.restarts += self.ssrc is not None
            self.ssrc = packet.ssrc
            return self._next, 0
        ahead, step = time_step(self._timestamp, packet.timestamp), sequence_step(self._sequence, packet.sequence)
        # Late packets are behind in both; what is behind in one only has begun anew.
        if abs(ahead) > self._ahead or abs(step) > _STRAY or (step > 0) is not (ahead >= 0):
            self.restarts += 1
            return self._next, 0
        return self._next + ahead, ahead if step == 1 else 0

    def passed(self, packet: Packet) -> None:
        """Take note of a packet without sound, such as a key: the sequence goes on with it."""
        if packet.ssrc == self.ssrc and sequence_step(self._sequence, packet.sequence) == 1:
            self._sequence = packet.sequence
