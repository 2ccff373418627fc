"""Recognizer `whisper` against the stand-in of OpenAI's audio API, over real sockets."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock

from tests.clouds.ears import ScriptEar, SphinxEar, TimelineEar, stamped
from tests.clouds.openai_audio import OpenAiAudio
from tests.clouds.web import serve
from tests.hearing import Notes, frames_of, speak
from tests.in_reactor import in_reactor
from voicemedia.interfaces import Expected
from voicemedia.providers import load
from voicemedia.stt.whisper import Options, make, missing

RATE_HZ = 8000
WORDS = [("go", 0.2, 0.5), ("forward", 0.5, 1.1), ("ten", 1.3, 1.6), ("meters", 1.7, 2.4)]


class Served:
    """A stand-in and a recognizer that uses it, for one test."""

    def __init__(self, *, mishaps: list[str] | None = None, ear: Any = None, key: str = "", **options: Any) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.cloud = OpenAiAudio(reactor, ear or TimelineEar(WORDS), mishaps=mishaps or [], key=key)
        self.port = serve(self.cloud, reactor)
        options = {"key_env": "", "patience_s": 5, **options}
        url = f"http://127.0.0.1:{self.port.getHost().port}/v1"
        self.recognizer = make(Options(base_url=url, **options), reactor, lambda: 0.0)
        self.notes = Notes()
        self.cloud.on_asked = self.notes.look

    async def __aenter__(self) -> "Served":
        await self.recognizer.start()
        self.recognition = self.recognizer.listen(RATE_HZ, self.notes)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.recognition.close()
        await self.recognizer.stop()
        await maybeDeferred(self.port.stopListening)

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened here or there."""
        await self.notes.until(happened, self.reactor)

    async def say(self, frames: list[bytes] | None = None, finals: int = 1) -> None:
        """Speak one utterance and wait for its final or the end."""
        speak(self.recognition, frames or stamped(150, RATE_HZ))
        await self.notes.until_finals(finals, self.reactor)


@in_reactor
async def test_an_utterance_heard_at_once_is_one_final() -> None:
    async with Served() as served:
        await served.say()
        assert " ".join(served.notes.finals) == "go forward ten meters"
        assert 0.7 < served.notes.told[-1].confidence < 0.8
        assert served.notes.told[-1].language == "en"


