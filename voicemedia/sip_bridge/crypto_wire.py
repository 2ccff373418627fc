"""Keys in a session description: SDES (RFC 4568) and the fingerprints of DTLS-SRTP (RFC 5763, RFC 8122)."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import natural
from voicemedia.sip_bridge.sdp_wire import Media, Session

SUITES: Final[Mapping[str, int]] = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AES_CM_128_HMAC_SHA1_32": 30,
    "AEAD_AES_128_GCM": 28,
    "AEAD_AES_256_GCM": 44,
}
"Suite -> bytes of key and salt. NULL and F8 are not here and so can never be chosen."

_WEAKENING: Final = ("UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "KDR=")
"Session parameters that take protection away, or that libsrtp cannot do."

HASHES: Final[Mapping[str, int]] = {"sha-256": 32, "sha-384": 48, "sha-512": 64, "sha-1": 20}


@dataclass(frozen=True, slots=True)
class Crypto:
    """One a=crypto line: the key its sender protects with."""

    tag: int
    suite: str
    key: bytes
    "Master key and salt."
    mki: bytes = b""
    "Master key identifier behind each of its packets; mostly empty."

    @classmethod
    def parse(cls, value: str) -> "Crypto":
        """Parse what follows `a=crypto:`.

        :raises WireError: `bad_crypto`; `weak_crypto` for a suite or parameter we do not take.
        """
        tag, suite, keys, *parameters = [*value.split(), "", "", ""][: max(3, len(value.split()))]
        if suite not in SUITES or any(text.startswith(_WEAKENING) for text in parameters):
            raise WireError("weak_crypto", suite[:40])
        method, _, rest = keys.partition(":")
        text, *options = rest.split(";")[0].split("|")
        try:
            key = b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise WireError("bad_crypto", suite) from None
        if method.lower() != "inline" or len(key) != SUITES[suite]:
            raise WireError("bad_crypto", suite)
        return cls(natural(tag, 10**9, "bad_crypto"), suite, key, _mki(options))

    def __str__(self) -> str:
        return f"{self.tag} {self.suite} inline:{b64encode(self.key).decode()}"

    def __repr__(self) -> str:
        return f"Crypto({self.tag}, {self.suite})"


def _mki(options: list[str]) -> bytes:
    """Read `1:4` among `2^20`, `1:4` as the number 1 in four bytes."""
    for option in options:
        number, colon, length = option.partition(":")
        if colon:
            size = natural(length, 129, "bad_crypto")
            value = natural(number, 2**63, "bad_crypto")
            if value.bit_length() > size * 8:
                raise WireError("bad_crypto", "mki")
            return value.to_bytes(size, "big")
    return b""


def choose(lines: Iterable[str], suites: Iterable[str]) -> Crypto | None:
    """Return the first offered line we take; one without MKI before one with (RFC 4568, section 5.1.2)."""
    wanted = tuple(suites)
    good: list[Crypto] = []
    for line in lines:
        try:
            crypto = Crypto.parse(line)
        except WireError:
            continue
        if crypto.suite in wanted:
            good.append(crypto)
    return next((crypto for crypto in good if not crypto.mki), good[0] if good else None)


@dataclass(frozen=True, slots=True)
class Dtls:
    """What the two sides of a DTLS handshake must know of each other."""

    fingerprints: tuple[tuple[str, bytes], ...]
    "(hash, digest) of certificates, any of which the peer may show."
    client: bool
    "We send the ClientHello (`a=setup:active`)."


def fingerprints(session: Session, media: Media) -> tuple[tuple[str, bytes], ...]:
    """Return the readable fingerprints of a medium, the session's if it has none of its own."""
    found = []
    for value in session.inherited(media, "fingerprint"):
        name, _, text = value.partition(" ")
        try:
            digest = bytes.fromhex(text.strip().replace(":", ""))
        except ValueError:
            continue
        if len(digest) == HASHES.get(name.lower(), -1):
            found.append((name.lower(), digest))
    return tuple(found)


def fingerprint_line(fingerprint: tuple[str, bytes]) -> str:
    """Return `fingerprint:sha-256 AB:CD:...`."""
    name, digest = fingerprint
    return f"fingerprint:{name} {digest.hex(':').upper()}"


def setup_of(session: Session, media: Media) -> str:
    """Return the setup attribute; in an offer without one, the offerer is active (RFC 4145, section 4)."""
    return next(iter(session.inherited(media, "setup")), "active").lower()
