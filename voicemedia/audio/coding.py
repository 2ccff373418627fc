"""The codecs of RTP calls, each as one direction of one stream: payloads to sound, and sound to payloads.

Everything is counted in ticks of the RTP clock, which need not be the rate of the sound: 8000 for G.722, whose sound
has 16,000 samples a second (RFC 3551, section 4.5.2), 48,000 for Opus at any rate.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from G722 import G722

from voicemedia.audio import libopus
from voicemedia.audio.conceal import Concealer
from voicemedia.audio.frames import silence
from voicemedia.audio.g711 import CODECS
from voicemedia.audio.resample import Resampler
from voicemedia.errors import WireError
from voicemedia.interfaces import FRAME_MS

G722_HZ: Final = 16_000
G722_BITS: Final = 64_000


class Decoding(Protocol):
    """One incoming stream."""

    rate_hz: int
    "Of the sound that comes out."
    clock_hz: int
    "Of the RTP timestamps."
    tick_bytes: int
    "Bytes of payload to a tick; 0: a payload is a whole that cannot be cut."

    def ticks(self, payload: bytes) -> int:
        """Return how long a payload lasts; 0: it is damaged."""

    def decode(self, payload: bytes) -> bytes:
        """Return the sound of the next payload.

        :raises WireError: it is damaged.
        """

    def hole(self, ticks: int, following: bytes | None) -> bytes:
        """Make up what is lost, before the payload that follows it."""


class Encoding(Protocol):
    """One outgoing stream."""

    clock_hz: int
    whole: Callable[[bytes], bytes] | None
    "Makes of 20 ms of sound a payload of its own; None: a packet has another length."
    quiet: bytes
    "The payload of 20 ms of silence; empty: it is encoded as any sound."

    def feed(self, frame: bytes | None) -> Iterator[tuple[bytes, int]]:
        """Take 20 ms of sound, or of silence; yield the payloads that are whole, and their ticks."""

    def flush(self) -> Iterator[tuple[bytes, int]]:
        """Yield what has been gathered, if a payload can be made of it."""


class _Flat:
    """Decodes a codec of one byte a tick, and conceals after G.711 Appendix I, from both sides where it can."""

    tick_bytes = 1

    __slots__ = (
        "_ahead",
        "_concealer",
        "_law",
        "clock_hz",
        "rate_hz",
    )

    def __init__(self, decode: Callable[[bytes], bytes], clock_hz: int, rate_hz: int) -> None:
        self.clock_hz, self.rate_hz = clock_hz, rate_hz
        self._law, self._concealer = decode, Concealer(rate_hz)
        self._ahead: tuple[bytes, bytes] | None = None
        "The payload behind a hole, and its sound: a codec that remembers what came before decodes it once."

    def ticks(self, payload: bytes) -> int:
        return len(payload)

    def decode(self, payload: bytes) -> bytes:
        ahead, law = self._ahead, self._law
        if ahead is None:
            return self._concealer.good(law(payload))
        self._ahead = None
        return self._concealer.good(ahead[1] if ahead[0] is payload else law(payload))

    def hole(self, ticks: int, following: bytes | None) -> bytes:
        samples = ticks * self.rate_hz // self.clock_hz
        if following is None:
            return self._concealer.conceal(samples)
        self._ahead = following, self._law(following)
        return self._concealer.conceal(samples, self._ahead[1])


class _Opus:
    """Decodes Opus, and mends a hole with what the packet behind it knows (RFC 6716, section 2.1.7).

    That is one packet's length; what else is missing is concealed up to there from both sides, which leaves recognizers
    more than the decoder's own way, fading comfort noise.
    """

    tick_bytes = 0
    clock_hz, rate_hz = libopus.CLOCK_HZ, libopus.RATE_HZ

    def __init__(self) -> None:
        self._decoder, self._concealer = libopus.OpusDecoder(), Concealer(self.rate_hz)

    def ticks(self, payload: bytes) -> int:
        return libopus.packet_ticks(payload)

    def decode(self, payload: bytes) -> bytes:
        return self._concealer.good(self._decoder.decode(payload))

    def hole(self, ticks: int, following: bytes | None) -> bytes:
        samples = ticks * self.rate_hz // self.clock_hz
        recovered = self._recover(samples, following)
        unknown = samples - len(recovered) // 2
        made_up = self._concealer.conceal(unknown, recovered) if unknown else b""
        return made_up + self._concealer.good(recovered) if recovered else made_up

    def _recover(self, samples: int, following: bytes | None) -> bytes:
        """Return what is known of the end of a hole, all of which the decoder goes through."""
        # A packet knows of one of its own length before it, of at most 60 ms.
        known = min(samples, libopus.packet_ticks(following or b"") * self.rate_hz // self.clock_hz)
        if following is None or known > self.rate_hz * 60 // 1000:
            known = 0
        self._decoder.conceal(samples - known)
        try:
            return self._decoder.recover(following, known) if following and known else b""
        except WireError:
            # What follows is damaged, which is said when it is decoded itself.
            self._decoder.conceal(known)
            return b""


def _g722_decode() -> Callable[[bytes], bytes]:
    codec = G722(G722_HZ, G722_BITS)
    return lambda payload: codec.decode(payload).tobytes()


def make_decoding(name: str) -> Decoding:
    """Make a decoder by the codec's name in SDP.

    :raises WireError: `no_opus`: its library is not installed.
    """
    if name == "opus":
        return _Opus()
    if name == "G722":
        return _Flat(_g722_decode(), 8000, G722_HZ)
    return _Flat(CODECS[name].decode, 8000, 8000)


class _FlatOut:
    """Encodes to a codec of one byte a tick, in payloads of any length."""

    clock_hz = 8000

    __slots__ = (
        "_gathered",
        "_silence",
        "_size",
        "_write",
        "quiet",
        "whole",
    )

    def __init__(self, encode: Callable[[bytes], bytes], rates: tuple[int, int], ptime_ms: int, quiet: bytes) -> None:
        resample = _in_step(*rates)
        self._write = encode if resample is None else lambda frame: encode(resample(frame))
        self._silence, self.quiet = silence(rates[0]), quiet
        self._size = self.clock_hz * ptime_ms // 1000
        self._gathered = b""
        self.whole = self._write if ptime_ms == FRAME_MS else None

    def feed(self, frame: bytes | None) -> Iterator[tuple[bytes, int]]:
        wire = self.quiet if frame is None and self.quiet else self._write(frame or self._silence)
        size = self._size
        if len(wire) == size and not self._gathered:
            yield wire, size
            return
        self._gathered += wire
        while len(self._gathered) >= size:
            payload, self._gathered = self._gathered[:size], self._gathered[size:]
            yield payload, size

    def flush(self) -> Iterator[tuple[bytes, int]]:
        rest, self._gathered = self._gathered, b""
        if rest:
            yield rest, len(rest)


class _OpusOut:
    """Encodes to Opus, a packet of 10, 20 or 40 ms at a time."""

    clock_hz = libopus.CLOCK_HZ
    whole: Callable[[bytes], bytes] | None = None
    quiet = b""

    def __init__(self, from_hz: int, ptime_ms: int, fmtp: Mapping[str, str]) -> None:
        most = fmtp.get("maxaveragebitrate", "")
        bits = min(24_000, max(6_000, int(most))) if most.isascii() and most.isdigit() and len(most) < 7 else 24_000
        fec, dtx = fmtp.get("useinbandfec") == "1", fmtp.get("usedtx") == "1"
        self._encoder = libopus.OpusEncoder(bits, fec=fec, dtx=dtx)
        self._resample = _in_step(from_hz, libopus.RATE_HZ)
        self._silence = silence(from_hz)
        # 30 ms are no length of an Opus frame.
        self._ptime_ms = 20 if ptime_ms == 30 else ptime_ms
        self._size = libopus.RATE_HZ * self._ptime_ms // 1000 * 2
        self._gathered = b""

    def feed(self, frame: bytes | None) -> Iterator[tuple[bytes, int]]:
        frame = self._silence if frame is None else frame
        self._gathered += self._resample(frame) if self._resample else frame
        while len(self._gathered) >= self._size:
            pcm, self._gathered = self._gathered[: self._size], self._gathered[self._size :]
            yield self._encoder.encode(pcm), self._ptime_ms * self.clock_hz // 1000

    def flush(self) -> Iterator[tuple[bytes, int]]:
        if self._gathered:
            pcm, self._gathered = self._gathered.ljust(self._size, b"\0"), b""
            yield self._encoder.encode(pcm), self._ptime_ms * self.clock_hz // 1000


def _in_step(from_hz: int, to_hz: int) -> Callable[[bytes], bytes] | None:
    """Return what resamples 20 ms into exactly 20 ms, a moment of silence ahead; None when the rates are the same."""
    if from_hz == to_hz:
        return None
    resampler = Resampler(from_hz, to_hz)
    resampler.feed(silence(from_hz))
    return resampler.feed


@dataclass(frozen=True, slots=True)
class Wish:
    """How to write a stream."""

    rate_hz: int
    "Of the sound that goes in."
    ptime_ms: int = FRAME_MS
    fmtp: Mapping[str, str] | None = None
    "What the peer can take, out of its fmtp line."


def make_encoding(name: str, wish: Wish) -> Encoding:
    """Make an encoder by the codec's name in SDP.

    :raises WireError: `no_opus`: its library is not installed.
    """
    if name == "opus":
        return _OpusOut(wish.rate_hz, wish.ptime_ms, wish.fmtp or {})
    if name == "G722":
        codec = G722(G722_HZ, G722_BITS)
        return _FlatOut(
            lambda pcm: codec.encode(memoryview(pcm).cast("h")), (wish.rate_hz, G722_HZ), wish.ptime_ms, b""
        )
    law = CODECS[name]
    quiet = law.silence * (8 * FRAME_MS)
    return _FlatOut(law.encode, (wish.rate_hz, 8000), wish.ptime_ms, quiet)
