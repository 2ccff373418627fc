"""The voices of web services against their stand-ins, over real sockets."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred

from tests.clouds.ears import ScriptEar
from tests.clouds.elevenlabs import ElevenLabs
from tests.clouds.google_speech import GoogleSpeech
from tests.clouds.mouths import ToneMouth
from tests.clouds.openai_speech import OpenAiSpeech
from tests.clouds.web import serve
from tests.in_reactor import in_reactor
from voicemedia.audio.g711 import decode_mulaw, encode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Surroundings
from voicemedia.tts import elevenlabs, elevenlabs_socket, google, openai

TEXT = "Two eggs, and a cup of coffee."


class Said:
    """What a voice gave for one sentence."""

    def __init__(self) -> None:
        self.pcm = bytearray()
        self.words: list[tuple[int, int]] = []
        self.begun: Deferred[None] = Deferred()

    def put(self, pcm: bytes) -> None:
        assert len(pcm) % 2 == 0
        self.pcm += pcm
        if not self.begun.called:
            self.begun.callback(None)

    def word(self, at: int, ms: int) -> None:
        self.words.append((at, ms))


class Spoken:
    """A stand-in and a voice that uses it, for one test."""

    def __init__(self, module: Any, *, options: dict[str, Any] | None = None, **cloud: Any) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        wanted = {"key_env": "TEST_KEY", "cache_mb": 0, **(options or {})}
        if module in (openai, google):
            kind = OpenAiSpeech if module is openai else GoogleSpeech
            self.openai = kind(reactor, ToneMouth(), key="k", **cloud)
            self.port = serve(self.openai, reactor)
            base_url = f"http://127.0.0.1:{self.port.getHost().port}/v1"
        else:
            self.cloud = ElevenLabs(reactor, ScriptEar(["hello"]), key="k", **cloud)
            self.port = serve(self.cloud.root, reactor)
            base_url = f"http://127.0.0.1:{self.port.getHost().port}"
        self.voice: Any = module.make(module.Options(base_url=base_url, **wanted), reactor)

    async def __aenter__(self) -> "Spoken":
        await self.voice.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.voice.stop()
        await maybeDeferred(self.port.stopListening)

    async def say(self, text: str = TEXT, rate_hz: int = 8000) -> Said:
        said = Said()
        await self.voice.speak(text, rate_hz, said.put, said.word)
        return said

    async def until(self, happened: Callable[[], bool], holder: Any) -> None:
        """Wait for something the stand-in tells."""
        waiting: Deferred[None] = Deferred()

        def look() -> None:
            if happened() and not waiting.called:
                waiting.callback(None)

        holder.on_asked = look
        look()
        await waiting.addTimeout(5, self.reactor)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "k")


async def tone(text: str, rate_hz: int) -> bytes:
    return (await ToneMouth().speak(text, rate_hz)).pcm


BOTH = pytest.mark.parametrize("module", [elevenlabs, elevenlabs_socket], ids=["http", "socket"])
ALL = pytest.mark.parametrize(
    "module", [elevenlabs, elevenlabs_socket, openai, google], ids=["http", "socket", "openai", "google"]
)


@in_reactor
async def test_mu_law_for_a_telephone_arrives_bit_for_bit() -> None:
    async with Spoken(elevenlabs) as spoken:
        said = await spoken.say()
        wire = encode_mulaw(await tone(TEXT, 8000))
        assert bytes(said.pcm) == decode_mulaw(wire)
        assert encode_mulaw(bytes(said.pcm)) == wire
        asked = spoken.cloud.speech.asked[0]
        assert asked["query"] == {"output_format": "ulaw_8000"}
        assert (asked["voice"], asked["model_id"]) == ("21m00Tcm4TlvDq8ikWAM", "eleven_flash_v2_5")
        assert asked["voice_settings"] == {"stability": 0.5, "similarity_boost": 0.75, "speed": 1.0}


@BOTH
@in_reactor
async def test_a_browser_gets_sixteen_kilohertz_over_split_samples(module: Any) -> None:
    async with Spoken(module) as spoken:
        said = await spoken.say(rate_hz=16000)
        whole = await tone(TEXT, 16000)
        # A socket is sent the space behind the sentence, too.
        assert bytes(said.pcm[: len(whole)]) == whole


@in_reactor
async def test_openai_sound_is_brought_to_the_rate_of_the_call() -> None:
    async with Spoken(openai, options={"instructions": "Kindly.", "speed": 1.25}) as spoken:
        said = await spoken.say()
        resampler = Resampler(24000, 8000)
        assert bytes(said.pcm) == resampler.feed(await tone(TEXT, 24000)) + resampler.flush()
        assert spoken.openai.asked == [
            {
                "model": "gpt-4o-mini-tts",
                "voice": "alloy",
                "input": TEXT,
                "response_format": "pcm",
                "instructions": "Kindly.",
                "speed": 1.25,
            }
        ]


@pytest.mark.parametrize("rate_hz", [8000, 16000])
@in_reactor
async def test_google_is_asked_for_the_rate_of_the_call(rate_hz: int) -> None:
    options = {"language": "en-IN", "voice": "en-IN-Neural2-A", "speed": 1.25, "pitch": -2.0}
    async with Spoken(google, options=options) as spoken:
        said = await spoken.say(rate_hz=rate_hz)
        assert bytes(said.pcm) == await tone(TEXT, rate_hz)
        assert spoken.openai.asked == [
            {
                "input": {"text": TEXT},
                "voice": {"languageCode": "en-IN", "name": "en-IN-Neural2-A"},
                "audioConfig": {
                    "audioEncoding": "LINEAR16",
                    "sampleRateHertz": rate_hz,
                    "speakingRate": 1.25,
                    "pitch": -2.0,
                },
            }
        ]


@in_reactor
async def test_google_is_asked_again_after_the_delay_it_names() -> None:
    async with Spoken(google, mishaps=["rate_limit"]) as spoken:
        assert bytes((await spoken.say()).pcm) == await tone(TEXT, 8000)
        assert len(spoken.openai.asked) == 1


@in_reactor
async def test_a_server_that_sends_wav_all_the_same_is_understood() -> None:
    async with Spoken(openai, mishaps=["wav"]) as spoken:
        said = await spoken.say(rate_hz=16000)
        assert bytes(said.pcm) == await tone(TEXT, 16000)


@in_reactor
async def test_what_stands_around_a_sentence_is_told() -> None:
    async with Spoken(elevenlabs) as spoken:
        said = Said()
        await spoken.voice.speak_between("Yes.", 8000, said.put, said.word, Surroundings("Hello there.", "Go on."))
        asked = spoken.cloud.speech.asked[0]
        assert (asked["previous_text"], asked["next_text"]) == ("Hello there.", "Go on.")


@in_reactor
async def test_words_are_told_when_they_begin() -> None:
    async with Spoken(elevenlabs_socket) as spoken:
        said = await spoken.say("Two eggs, please.")
        assert said.words == [(0, 0), (4, 240), (10, 600)]


@in_reactor
async def test_sentences_share_a_connection_until_it_is_full() -> None:
    async with Spoken(elevenlabs_socket) as spoken:
        for number in range(3):
            await spoken.say(f"Sentence {number}.")
        assert spoken.cloud.speech.sockets == 1
        said = [Said() for _ in range(7)]
        waiting = [spoken.voice.speak(TEXT, 8000, each.put, each.word) for each in said]
        for each in waiting:
            await each
        assert spoken.cloud.speech.sockets == 2
        assert len({bytes(each.pcm) for each in said}) == 1


@pytest.mark.parametrize("mishap", ["unaligned", "endless"])
@in_reactor
async def test_a_sentence_ends_though_the_service_does_not_tell(mishap: str) -> None:
    async with Spoken(elevenlabs_socket, contexts=[mishap]) as spoken:
        said = await spoken.say("Yes.")
        assert len(said.pcm) == len(await tone("Yes. ", 8000))
        assert spoken.cloud.speech.told[-1] == {"context_id": "s1", "close_context": True}


@in_reactor
async def test_an_interruption_closes_the_context() -> None:
    async with Spoken(elevenlabs_socket, contexts=["unaligned"]) as spoken:
        said = Said()
        speaking = spoken.voice.speak(TEXT, 8000, said.put, said.word)
        await said.begun
        speaking.cancel()
        with pytest.raises(CancelledError):
            await speaking
        closed = {"context_id": "s1", "close_context": True}
        await spoken.until(lambda: closed in spoken.cloud.speech.told, spoken.cloud.speech)
        heard = len(said.pcm)
        await spoken.say("The next one.")
        assert (len(said.pcm), spoken.cloud.speech.sockets) == (heard, 1)


@pytest.mark.parametrize("module", [elevenlabs, openai], ids=["elevenlabs", "openai"])
@in_reactor
async def test_an_interruption_closes_the_request(module: Any) -> None:
    mishaps: Any = {"speeches": ["stalled"]} if module is elevenlabs else {"mishaps": ["stalled"]}
    async with Spoken(module, **mishaps) as spoken:
        said = Said()
        speaking = spoken.voice.speak(TEXT, 8000, said.put, said.word)
        await said.begun
        speaking.cancel()
        with pytest.raises(CancelledError):
            await speaking
        holder: Any = spoken.cloud.speech if module is elevenlabs else spoken.openai
        await spoken.until(lambda: holder.left == 1, holder)


@pytest.mark.parametrize("mishap", ["concurrent", "busy", "reset", "empty"])
@in_reactor
async def test_a_sentence_not_yet_begun_is_asked_for_again(mishap: str) -> None:
    async with Spoken(elevenlabs, speeches=[mishap]) as spoken:
        assert bytes((await spoken.say()).pcm) == decode_mulaw(encode_mulaw(await tone(TEXT, 8000)))
        assert spoken.voice.trouble == ""


@pytest.mark.parametrize("mishap", ["error", "garbage"])
@in_reactor
async def test_a_context_not_yet_begun_is_asked_for_again(mishap: str) -> None:
    async with Spoken(elevenlabs_socket, contexts=[mishap]) as spoken:
        assert (await spoken.say()).words[0] == (0, 0)


FAILURES: list[tuple[Any, dict[str, Any], bool, str]] = [
    (elevenlabs, {"speeches": ["cut"]}, True, "connection lost"),
    (elevenlabs, {"speeches": ["bad_key"]}, False, "invalid_api_key"),
    (elevenlabs, {"speeches": ["quota"]}, False, "quota_exceeded"),
    (elevenlabs, {"speeches": ["unprocessable"]}, False, "HTTP 422"),
    (elevenlabs, {"speeches": ["quiet"] * 3}, True, "no answer in 0.2 s"),
    (elevenlabs, {"speeches": ["stalled"]}, True, "no answer in 0.2 s"),
    (elevenlabs_socket, {"contexts": ["vanish"]}, True, "connection lost"),
    (elevenlabs_socket, {"contexts": ["silent"] * 3}, True, "no sound for 0.2 s"),
    (openai, {"mishaps": ["cut"]}, True, "connection lost"),
    (openai, {"mishaps": ["bad_key"]}, False, "invalid_api_key"),
    (openai, {"mishaps": ["busy"] * 9}, True, "HTTP 503"),
    (google, {"mishaps": ["bad_key"]}, False, "API key not valid"),
    (google, {"mishaps": ["busy"] * 9}, True, "HTTP 503 UNAVAILABLE"),
    (google, {"mishaps": ["cut"] * 9}, True, "connection lost"),
    (google, {"mishaps": ["garbage"] * 9}, True, "cannot read the answer"),
    (google, {"mishaps": ["no_audio"] * 9}, True, "cannot read the answer"),
    (google, {"mishaps": ["slow"] * 9}, True, "no answer in 0.2 s"),
]


@pytest.mark.parametrize(("module", "mishaps", "retryable", "says"), FAILURES)
@in_reactor
async def test_failures_are_told(module: Any, mishaps: dict[str, Any], retryable: bool, says: str) -> None:
    async with Spoken(module, options={"timeout_s": 0.2, "patience_s": 0.2}, **mishaps) as spoken:
        with pytest.raises(ProviderError, match=says) as failed:
            await spoken.say()
        assert failed.value.retryable is retryable
        assert says in spoken.voice.trouble


@ALL
@in_reactor
async def test_what_was_said_before_is_not_asked_for_again(module: Any) -> None:
    async with Spoken(module, options={"cache_mb": 1}) as spoken:
        first, second = await spoken.say(), await spoken.say()
        assert first.pcm and (first.pcm, first.words) == (second.pcm, second.words)
        asked: Any = spoken.openai.asked if module in (openai, google) else spoken.cloud.speech.asked
        assert len(asked) == (0 if module is elevenlabs_socket else 1)
        if module is elevenlabs_socket:
            assert sum(bool(message.get("flush")) for message in spoken.cloud.speech.told) == 1


@ALL
def test_a_key_that_is_absent_is_missing(module: Any) -> None:
    assert "NO_SUCH_KEY is not set" in module.missing(module.Options(key_env="NO_SUCH_KEY"))
    assert module.missing(module.Options(key_env="TEST_KEY")) == ""
