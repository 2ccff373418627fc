"""The seams of the house: what a call and its neighbors promise each other.

Sound inside is `bytes`: mono signed 16-bit little-endian PCM at the leg's `rate_hz`, in frames of 20 ms (`rate_hz //
50 * 2` bytes). The C kernels on the path of every frame take and give bytes; `numpy.frombuffer` copies nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from voicemedia.diary import Turn
from voicemedia.errors import ProviderError
from voicemedia.switching import Switching

FRAME_MS: Final = 20


class Goodbye(Enum):
    """Why a call ended; the same word in logs, metrics and call records."""

    CALLER_HUNG_UP = "caller_hung_up"
    AGENT_HUNG_UP = "agent_hung_up"
    REPLACED = "replaced"
    "A second `start` came on the same socket."
    PEER_VANISHED = "peer_vanished"
    "The connection died without a word."
    PEER_BROKE_PROTOCOL = "peer_broke_protocol"
    IDLE = "idle"
    TOO_LONG = "too_long"
    DRAINED = "drained"
    TRANSFERRED = "transferred"
    FAILED = "failed"
    "A bug of ours; there is a failure in the log."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and how; what the leg knows when it answers."""

    call_id: str
    "The carrier's name of the call, unique among live calls."
    carrier: str
    "`smartflo`, `twilio`, `browser`, `sip` ..."
    rate_hz: int
    route: str = ""
    "Path of the configured route the call came in by."
    stream_id: str = ""
    number: str = field(default="", repr=False)
    "The caller's number or address (personal data: never logged outside a `pii_` field)."
    to: str = field(default="", repr=False)
    direction: str = "inbound"
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    "The carrier's custom parameters, such as `first_name` or `time_zone`."


# --- the leg and its call ---


class Listener(Protocol):
    """What a leg tells its call. Every method returns at once and raises nothing."""

    def hear(self, pcm: bytes, concealed: bool) -> None:
        """Take the next 20 ms of the caller; frames come gapless, in order, on the media clock."""

    def digit(self, key: str) -> None:
        """Take a key the caller pressed: one of `0123456789*#ABCD`."""

    def said(self, text: str) -> None:
        """Take a turn the caller typed instead of speaking it; without words it only interrupts."""

    def marked(self, number: int) -> None:
        """Everything played before mark `number` has left the carrier's buffer, heard or cleared."""

    def gone(self, why: Goodbye) -> None:
        """The leg has ended. Said exactly once, last, and within seconds of `hang_up`."""


class Follower(Protocol):
    """What a leg that shows the conversation is told besides what it plays. No method raises."""

    reads: bool
    "Whether the caller can read: words nobody could speak are then said all the same."

    def heard(self, transcript: "Transcript") -> None:
        """Take an interim or final transcript of the caller."""

    def speaks(self, speaking: bool) -> None:
        """The caller has begun to speak, or stopped."""

    def floor(self, state: str) -> None:
        """Whose turn it is has changed: a state of `turns.State`, in small letters."""

    def answered(self, text: str) -> None:
        """All sound of an answer has been given to `play`; these were its words."""

    def turn(self, turn: Turn) -> None:
        """A turn has been written into the diary, or has changed there."""

    def voiceless(self, reason: str) -> None:
        """The synthesizer has failed; the words come without sound."""


class Leg(Protocol):
    """The way to one caller and back, with its jitter buffer.

    Attributes that some have besides: `follower` shows the conversation, `switching` moves the call, `tape` records it.
    """

    caller: Caller
    lead_ms: int
    "How far ahead of real time we may send: what the peer buffers and `clear` takes back; RTP 0."
    last_message_ms: int
    "When the peer last said anything at all."

    def play(self, pcm: bytes) -> None:
        """Send one or more whole frames now; the call paces."""

    def mark(self, number: int) -> None:
        """Ask to be told (`Listener.marked`) when everything played so far has been heard."""

    def clear(self) -> None:
        """Take back what the peer has not yet played."""

    def tick(self, now_ms: int) -> None:
        """Let time pass: give up packets that are too late, conceal their holes."""

    def hang_up(self, why: Goodbye) -> None:
        """End the call politely; `gone(why)` follows whatever the peer does."""

    def totals(self) -> Mapping[str, int]:
        """Return what came and went, for the last line of the call's log."""


