"""What a browser's microphone sends: samples, or a recording in a container, as it goes on.

WebM and Ogg are written by PyAV, as MediaRecorder writes them: Opus in packets of 20 ms, the head in the first chunk
only. (The server reads them by itself: a mistake in one shows at the other.)
"""

import struct
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Protocol

from voicemedia.callers.sound import WIDE
from voicemedia.errors import ConfigError

OPUS_HZ: Final = 48_000
OPUS_BITS: Final = 32_000
CLUSTER_MS: Final = 100
"A block waits no longer in the muxer than this."
ENDLESS: Final = 0xFFFFFFFF
"The length of a WAV file that is not over."


class Recorder(Protocol):
    """Makes of 20 ms of sound what goes over the wire."""

    def feed(self, pcm: bytes) -> bytes:
        """Take s16le at 16 kHz; return the bytes that have become ready."""


class RawRecorder:
    """Samples as they are."""

    def feed(self, pcm: bytes) -> bytes:
        return pcm


class WavRecorder:
    """A WAV file without an end."""

    def __init__(self) -> None:
        form = struct.pack("<HHIIHH", 1, 1, WIDE.rate_hz, WIDE.rate_hz * 2, 2, 16)
        self._head = b"RIFF" + struct.pack("<I", ENDLESS) + b"WAVEfmt " + struct.pack("<I", len(form)) + form
        self._head += b"data" + struct.pack("<I", ENDLESS)

    def feed(self, pcm: bytes) -> bytes:
        head, self._head = self._head, b""
        return head + pcm


class OpusRecorder:
    """Opus in a container.

    :param container: `webm` or `ogg`.
    :raises ConfigError: the library is not installed.
    """

    def __init__(self, container: str) -> None:
        try:
            self._av: Any = import_module("av")
        except ImportError as error:
            cure = "pip install 'voicemedia[opus]', or send samples with --raw"
            raise ConfigError(f"--{container}: recording Opus wants PyAV: {cure}") from error
        self._written = bytearray()
        options = {
            "webm": {"live": "1", "cluster_time_limit": str(CLUSTER_MS)},
            "ogg": {"page_duration": str(CLUSTER_MS * 1000)},
        }[container]
        self._out = self._av.open(self, "w", format=container, options={"flush_packets": "1", **options})
        self._opus = self._out.add_stream("libopus", rate=OPUS_HZ, layout="mono", bit_rate=OPUS_BITS)
        self._resampler = self._av.AudioResampler(format="s16", layout="mono", rate=OPUS_HZ)
        self._samples = 0

    def write(self, octets: bytes) -> int:
        """Take what the muxer writes."""
        self._written += octets
        return len(octets)

    def feed(self, pcm: bytes) -> bytes:
        frame = self._av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.sample_rate, frame.pts = WIDE.rate_hz, self._samples
        frame.planes[0].update(pcm)
        self._samples += len(pcm) // 2
        for wide in self._resampler.resample(frame):
            for packet in self._opus.encode(wide):
                self._out.mux(packet)
        written, self._written = bytes(self._written), bytearray()
        return written


RECORDERS: Final[dict[str, Callable[[], Recorder]]] = {
    "webm": lambda: OpusRecorder("webm"),
    "ogg": lambda: OpusRecorder("ogg"),
    "wav": WavRecorder,
    "raw": RawRecorder,
}
