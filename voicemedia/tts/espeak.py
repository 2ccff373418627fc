"""The offline voice: espeak-ng in a child process of its own, a sentence at a time, streamed as it is made."""

import importlib.util
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from voicemedia.children import Children, Program, Reactor, Seat
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Synthesizer

LONGEST_SENTENCE: Final = 2_000
"Characters; more is no sentence but a mistake of the agent's."


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it speaks."""

    voice: str = "en-us"
    "A voice of espeak-ng, such as `en-us`, `en-gb`, `en-029`, `hi`, `fr`, with a variant after `+`: `en-us+f3`."
    words_per_minute: Annotated[int, Meta(ge=80, le=450)] = 165
    "Pace."
    pitch: Annotated[int, Meta(ge=0, le=99)] = 50
    "Height of the voice, 50 is its own."
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    "Child processes; one speaks about 300 times faster than real time."


def missing(_options: Options) -> str:
    """Say what is not installed and how to get it."""
    if importlib.util.find_spec("espeakng_loader") is None:
        return "espeak needs the package espeakng-loader: pip install 'voicemedia[offline]'"
    return ""


def make(options: Options, reactor: Reactor) -> Synthesizer:
    """Make the voice; its children start with `start`."""
    return Espeak(options, reactor)


class Espeak:
    """The offline voice."""

    name = "espeak"

    def __init__(self, options: Options, reactor: Reactor) -> None:
        self._options = options
        self._missing = missing(options)
        program = Program(module="voicemedia.tts.espeak_worker", children=options.workers, jobs_per_child=1_000)
        self._children = Children(reactor, program)

    @property
    def trouble(self) -> str:
        """Why it cannot speak now."""
        return self._missing or self._children.trouble

    def start(self) -> Deferred[None]:
        """Start the children, and see whether there is such a voice; fails with what is missing."""
        if self._missing:
            raise ProviderError(self._missing, retryable=False)
        return self._children.start().addCallback(self._try_voice)

    def _try_voice(self, _started: None) -> Deferred[None]:
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        return self.speak("", 8000, nothing, nothing).addErrback(self._no_voice)

    def _no_voice(self, failure: Failure) -> Failure:
        if isinstance(failure.value, ProviderError) and not failure.value.retryable:
            # No caller has to be the one who finds out.
            self._missing = failure.getErrorMessage()
        return failure

    def stop(self) -> Deferred[None]:
        """Stop them."""
        return self._children.stop()

    def speak(
        self, text: str, rate_hz: int, put: Callable[[bytes], None], word: Callable[[int, int], None]
    ) -> Deferred[None]:
        """Speak one sentence."""
        if self._missing:
            raise ProviderError(self._missing, retryable=False)
        options = self._options
        order = (text[:LONGEST_SENTENCE], options.voice, options.words_per_minute, options.pitch, rate_hz)
        sentence = Sentence(order, put, word)
        sentence.seat = self._children.place(sentence)
        return sentence.done


class Sentence:
    """One sentence being spoken in a child; a new child goes on where the last one died."""

    def __init__(
        self, order: tuple[str, str, int, int, int], put: Callable[[bytes], None], word: Callable[[int, int], None]
    ) -> None:
        self._order, self._put, self._word = order, put, word
        self.done: Deferred[None] = Deferred(self._cancel)
        self.seat: Seat | None = None
        self._given = self._to_skip = 0

    def begin(self, seat: Seat) -> None:
        """Order it from a child; what has already been given is not given again."""
        self.seat = seat
        self._to_skip = self._given
        seat.send(self._order)

    def told(self, payload: bytes) -> None:
        """Take sound, the beginning of a word, the end, or what went wrong."""
        message: bytes | list[int] | str | None = msgspec.msgpack.decode(payload)
        if isinstance(message, list):
            self._word(*message)
            return
        if isinstance(message, bytes):
            skipped, self._to_skip = min(self._to_skip, len(message)), max(0, self._to_skip - len(message))
            self._given += len(message) - skipped
            if len(message) > skipped:
                self._put(message[skipped:])
            return
        self._leave()
        if message is None:
            self.done.callback(None)
        else:
            self.done.errback(ProviderError(message, retryable=False))

    def failed(self, error: ProviderError) -> None:
        """No child can speak it."""
        self.done.errback(error)

    def _cancel(self, _done: Deferred[None]) -> None:
        if self.seat is not None and self.seat.taken:
            self.seat.send(None)
        self._leave()

    def _leave(self) -> None:
        if self.seat is not None:
            self.seat.leave()
