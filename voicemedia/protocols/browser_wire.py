"""A browser's messages, both directions: those of AudioStreamingServer, and our own for a page that shows more.

Everything is JSON text but sound, which is a binary message. `timestamp` is epoch milliseconds.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from voicemedia.audio.wav import write_wav
from voicemedia.diary import Turn
from voicemedia.errors import WireError
from voicemedia.interfaces import Transcript
from voicemedia.past import PastTurn

RATE_HZ: Final = 16_000
"Of all sound to and from a browser."
TEST_PAYLOAD: Final = b"TEST_AUDIO_PAYLOAD"
MAX_TEXT: Final = 4_000
"Characters of a typed turn."
KEYS: Final = frozenset("0123456789*#ABCD")


@dataclass(frozen=True, slots=True)
class Utterance:
    """A whole recording: nothing more of it will come."""

    sound: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Typed:
    """A turn in writing."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Speak:
    """Words to be spoken as they are, outside the conversation."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Test:
    """Is anybody there?"""


@dataclass(frozen=True, slots=True)
class Ready:
    """The page is there; greetings come unasked."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Be silent."""


@dataclass(frozen=True, slots=True)
class EndOfSpeech:
    """The microphone is off: what was said is all."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """The conversation is over."""


@dataclass(frozen=True, slots=True)
class Marked:
    """Everything up to this mark has been played, or cleared."""

    number: int


@dataclass(frozen=True, slots=True)
class Key:
    """A key was pressed."""

    digit: str


@dataclass(frozen=True, slots=True)
class NotOffered:
    """A request we know and do not serve."""

    kind: str


Message = Utterance | Typed | Speak | Test | Ready | Interrupt | EndOfSpeech | HangUp | Marked | Key | NotOffered


def read_message(payload: bytes) -> Message:
    """Read a text message.

    :raises WireError: `bad_json`, `bad_message`, `bad_base64`, `text_too_long` or `unknown_type`.
    """
    if payload.strip() == TEST_PAYLOAD:
        return Test()
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WireError("bad_json", "send one JSON object a text message") from error
    if not isinstance(message, dict) or not isinstance(kind := message.get("type"), str):
        raise WireError("bad_message", 'send an object with "type"')
    reader = READERS.get(kind)
    if reader is not None:
        return reader(message)
    if kind.endswith("_request"):
        return NotOffered(kind[:60])
    raise WireError("unknown_type", kind[:60])


def _utterance(message: Mapping[str, Any]) -> Message:
    text = message.get("data")
    if not isinstance(text, str):
        raise WireError("bad_message", "webm_audio: data: base64 expected")
    # Some send a data: URL.
    _, comma, rest = text.partition(",")
    try:
        return Utterance(b64decode(rest if comma and text.startswith("data:") else text, validate=True))
    except (Base64Error, ValueError) as error:
        raise WireError("bad_base64", "webm_audio: data") from error


def _text(message: Mapping[str, Any]) -> str:
    body = message.get("data", message.get("text", message.get("message")))
    if isinstance(body, dict):
        body = body.get("text", body.get("message"))
    if not isinstance(body, str):
        raise WireError("bad_message", f"{message['type']}: data: text expected")
    if len(body) > MAX_TEXT:
        raise WireError("text_too_long", f"{len(body)} characters; at most {MAX_TEXT}")
    return " ".join(body.split())


def _marked(message: Mapping[str, Any]) -> Message:
    number = message.get("number")
    if not isinstance(number, int):
        raise WireError("bad_message", "marked: number expected")
    return Marked(number)


def _key(message: Mapping[str, Any]) -> Message:
    digit = message.get("digit")
    if not isinstance(digit, str) or digit not in KEYS:
        raise WireError("bad_message", "dtmf: digit: one of 0123456789*#ABCD expected")
    return Key(digit)


READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Message]]] = {
    "webm_audio": _utterance,
    "text_message": lambda message: Typed(_text(message)),
    "user_message": lambda message: Typed(_text(message)),
    "tts_request": lambda message: Speak(_text(message)),
    "test": lambda _message: Test(),
    "ping": lambda _message: Test(),
    "client_ready_request": lambda _message: Ready(),
    "interrupt": lambda _message: Interrupt(),
    "end_of_speech": lambda _message: EndOfSpeech(),
    "hang_up": lambda _message: HangUp(),
    "marked": _marked,
    "dtmf": _key,
}


# --- to the browser ---


class Writer:
    """Writes the messages of one session.

    :param wall_ms: gives epoch milliseconds.
    """

    def __init__(self, session: str, wall_ms: Callable[[], int]) -> None:
        self._session, self._wall_ms = session, wall_ms

    def message(self, kind: str, **body: Any) -> bytes:
        """Write any message."""
        return msgspec.json.encode(
            {"type": kind, "data": body, "sessionId": self._session, "timestamp": self._wall_ms()}
        )

    def status(self, message: str) -> bytes:
        """Tell people something."""
        return self.message("status", message=message)

    def error(self, message: str, code: str) -> bytes:
        """Tell people what is wrong, and programs its name."""
        return self.message("error", message=message, code=code)

    def speech(self, text: str, pcm: bytes, kind: str = "audio") -> bytes:
        """Write an answer with all of its sound; `audio` is empty when there is none."""
        sound = b64encode(write_wav(pcm, RATE_HZ)).decode() if pcm else ""
        return self.message(kind, text=text, audio=sound, duration=len(pcm) * 1000 // (RATE_HZ * 2))

    def began(self, turns: Sequence[Turn], *, resumed: bool, settings: Mapping[str, object]) -> bytes:
        """Tell a page where the conversation stands."""
        return self.message(
            "session", resumed=resumed, rateHz=RATE_HZ, turns=[self._turn(turn) for turn in turns], **settings
        )

    def earlier(self, turns: Sequence[PastTurn]) -> bytes:
        """Tell what was said on an earlier visit."""
        return self.message(
            "earlier",
            turns=[
                {
                    "who": "agent" if turn.who == "ai" else "caller",
                    "text": turn.text,
                    "atMs": turn.at_ms,
                    "interrupted": turn.interrupted,
                }
                for turn in turns
            ],
        )

    def transcript(self, transcript: Transcript) -> bytes:
        """Tell what is understood by now."""
        return self.message(
            "transcript", text=transcript.text, final=transcript.final, confidence=round(transcript.confidence, 3)
        )

    def speaking(self, speaking: bool) -> bytes:
        """Tell whether the caller is heard to speak."""
        return self.message("speech", speaking=speaking)

    def floor(self, state: str) -> bytes:
        """Tell whose turn it is."""
        return self.message("floor", state=state)

    def turn(self, turn: Turn) -> bytes:
        """Tell a turn as far as it is known."""
        return self.message("turn", **self._turn(turn))

    def mark(self, number: int) -> bytes:
        """Ask to be told when everything before has been played."""
        return self.message("mark", number=number)

    def clear(self) -> bytes:
        """Take back what has not been played."""
        return self.message("clear")

    @staticmethod
    def _turn(turn: Turn) -> dict[str, object]:
        return {
            "number": turn.number,
            "who": turn.who,
            "atMs": turn.at_ms,
            "text": turn.text,
            "keys": turn.keys,
            "heardText": turn.heard_text,
            "interrupted": turn.interrupted,
            "complete": turn.complete,
            "latencyMs": dict(turn.latency_ms),
        }
