"""Recognizer `prepared`: another recognizer that hears cleaner sound.

A route whose callers are in the street names this one, and this one names the recognizer behind it. Every step can
be off. Noise suppression works at 16 kHz, and so does the recognizer behind it then.
"""

import importlib
import importlib.util
from dataclasses import replace
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred

from voicemedia.account import Account
from voicemedia.audio.enhance import SUPPRESSOR_HZ, Gate, HighPass, Suppressor
from voicemedia.audio.frames import Framer
from voicemedia.audio.resample import Resampler
from voicemedia.config import convert
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Hearing, Recognition, Recognizer, Traits, Transcript
from voicemedia.stt import PROVIDERS


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who hears, and what is done to the sound before."""

    recognizer: str = "pocketsphinx"
    "Name of a built-in recognizer, or a dotted module."
    options: dict[str, Any] = {}
    "Its options."
    high_pass_hz: Annotated[int, Meta(ge=0, le=400)] = 100
    "What is lower is taken away; 0: nothing."
    noise_suppression: Annotated[int, Meta(ge=0, le=4)] = 0
    "How much noise is suppressed, 1 to 4; 0: not at all. Needs the extra dsp."
    gain_dbfs: Annotated[int, Meta(ge=0, le=31)] = 0
    "How far below full scale speech is brought; 0: its level is left alone. Needs the extra dsp."
    gate: bool = False
    "Leave out what is between utterances."
    gate_before_ms: Annotated[int, Meta(ge=0, le=2000)] = 300
    "Sound before the onset that is let through."
    gate_silence_every_ms: Annotated[int, Meta(ge=100, le=60_000)] = 5000
    "So often 100 ms of silence are let through; Google ends streams that get nothing for 10 s."

    @property
    def suppressing(self) -> bool:
        """Tell whether WebRTC's filter is wanted."""
        return bool(self.noise_suppression or self.gain_dbfs)


def _behind(options: Options) -> tuple[Any, Any]:
    """Give module and options of the recognizer behind.

    :raises ConfigError: an option of it is at fault.
    """
    module = importlib.import_module(PROVIDERS.get(options.recognizer, options.recognizer))
    return module, convert(options.options, module.Options, key="options")


def missing(options: Options) -> str:
    """Say what is missing here, or to the recognizer behind."""
    if options.suppressing and importlib.util.find_spec("webrtc_noise_gain") is None:
        return "webrtc-noise-gain is not installed: pip install 'voicemedia[dsp]'"
    if options.recognizer == "prepared" or ("." not in options.recognizer and options.recognizer not in PROVIDERS):
        return f"recognizer: {options.recognizer} is none; known are {', '.join(sorted(set(PROVIDERS) - {'prepared'}))}"
    module, behind = _behind(options)
    says: str = module.missing(behind)
    return says


def make(options: Options, reactor: Any) -> Recognizer:
    """Make this recognizer and the one behind it."""
    module, behind = _behind(options)
    # The seam says `trouble` is an attribute; here it is a property, which to a type checker is less.
    return cast(Recognizer, PreparedRecognizer(options, module.make(behind, reactor)))


class PreparedRecognizer:
    """Cleans what another recognizer hears."""

    name = "prepared"

    def __init__(self, options: Options, behind: Recognizer) -> None:
        self._options = options
        self.behind = behind

    def in_front_of(self, behind: Recognizer) -> "PreparedRecognizer":
        """Make one with the same steps: in front of renewed streams it learns a caller's noise once, not with each."""
        return PreparedRecognizer(self._options, behind)

    @property
    def trouble(self) -> str:
        """Why it cannot serve: what troubles the recognizer behind."""
        return self.behind.trouble

    @property
    def traits(self) -> Traits:
        """What is peculiar to the recognizer behind."""
        traits: Traits = getattr(self.behind, "traits", Traits())
        return traits

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages the recognizer behind hears; empty: it does not say."""
        languages: tuple[str, ...] = getattr(self.behind, "languages", ())
        return languages

    @property
    def full(self) -> str:
        """Why the recognizer behind would not hear one caller more in time; empty when it would."""
        full: str = getattr(self.behind, "full", "")
        return full

    def start(self) -> Deferred[None]:
        """Start the recognizer behind."""
        return self.behind.start()

    def stop(self) -> Deferred[None]:
        """Stop the recognizer behind."""
        return self.behind.stop()

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller."""
        preparation = Preparation(self._options, rate_hz)
        ear = _Ear(preparation.gate, hearing)
        return PreparedRecognition(preparation, self.behind.listen(preparation.rate_hz, ear))


