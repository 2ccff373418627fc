"""The child of recognizer `faster_whisper`: one model, one window at a time.

Run with the folder of the model, its device, compute type, threads and the module that has `WhisperModel`. A job is
one window; the answer has the shape of a `verbose_json` answer, so that both Whispers are read by the same code.
"""

import importlib
import sys
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np

from voicemedia.audio.resample import Resampler
from voicemedia.child import Parent

MODEL_HZ: Final = 16_000


class Question(msgspec.Struct, array_like=True):
    """What the parent asks."""

    pcm: bytes
    rate_hz: int
    language: str = ""
    prompt: str = ""
    beam_size: int = 1


class Trouble(msgspec.Struct, tag="trouble"):
    """The model could not do it."""

    says: str


class Heard(msgspec.Struct, tag="heard"):
    """What the model heard: segments and words as in `verbose_json`, times in seconds."""

    language: str
    segments: list[dict[str, Any]]
    words: list[dict[str, Any]]


def load(folder: str, device: str, compute_type: str, threads: int, library: str) -> Any:
    """Load a model from a folder, never from the network."""
    model = importlib.import_module(library).WhisperModel
    return model(folder, device=device, compute_type=compute_type, cpu_threads=threads, local_files_only=True)


def samples_of(question: Question) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Give the sound as the model takes it: 16 kHz, -1 to 1."""
    resampler = Resampler(question.rate_hz, MODEL_HZ)
    pcm = resampler.feed(question.pcm) + resampler.flush()
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def transcribe(model: Any, question: Question) -> Heard:
    """Hear one window."""
    segments, told = model.transcribe(
        samples_of(question),
        language=question.language or None,
        initial_prompt=question.prompt or None,
        beam_size=question.beam_size,
        word_timestamps=True,
        condition_on_previous_text=False,
    )
    # The work is done while the segments are taken.
    taken = list(segments)
    return Heard(told.language or "", [_segment(each) for each in taken], list(_words(taken)))


def _segment(segment: Any) -> dict[str, Any]:
    names = ("text", "start", "end", "avg_logprob", "no_speech_prob", "compression_ratio")
    return {name: value if name == "text" else float(value) for name in names for value in (getattr(segment, name),)}


def _words(segments: Iterable[Any]) -> Iterable[dict[str, Any]]:
    for segment in segments:
        for word in segment.words or ():
            yield {"word": word.word, "start": float(word.start), "end": float(word.end)}


def main() -> None:
    """Serve the parent until it is gone."""
    parent = Parent()
    folder, device, compute_type, threads, library = sys.argv[1:]
    model = load(folder, device, compute_type, int(threads), library)
    parent.ready()
    decoder = msgspec.msgpack.Decoder(Question)
    for job, payload in parent:
        answer: Heard | Trouble
        try:
            answer = transcribe(model, decoder.decode(payload))
        except Exception as error:
            # A window the model stumbles over must not take the others' child along.
            answer = Trouble(f"{type(error).__name__}: {error}")
        parent.tell(job, answer)


if __name__ == "__main__":
    main()
