"""Recognizer `google` against the stand-in that speaks Google's own wire."""

import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from google.cloud.speech_v2.types import cloud_speech as cs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.clouds.google import GoogleCloud, Switches
from tests.clouds.marked import WORDS, frames, silence, speak
from tests.clouds.stream_ears import scripted_ear
from tests.in_reactor import in_reactor
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Hearing, Transcript
from voicemedia.stt import google
from voicemedia.stt.failover import Place
from voicemedia.stt.google import GoogleRecognizer, Options
from voicemedia.stt.google_options import language_codes
from voicemedia.stt.google_stream import MAX_AUDIO_BYTES, failure_of, first_request
from voicemedia.stt.renewing import RenewingRecognizer
from voicemedia.stt.stretches import Patience
from voicemedia.threads import LoopThread, loop_thread
from voicemedia.web.breaker import Trip

Encoding = cs.ExplicitDecodingConfig.AudioEncoding


class Owner:
    """Writes down what it is told, and tells when something has come."""

    def __init__(self) -> None:
        self.transcripts: list[Transcript] = []
        self.errors: list[ProviderError] = []
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def heard(self, transcript: Transcript) -> None:
        self.transcripts.append(transcript)
        self._look()

    def deaf(self, error: ProviderError) -> None:
        self.errors.append(error)
        self._look()

    def _look(self) -> None:
        for waiting in tuple(self._waiting):
            if waiting[0]():
                self._waiting.remove(waiting)
                waiting[1].callback(None)

    @property
    def finals(self) -> list[str]:
        return [transcript.text for transcript in self.transcripts if transcript.final]

    def until(self, true: Callable[[], bool]) -> Deferred[None]:
        came: Deferred[None] = Deferred()
        came.addTimeout(10, reactor)
        self._waiting.append((true, came))
        self._look()
        return came

    def final(self, count: int = 1) -> Deferred[None]:
        return self.until(lambda: len(self.finals) >= count)

    def failure(self) -> Deferred[None]:
        return self.until(lambda: bool(self.errors))


class Studio:
    """A stand-in, a recognizer that uses it, and their thread."""

    def __init__(self, thread: LoopThread, cloud: GoogleCloud, recognizer: GoogleRecognizer) -> None:
        self.thread, self.cloud, self.recognizer = thread, cloud, recognizer

    def listen(self, hearing: Hearing, rate_hz: int = 8000) -> Any:
        return self.recognizer.listen(rate_hz, hearing)

    def config(self) -> Any:
        return self.cloud.tally.configs[-1].streaming_config


@asynccontextmanager
async def studio(cloud: GoogleCloud | None = None, **options: Any) -> AsyncIterator[Studio]:
    thread = loop_thread(reactor)
    thread.hold()
    cloud = cloud or GoogleCloud()
    port = await thread.ask(cloud.start)
    recognizer = GoogleRecognizer(Options(endpoint=f"127.0.0.1:{port}", plaintext=True, **options), thread)
    await recognizer.start()
    try:
        yield Studio(thread, cloud, recognizer)
    finally:
        await recognizer.stop()
        await thread.ask(cloud.stop)
        await thread.release()


def hear(recognition: Any, pcm: bytes, rate_hz: int = 8000) -> None:
    for frame in frames(pcm, rate_hz):
        recognition.feed(frame)


@in_reactor
async def test_one_utterance_becomes_interims_and_one_final() -> None:
    async with studio() as room:
        owner = Owner()
        recognition = room.listen(owner)
        hear(recognition, silence(300) + speak("ban bar bas") + silence(60))
        await owner.until(lambda: len(owner.transcripts) >= 3)
        recognition.endpoint()
        await owner.final()
        assert [transcript.text for transcript in owner.transcripts] == ["ban", "ban bar", "ban bar bas", "ban bar bas"]
        interim, final = owner.transcripts[-2:]
        assert (interim.final, interim.confidence, round(interim.stability, 3)) == (False, 0.0, 0.9)
        assert (round(final.confidence, 3), final.end_ms, final.language) == (0.92, 960, "en-US")
        assert final.closes
        assert final.billed_s == 1
        assert recognition.events[0] == ("speech_activity_begin", 480)
        assert room.cloud.tally.half_closes == 1
        recognition.close()


@in_reactor
async def test_telephone_sound_is_sent_as_mulaw_in_chunks_after_a_request_of_its_own() -> None:
    async with studio(project="p1", location="eu") as room:
        owner = Owner()
        recognition = room.listen(owner)
        hear(recognition, speak("ban") * 5)
        recognition.endpoint()
        await owner.final()
        decoding = room.config().config.explicit_decoding_config
        assert (decoding.encoding, decoding.sample_rate_hertz) == (Encoding.MULAW, 8000)
        assert room.cloud.tally.configs[-1].recognizer == "projects/p1/locations/eu/recognizers/_"
        assert (room.cloud.tally.audio_bytes, room.cloud.tally.requests) == (8000, 10)
        assert room.cloud.tally.largest == 800
        recognition.close()


