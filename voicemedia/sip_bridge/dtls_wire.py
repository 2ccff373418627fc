"""The DTLS handshake that gives a call its SRTP keys, on memory instead of sockets (RFC 5763, RFC 5764).

The certificates are nobody's: what makes the peer the right one is that its certificate has the fingerprint its SDP
named. OpenSSL repeats lost flights itself, by its own clock, when it is asked (`due`).
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from voicemedia.sip_bridge.crypto_wire import SUITES, Crypto, Dtls

MTU: Final = 1200
"Bytes of a datagram; every path carries that many."
PATIENCE_MS: Final = 15_000
"A handshake that takes longer has failed."
LOOK_MS: Final = 50
_PROFILES: Final = {
    b"SRTP_AEAD_AES_128_GCM": ("AEAD_AES_128_GCM", 16),
    b"SRTP_AEAD_AES_256_GCM": ("AEAD_AES_256_GCM", 32),
    b"SRTP_AES128_CM_SHA1_80": ("AES_CM_128_HMAC_SHA1_80", 16),
    b"SRTP_AES128_CM_SHA1_32": ("AES_CM_128_HMAC_SHA1_32", 16),
}
"OpenSSL's name -> (name in SDP, bytes of the key), in our order of preference."
_EXPORTER: Final = b"EXTRACTOR-dtls_srtp"
_RECORD: Final = 13
_SINCE, _UNTIL = datetime(2024, 1, 1), datetime(2049, 12, 31)
"Nobody looks at them, and a clock that is wrong must not matter."


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate nobody has signed, and what a handshake wants besides."""

    context: SSL.Context
    fingerprint: tuple[str, bytes]

    @classmethod
    def make(cls) -> "Identity":
        """Make a new one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "voicemedia")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _SINCE, _UNTIL)
        certificate = builder.sign(key, SHA256())
        context = SSL.Context(SSL.DTLS_METHOD)
        context.use_certificate(certificate)
        context.use_privatekey(key)
        # Which certificate it is, is looked at afterwards: there has to be one.
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        context.set_tlsext_use_srtp(b":".join(_PROFILES))
        context.set_options(SSL.OP_NO_QUERY_MTU)
        return cls(context, ("sha-256", hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()))


def is_dtls(datagram: bytes) -> bool:
    """Tell DTLS from RTP and RTCP on one port (RFC 7983, section 7)."""
    return b"\x14" <= datagram[:1] < b"\x40" and len(datagram) >= _RECORD


class DtlsSession:
    """One handshake.

    :ivar keys: (ours, theirs), once it is done.
    :ivar failed: why it never will be.
    """

    def __init__(self, identity: Identity, terms: Dtls, now_ms: int) -> None:
        self._terms, self._client, self._until_ms = terms, terms.client, now_ms + PATIENCE_MS
        self._connection = SSL.Connection(identity.context, None)
        self._connection.set_ciphertext_mtu(MTU)
        self.keys: tuple[Crypto, Crypto] | None = None
        self.failed = ""
        self._out = bytearray()
        self._look_ms = now_ms
        if self._client:
            self._connection.set_connect_state()
            self._step()
        else:
            self._connection.set_accept_state()

    @property
    def pending(self) -> bool:
        """Whether it is neither done nor has failed."""
        return self.keys is None and not self.failed

    def receive(self, datagram: bytes) -> None:
        """Take a datagram of the peer's."""
        if self.failed:
            return
        try:
            self._connection.bio_write(datagram)
        except SSL.Error:
            return
        self._step()

    def due(self, now_ms: int) -> None:
        """Let time pass: repeat what may have been lost, or give up."""
        if not self.pending or now_ms < self._look_ms:
            return
        self._look_ms = now_ms + LOOK_MS
        if now_ms >= self._until_ms:
            self.failed = "no answer"
            return
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error:
            self.failed = "no answer"
        self._gather()

    def outputs(self) -> list[bytes]:
        """Return the datagrams to send."""
        out: list[bytes] = []
        octets, self._out = bytes(self._out), bytearray()
        start = at = 0
        # A memory BIO runs datagrams together; records must not be cut.
        while at < len(octets):
            end = at + _RECORD + int.from_bytes(octets[at + 11 : at + 13])
            if end - start > MTU and at > start:
                out.append(octets[start:at])
                start = at
            at = end
        if octets:
            out.append(octets[start:])
        return out

    def _step(self) -> None:
        try:
            if self.keys is None:
                self._connection.do_handshake()
                self._done()
            else:
                # A repeated last flight is answered, and a goodbye taken note of.
                self._connection.recv(MTU)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            pass
        except SSL.Error as error:
            if self.keys is None:
                self.failed = str(error.args[0][0][2] if error.args and error.args[0] else "handshake failed")
        self._gather()

    def _gather(self) -> None:
        try:
            while octets := self._connection.bio_read(1 << 14):
                self._out += octets
        except SSL.WantReadError:
            pass

    def _done(self) -> None:
        if not self._trusted():
            self.failed = "the certificate is not the one named in the SDP"
            return
        profile = _PROFILES.get(self._connection.get_selected_srtp_profile())
        if profile is None:
            self.failed = "no SRTP profile in common"
            return
        suite, size = profile
        salt = SUITES[suite] - size
        octets = self._connection.export_keying_material(_EXPORTER, 2 * (size + salt))
        client = octets[:size] + octets[2 * size : 2 * size + salt]
        server = octets[size : 2 * size] + octets[2 * size + salt :]
        ours, theirs = (client, server) if self._client else (server, client)
        self.keys = Crypto(1, suite, ours), Crypto(1, suite, theirs)

    def _trusted(self) -> bool:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return False
        octets = certificate.public_bytes(Encoding.DER)
        named = self._terms.fingerprints
        # SHA-1 is looked at only where there is nothing better (RFC 8122, section 5.1).
        named = tuple(each for each in named if each[0] != "sha-1") or named
        return any(hashlib.new(name.replace("-", ""), octets).digest() == digest for name, digest in named)
