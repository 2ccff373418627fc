"""Voice `elevenlabs`: ElevenLabs over HTTP, a sentence a request, its sound streamed.

Calls at 8 kHz are given `ulaw_8000`: what the service sends is what the carrier plays, bit for bit. All others are
given `pcm_16000`, at their own rate.
"""

from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from msgspec import Meta

from voicemedia.audio.g711 import decode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.interfaces import Surroundings, Synthesizer
from voicemedia.tts.account import Account
from voicemedia.tts.http_voice import Decoder, Order, http_voice

Part = Annotated[float, Meta(ge=0, le=1)]

MOST_CONTEXT: Final = 500
"Characters of the sentences before that are told."
WIRE_HZ: Final = 16_000


class ElevenLabsAccount(Account, frozen=True, forbid_unknown_fields=True):
    """What both ways to ElevenLabs' voices need to know."""

    base_url: str = "https://api.elevenlabs.io"
    key_env: str = "ELEVENLABS_API_KEY"
    "Environment variable with the API key."
    voice: str = "21m00Tcm4TlvDq8ikWAM"
    "Identifier of the voice."
    model: str = "eleven_flash_v2_5"
    language: str = ""
    "ISO 639-1 code, `en`; empty: the model finds out."
    stability: Part = 0.5
    "0: lively, 1: monotonous."
    similarity: Part = 0.75
    "How close to the original voice, 0 to 1."
    speed: Annotated[float, Meta(ge=0.7, le=1.2)] = 1.0
    "Pace, 0.7 to 1.2."
    enable_logging: bool = True
    "False: the service keeps nothing (enterprise accounts only)."

    def settings(self) -> dict[str, object]:
        """Give `voice_settings`."""
        return {"stability": self.stability, "similarity_boost": self.similarity, "speed": self.speed}

    def query(self, rate_hz: int) -> dict[str, str]:
        """Give what both ways put into the address."""
        query = {"output_format": wire_format(rate_hz)}
        if not self.enable_logging:
            query["enable_logging"] = "false"
        return query

    def address(self, ending: str, query: dict[str, str]) -> str:
        """Give an address under the voice's own."""
        return f"{self.base_url.rstrip('/')}/v1/text-to-speech/{quote(self.voice, safe='')}/{ending}?{urlencode(query)}"


class Options(ElevenLabsAccount, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    context: bool = True
    "Tell the service what stands before and after a sentence, for its intonation."


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    return options.missing()


def make(options: Options, reactor: Any) -> Synthesizer:
    """Make the voice."""
    return http_voice(ElevenLabs(options), reactor)


def wire_format(rate_hz: int) -> str:
    """Choose the service's format for a call."""
    return "ulaw_8000" if rate_hz == 8000 else f"pcm_{WIRE_HZ}"


def decoder_for(rate_hz: int) -> Decoder:
    """Make what brings that format to the call's rate."""
    return MulawDecoder() if rate_hz == 8000 else Resampler(WIRE_HZ, rate_hz)


class MulawDecoder:
    """Expands mu-law: what a carrier's leg compresses again to the same bytes."""

    def feed(self, wire: bytes) -> bytes:
        """Take mu-law of any length."""
        return decode_mulaw(wire)

    def flush(self) -> bytes:
        """Return nothing: there are no halves of a byte."""
        return b""


class ElevenLabs:
    """The wire format of `POST /v1/text-to-speech/{voice_id}/stream`."""

    name = "elevenlabs"

    def __init__(self, options: Options) -> None:
        self.options = options

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are."""
        return {"xi-api-key": key} if key else {}

    def order(self, text: str, rate_hz: int, around: Surroundings) -> Order:
        """Word the request for a sentence."""
        options = self.options
        body: dict[str, object] = {"text": text, "model_id": options.model, "voice_settings": options.settings()}
        if options.language:
            body["language_code"] = options.language.split("-")[0]
        if options.context and around.before:
            body["previous_text"] = around.before[-MOST_CONTEXT:]
        if options.context and around.after:
            body["next_text"] = around.after[:MOST_CONTEXT]
        return Order(options.address("stream", options.query(rate_hz)), body, decoder_for(rate_hz))
