"""What the operator may set of recognizer `google`."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from voicemedia.stt.spoken import GOOGLE

Seconds = Annotated[float, Meta(ge=0)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of Google's recognizers, how it is reached, and how it listens."""

    project: str = ""
    "The Google Cloud project that pays."
    location: str = "global"
    'Where it is done: "global", a region such as "europe-west4", or a multi-region, "us" or "eu".'
    recognizer: str = "_"
    'A stored recognizer of the project; "_": everything is as set here.'
    endpoint: str = ""
    'Another server than Google\'s, "127.0.0.1:50099"; empty: that of the location.'
    plaintext: bool = False
    "Speak to `endpoint` without TLS and without credentials: for a stand-in on this machine."
    credentials: str = ""
    'JSON file with the credentials; "machine": those of a machine at Google; empty: $GOOGLE_APPLICATION_CREDENTIALS.'
    api_key_env: str = ""
    "Environment variable with an API key, which is then used in place of credentials."
    model: str = "long"
    '"long", "short", "telephony", "telephony_short", "chirp_2", "chirp_3" ...; which exist depends on the location.'
    languages: Annotated[tuple[str, ...], Meta(min_length=1, max_length=4)] = ("en-US",)
    'Languages (BCP 47) the caller may speak, one of which is found out; ["auto"] with chirp models.'
    encoding: Literal["auto", "mulaw", "linear16"] = "auto"
    "`auto`: mu-law for sound of 8 kHz, which is half the bytes, linear16 for any other."
    chunk_ms: Annotated[int, Meta(ge=20, le=160)] = 100
    "Sound in one request, in ms."
    interims: bool = True
    "Whether guesses are given while the caller speaks."
    words: bool = False
    "Whether words come with their times and confidence even if nobody has asked for them."
    punctuation: bool = True
    profanity_filter: bool = False
    phrase_boost: Annotated[float, Meta(ge=0, le=20)] = 10.0
    "How much phrases the agent expects are preferred; 0: not at all. `telephony` models have no such thing."
    voice_activity: bool = True
    "Whether Google tells when it hears speech begin and end."
    speech_start_timeout_s: Seconds = 0.0
    "A stream without any speech ends after this; 0: never."
    speech_end_timeout_s: Seconds = 0.0
    "A stream ends this long after speech; 0: never."
    endpointing: Literal["", "standard", "short", "supershort"] = ""
    "How soon Google itself ends an utterance (chirp_3 only)."
    streams_per_channel: Annotated[int, Meta(ge=1, le=100)] = 80
    "Streams over one connection; Google's front end takes about 100."
    renew_from_s: Seconds = 240.0
    "Age at which a stream is replaced in a pause; Google ends it at 300 s."
    renew_s: Seconds = 270.0
    "Age at which it is replaced after any final."
    renew_forced_s: Seconds = 285.0
    "Age at which it is replaced in the middle of a word."
    usd_per_hour: Annotated[float, Meta(ge=0)] = 0.96
    "Price of an hour of sound in US dollars, for the account of costs."

    def __post_init__(self) -> None:
        if not self.renew_from_s <= self.renew_s <= self.renew_forced_s:
            raise ValueError("renew_s: must lie between renew_from_s and renew_forced_s")
        if self.plaintext and not self.endpoint:
            raise ValueError("plaintext: only to an endpoint of your own; set endpoint")

    @property
    def host(self) -> str:
        """The server's host and port."""
        if self.endpoint:
            return self.endpoint
        return (
            "speech.googleapis.com:443" if self.location == "global" else f"{self.location}-speech.googleapis.com:443"
        )

    @property
    def recognizer_path(self) -> str:
        """The recognizer's full name."""
        return f"projects/{self.project or '-'}/locations/{self.location}/recognizers/{self.recognizer}"

    @property
    def detects(self) -> bool:
        """Tell whether the model finds out any language: `auto` is none of the others' codes."""
        return self.model.startswith("chirp") or "auto" in self.languages

    @property
    def spoken(self) -> tuple[str, ...]:
        """The languages a session may ask for, those set here first; with `auto` where one of several is found out."""
        named = tuple(code for code in self.languages if code != "auto")
        automatic = ("auto",) if self.detects or len(named) > 1 else ()
        return (*named, *(code for code in GOOGLE if code not in named), *automatic)

    def encoding_at(self, rate_hz: int) -> str:
        """Tell how sound of a rate is sent: `mulaw` or `linear16`."""
        if self.encoding == "auto":
            return "mulaw" if rate_hz == 8000 else "linear16"
        return self.encoding

    def unset(self) -> str:
        """Say which option is missing or points nowhere; empty when none does."""
        if not self.project and not self.plaintext:
            return "project: set it to the Google Cloud project that pays"
        if self.credentials not in ("", "machine") and not Path(self.credentials).is_file():
            return f"credentials: there is no file {self.credentials}"
        return ""


def language_codes(options: Options, wanted: str) -> tuple[str, ...]:
    """Choose the codes for a stream; Google wants a region with each, so `en` becomes the configured `en-IN`."""
    if not wanted:
        return options.languages
    if wanted == "auto":
        return ("auto",) if options.detects else options.languages
    if wanted in options.languages:
        return (wanted,)
    for code in options.languages:
        if code.split("-")[0] == wanted:
            return (code,)
    return (GOOGLE.get(wanted, wanted),)
