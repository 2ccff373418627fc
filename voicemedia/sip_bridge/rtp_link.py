"""The two ports of one call: who is believed, how packets are protected, and where ours go."""

from collections.abc import Callable
from typing import Any, Final

from voicemedia.errors import WireError
from voicemedia.metrics import Metrics
from voicemedia.sip_bridge.dtls_wire import Identity
from voicemedia.sip_bridge.latch_wire import Latch
from voicemedia.sip_bridge.offer_wire import Agreement
from voicemedia.sip_bridge.rtp_wire import Packet
from voicemedia.sip_bridge.security_wire import RTCP, RTP, Security
from voicemedia.sip_bridge.udp_ports import PortPair
from voicemedia.untold import untold

NOWHERE: Final = ("0.0.0.0", "::")


class RtpLink:
    """One call's way to its peer.

    :param known: tells whether a host has to do with the call, so that its sound may be believed.
    :param failed: told why there never will be keys.
    :ivar believed: whose sound needs not be asked about any more.
    """

    __slots__ = (
        "_agreement",
        "_failed",
        "_latch",
        "_metrics",
        "_rtcp",
        "_rtp",
        "_secured",
        "believed",
        "known",
        "security",
    )

    def __init__(
        self,
        pair: PortPair,
        metrics: Metrics,
        identity: Identity | None,
        known: Callable[[str], bool],
        failed: Callable[[str], None],
    ) -> None:
        self._rtp, self._rtcp, self._metrics = pair.rtp, pair.rtcp, metrics
        self.known, self._failed = known, failed
        self._agreement: Agreement | None = None
        self._latch: Latch | None = None
        self.believed: tuple[Any, ...] | None = None
        self._secured = False
        self.security = Security(identity)

    def agree(self, agreement: Agreement, now_ms: int) -> None:
        """Take what has been agreed on, at first or anew."""
        before, self._agreement = self._agreement, agreement
        described = agreement.address, agreement.port
        if self._latch is None:
            self._latch = Latch(described, self.known, now_ms)
        elif before is None or (before.address, before.port) != described:
            self._latch.describe(described, now_ms)
            self.believed = None
        self.security.agree(agreement, now_ms)
        self._secured = self.security.required

    def close(self, last_report: bytes) -> None:
        """Send a last report; then believe nobody and send nothing any more."""
        self.send_rtcp(last_report)
        self.known, self._failed, self._latch, self.believed = _stranger, untold, None, None

    # --- who speaks ---

    def believe(self, packet: Packet, source: tuple[Any, ...], now_ms: int) -> None:
        """Take note of where sound comes from; of IPv6 a source has more than host and port.

        :raises WireError: `rtp_from_elsewhere`.
        """
        latch, address = self._latch, (source[0], source[1])
        if latch is not None and self._secured:
            latch.trust(address)
        elif latch is None or not latch.admits(address, packet.ssrc, now_ms):
            raise WireError("rtp_from_elsewhere")
        if latch.latched and address == latch.target:
            self.believed = source

    def unprotect(self, datagram: bytes) -> bytes:
        """Return the packet of sound that a datagram holds.

        :raises WireError: `srtp_refused`, `srtp_without_keys`.
        """
        return self.security.unprotect(datagram) if self._secured else datagram

    # --- the handshake ---

    def take_handshake(self, datagram: bytes, source: tuple[Any, ...], port: int) -> None:
        """Take a datagram of the handshake; the answer goes where it came from, which may be behind a NAT.

        :raises WireError: `dtls_from_elsewhere`.
        """
        if not self.known(source[0]):
            raise WireError("dtls_from_elsewhere")
        failed = self.security.failed
        for answer in self.security.receive(datagram, port):
            self._send_to(self._rtcp if port else self._rtp, answer, (source[0], source[1]))
        if self.security.failed and not failed:
            self._failed(self.security.failed)

    def shake(self, now_ms: int) -> bool:
        """Go on with the handshake; say whether it is to be looked after further."""
        if self._agreement is None or self._latch is None:
            return False
        for port, datagram in self.security.due(now_ms):
            if port == RTP:
                self._send_to(self._rtp, datagram, self._latch.target)
            else:
                self._send_to(self._rtcp, datagram, self._agreement.rtcp)
        if self.security.failed:
            self._failed(self.security.failed)
        return self.security.pending

    # --- out ---

    def send(self, packets: list[bytes]) -> None:
        """Send RTP."""
        target = self.believed
        if target is None:
            if self._latch is None:
                return
            target = self._latch.target
        self._metrics.frames_out += len(packets)
        if self._secured:
            packets = [wire for packet in packets if (wire := self.security.protect(packet)) is not None]
        for packet in packets:
            self._send_to(self._rtp, packet, target)

    def send_rtcp(self, packet: bytes) -> None:
        """Send RTCP, to its own port or with the sound."""
        agreement, latch = self._agreement, self._latch
        if agreement is None or agreement.removed or latch is None or not packet:
            return
        wire = self.security.protect(packet, RTP if agreement.rtcp_mux else RTCP, rtcp=True)
        if wire is None:
            return
        if agreement.rtcp_mux:
            self._send_to(self._rtp, wire, latch.target)
        elif latch.target == latch.described:
            self._send_to(self._rtcp, wire, agreement.rtcp)
        else:
            self._send_to(self._rtcp, wire, (latch.target[0], latch.target[1] + 1))

    def _send_to(self, udp: Any, packet: bytes, target: tuple[Any, ...]) -> None:
        try:
            udp.sendto(packet, target)
        except (OSError, OverflowError):
            # A full buffer, an unreachable network, a port above the last: as good as lost on the way.
            self._metrics.frames_dropped += 1


def _stranger(_host: str) -> bool:
    return False
