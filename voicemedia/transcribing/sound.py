"""What a client of the streaming API sends, as samples: PCM, or WAV files, one after the other."""

from voicemedia.audio.wav import WavReader, is_wav, other_sound
from voicemedia.errors import WireError
from voicemedia.transcribing.events import RATES_HZ


class Sound:
    """The sound of one session; it outlives the connection of the client."""

    def __init__(self) -> None:
        self._wav: WavReader | None = None
        "The file the client is sending; None: it sends PCM."
        self._begun = False

    @property
    def in_file(self) -> bool:
        """Whether the next bytes belong to a WAV file whose head has come."""
        return self._wav is not None and not self._wav.ended

    @property
    def rate_hz(self) -> int:
        """The rate a WAV file says its sound has; 0: none says so."""
        return self._wav.head.rate_hz if self._wav is not None and self._wav.head is not None else 0

    def feed(self, octets: bytes) -> bytes:
        """Take one message: the beginning of a WAV file, its next bytes, cut anywhere, or PCM, which is left as it is.

        :raises WireError: it is a file of another kind.
        """
        if is_wav(octets):
            self._wav = WavReader()
        elif not self.in_file:
            self._wav = None
            if not self._begun and (name := other_sound(octets)):
                raise WireError("wrong_format", f"this is {name}")
        self._begun = self._begun or bool(octets)
        if self._wav is None:
            return octets
        try:
            return self._read(self._wav, octets)
        except WireError:
            self._wav = None
            raise

    def _read(self, wav: WavReader, octets: bytes) -> bytes:
        pcm = wav.feed(octets)
        if self.rate_hz not in (0, *RATES_HZ):
            raise WireError("unsupported_wav", f"a WAV file at {self.rate_hz} Hz")
        return pcm


class Halves:
    """Joins the halves of a sample that was cut in two."""

    def __init__(self) -> None:
        self._half = b""
        "The first byte of a sample whose second has not come."

    def join(self, pcm: bytes) -> bytes:
        """Return whole samples; a half that stands alone is dropped."""
        if len(pcm) % 2 == 0:
            # The chunk is whole in itself: the half sample before it was cut off, not cut in two.
            self._half = b""
            return pcm
        joined = self._half + pcm
        whole = len(joined) - len(joined) % 2
        self._half = joined[whole:]
        return joined[:whole]
