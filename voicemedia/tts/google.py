"""Voice `google`: Google Cloud Text-to-Speech, `POST /v1/text:synthesize`, a request a sentence.

The answer is one JSON object with all of the sound in it, so a sentence begins to sound when it has come whole.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from voicemedia.errors import ProviderError
from voicemedia.interfaces import Surroundings, Synthesizer
from voicemedia.tts.account import Account
from voicemedia.tts.http_voice import Order, http_voice
from voicemedia.tts.openai import PcmDecoder


class Options(Account, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    base_url: str = "https://texttospeech.googleapis.com/v1"
    "Everything before `/text:synthesize`."
    key_env: str = "GOOGLE_API_KEY"
    "Environment variable with an API key of a project that has the service enabled; empty: none is sent."
    voice: str = "en-US-Neural2-C"
    "A voice of the language."
    language: str = "en-US"
    "Language of the voice (BCP 47)."
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    "Pace, 0.25 to 4."
    pitch: Annotated[float, Meta(ge=-20, le=20)] = 0.0
    "Semitones up or down, -20 to 20; not all voices take one."


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    return options.missing()


def make(options: Options, reactor: Any) -> Synthesizer:
    """Make the voice."""
    return http_voice(Google(options), reactor)


class Google:
    """The wire format of `text:synthesize`."""

    name = "google"

    def __init__(self, options: Options) -> None:
        self.options = options

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are; a key in the address would stand in logs."""
        return {"X-Goog-Api-Key": key} if key else {}

    def order(self, text: str, rate_hz: int, _around: Surroundings) -> Order:
        """Word the request for a sentence."""
        options = self.options
        audio: dict[str, object] = {"audioEncoding": "LINEAR16", "sampleRateHertz": rate_hz}
        if options.speed != 1:
            audio["speakingRate"] = options.speed
        if options.pitch:
            audio["pitch"] = options.pitch
        body: dict[str, object] = {
            "input": {"text": text},
            "voice": {"languageCode": options.language, "name": options.voice},
            "audioConfig": audio,
        }
        return Order(options.base_url.rstrip("/") + "/text:synthesize", body, SynthesizedDecoder(rate_hz))


class Synthesized(msgspec.Struct, frozen=True):
    """The answer."""

    audio_content: str = msgspec.field(name="audioContent")
    "A WAV file (of LINEAR16), base64."


class SynthesizedDecoder:
    """The sound of an answer, once all of it is there."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._body = bytearray()

    def feed(self, wire: bytes) -> bytes:
        """Take bytes of any length; nothing sounds yet."""
        self._body += wire
        return b""

    def flush(self) -> bytes:
        """Return the sentence.

        :raises ProviderError: the answer is none.
        """
        try:
            sound = b64decode(msgspec.json.decode(self._body, type=Synthesized).audio_content, validate=True)
        except (msgspec.MsgspecError, Base64Error, ValueError) as error:
            raise ProviderError(f"cannot read the answer: {error}", code="bad_answer") from error
        decoder = PcmDecoder(self._rate_hz, self._rate_hz)
        return decoder.feed(sound) + decoder.flush()
