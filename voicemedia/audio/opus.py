"""Opus packets to s16le, by the codec in PyAV: 17 us for 20 ms, and the resampling.

PyAV is 106 MB installed, most of it video: it is the extra `opus`, imported when the first stream needs it.
"""

import importlib
import importlib.util
from typing import Any, Final

from voicemedia.errors import WireError

RATE_HZ: Final = 16_000
"What comes out: recognizers want no more."
NEEDS: Final = "Opus is not taken here: the extra `opus` is not installed (pip install 'voicemedia[opus]')"


class OpusDecoder:
    """One stream's packets, in their order.

    :param head: OpusHead (RFC 7845, section 5.1), as containers carry it; empty: mono.
    :raises WireError: `no_opus`: the library is not installed; `bad_opus`: the head is none.
    """

    rate_hz = RATE_HZ

    def __init__(self, head: bytes = b"") -> None:
        try:
            self._av: Any = importlib.import_module("av")
        except ImportError as error:
            raise WireError("no_opus", NEEDS) from error
        self._codec = self._av.CodecContext.create("libopus", "r")
        self._codec.sample_rate = 48_000
        if head:
            self._codec.extradata = head
            self._codec.layout = "stereo" if _channels(head) == 2 else "mono"
        else:
            self._codec.layout = "mono"
        self._resampler = self._av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)

    def decode(self, packet: bytes) -> bytes:
        """Decode one packet.

        :raises WireError: `bad_opus`: it is none.
        """
        try:
            return b"".join(
                bytes(out.planes[0])[: out.samples * 2]
                for frame in self._codec.decode(self._av.Packet(packet))
                for out in self._resampler.resample(frame)
            )
        except (self._av.FFmpegError, ValueError) as error:
            raise WireError("bad_opus", f"{len(packet)} bytes are no Opus packet") from error


def _channels(head: bytes) -> int:
    if len(head) < 19 or not head.startswith(b"OpusHead") or head[9] not in (1, 2):
        raise WireError("bad_opus", "the stream's OpusHead is damaged, or has more than two channels")
    return head[9]


def missing() -> str:
    """Say how to get Opus here; empty when it is there."""
    return "" if importlib.util.find_spec("av") else NEEDS
