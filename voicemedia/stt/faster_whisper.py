"""Recognizer `faster_whisper`: Whisper on this machine, in child processes, from a folder with a model.

It is asked about windows as `whisper` is; a window is a job of the pool, so a child that dies costs time only.
"""

import importlib.util
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred

from voicemedia.children import Children, Program, Seat
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Hearing, Recognition, Recognizer, Traits
from voicemedia.stt.faster_whisper_worker import Heard, Question, Trouble
from voicemedia.stt.spoken import WHISPER, first
from voicemedia.stt.whisper import LONGEST_PROMPT, WindowOptions, language_for
from voicemedia.stt.whisper_wire import Answer, words_of
from voicemedia.stt.windowed import WindowedRecognition
from voicemedia.stt.windows import Window, Windows
from voicemedia.stt.words import HeardWord
from voicemedia.web.backoff import Backoff

LIBRARY: Final = "faster_whisper"
WORKER: Final = "voicemedia.stt.faster_whisper_worker"

_decoder = msgspec.msgpack.Decoder(Heard | Trouble)


class Options(WindowOptions, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    model: str = ""
    "Folder with a model converted for CTranslate2 (`model.bin`, `tokenizer.json` ...); nothing is downloaded."
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    "Child processes, each with the model in memory; each hears one window at a time."
    device: str = "auto"
    "`cpu`, `cuda` or `auto`."
    compute_type: str = "default"
    "`int8`, `float16` ...; `default`: as the model was converted."
    threads: Annotated[int, Meta(ge=0)] = 0
    "Threads of one child; 0: as many as CTranslate2 likes."
    beam_size: Annotated[int, Meta(ge=1, le=10)] = 1
    "Hypotheses followed at the same time: more are slower and hear a little better."
    load_s: Annotated[float, Meta(gt=0)] = 60.0
    "How long a model may take to load, in seconds."
    hang_s: Annotated[float, Meta(gt=0)] = 30.0
    "How long one window may take before its child is replaced, in seconds."


def missing(options: Options) -> str:
    """Say what is not installed, or not where it should be."""
    if not options.model:
        return "model: no folder is named; download a CTranslate2 model of Whisper, and name its folder"
    if not (Path(options.model) / "model.bin").is_file():
        return f"model: {options.model} has no model.bin; name the folder of a model converted for CTranslate2"
    if importlib.util.find_spec(LIBRARY) is None:
        return "faster-whisper is not installed: pip install 'voicemedia[whisper]'"
    return ""


def make(options: Options, reactor: Any) -> Recognizer:
    """Make the recognizer; its children are started by `start`."""
    # The seam says `trouble` is an attribute; here it is a property, which to a type checker is less.
    return cast(Recognizer, FasterWhisperRecognizer(options, reactor, random.random))


class FasterWhisperRecognizer:
    """Asks its children for all callers.

    :param random: for the jitter of waits after failures, 0 to 1.
    :param library: module with `WhisperModel`.
    """

    name = "faster_whisper"

    def __init__(self, options: Options, reactor: Any, random: Callable[[], float], library: str = LIBRARY) -> None:
        self._options = options
        self._reactor = reactor
        self._backoff = Backoff(random)
        self.traits = Traits(usd_per_hour=options.usd_per_hour)
        english = options.model.rstrip("/").endswith(".en")
        self.languages = WHISPER[:1] if english else first(options.language, WHISPER)
        arguments = (options.model, options.device, options.compute_type, str(options.threads), library)
        self._children = Children(
            reactor,
            Program(
                WORKER,
                arguments,
                children=options.workers,
                # What waits, waits here, where a question no longer wanted can be taken back.
                jobs_per_child=1,
                start_s=options.load_s,
                hang_s=options.hang_s,
            ),
        )

    @property
    def trouble(self) -> str:
        """Why nothing can be heard; empty when it can."""
        return self._children.trouble

    def start(self) -> Deferred[None]:
        """Start the children; fires when one has loaded the model."""
        return self._children.start()

    def stop(self) -> Deferred[None]:
        """End the children."""
        return self._children.stop()

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller."""

        def ask(window: Window, expected: Expected) -> Deferred[Sequence[HeardWord]]:
            return _Job(self._question(window, rate_hz, expected), window).put(self._children)

        windows = Windows(rate_hz, self._options.sizes())
        recognition = WindowedRecognition(self._reactor, windows, ask, self._backoff, self._options.patience_s)
        return recognition.begin(hearing)

    def _question(self, window: Window, rate_hz: int, expected: Expected) -> Question:
        prompt = " ".join(part for part in (", ".join(expected.phrases), window.context) if part)
        language = language_for(self._options.language, expected)
        return Question(window.pcm, rate_hz, language, prompt[-LONGEST_PROMPT:], self._options.beam_size)


class _Job:
    """One window in a child, or on its way there."""

    def __init__(self, question: Question, window: Window) -> None:
        self._question = question
        self._window = window
        self._seat: Seat | None = None
        self._done: Deferred[Sequence[HeardWord]] = Deferred(lambda _done: self._leave())

    def put(self, children: Children) -> Deferred[Sequence[HeardWord]]:
        """Find a child for it; cancelling takes it back."""
        self._seat = children.place(self)
        return self._done

    def begin(self, seat: Seat) -> None:
        """Ask: the first time, or again because the child before has died."""
        seat.send(self._question)

    def told(self, payload: bytes) -> None:
        """Take the child's answer."""
        if self._done.called:
            return
        self._leave()
        try:
            answer = _decoder.decode(payload)
            if isinstance(answer, Trouble):
                raise ProviderError(f"the model failed: {answer.says}", code="model_failed")
            words = words_of(_answer(answer), self._window.start_ms, self._window.end_ms)
        except ProviderError as error:
            return self._done.errback(error)
        except msgspec.MsgspecError as error:
            return self._done.errback(ProviderError(f"cannot read the child's answer: {error}"))
        self._done.callback(words)

    def failed(self, error: ProviderError) -> None:
        """Take note that no child can do this."""
        if not self._done.called:
            self._done.errback(error)

    def _leave(self) -> None:
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.leave()


def _answer(heard: Heard) -> Answer:
    return msgspec.convert({"language": heard.language, "segments": heard.segments, "words": heard.words}, Answer)
