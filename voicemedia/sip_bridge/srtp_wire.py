"""The protection of one call's packets by libsrtp, with keys out of the SDP (RFC 3711, RFC 4568, RFC 7714)."""

from typing import Final

from pylibsrtp import Error, Policy, Session

from voicemedia.errors import WireError
from voicemedia.sip_bridge.crypto_wire import Crypto

_PROFILES: Final = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
_TAGS: Final = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4}
"Bytes of the tag behind the key identifier; in AEAD suites the identifier comes last."
_RTCP_TAG: Final = 10


class Protection:
    """Both directions of one call.

    :param ours: the key of what we send; `theirs` of what comes.
    """

    def __init__(self, ours: Crypto, theirs: Crypto) -> None:
        self.keys = ours, theirs
        self._out, self._in = Session(_policy(ours, inbound=False)), Session(_policy(theirs, inbound=True))

    def protect(self, packet: bytes, *, rtcp: bool = False) -> bytes:
        """Encrypt and sign a packet of ours."""
        return self._out.protect_rtcp(packet) if rtcp else self._out.protect(packet)

    def unprotect(self, packet: bytes, *, rtcp: bool = False) -> bytes:
        """Check and decrypt a packet.

        :raises WireError: `srtp_refused`: it was forged, replayed, or made with another key.
        """
        theirs = self.keys[1]
        if theirs.mki:
            packet = _without(theirs, packet, _RTCP_TAG if rtcp else 0)
        try:
            return self._in.unprotect_rtcp(packet) if rtcp else self._in.unprotect(packet)
        except (Error, ValueError, TypeError) as error:
            raise WireError("srtp_refused") from error


def _policy(crypto: Crypto, *, inbound: bool) -> Policy:
    kind = Policy.SSRC_ANY_INBOUND if inbound else Policy.SSRC_ANY_OUTBOUND
    return Policy(crypto.key, kind, srtp_profile=_PROFILES[crypto.suite])


def _without(crypto: Crypto, packet: bytes, rtcp_tag: int) -> bytes:
    """Take the key identifier out of a packet."""
    tag = _TAGS.get(crypto.suite, 0)
    tag = rtcp_tag or tag if tag else 0
    end = len(packet) - tag
    return packet[: max(0, end - len(crypto.mki))] + packet[end:]
