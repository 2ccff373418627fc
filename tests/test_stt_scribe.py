"""Recognizer `scribe` against the stand-in of ElevenLabs, over real sockets."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import maybeDeferred

from tests.clouds.ears import SphinxEar, TimelineEar, stamped
from tests.clouds.elevenlabs import ElevenLabs
from tests.clouds.web import serve
from tests.hearing import Notes, frames_of, speak
from tests.in_reactor import in_reactor
from voicemedia.interfaces import Expected
from voicemedia.stt.scribe import Options, make, missing
from voicemedia.stt.scribe_wire import read_answer
from voicemedia.stt.words import confidence_of, text_of

WORDS = [("go", 0.2, 0.5), ("forward", 0.5, 1.1), ("ten", 1.3, 1.6), ("meters", 1.7, 2.4)]


class Served:
    """A stand-in and a recognizer that uses it, for one test."""

    def __init__(self, *, mishaps: tuple[str, ...] = (), ear: Any = None, rate_hz: int = 16000, **options: Any) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.cloud = ElevenLabs(reactor, ear or TimelineEar(WORDS), mishaps=mishaps, key="xi-secret")
        self.port = serve(self.cloud.root, reactor)
        url = f"http://127.0.0.1:{self.port.getHost().port}"
        self.recognizer = make(Options(base_url=url, key_env="TEST_XI_KEY", **options), reactor, lambda: 0.0)
        self.notes = Notes()
        self.rate_hz = rate_hz
        self.cloud.scribe.on_asked = self.notes.look

    async def __aenter__(self) -> "Served":
        await self.recognizer.start()
        self.recognition = self.recognizer.listen(self.rate_hz, self.notes)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.recognition.close()
        await self.recognizer.stop()
        await maybeDeferred(self.port.stopListening)

    async def say(self, frames: list[bytes] | None = None) -> None:
        """Speak one utterance and wait for its final or the end."""
        speak(self.recognition, frames or stamped(150, self.rate_hz))
        await self.notes.until_finals(1, self.reactor)

    async def until(self, happened: Callable[[], bool]) -> None:
        await self.notes.until(happened, self.reactor)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_XI_KEY", "xi-secret")


@pytest.mark.parametrize(
    ("rate_hz", "form", "filename"), [(16000, "pcm_s16le_16", "speech.pcm"), (8000, "other", "speech.wav")]
)
@in_reactor
async def test_an_utterance_is_one_question_and_one_final(rate_hz: int, form: str, filename: str) -> None:
    async with Served(rate_hz=rate_hz, language="en-US") as served:
        await served.say()
        assert served.notes.finals == ["go forward ten meters"]
        assert served.notes.interims == []
        assert served.notes.told[0].confidence == pytest.approx(0.8187, abs=1e-4)
        assert [word.text for word in served.notes.told[0].words] == ["go", "forward", "ten", "meters"]
        asked = served.cloud.scribe.asked[0]
        assert (asked.one("model_id"), asked.one("file_format")) == ("scribe_v1", form)
        assert (asked.one("language_code"), asked.one("tag_audio_events"), asked.one("diarize")) == (
            "en",
            "false",
            "false",
        )
        assert asked.files["file"].filename == filename


@pytest.mark.parametrize("mishap", ["concurrent", "busy", "half_closed", "reset", "garbage"])
@in_reactor
async def test_a_final_is_asked_for_again_after(mishap: str) -> None:
    async with Served(mishaps=(mishap,)) as served:
        await served.say()
        assert served.notes.finals == ["go forward ten meters"]


@pytest.mark.parametrize(
    ("mishap", "says"),
    [
        ("bad_key", "HTTP 401 invalid_api_key: Invalid API key"),
        ("quota", "HTTP 401 quota_exceeded: This request exceeds your quota."),
        ("unprocessable", "HTTP 422 body.model_id: field required"),
    ],
)
@in_reactor
async def test_what_only_the_operator_can_mend_is_told_at_once(mishap: str, says: str) -> None:
    async with Served(mishaps=(mishap,)) as served:
        await served.say()
        assert served.notes.error is not None
        assert (str(served.notes.error), served.notes.error.retryable) == (says, False)
        assert served.recognizer.trouble == says


@in_reactor
async def test_a_refusal_that_lasts_is_told_when_patience_ends() -> None:
    async with Served(mishaps=("concurrent",) * 9, patience_s=0.2) as served:
        await served.say()
        assert served.notes.error is not None and served.notes.error.retryable
        assert served.notes.error.code == "concurrent_limit_exceeded"


@in_reactor
async def test_keyterms_go_only_to_the_model_that_takes_them() -> None:
    async with Served(model="scribe_v2", keyterms=("chapati",)) as served:
        served.recognition.expect(Expected(phrases=("dal",), language="hi-IN"))
        await served.say()
        asked = served.cloud.scribe.asked[0]
        assert asked.fields["keyterms"] == ["chapati", "dal"]
        assert asked.one("language_code") == "hi"


@in_reactor
async def test_a_recording_is_heard_for_real() -> None:
    frames, rate_hz = frames_of("go_forward.wav")
    async with Served(ear=SphinxEar(), rate_hz=rate_hz) as served:
        await served.say(frames)
        assert served.notes.finals == ["go forward ten meters"]


@in_reactor
async def test_closing_takes_back_the_question() -> None:
    async with Served(mishaps=("slow",)) as served:
        speak(served.recognition, stamped(150, 16000))
        await served.until(lambda: bool(served.cloud.scribe.asked))
        served.recognition.close()
        await served.until(lambda: served.cloud.scribe.left == 1)
        assert served.notes.told == []


def test_a_key_that_is_absent_is_missing() -> None:
    assert "NO_SUCH_KEY is not set" in missing(Options(key_env="NO_SUCH_KEY"))
    assert missing(Options(key_env="TEST_XI_KEY")) == ""


def test_spaces_stand_where_scribe_puts_them_and_sounds_are_no_words() -> None:
    words_told = [
        {"text": "你", "start": 0, "end": 0.2, "type": "word", "logprob": -1},
        {"text": "好", "start": 0.2, "end": 0.4, "type": "word", "logprob": -3},
        {"text": " ", "type": "spacing"},
        {"text": "(laughs)", "type": "audio_event"},
        {"text": " ", "type": "spacing"},
        {"text": "ok", "start": 1, "end": 3, "type": "word", "logprob": -2},
    ]
    body = json.dumps({"text": "你好 (laughs) ok", "language_code": "zho", "words": words_told})
    words = read_answer(body.encode(), 1000, 5000)
    assert text_of(words) == "你好 ok"
    assert (words[0].start_ms, words[-1].end_ms, words[0].language) == (1000, 4000, "zh")
    # exp of the plain mean.
    assert confidence_of(words) == pytest.approx(2.718281828**-2)
