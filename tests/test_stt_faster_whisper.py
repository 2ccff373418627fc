"""Recognizer `faster_whisper`: its child processes, with a stand-in for the library, then with the library itself."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.hearing import Notes, speak
from tests.in_reactor import in_reactor
from voicemedia.interfaces import Expected
from voicemedia.stt.faster_whisper import FasterWhisperRecognizer, Options, missing

FRAME = b"\x10\x00" * 160


class Served:
    """A recognizer with children that have the stand-in."""

    def __init__(self, folder: Path, library: str = "tests.tiny_whisper_model", **options: Any) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        (folder / "model.bin").touch()
        options = {"model": str(folder), "interim": False, **options}
        self.recognizer = FasterWhisperRecognizer(Options(**options), reactor, lambda: 0.0, library)
        self.notes = Notes()

    async def __aenter__(self) -> "Served":
        await self.recognizer.start()
        self.recognition = self.recognizer.listen(8000, self.notes)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.recognition.close()
        await self.recognizer.stop()

    async def say(self, prompt: str = "") -> None:
        if prompt:
            self.recognition.expect(Expected(phrases=(prompt,)))
        speak(self.recognition, [FRAME] * 100)
        await self.notes.until_finals(1, self.reactor)


@in_reactor
async def test_a_window_is_heard_in_a_child(tmp_path: Path) -> None:
    async with Served(tmp_path, language="fr") as served:
        assert served.recognizer.trouble == ""
        await served.say()
        final = served.notes.told[-1]
        assert (final.text, final.start_ms, final.end_ms, final.language) == ("2.0 seconds", 0, 2000, "fr")
        # exp(-0.5) * (1 - 0.1)
        assert final.confidence == pytest.approx(0.5459, abs=1e-4)
        assert [word.text for word in final.words] == ["2.0", "seconds"]


@in_reactor
async def test_a_child_that_dies_costs_no_word(tmp_path: Path) -> None:
    async with Served(tmp_path) as served:
        await served.say("die once")
        assert served.notes.finals == ["2.0 seconds"]


@in_reactor
async def test_a_model_that_stumbles_is_told_and_its_child_lives_on(tmp_path: Path) -> None:
    async with Served(tmp_path, patience_s=0.3) as served:
        await served.say("stumble")
        assert served.notes.error is not None
        assert str(served.notes.error) == "the model failed: RuntimeError: out of memory"
        served.notes = Notes()
        served.recognition = served.recognizer.listen(8000, served.notes)
        await served.say()
        assert served.notes.finals == ["2.0 seconds"]


@in_reactor
async def test_words_settle_while_the_caller_speaks(tmp_path: Path) -> None:
    async with Served(tmp_path, interim=True) as served:
        served.recognition.onset()
        for _ in range(60):
            served.recognition.feed(FRAME)
        await served.notes.until(lambda: bool(served.notes.interims), served.reactor)
        assert served.notes.interims == ["1.0 seconds"]


def test_what_is_missing_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    assert missing(Options()).startswith("model: no folder is named")
    assert "has no model.bin" in missing(Options(model=str(tmp_path)))
    (tmp_path / "model.bin").touch()
    assert missing(Options(model=str(tmp_path))) in (
        "",
        "faster-whisper is not installed: pip install 'voicemedia[whisper]'",
    )


@pytest.mark.skipif(
    importlib.util.find_spec("faster_whisper") is None, reason="faster-whisper (the extra `whisper`) is not installed"
)
@in_reactor
async def test_the_real_library_loads_a_model_and_its_words_have_times(tmp_path: Path) -> None:
    """The model has the real format; what it says, we have written into it."""
    from tests.scripted_whisper import write_model

    write_model(tmp_path, "go forward ten meters", end_s=2.0)
    async with Served(tmp_path, library="faster_whisper") as served:
        await served.say()
        final = served.notes.told[-1]
        assert (final.text, final.language) == ("go forward ten meters", "en")
        assert final.confidence == pytest.approx(1, abs=1e-3)
        times = [(word.text, word.start_ms) for word in final.words]
        assert times == [("go", 0), ("forward", 500), ("ten", 1000), ("meters", 1500)]
        assert final.words[-1].end_ms == pytest.approx(2000, abs=20)