class Preparation:
    """The steps between one caller and a recognizer.

    :ivar rate_hz: of the frames that come out.
    """

    def __init__(self, options: Options, caller_hz: int) -> None:
        self.rate_hz = SUPPRESSOR_HZ if options.suppressing else caller_hz
        self.gate = Gate(options.gate_before_ms, options.gate_silence_every_ms) if options.gate else None
        steps: list[HighPass | Resampler | Suppressor] = []
        if options.high_pass_hz:
            steps.append(HighPass(caller_hz, options.high_pass_hz))
        if options.suppressing:
            steps += [Resampler(caller_hz, SUPPRESSOR_HZ), Suppressor(options.noise_suppression, options.gain_dbfs)]
        self._steps = steps
        self._framer = Framer(self.rate_hz)

    def feed(self, pcm: bytes) -> list[bytes]:
        """Take sound; return the frames that go on to the recognizer."""
        for step in self._steps:
            pcm = step.feed(pcm)
        frames = list(self._framer.feed(pcm))
        gate = self.gate
        return frames if gate is None else [passed for frame in frames for passed in gate.feed(frame)]


class PreparedRecognition:
    """One caller, cleaned."""

    def __init__(self, preparation: Preparation, behind: Recognition) -> None:
        self._preparation = preparation
        self._gate = preparation.gate
        self._behind = behind

    @property
    def backlog_ms(self) -> int:
        """Sound the recognizer behind has taken and not sent."""
        backlog: int = getattr(self._behind, "backlog_ms", 0)
        return backlog

    @property
    def account(self) -> Account | None:
        """What it has cost, if the recognition behind keeps an account."""
        account: Account | None = getattr(self._behind, "account", None)
        return account

    @property
    def tally(self) -> object:
        """What happened to the recognition behind, if it counts."""
        return getattr(self._behind, "tally", None)

    @property
    def renewing(self) -> bool:
        """Whether sound waits for a stream behind."""
        return bool(getattr(self._behind, "renewing", False))

    @property
    def decoding(self) -> bool:
        """Whether what was said is being decoded behind."""
        return bool(getattr(self._behind, "decoding", False))

    def feed(self, pcm: bytes) -> None:
        """Take sound, of any length."""
        for frame in self._preparation.feed(pcm):
            self._behind.feed(frame)

    def onset(self) -> None:
        """The caller has begun to speak: let that through, from a little before."""
        if self._gate is not None:
            for frame in self._gate.speech():
                self._behind.feed(frame)
        self._behind.onset()

    def endpoint(self) -> None:
        """The utterance is over."""
        if self._gate is not None:
            self._gate.silence()
        self._behind.endpoint()

    def expect(self, expected: Expected) -> None:
        """Pass it on."""
        self._behind.expect(expected)

    def close(self) -> None:
        """Stop."""
        self._behind.close()


class _Ear:
    """Tells the owner what was heard, at the time at which it was said."""

    def __init__(self, gate: Gate | None, owner: Hearing) -> None:
        self._gate = gate
        self._owner = owner

    def heard(self, transcript: Transcript) -> None:
        """Put a transcript on the owner's clock."""
        self._owner.heard(transcript if self._gate is None else self._dated(transcript, self._gate))

    def deaf(self, error: ProviderError) -> None:
        """Pass it on."""
        self._owner.deaf(error)

    def _dated(self, transcript: Transcript, gate: Gate) -> Transcript:
        def ended(at_ms: int) -> int:
            # The end of a stretch belongs to it, not to the one that follows.
            return gate.clock.said_ms(at_ms - 1) + 1 if at_ms else 0

        said_ms = gate.clock.said_ms
        words = [replace(word, start_ms=said_ms(word.start_ms), end_ms=ended(word.end_ms)) for word in transcript.words]
        return replace(
            transcript,
            start_ms=said_ms(transcript.start_ms),
            end_ms=ended(transcript.end_ms),
            words=tuple(words),
        )
