"""From what a gateway sends to s16le, one decoder a session."""

from collections.abc import Callable
from typing import Final, Protocol

from voicemedia.audio.conceal import Concealer
from voicemedia.audio.g711 import decode_alaw, decode_l16, decode_mulaw
from voicemedia.audio.opus import OpusDecoder
from voicemedia.gateway.segment_wire import OPUS_PACKET_MS, Format

LOST_MAX_MS: Final = 1000
"Of a longer hole in the sound only so much is given to the recognizer; what is made up is silence after 120 ms."


class Decoder(Protocol):
    """Makes s16le of segments in their order."""

    rate_hz: int
    "Of what comes out."

    def decode(self, payload: bytes) -> bytes:
        """Decode one segment.

        :raises WireError: it is none.
        """


class SampleDecoder:
    """G.711 and linear samples."""

    def __init__(self, rate_hz: int, decode: Callable[[bytes], bytes]) -> None:
        self.rate_hz, self.decode = rate_hz, decode


class SegmentDecoder(OpusDecoder):
    """Opus, a packet a segment."""

    _usual = 0

    def decode(self, payload: bytes) -> bytes:
        """Decode one packet; an empty one (silence not sent, RFC 7587 section 3.1.3) is as long as the last.

        :raises WireError: it is none.
        """
        if not payload:
            return bytes(self._usual)
        pcm = super().decode(payload)
        self._usual = min(len(pcm), OPUS_PACKET_MS * self.rate_hz // 1000 * 2)
        return pcm


class HoleFiller:
    """Makes s16le of segments in their order, and of the holes between them."""

    def __init__(self, decoder: Decoder) -> None:
        self.rate_hz = decoder.rate_hz
        self._decoder = decoder
        self._concealer = Concealer(self.rate_hz)
        self._usual = 0
        "Length of the last segment, decoded."

    def decode(self, payload: bytes, missing: int = 0) -> tuple[bytes, bytes]:
        """Decode one segment; make up the sound of those missing before it, from both sides of the hole.

        :returns: what is made up, and the segment's own sound.
        :raises WireError: it is none.
        """
        pcm = self._decoder.decode(payload)
        made_up = b""
        if missing:
            most = LOST_MAX_MS * self.rate_hz // 1000
            made_up = self._concealer.conceal(min(missing * self._usual // 2, most), pcm)
        self._usual = len(pcm) or self._usual
        return made_up, self._concealer.good(pcm) if pcm else pcm


def make_decoder(written: Format, rate_hz: int) -> HoleFiller:
    """Make the decoder of a session.

    :raises WireError: `no_opus`, if its library is not installed.
    """
    if written is Format.OPUS:
        return HoleFiller(SegmentDecoder())
    decode = {Format.PCMU: decode_mulaw, Format.PCMA: decode_alaw, Format.LINEAR16: decode_l16}[written]
    return HoleFiller(SampleDecoder(rate_hz, decode))
