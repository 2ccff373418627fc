"""Sound as a browser sends it, recognized by its first bytes, to s16le at 16 kHz as it comes."""

from typing import Final, Protocol

from voicemedia.audio import ogg, webm
from voicemedia.audio.opus import RATE_HZ, OpusDecoder
from voicemedia.audio.resample import Resampler
from voicemedia.audio.wav import WavReader
from voicemedia.errors import WireError

RIFF: Final = b"RIFF"
MAGICS: Final = (webm.MAGIC, ogg.MAGIC, RIFF)
FOREIGN: Final = {(0, b"fLaC"): "FLAC", (0, b"ID3"): "MP3", (0, b"FORM"): "AIFF", (4, b"ftyp"): "MP4 (AAC)"}
"Where, and by which bytes, sound is known that cannot be read; as PCM it would be noise."
BLOCK_WITHIN: Final = 4_000
"A recorder that goes on sends a block within so many bytes: half a second of Opus, an eighth of samples."
ZEROS_FROM: Final = 100
"A compressed piece of fewer bytes is not judged by its zeros."


class Source(Protocol):
    """Makes s16le at 16 kHz of one stream's bytes."""

    compressed: bool

    def feed(self, octets: bytes) -> bytes:
        """Take the next bytes, in pieces of any length.

        :raises WireError: they are damaged; what follows wants a new beginning.
        """


class Arriving:
    """All that one socket sends: one stream after the other, each known by how a message begins.

    :param max_pending: bytes kept of something that is not complete.
    :param zero_share: a compressed message with at least this share of zero bytes is corrupt.
    """

    rate_hz: Final = RATE_HZ

    def __init__(self, max_pending: int = webm.MAX_PENDING, zero_share: float = 0.9) -> None:
        self._max_pending, self._zero_share = max_pending, zero_share
        self._source: Source | None = None
        self._opening = b""
        self._regained: webm.WebmReader | None = None
        "Of another connection."
        self._stray = False
        "What came last was damaged: no PCM is to be expected before something begins anew."

    def feed(self, octets: bytes) -> bytes:
        """Take one message; return the sound that is known by now.

        :raises WireError: it cannot be understood: nothing of it is heard, and the next stream is welcome.
        """
        if self._opening:
            octets, self._opening = self._opening + octets, b""
        if self._source is None and self._begins(octets):
            self._opening = octets
            return b""
        try:
            source = self._source = self._choose(octets)
            if source.compressed and self._regained is None and self._corrupt(octets):
                raise WireError("corrupt_audio", f"{len(octets)} bytes that are mostly zero")
            pcm = source.feed(octets)
            return pcm if self._regained is None else pcm + self._regain(self._regained)
        except WireError:
            self._source, self._stray = None, True
            raise

    def _regain(self, reader: webm.WebmReader) -> bytes:
        """See whether another connection's stream really goes on; where it does not, what came is samples."""
        samples = reader.without_block
        if not samples:
            self._regained = None
        if len(samples) < BLOCK_WITHIN:
            return b""
        self._source, self._regained = PcmSource(), None
        return self._source.feed(samples)

    @property
    def begun(self) -> bool:
        """Whether anything is under way."""
        return self._source is not None

    def go_on(self, before: "Arriving") -> None:
        """Go on with what another connection of the same recorder has begun; some of it may be lost."""
        source = before._source
        if isinstance(source, OpusSource) and isinstance(source.container, webm.WebmReader):
            source.container.lose()
            self._source, self._regained = source, source.container

    def _begins(self, octets: bytes) -> bool:
        """Tell whether this may be the first bytes of a magic number that is not whole."""
        return 0 < len(octets) < 4 and any(magic.startswith(octets) for magic in MAGICS)

    def _choose(self, octets: bytes) -> Source:
        """Go on with the stream, or begin the one these bytes are of."""
        magic = octets[:4]
        if magic in MAGICS and not (magic == ogg.MAGIC and self._source is not None and not ogg.begins(octets)):
            self._stray = False
            if magic == RIFF:
                return WavSource()
            return OpusSource(webm.WebmReader(self._max_pending) if magic == webm.MAGIC else ogg.OggReader())
        if self._source is not None:
            return self._source
        foreign = next((name for (at, mark), name in FOREIGN.items() if octets.startswith(mark, at)), "")
        if foreign:
            raise WireError("unsupported_audio", f"{foreign} cannot be read; send WebM or Ogg with Opus, WAV or PCM")
        if self._stray:
            raise WireError("stray_audio", "the rest of a stream whose beginning was damaged; start the recorder anew")
        return PcmSource()

    def _corrupt(self, octets: bytes) -> bool:
        return len(octets) >= ZEROS_FROM and octets.count(0) >= self._zero_share * len(octets)


class PcmSource:
    """s16le at 16 kHz; a half sample waits for its other half."""

    compressed = False

    def __init__(self) -> None:
        self._half = b""

    def feed(self, octets: bytes) -> bytes:
        """Pass whole samples."""
        octets = self._half + octets
        whole = len(octets) & ~1
        self._half = octets[whole:]
        return octets[:whole]


class WavSource:
    """A WAV file of any rate."""

    compressed = False

    def __init__(self) -> None:
        self._reader = WavReader()
        self._resampler: Resampler | None = None

    def feed(self, octets: bytes) -> bytes:
        """Read on; after its last sample nothing more is sound."""
        if self._reader.ended:
            return b""
        sound = self._reader.feed(octets)
        head = self._reader.head
        if head is None:
            return b""
        if self._resampler is None:
            if not 4_000 <= head.rate_hz <= 192_000:
                raise WireError("unsupported_wav", f"{head.rate_hz} Hz")
            self._resampler = Resampler(head.rate_hz, RATE_HZ)
        return self._resampler.feed(sound)


class Container(Protocol):
    """Gives the Opus packets of a container."""

    codec_private: bytes

    def feed(self, octets: bytes) -> list[bytes]:
        """Take bytes; return packets."""


class OpusSource:
    """Opus in WebM or Ogg."""

    compressed = True

    def __init__(self, container: Container) -> None:
        self.container = container
        self._decoder: OpusDecoder | None = None

    def feed(self, octets: bytes) -> bytes:
        """Decode the packets that are whole; a damaged one is a hole, not the end of the stream."""
        return b"".join(map(self._decode, self.container.feed(octets)))

    def _decode(self, packet: bytes) -> bytes:
        if self._decoder is None:
            self._decoder = OpusDecoder(self.container.codec_private)
        try:
            return self._decoder.decode(packet)
        except WireError as error:
            if error.kind != "bad_opus":
                raise
            return b""
