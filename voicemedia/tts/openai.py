"""Voice `openai`: any server with OpenAI's `POST /audio/speech` (OpenAI, LocalAI, Kokoro, openedai-speech, vLLM)."""

from typing import Annotated, Any, Final

from msgspec import Meta

from voicemedia.audio.resample import Resampler
from voicemedia.interfaces import Surroundings, Synthesizer
from voicemedia.tts.account import Account
from voicemedia.tts.http_voice import Order, http_voice

PCM_HZ: Final = 24_000
"What `pcm` means to OpenAI."
WAV_HZ: Final = (8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


class Options(Account, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    base_url: str = "https://api.openai.com/v1"
    "Everything before `/audio/speech`."
    key_env: str = "OPENAI_API_KEY"
    "Environment variable with the API key; empty: the server wants none."
    model: str = "gpt-4o-mini-tts"
    voice: str = "alloy"
    instructions: str = ""
    "How to speak, for models that can be told; empty: nothing is said about it."
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1.0
    "Pace, 0.25 to 4."
    pcm_hz: Annotated[int, Meta(ge=8000, le=48_000)] = PCM_HZ
    "Rate at which the server sends `pcm`, in Hz."


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    return options.missing()


def make(options: Options, reactor: Any) -> Synthesizer:
    """Make the voice."""
    return http_voice(OpenAi(options), reactor)


class OpenAi:
    """The wire format of `POST /audio/speech`."""

    name = "openai"

    def __init__(self, options: Options) -> None:
        self.options = options

    def headers(self, key: str) -> dict[str, str]:
        """Word who we are."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def order(self, text: str, rate_hz: int, _around: Surroundings) -> Order:
        """Word the request for a sentence."""
        options = self.options
        body: dict[str, object] = {
            "model": options.model,
            "voice": options.voice,
            "input": text,
            "response_format": "pcm",
        }
        if options.instructions:
            body["instructions"] = options.instructions
        if options.speed != 1:
            body["speed"] = options.speed
        url = options.base_url.rstrip("/") + "/audio/speech"
        return Order(url, body, PcmDecoder(options.pcm_hz, rate_hz))


class PcmDecoder:
    """s16le at the server's rate; servers that send WAV all the same are taken at their header's word."""

    def __init__(self, wire_hz: int, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._resampler = Resampler(wire_hz, rate_hz)
        self._head: bytearray | None = bytearray()
        "What came until it is clear whether it is a WAV header; None: it is clear."

    def feed(self, wire: bytes) -> bytes:
        """Take bytes of any length."""
        if self._head is None:
            return self._resampler.feed(wire)
        self._head += wire
        head = bytes(self._head)
        if not head.startswith(b"RIFF"[: len(head)]):
            self._head = None
            return self._resampler.feed(head)
        at = head.find(b"data", 12)
        if at < 0 or len(head) < at + 8:
            return b""
        fmt = head.find(b"fmt ", 12)
        told_hz = int.from_bytes(head[fmt + 12 : fmt + 16], "little")
        if fmt >= 0 and told_hz in WAV_HZ:
            self._resampler = Resampler(told_hz, self._rate_hz)
        # Sizes in the header of a stream are made up; the sound ends with the body.
        self._head = None
        return self._resampler.feed(head[at + 8 :])

    def flush(self) -> bytes:
        """Return the end."""
        rest, self._head = self._head, None
        return (self._resampler.feed(bytes(rest)) if rest and not rest.startswith(b"RIFF") else b"") + (
            self._resampler.flush()
        )