@in_reactor
async def test_words_settle_while_the_caller_speaks() -> None:
    async with Served() as served:
        served.recognition.onset()
        for number, frame in enumerate(stamped(150, RATE_HZ), 1):
            served.recognition.feed(frame)
            if number in (50, 100):
                await served.until(lambda asked=number // 50: len(served.cloud.asked) == asked)  # type: ignore[misc]
                await served.until(lambda told=number // 50: len(served.notes.interims) == told)  # type: ignore[misc]
        assert served.notes.finals == ["go"]
        assert served.notes.interims == ["go forwa-", "forward ten"]
        served.recognition.endpoint()
        await served.until(lambda: " ".join(served.notes.finals).endswith("meters"))
        assert " ".join(served.notes.finals) == "go forward ten meters"


@in_reactor
async def test_the_form_has_what_the_api_asks_for() -> None:
    async with Served(language="fr", prompt="Bonjour.", model="whisper-large") as served:
        served.recognition.expect(Expected(phrases=("oui", "non")))
        await served.say()
        form = served.cloud.asked[-1]
        assert form.one("model") == "whisper-large"
        assert form.one("language") == "fr"
        assert form.one("response_format") == "verbose_json"
        assert form.fields["timestamp_granularities[]"] == ["segment", "word"]
        assert form.one("prompt") == "Bonjour. oui, non"
        assert form.files["file"].filename == "speech.wav"


@in_reactor
async def test_the_connection_is_kept_from_question_to_question() -> None:
    async with Served(ear=ScriptEar(["yes"]), interim=False) as served:
        for number in range(1, 6):
            await served.say(finals=number)
        assert len(served.cloud.connections) == 1


@pytest.mark.parametrize(
    "mishap",
    ["rate_limit", "rate_limit_retry_after", "busy", "half_closed", "reset", "garbage", "html"],
)
@in_reactor
async def test_a_final_is_asked_for_again_after(mishap: str) -> None:
    async with Served(mishaps=[mishap], interim=False) as served:
        await served.say()
        assert served.notes.error is None
        assert served.notes.finals == ["go forward ten meters"]
        assert served.recognizer.trouble == ""


@in_reactor
async def test_an_answer_that_stalls_in_its_middle_is_given_up_and_its_connection_closed() -> None:
    async with Served(mishaps=["stalled"], interim=False, timeout_s=0.2) as served:
        await served.say()
        assert served.notes.finals == ["go forward ten meters"]
        assert len(served.cloud.connections) == 2


@pytest.mark.parametrize(
    ("mishap", "says"),
    [
        ("bad_key", "HTTP 401 invalid_api_key: Incorrect API key provided"),
        ("quota", "HTTP 429 insufficient_quota: You exceeded your current quota"),
        ("unprocessable", "HTTP 422 body.model: Field required"),
    ],
)
@in_reactor
async def test_what_only_the_operator_can_mend_is_told_at_once(mishap: str, says: str) -> None:
    async with Served(mishaps=[mishap], interim=False) as served:
        await served.say()
        assert served.notes.finals == []
        assert served.notes.error is not None
        assert (str(served.notes.error), served.notes.error.retryable) == (says, False)
        assert served.recognizer.trouble == says


@in_reactor
async def test_patience_ends() -> None:
    async with Served(mishaps=["slow", "slow", "slow"], timeout_s=0.1, patience_s=0.15, interim=False) as served:
        await served.say()
        assert served.notes.error is not None
        assert (str(served.notes.error), served.notes.error.retryable) == ("no answer in 0.1 s", True)


@in_reactor
async def test_nobody_listening_is_a_failure_that_may_pass() -> None:
    async with Served(patience_s=0.1, interim=False) as served:
        await served.port.stopListening()
        await served.say()
        assert served.notes.error is not None and served.notes.error.retryable
        assert "cannot connect" in str(served.notes.error)


@in_reactor
async def test_a_guess_that_is_slow_does_not_keep_the_final_waiting() -> None:
    async with Served(mishaps=["slow"]) as served:
        frames = stamped(150, RATE_HZ)
        served.recognition.onset()
        for frame in frames[:60]:
            served.recognition.feed(frame)
        await served.until(lambda: bool(served.cloud.asked))
        for frame in frames[60:]:
            served.recognition.feed(frame)
        served.recognition.endpoint()
        await served.until(lambda: bool(served.notes.finals))
        assert served.notes.finals == ["go forward ten meters"]
        assert served.cloud.left == 1


@in_reactor
async def test_closing_takes_back_the_question() -> None:
    async with Served(mishaps=["slow"], interim=False) as served:
        speak(served.recognition, stamped(150, RATE_HZ))
        await served.until(lambda: bool(served.cloud.asked))
        served.recognition.close()
        await served.until(lambda: served.cloud.left == 1)
        assert served.notes.told == []


@pytest.mark.parametrize("variant", ["text_only", "no_words", "numbers_as_text", "made_up"])
@in_reactor
async def test_servers_that_answer_otherwise_are_understood(variant: str) -> None:
    async with Served(mishaps=[variant], interim=False) as served:
        await served.say()
        assert served.notes.finals == ["go forward ten meters"]


@in_reactor
async def test_the_key_goes_out_as_bearer_and_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_WHISPER_KEY", "sk-secret")
    async with Served(key="sk-secret", key_env="TEST_WHISPER_KEY") as served:
        await served.say()
        assert served.notes.error is None
        assert "sk-secret" not in repr(served.recognizer._service.options)


def test_a_key_that_is_absent_is_missing() -> None:
    assert missing(Options(key_env="NO_SUCH_KEY")) == (
        "key_env: environment variable NO_SUCH_KEY is not set; export it, or remove the key"
    )
    assert missing(Options(key_env="")) == ""


def test_options_are_checked() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"base_url": "ftp://example.com"}, Options)
    module, options = load("stt", "whisper", {"model": "large-v3", "usd_per_hour": 0.36})
    assert module.make(options, Clock()).name == "whisper"


@in_reactor
async def test_what_was_sent_is_told_and_has_a_price() -> None:
    async with Served(interim=False, usd_per_hour=0.36) as served:
        await served.say()
        assert served.notes.told[-1].billed_s == pytest.approx(3.0)
        assert served.recognizer.traits.usd_per_hour == 0.36


@in_reactor
async def test_a_recording_is_heard_for_real() -> None:
    frames, rate_hz = frames_of("go_forward.wav")
    async with Served(ear=SphinxEar(), interim=False) as served:
        served.recognition = served.recognizer.listen(rate_hz, served.notes)
        await served.say(frames)
        assert served.notes.finals == ["go forward ten meters"]
