"""What protects one call's packets: nothing, keys out of the SDP, or keys out of a handshake on each of its ports."""

from collections import deque
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.crypto_wire import Crypto, Dtls
from voicemedia.sip_bridge.dtls_wire import DtlsSession, Identity
from voicemedia.sip_bridge.offer_wire import Agreement
from voicemedia.sip_bridge.srtp_wire import Protection

RTP: Final = 0
RTCP: Final = 1
"The two ports."
EARLY: Final = 4
"Datagrams kept of a handshake that begins before the answer."


class Security:
    """The protection of both directions, on both ports.

    :param identity: ours in handshakes; None: there are none.
    """

    __slots__ = (
        "_early",
        "_identity",
        "_protections",
        "_sdes",
        "_sessions",
        "_terms",
        "required",
    )

    def __init__(self, identity: Identity | None = None) -> None:
        self._identity = identity
        self.required = False
        "Nothing may pass in the clear."
        self._sdes: tuple[Crypto, Crypto] | None = None
        self._terms: tuple[Dtls, bool] | None = None
        self._sessions: list[DtlsSession] = []
        self._protections: tuple[Protection | None, Protection | None] = (None, None)
        self._early: deque[tuple[int, bytes]] = deque(maxlen=EARLY)

    def agree(self, agreement: Agreement, now_ms: int) -> None:
        """Take what has been agreed on; the same keys and fingerprints go on where they are."""
        ours, theirs, dtls = agreement.protect, agreement.unprotect, agreement.dtls
        self.required = dtls is not None or ours is not None
        sdes = (ours, theirs) if ours is not None and theirs is not None else None
        if sdes != self._sdes:
            self._sdes = sdes
            self._protections = (Protection(*sdes),) * 2 if sdes else (None, None)
        terms = (dtls, agreement.rtcp_mux) if dtls is not None else None
        if terms == self._terms:
            return
        self._terms, self._sessions = terms, []
        if sdes is None:
            # The keys of the last handshake were for what was agreed on then, and for reports just as for sound.
            self._protections = None, None
        if dtls is not None and self._identity is not None:
            ports = 1 if agreement.rtcp_mux else 2
            self._sessions = [DtlsSession(self._identity, dtls, now_ms) for _ in range(ports)]
            for port, datagram in self._early:
                self._take(datagram, port)
        self._early.clear()

    # --- packets ---

    def protect(self, packet: bytes, port: int = RTP, rtcp: bool = False) -> bytes | None:
        """Return a packet as it may leave; None while there are no keys."""
        protection = self._protections[port]
        if protection is not None:
            return protection.protect(packet, rtcp)
        return None if self.required else packet

    def unprotect(self, packet: bytes, port: int = RTP, rtcp: bool = False) -> bytes:
        """Return what a packet holds.

        :raises WireError: `srtp_refused`; `srtp_without_keys` before the handshake is done.
        """
        protection = self._protections[port]
        if protection is not None:
            return protection.unprotect(packet, rtcp)
        if self.required:
            raise WireError("srtp_without_keys")
        return packet

    # --- the handshake ---

    @property
    def pending(self) -> bool:
        """Whether a handshake is under way."""
        return any(session.pending for session in self._sessions)

    @property
    def failed(self) -> str:
        """Why there will be no sound; empty while there may be. Reports alone are done without."""
        return self._sessions[RTP].failed if self._sessions else ""

    def receive(self, datagram: bytes, port: int) -> list[bytes]:
        """Take a datagram of a handshake; return those to send back.

        Whoever answers our offer may begin before its answer has come; that is kept.
        """
        if not self._sessions:
            self._early.append((port, datagram))
        if port >= len(self._sessions):
            return []
        self._take(datagram, port)
        return self._sessions[port].outputs()

    def due(self, now_ms: int) -> list[tuple[int, bytes]]:
        """Let time pass; return (port, datagram) to send."""
        for session in self._sessions:
            session.due(now_ms)
        return [(port, each) for port, session in enumerate(self._sessions) for each in session.outputs()]

    def _take(self, datagram: bytes, port: int) -> None:
        if port < len(self._sessions):
            session = self._sessions[port]
            session.receive(datagram)
            if session.keys is not None and self._protections[port] is None:
                made, (sound, reports) = Protection(*session.keys), self._protections
                self._protections = (sound, made) if port else (made, reports)
