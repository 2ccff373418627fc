"""The Opus codec itself (RFC 6716), from the library PyAV brings or the system has: for calls over RTP.

PyAV's own interface knows neither concealment nor forward error correction, and decodes at 48 kHz only; the library
decodes at the rate we want, and fills a hole out of its own state or the packet behind it.
"""

import ctypes
import ctypes.util
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Final

from voicemedia.audio.opus import NEEDS
from voicemedia.errors import WireError

RATE_HZ: Final = 16_000
"What goes in and comes out: recognizers want no more."
CLOCK_HZ: Final = 48_000
"The clock of RTP, whatever the rate (RFC 7587, section 4.1)."
LONGEST_MS: Final = 120
MOST_BYTES: Final = 1276
COMPLEXITY: Final = 5
"Of 10; at 20 ms of 16 kHz it costs half of 10 and nobody hears it on a telephone."

_VOIP: Final = 2048
_SET_BITRATE, _SET_COMPLEXITY, _SET_FEC, _SET_LOSS, _SET_DTX = 4002, 4010, 4012, 4014, 4016
_STEP_MS: Final = 10
"Concealment is made in multiples of 2.5 ms."


@cache
def library() -> Any:
    """Load the library.

    :raises WireError: `no_opus`: there is none.
    """
    spec = importlib.util.find_spec("av")
    beside = Path(spec.origin).parent.parent / "av.libs" if spec and spec.origin else Path("av.libs")
    for name in (*map(str, beside.glob("libopus-*")), ctypes.util.find_library("opus")):
        if not name:
            continue
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        found.opus_decoder_create.restype = found.opus_encoder_create.restype = ctypes.c_void_p
        for made in ("opus_decoder_destroy", "opus_encoder_destroy"):
            getattr(found, made).argtypes = (ctypes.c_void_p,)
        found.opus_decode.argtypes = (ctypes.c_void_p, *_SOUND_IN, ctypes.c_char_p, ctypes.c_int, ctypes.c_int)
        found.opus_encode.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int32)
        return found
    raise WireError("no_opus", NEEDS)


_SOUND_IN: Final = (ctypes.c_char_p, ctypes.c_int32)


def missing() -> str:
    """Say how to get Opus here; empty when it is there."""
    try:
        library()
    except WireError:
        return NEEDS
    return ""


def packet_ticks(packet: bytes) -> int:
    """Return how many ticks of 48 kHz a packet lasts; 0 for one that is damaged (RFC 6716, section 3.1)."""
    if not packet:
        return 0
    config = packet[0] >> 3
    if config < 12:
        ticks = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        ticks = (480, 960)[config & 1]
    else:
        ticks = (120, 240, 480, 960)[config & 3]
    code = packet[0] & 3
    frames = (1, 2, 2, packet[1] & 0x3F if len(packet) > 1 else 0)[code]
    return ticks * frames if ticks * frames * 1000 <= LONGEST_MS * CLOCK_HZ else 0


class OpusDecoder:
    """One stream's packets, in their order, to s16le mono at `RATE_HZ`.

    :raises WireError: `no_opus`: the library is not installed.
    """

    def __init__(self) -> None:
        self._library = library()
        error = ctypes.c_int()
        self._state = self._library.opus_decoder_create(RATE_HZ, 1, ctypes.byref(error))
        self._out = ctypes.create_string_buffer(RATE_HZ * LONGEST_MS // 1000 * 2)

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._library.opus_decoder_destroy(self._state)

    def decode(self, packet: bytes) -> bytes:
        """Decode one packet.

        :raises WireError: `bad_opus`: it is none.
        """
        return self._decode(packet, RATE_HZ * LONGEST_MS // 1000, False)

    def conceal(self, samples: int) -> bytes:
        """Make up sound that is lost; `samples` of `RATE_HZ` are rounded down to 10 ms."""
        step = RATE_HZ * _STEP_MS // 1000
        return b"".join(self._decode(None, step, False) for _ in range(samples // step))

    def recover(self, packet: bytes, samples: int) -> bytes:
        """Decode what a packet knows of the sound right before it; without such knowledge it is made up."""
        return self._decode(packet, samples, True)

    def _decode(self, packet: bytes | None, samples: int, before: bool) -> bytes:
        size = 0 if packet is None else len(packet)
        # A packet of no bytes would be taken for one that is lost.
        got = -1 if packet == b"" else self._library.opus_decode(self._state, packet, size, self._out, samples, before)
        if got < 0:
            raise WireError("bad_opus", f"{size} bytes are no Opus packet")
        return self._out.raw[: 2 * got]


class OpusEncoder:
    """Sound at `RATE_HZ` to one stream's packets.

    :param bits_per_s: 24,000 is wideband speech nobody finds fault with.
    :param fec: add to each packet what repairs the loss of the one before it.
    :raises WireError: `no_opus`: the library is not installed.
    """

    def __init__(self, bits_per_s: int = 24_000, *, fec: bool = True, dtx: bool = False) -> None:
        self._library = library()
        error = ctypes.c_int()
        self._state = self._library.opus_encoder_create(RATE_HZ, 1, _VOIP, ctypes.byref(error))
        self._out = ctypes.create_string_buffer(MOST_BYTES)
        wishes = ((_SET_BITRATE, bits_per_s), (_SET_COMPLEXITY, COMPLEXITY), (_SET_DTX, dtx), (_SET_FEC, fec))
        # Without an expectation of loss the encoder leaves the repairs out.
        for request, value in (*wishes, (_SET_LOSS, 10 if fec else 0)):
            self._library.opus_encoder_ctl(ctypes.c_void_p(self._state), ctypes.c_int(request), ctypes.c_int(value))

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._library.opus_encoder_destroy(self._state)

    def encode(self, pcm: bytes) -> bytes:
        """Encode 10, 20, 40 or 60 ms into one packet."""
        size = self._library.opus_encode(self._state, pcm, len(pcm) // 2, self._out, MOST_BYTES)
        if size < 0:
            raise ValueError(f"{len(pcm)} bytes are no frame of Opus")
        return self._out.raw[:size]
