"""What the recognizer and its children say to each other about one caller, in msgpack.

Sound of an utterance is numbered by utterance, so an answer that crosses the next onset still finds its own.
"""

from typing import Final

import msgspec

RATE_HZ: Final = 16000
"What the acoustic model was trained on."


class Setup(msgspec.Struct, frozen=True):
    """The options a child gets as its one argument, in JSON."""

    grammar_decoders: int
    dictations: int
    interim_ms: int
    reject_below: float
    pronunciations: dict[str, str]


class Listen(msgspec.Struct, frozen=True, tag=1, array_like=True):
    """Expect this from the next utterance on."""

    rate_hz: int
    grammar: str
    "JSGF; empty: free dictation."


class Onset(msgspec.Struct, frozen=True, tag=2, array_like=True):
    """An utterance begins."""

    utterance: int


class Sound(msgspec.Struct, frozen=True, tag=3, array_like=True):
    """The next sound of the last utterance."""

    pcm: bytes


class Endpoint(msgspec.Struct, frozen=True, tag=4, array_like=True):
    """The last utterance is over."""


class Leave(msgspec.Struct, frozen=True, tag=5, array_like=True):
    """Forget this caller."""


Order = Listen | Onset | Sound | Endpoint | Leave


class Took(msgspec.Struct, frozen=True, tag=1, array_like=True):
    """So much of an utterance has been decoded."""

    utterance: int
    ms: int


class Guess(msgspec.Struct, frozen=True, tag=2, array_like=True):
    """The words so far."""

    utterance: int
    text: str


class Answer(msgspec.Struct, frozen=True, tag=3, array_like=True):
    """The words of an utterance."""

    utterance: int
    text: str
    confidence: float = 0.0
    start_ms: int = 0
    "Where the words begin and end, counted from the first sound of the utterance."
    end_ms: int = 0
    words: tuple[tuple[str, int, int], ...] = ()
    "Each word with its begin and end in ms, counted likewise."


class Trouble(msgspec.Struct, frozen=True, tag=4, array_like=True):
    """Something about the grammar that is worth a line in the log."""

    text: str


News = Took | Guess | Answer | Trouble

ORDERS: Final[msgspec.msgpack.Decoder[Order]] = msgspec.msgpack.Decoder(Order)
NEWS: Final[msgspec.msgpack.Decoder[News]] = msgspec.msgpack.Decoder(News)