# --- providers ---


class Provider(Protocol):
    """What recognizers, synthesizers and agents have in common.

    A provider lives in one module with three names: `Options` (a frozen msgspec struct, unknown keys forbidden:
    its table in the configuration), `missing(options) -> str` (one sentence that says what is not installed or
    configured here and how to get it; empty when nothing is) and `make(options, reactor) -> Provider`. A module
    out of tree is named in the configuration by its dotted name.
    """

    name: str

    @property
    def trouble(self) -> str:
        """Why it cannot serve at this moment; empty when it can. Shown by `/health`."""

    def start(self) -> Deferred[None]:
        """Start what it needs (children, channels); called once, after twistd has daemonized."""

    def stop(self) -> Deferred[None]:
        """Stop all that; fires when nothing is left running."""


# --- ears ---


@dataclass(frozen=True, slots=True)
class Word:
    """One word and when it was said."""

    text: str = field(repr=False)
    start_ms: int
    end_ms: int
    "Media time since the start of the recognition."
    confidence: float = 0.0
    "0 to 1; 0 when the provider gives none."


@dataclass(frozen=True, slots=True)
class Transcript:
    """Words the caller said."""

    text: str = field(repr=False)
    "Lower or mixed case, without surrounding space; empty when nothing was understood."
    final: bool
    "False: an interim guess that may still change."
    confidence: float = 0.0
    "0 to 1; 0 when the provider gives none."
    start_ms: int = 0
    end_ms: int = 0
    "Media time since the start of the recognition; `end_ms` 0: the provider does not say."
    language: str = ""
    stability: float = 0.0
    "How likely an interim guess is to stay as it is, 0 to 1; 0 when the provider gives none."
    words: tuple[Word, ...] = field(default=(), repr=False)
    "Empty when the provider gives no times."
    closes: bool = True
    "False: a final the provider gave by itself; it is not the one that is due after an endpoint."
    billed_s: float = 0.0
    "Seconds the provider has billed for this recognition so far, if it says."


@dataclass(frozen=True, slots=True)
class Expected:
    """What the agent expects to hear next: a help to recognizers that can use one."""

    phrases: tuple[str, ...] = ()
    "Words and phrases to prefer (cloud phrase adaptation)."
    grammar: str = ""
    "A complete JSGF grammar (offline recognizer); empty: free dictation."
    keys: int = 1
    "How many keys make a turn; 0: as many as come before `#` or a pause."
    language: str = ""
    "Language of the speech (BCP 47, `auto`), where a recognizer can choose; empty: as it was."
    words: bool = False
    "Whether finals should carry the times of their words, where that has to be asked for."


class Hearing(Protocol):
    """What a recognition tells its owner, always on the reactor thread."""

    def heard(self, transcript: Transcript) -> None:
        """Take an interim or final transcript."""

    def deaf(self, error: ProviderError) -> None:
        """The recognition has failed and will say no more."""


class Recognition(Protocol):
    """One caller being listened to. No method blocks; after `close` nothing is said."""

    def feed(self, pcm: bytes) -> None:
        """Take 20 ms of sound; every frame of the call, speech or not. Replayed ones come many at once."""

    def onset(self) -> None:
        """Voice detection says: the caller has begun to speak (up to ~300 ms ago)."""

    def endpoint(self) -> None:
        """Endpointing says: the utterance is over. One final follows that `closes` it, perhaps an empty one."""

    def expect(self, expected: Expected) -> None:
        """Prefer this from the next utterance on."""

    def close(self) -> None:
        """Stop; release what belongs to this caller."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What is peculiar to a recognizer: its attribute `traits`, where it differs from these."""

    one_utterance: bool = False
    "A recognition is over with the final after its first `endpoint`; what comes then wants a new `listen`."
    renew_from_s: float = 0.0
    "Age at which a recognition is replaced in a pause, because the provider limits it; 0: it may live for ever."
    renew_s: float = 0.0
    "Age at which it is replaced right after any final."
    renew_forced_s: float = 0.0  # in the middle of a word
    interims: bool = False
    "It gives interim transcripts while the caller speaks: if it does not, it has stalled."
    usd_per_hour: float = 0.0
    chunk_ms: int = FRAME_MS
    "It sends so much sound at once, and takes as much at once: a call for each frame is wasted on it."


