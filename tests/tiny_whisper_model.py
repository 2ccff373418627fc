"""A stand-in for the library faster-whisper, for tests of the worker's protocol: it recognizes nothing.

Its "model" tells the stretch of stamped sound it was given (see `tests.clouds.ears.stamped`) as two words, in the
classes' shape that faster-whisper 1.2.1 has.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Word:
    start: float
    end: float
    word: str
    probability: float


@dataclass
class Segment:
    id: int
    start: float
    end: float
    text: str
    avg_logprob: float = -0.5
    compression_ratio: float = 1.0
    no_speech_prob: float = 0.1
    words: list[Word] | None = None


@dataclass
class TranscriptionInfo:
    language: str = "en"
    language_probability: float = 1.0
    all_language_probs: list[Any] = field(default_factory=list)


class WhisperModel:
    """Takes what the real one takes, by name."""

    def __init__(
        self,
        model_size_or_path: str,
        device: str = "auto",
        compute_type: str = "default",
        cpu_threads: int = 0,
        local_files_only: bool = False,
    ) -> None:
        assert local_files_only, "would download"
        self._died = Path(model_size_or_path) / "died"

    def transcribe(
        self,
        audio: np.ndarray[Any, np.dtype[np.float32]],
        language: str | None = None,
        initial_prompt: str | None = None,
        beam_size: int = 5,
        word_timestamps: bool = False,
        condition_on_previous_text: bool = True,
    ) -> tuple[Iterator[Segment], TranscriptionInfo]:
        assert audio.dtype == np.float32 and word_timestamps and not condition_on_previous_text
        if initial_prompt == "die once" and not self._died.exists():
            self._died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if initial_prompt == "stumble":
            raise RuntimeError("out of memory")
        return self._segments(audio), TranscriptionInfo(language or "en")

    def _segments(self, audio: np.ndarray[Any, np.dtype[np.float32]]) -> Iterator[Segment]:
        seconds = len(audio) / 16000
        words = [Word(0.0, seconds / 2, f" {seconds:.1f}", 0.9), Word(seconds / 2, seconds, " seconds", 0.9)]
        yield Segment(0, 0.0, seconds, f" {seconds:.1f} seconds", words=words)
