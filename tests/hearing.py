"""Helpers of the recognizers' tests: a hearing that keeps what it is told, and sound from files."""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from voicemedia.errors import ProviderError
from voicemedia.interfaces import Recognition, Transcript

SPEECH = Path(__file__).parent.parent.parent / "shared" / "vectors" / "speech"


class Notes:
    """Keeps what a recognition tells; `until` waits for it."""

    def __init__(self) -> None:
        self.told: list[Transcript] = []
        self.error: ProviderError | None = None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def heard(self, transcript: Transcript) -> None:
        assert self.error is None, "told after it was deaf"
        self.told.append(transcript)
        self.look()

    def deaf(self, error: ProviderError) -> None:
        assert self.error is None, "deaf twice"
        self.error = error
        self.look()

    def until(self, happened: Callable[[], bool], reactor: Any, timeout_s: float = 20) -> Deferred[None]:
        """Fire once `happened()` is true after something was told."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((happened, waiting))
        self.look()
        return waiting.addTimeout(timeout_s, reactor)

    def until_finals(self, count: int, reactor: Any) -> Deferred[None]:
        """Fire once so many finals were told, or no more will be."""
        return self.until(lambda: len(self.finals) >= count or self.error is not None, reactor)

    @property
    def finals(self) -> list[str]:
        return [transcript.text for transcript in self.told if transcript.final]

    @property
    def interims(self) -> list[str]:
        return [transcript.text for transcript in self.told if not transcript.final]

    def look(self) -> None:
        """See whether what is waited for has happened."""
        for waiting in list(self._waiting):
            if waiting[0]():
                self._waiting.remove(waiting)
                waiting[1].callback(None)


def speak(recognition: Recognition, frames: list[bytes]) -> None:
    """Let one whole utterance be heard at once."""
    recognition.onset()
    for frame in frames:
        recognition.feed(frame)
    recognition.endpoint()


def frames_of(name: str) -> tuple[list[bytes], int]:
    """Give the frames and the rate of a recording; skip where the recordings are not."""
    path = SPEECH / name
    if not path.exists():
        pytest.skip(f"the recording {name} is not on this machine")
    with wave.open(str(path)) as file:
        rate_hz = file.getframerate()
        pcm = file.readframes(file.getnframes())
    size = rate_hz // 50 * 2
    return [pcm[at : at + size].ljust(size, b"\0") for at in range(0, len(pcm), size)], rate_hz