class Recognizer(Provider, Protocol):
    """A speech-to-text provider.

    One may have `traits`, if not `Traits()`; `languages`, if certain ones only (BCP 47, the one it falls back to first;
    `auto`: it finds out); `full`, why it hears no more callers in time. A recognition may have `backlog_ms`, sound not
    yet sent; `account`, whole once closed; `renewing` or `decoding`, while sound waits for a stream or for its final.
    """

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller whose frames come at `rate_hz`."""


# --- voice ---


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The sentences around one that is spoken, as far as they are known: they shape its intonation."""

    before: str = field(default="", repr=False)
    after: str = field(default="", repr=False)


class Synthesizer(Provider, Protocol):
    """A text-to-speech provider.

    One that can use what stands before and after a sentence has, besides `speak`, a method `speak_between` with one
    argument more, the `Surroundings`.
    """

    def speak(
        self, text: str, rate_hz: int, put: Callable[[bytes], None], word: Callable[[int, int], None]
    ) -> Deferred[None]:
        """Synthesize one sentence; `put` takes PCM at `rate_hz` in pieces of any even length.

        `word(at, ms)` may be told that the word at character `at` of the text begins to sound `ms` after the start;
        without it, what was heard of an interrupted sentence is guessed from its length.

        The Deferred fires after the last `put`, fails with `ProviderError`, and stops when cancelled.
        """


# --- mind ---


@dataclass(frozen=True, slots=True)
class Said:
    """A turn of the caller: words, keys, or both; both empty when speech was not understood."""

    text: str = field(default="", repr=False)
    keys: str = field(default="", repr=False)
    confidence: float = 0.0


class Floor(Switching, Protocol):
    """The right to speak, and to act once all said was heard, for one reply. Taken away, its methods do nothing."""

    def say(self, text: str, *, interruptible: bool = True) -> None:
        """Say one sentence after those already said."""

    def play(self, pcm: bytes) -> None:
        """Play sound at the leg's rate as part of an uninterruptible passage."""

    def expect(self, expected: Expected) -> None:
        """Tell the recognizer what the caller may say next."""

    def hang_up(self) -> None:
        """End the call once everything said has been heard."""


class Conversation(Protocol):
    """One caller's talk with an agent. A Deferred given back is cancelled when the caller interrupts."""

    def greet(self, floor: Floor) -> Deferred[None]:
        """Open the conversation."""

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        """Answer one turn; sentences go to `floor.say` as they become known.

        One cancelled before its Deferred has fired counts as not given: its words come again, in front of the next
        ones. One that has fired is not asked again, however little of it was heard.
        """

    def heard(self, text: str, *, complete: bool) -> None:
        """The caller heard this much of the last reply: memory keeps what was heard, not what was sent."""

    def overhear(self, pcm: bytes) -> None:
        """Take each frame of the caller as it is heard (agent `echo`); most do nothing."""

    def over(self, why: Goodbye) -> None:
        """The call has ended."""


class Agent(Provider, Protocol):
    """Decides what to say.

    A conversation that can go on where an earlier one stopped has a method `recall(past: Past) -> None`, called at most
    once, before `greet` or, if the caller was faster, before the first `reply`; it is not called when nothing is known
    of the caller, or the history does not answer in time. One that takes down what people eat has a method
    `logged() -> Day | None`, asked after every reply and at the end.
    """

    def converse(self, caller: Caller) -> Conversation:
        """Begin a conversation with one caller."""


# --- history ---


@dataclass(frozen=True, slots=True)
class Served:
    """Who serves a call, by name, and the file it is recorded in; empty: nobody, nowhere."""

    agent: str
    recognizer: str = ""
    synthesizer: str = ""
    recording: str = ""


class CallRecord(Protocol):
    """What is written of one call. No method blocks or raises."""

    def remembering(self, conversation: Conversation) -> Conversation:
        """Wrap a conversation so that it knows of earlier ones; called once, before the call begins."""

    def turn(self, turn: Turn) -> None:
        """Take a turn that has begun or changed."""

    def ended(self, why: Goodbye, totals: Mapping[str, int]) -> None:
        """Take the end of the call."""


class Historian(Protocol):
    """Writes history."""

    def answered(self, caller: Caller, served: Served) -> CallRecord:
        """Begin the record of a call."""