@in_reactor
async def test_wide_sound_is_linear_and_no_request_is_too_large() -> None:
    async with studio(chunk_ms=160) as room:
        owner = Owner()
        recognition = room.listen(owner, 48000)
        hear(recognition, speak("ban bar", 48000), 48000)
        recognition.endpoint()
        await owner.final()
        assert owner.finals == ["ban bar"]
        assert room.config().config.explicit_decoding_config.encoding == Encoding.LINEAR16
        assert room.cloud.tally.largest <= MAX_AUDIO_BYTES
        recognition.close()


@in_reactor
async def test_everything_that_can_be_set_reaches_google() -> None:
    async with studio(
        model="chirp_3",
        languages=("de-DE", "fr-FR"),
        words=True,
        punctuation=False,
        profanity_filter=True,
        phrase_boost=7,
        endpointing="short",
        speech_start_timeout_s=5,
        speech_end_timeout_s=0.8,
    ) as room:
        owner = Owner()
        recognition = room.listen(owner)
        recognition.expect(Expected(phrases=("ban", "bar bas")))
        hear(recognition, speak("ban bar"))
        recognition.endpoint()
        await owner.final()
        streaming = room.config()
        config, features = streaming.config, streaming.streaming_features
        assert (config.model, list(config.language_codes)) == ("chirp_3", ["de-DE", "fr-FR"])
        assert config.features.enable_word_time_offsets and config.features.profanity_filter
        assert not config.features.enable_automatic_punctuation
        request = first_request(Options(), 16000, Expected(words=True))
        asked = cs.StreamingRecognizeRequest.deserialize(request).streaming_config.config.features
        assert asked.enable_word_time_offsets and asked.enable_word_confidence
        phrases = config.adaptation.phrase_sets[0].inline_phrase_set.phrases
        assert [(phrase.value, phrase.boost) for phrase in phrases] == [("ban", 7), ("bar bas", 7)]
        assert features.interim_results and features.enable_voice_activity_events
        assert features.endpointing_sensitivity.name == "ENDPOINTING_SENSITIVITY_SHORT"
        assert features.voice_activity_timeout.speech_start_timeout.total_seconds() == 5
        assert features.voice_activity_timeout.speech_end_timeout.total_seconds() == 0.8
        words = owner.transcripts[-1].words
        assert [(word.text, word.start_ms, word.end_ms) for word in words] == [("ban", 0, 160), ("bar", 200, 360)]
        recognition.close()


@in_reactor
async def test_telephony_models_are_not_told_phrases_which_they_refuse() -> None:
    async with studio(model="telephony") as room:
        owner = Owner()
        recognition = room.listen(owner)
        recognition.expect(Expected(phrases=("ban",), language="fr"))
        hear(recognition, speak("ban"))
        recognition.endpoint()
        await owner.final()
        assert not room.config().config.adaptation.phrase_sets
        assert list(room.config().config.language_codes) == ["fr-FR"]
        recognition.close()


def test_google_wants_a_region_with_every_language() -> None:
    options = Options(project="p", languages=("en-IN", "hi-IN"))
    assert language_codes(options, "") == ("en-IN", "hi-IN")
    assert language_codes(options, "en") == ("en-IN",)
    assert language_codes(options, "hi-IN") == ("hi-IN",)
    assert language_codes(options, "fr") == ("fr-FR",)
    assert language_codes(options, "he") == ("iw-IL",)
    assert language_codes(options, "de-AT") == ("de-AT",)


def test_a_language_is_found_out_by_chirp_models_or_among_those_configured() -> None:
    one, two = Options(project="p", languages=("en-IN",)), Options(project="p", languages=("en-IN", "hi-IN"))
    chirp = Options(project="p", model="chirp_3", languages=("auto",))
    assert language_codes(chirp, "auto") == language_codes(chirp, "") == ("auto",)
    assert language_codes(two, "auto") == ("en-IN", "hi-IN")
    assert ["auto" in each.spoken for each in (one, two, chirp)] == [False, True, True]
    assert one.spoken[0] == "en-IN"
    assert "auto" not in chirp.spoken[:1]
    assert {"fr", "sw"} < set(one.spoken)
    assert "eo" not in one.spoken


