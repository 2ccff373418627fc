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

    def lost(self, segments: int) -> bytes:
        """Make up sound as long as the segments that are missing probably were."""


class SampleDecoder:
    """G.711 and linear samples."""

    def __init__(self, rate_hz: int, decode: Callable[[bytes], bytes]) -> None:
        self.rate_hz, self._decode = rate_hz, decode
        self._concealer = Concealer(rate_hz)
        self._usual = 0
        "Length of the last segment, decoded."

    def decode(self, payload: bytes) -> bytes:
        """Decode one segment."""
        pcm = self._decode(payload)
        self._usual = len(pcm) or self._usual
        return self._concealer.good(pcm) if pcm else pcm

    def lost(self, segments: int) -> bytes:
        """Make up the sound."""
        return self._concealer.conceal(_samples(segments, self._usual, self.rate_hz))


class SegmentDecoder(OpusDecoder):
    """Opus, a packet a segment."""

    _usual = 0

    def __init__(self) -> None:
        super().__init__()
        self._concealer = Concealer(self.rate_hz)

    def decode(self, payload: bytes) -> bytes:
        """Decode one packet; an empty one (silence not sent, RFC 7587 section 3.1.3) is as long as the last.

        :raises WireError: it is none.
        """
        if not payload:
            return bytes(self._usual)
        pcm = super().decode(payload)
        self._usual = min(len(pcm), OPUS_PACKET_MS * self.rate_hz // 1000 * 2)
        return self._concealer.good(pcm) if pcm else pcm

    def lost(self, segments: int) -> bytes:
        """Make up the sound."""
        return self._concealer.conceal(_samples(segments, self._usual, self.rate_hz))


def _samples(segments: int, usual: int, rate_hz: int) -> int:
    return min(segments * usual // 2, LOST_MAX_MS * rate_hz // 1000)


def make_decoder(written: Format, rate_hz: int) -> Decoder:
    """Make the decoder of a session.

    :raises WireError: `no_opus`, if its library is not installed.
    """
    if written is Format.OPUS:
        return SegmentDecoder()
    decode = {Format.PCMU: decode_mulaw, Format.PCMA: decode_alaw, Format.LINEAR16: decode_l16}[written]
    return SampleDecoder(rate_hz, decode)
