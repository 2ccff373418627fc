"""Header prediction: of the very next packet all is known beforehand but its sound and the moment it comes.

Nearly every packet of a telephone call is the very next of its source and as long as the one before. Its header can
then be compared as a whole, and whoever counts packets or places them is told at the end of the run. It is Van
Jacobson's idea for TCP, and it pays here for the same reason: with a thousand calls most of what a packet costs is
memory outside of the caches, of which a run needs little.
"""

from functools import cache

from voicemedia.sip_bridge.rtp_wire import HEADER, Packet


@cache
def _step(ticks: int) -> int:
    """Return the way from one header to the next, as numbers; one object for all calls.

    A field that wraps runs into the one before, so that no packet is met, and the run ends.
    """
    return (1 << 64) + (ticks << 32)


class Run:
    """Packets of one source, each the very next after the one before.

    :param packet: the one before the first.
    :param ticks: how long each lasts.
    :param came_ms: when `packet` came.
    :param jitter: of its source up to then, in ticks (RFC 3550, appendix A.8).
    """

    __slots__ = ("_began", "_clock_hz", "_expected", "_step", "came_ms", "jitter", "length", "ticks")

    def __init__(self, packet: Packet, ticks: int, clock_hz: int, came_ms: int, jitter: float) -> None:
        self.ticks, self.came_ms, self.jitter, self._clock_hz = ticks, came_ms, jitter, clock_hz
        self.length = HEADER.size + len(packet.payload)
        "Bytes of each packet."
        header = HEADER.pack(0x80, packet.payload_type, packet.sequence, packet.timestamp, packet.ssrc)
        self._step = _step(ticks)
        self._began = self._expected = int.from_bytes(header, "big") + self._step

    @property
    def packets(self) -> int:
        """How many have come."""
        return (self._expected - self._began) // self._step

    def expects(self, datagram: bytes) -> bool:
        """Tell whether a datagram has the header of the next packet."""
        return int.from_bytes(datagram[:12], "big") == self._expected

    def take(self, now_ms: int) -> None:
        """Take the packet that was expected."""
        self._expected += self._step
        off = abs((now_ms - self.came_ms) * self._clock_hz // 1000 - self.ticks)
        if off < self._clock_hz:
            self.jitter += (off - self.jitter) / 16
        self.came_ms = now_ms