ENDS = [
    ({"idle_s": 0.05}, "aborted", "Stream timed out after receiving no more client requests."),
    ({"limit_s": 0.05}, "aborted", "Max duration of 5 minutes reached for stream."),
    ({"max_audio_bytes": 100}, "invalid_argument", "Audio chunk can be of a a maximum of 100 bytes."),
    ({"key": "sesame"}, "unauthenticated", "API key not valid."),
    ({"fail_after_s": 0.5, "fail_with": "UNAVAILABLE"}, "unavailable", "as the switch says"),
    ({"fail_after_s": 0.5, "fail_with": "INTERNAL"}, "internal", "as the switch says"),
    ({"fail_after_s": 0.5, "fail_with": "CANCELLED"}, "cancelled", "as the switch says"),
    ({"fail_after_s": 0.5, "fail_with": "OUT_OF_RANGE"}, "out_of_range", "as the switch says"),
    ({"max_speed": 1.0}, "out_of_range", "too fast"),
    ({"end_after_s": 0.5}, "ended", "ended the stream"),
    ({"garbage": True}, "internal", ""),
]


@pytest.mark.parametrize(("switches", "code", "said"), ENDS, ids=[str(end[0]) for end in ENDS])
@in_reactor
async def test_every_end_of_a_stream_is_understood(switches: dict[str, Any], code: str, said: str) -> None:
    async with studio(GoogleCloud(switches=Switches(**switches))) as room:
        owner = Owner()
        recognition = room.listen(owner)
        hear(recognition, speak(" ".join(WORDS[:100])))
        await owner.failure()
        error = owner.errors[0]
        assert error.code == code, error
        assert said in str(error)
        assert error.blameless == (code in ("aborted", "out_of_range", "ended"))
        assert error.retryable == (code not in ("invalid_argument", "unauthenticated"))
        recognition.close()


@in_reactor
async def test_a_project_over_its_quota_is_left_alone_for_a_while() -> None:
    async with studio(GoogleCloud(switches=Switches(quota=1))) as room:
        first, second = Owner(), Owner()
        for owner in (first, second):
            hear(room.listen(owner), speak("ban bar"))
            await owner.until(lambda owner=owner: bool(owner.transcripts or owner.errors))  # type: ignore[misc]
        assert second.errors[0].code == "resource_exhausted"
        assert second.errors[0].retryable and second.errors[0].retry_after_s > 0


@in_reactor
async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with studio() as room:
        await room.thread.ask(room.cloud.stop)
        owner = Owner()
        hear(room.listen(owner), speak("ban"))
        await owner.failure()
        assert (owner.errors[0].code, owner.errors[0].retryable) == ("unavailable", True)


@in_reactor
async def test_a_key_is_sent_when_one_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECH_KEY", "sesame")
    async with studio(GoogleCloud(switches=Switches(key="sesame")), api_key_env="SPEECH_KEY") as room:
        owner = Owner()
        recognition = room.listen(owner)
        hear(recognition, speak("ban"))
        recognition.endpoint()
        await owner.final()
        assert owner.finals == ["ban"]


@in_reactor
async def test_a_slow_server_answers_late_but_fully() -> None:
    switches = Switches(delay_s=0.02, finals_on_finish_s=0.1, hello=True)
    async with studio(GoogleCloud(scripted_ear("0.1 hello 0.3 world"), switches)) as room:
        owner = Owner()
        recognition = room.listen(owner)
        hear(recognition, silence(600))
        recognition.endpoint()
        await owner.final()
        assert owner.finals == ["hello world"]


@in_reactor
async def test_a_server_that_does_not_read_makes_a_backlog() -> None:
    async with studio(GoogleCloud(switches=Switches(deaf_after_s=0.1)), encoding="linear16") as room:
        recognition = room.listen(Owner())
        # More than the flow control windows of HTTP/2 and the kernel take.
        for _ in range(100):
            hear(recognition, speak(" ".join(WORDS)))
        await deferLater(reactor, 0.5)
        assert recognition.backlog_ms > 1000
        recognition.close()


@in_reactor
async def test_eighty_streams_share_a_connection() -> None:
    async with studio(streams_per_channel=2) as room:
        owners = [Owner() for _ in range(5)]
        recognitions = [room.listen(owner) for owner in owners]
        for recognition in recognitions:
            hear(recognition, speak("ban"))
        for owner in owners:
            await owner.until(lambda owner=owner: bool(owner.transcripts))  # type: ignore[misc]
        assert room.recognizer.channels is not None
        assert len(room.recognizer.channels._channels) == 3
        for recognition in recognitions:
            recognition.close()


@in_reactor
async def test_a_closed_recognition_leaves_no_stream_behind() -> None:
    async with studio() as room:
        owner = Owner()
        recognition = room.listen(owner)
        hear(recognition, speak("ban bar"))
        await owner.until(lambda: bool(owner.transcripts))
        recognition.close()
        while room.cloud.tally.live:
            await deferLater(reactor, 0.01)
        assert owner.errors == []


@in_reactor
async def test_a_closed_recognition_leaves_nothing_for_the_garbage_collector() -> None:
    async with studio() as room:
        gone: list[weakref.ref[Any]] = []
        gc.collect()
        gc.disable()
        try:
            for ending in ("endpoint", "close"):
                owner = Owner()
                recognition = room.listen(owner)
                hear(recognition, speak("ban bar"))
                await owner.until(lambda owner=owner: bool(owner.transcripts))  # type: ignore[misc]
                if ending == "endpoint":
                    recognition.endpoint()
                    await owner.final()
                recognition.close()
                gone += [weakref.ref(owner), weakref.ref(recognition._stream)]
                del owner, recognition
            assert len(gone) == 4
            while any(each() for each in gone):
                await deferLater(reactor, 0.01)
        finally:
            gc.enable()


@pytest.mark.parametrize("how", ["limit", "UNAVAILABLE", "INTERNAL", "CANCELLED", "end", "stall"])
@in_reactor
async def test_a_long_talk_over_disturbed_streams_loses_no_word(how: str) -> None:
    random = Random(how)
    async with studio(GoogleCloud(switches=Switches(pause_ms=300))) as room:
        patience = Patience(final_ms=150, stall_ms=150, failures=100, tries=100, retry_ms=1)
        place = Place(room.recognizer, Trip(failures=1000))
        renewing = RenewingRecognizer([place], reactor, patience)
        owner = Owner()
        recognition = renewing.listen(8000, owner)
        spoken = [" ".join(random.choices(WORDS, k=random.randint(1, 6))) for _ in range(12)]
        for text in spoken:
            pcm = silence(200) + speak(text) + silence(600)
            # An end that crosses our half-close, and comes before any guess, cannot be told from a good one.
            strike = random.randrange(0, len(pcm) - 3200 * 3 if how == "end" else len(pcm), 3200)
            recognition.onset()
            # Thirty times as fast as people speak.
            for piece in range(0, len(pcm), 3200):
                hear(recognition, pcm[piece : piece + 3200])
                if piece == strike:
                    await room.thread.ask(room.cloud.strike, how)
                await deferLater(reactor, 0.2 / 30)
            recognition.endpoint()
        await recognition.finish()
        assert " ".join(final for final in owner.finals if final) == " ".join(spoken)
        assert recognition.tally.recoveries > 0
        recognition.close()
        assert place.seconds > 0


@in_reactor
async def test_a_server_that_ends_every_stream_after_a_second_loses_no_word() -> None:
    async with studio(GoogleCloud(switches=Switches(pause_ms=0, end_after_s=1))) as room:
        renewing = RenewingRecognizer([Place(room.recognizer)], reactor, Patience(retry_ms=1))
        owner = Owner()
        recognition = renewing.listen(8000, owner)
        spoken = [" ".join(WORDS[at : at + 20]) for at in (0, 30)]
        for text in spoken:
            pcm = speak(text) + silence(600)
            recognition.onset()
            for piece in range(0, len(pcm), 3200):
                hear(recognition, pcm[piece : piece + 3200])
                await deferLater(reactor, 0.2 / 30)
            recognition.endpoint()
        await recognition.finish()
        assert " ".join(final for final in owner.finals if final) == " ".join(spoken)
        recognition.close()


def test_what_is_missing_is_said_with_its_cure(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert google.missing(Options(plaintext=True, endpoint="127.0.0.1:1")) == ""
    assert google.missing(Options()).startswith("project: set it")
    assert (
        google.missing(Options(project="p", credentials="/nowhere.json"))
        == "credentials: there is no file /nowhere.json"
    )
    monkeypatch.delenv("NO_KEY", raising=False)
    assert "NO_KEY" in google.missing(Options(project="p", api_key_env="NO_KEY"))
    monkeypatch.setitem(google.PACKAGES, "google.cloud.speech_v9", "google-cloud-speech")
    assert "pip install 'voicemedia[google]'" in google.missing(Options(project="p"))


@in_reactor
async def test_credentials_that_cannot_be_read_are_the_operators_to_mend(tmp_path: Any) -> None:
    broken = tmp_path / "key.json"
    broken.write_text("{}")
    recognizer = GoogleRecognizer(Options(project="p", credentials=str(broken)), loop_thread(reactor))
    with pytest.raises(ProviderError, match="no credentials") as caught:
        await recognizer.start()
    assert not caught.value.retryable
    assert "no credentials" in recognizer.trouble
    with pytest.raises(ProviderError):
        recognizer.listen(8000, Owner())
    await recognizer.stop()


def test_hosts_follow_the_location() -> None:
    assert Options(project="p").host == "speech.googleapis.com:443"
    assert Options(project="p", location="eu").host == "eu-speech.googleapis.com:443"
    assert Options(project="p", endpoint="h:1").host == "h:1"


def test_unknown_codes_are_worth_another_try() -> None:
    assert failure_of("UNKNOWN", "").retryable
