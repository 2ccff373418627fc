"""Recognizer `scribe_realtime`: on a fake clock with a scripted link, then against the stand-in."""

import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from tests.clouds.ears import ScriptEar, SphinxEar, TimelineEar, stamped
from tests.clouds.elevenlabs import ElevenLabs
from tests.clouds.web import serve
from tests.hearing import Notes, frames_of, speak
from tests.in_reactor import in_reactor
from voicemedia.audio.frames import Framer
from voicemedia.audio.g711 import encode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.errors import ProviderError
from voicemedia.stt.scribe_realtime import Options, ScribeRealtimeRecognizer
from voicemedia.stt.scribe_session import Manners, ScribeSession
from voicemedia.stt.scribe_wire import ERRORS, FATAL, NATURAL, realtime_url
from voicemedia.web.backoff import Backoff
from voicemedia.web.refusal_wire import Refused
from voicemedia.web.websocket_client import Link, Talk

RATE_HZ = 8000
FRAME = b"\x10\x00" * 160


class FakeLink:
    """A socket that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed = False

    def send(self, payload: bytes) -> None:
        self.sent.append(json.loads(payload))

    def close(self) -> None:
        self.closed = True


class Room:
    """A session on a fake clock, with a service that says what the test lets it say."""

    def __init__(
        self, *, automatic: bool = False, timed: bool = False, rate_hz: int = RATE_HZ, slow: bool = False
    ) -> None:
        self.clock = Clock()
        self.links: list[FakeLink] = []
        self.notes = Notes()
        self.slow = slow
        self.opening: list[Deferred[Link]] = []
        self.refusals: list[ProviderError] = []
        manners = Manners(rate_hz, True, automatic, timed, chunk_ms=100, answer_s=5, patience_s=10)
        self.session = ScribeSession(self.clock, manners, self.connect, Backoff(lambda: 0.0), self.notes)
        self.session.begin()

    def connect(self, _talk: Talk) -> Deferred[Link]:
        if self.refusals:
            return fail(self.refusals.pop(0))
        self.links.append(FakeLink())
        link = cast(Link, self.links[-1])
        if not self.slow:
            return succeed(link)
        self.opening.append(Deferred())
        return self.opening[-1]

    def speak(self, frames: int) -> None:
        for _ in range(frames):
            self.session.feed(FRAME)
            self.clock.advance(0.02)

    def tell(self, kind: str, **more: Any) -> None:
        self.session.message(json.dumps({"message_type": kind, **more}).encode())

    @property
    def errors(self) -> list[str]:
        return [self.notes.error.code] if self.notes.error else []

    @property
    def sent_ms(self) -> list[int | str]:
        """What was sent on the last link: the length of each piece of sound, or `commit`."""
        return [
            "commit" if each["commit"] else len(b64decode(each["audio_base_64"])) // 8 for each in self.links[-1].sent
        ]


def test_an_utterance_is_sent_as_it_is_said_and_committed_at_its_end() -> None:
    room = Room()
    room.speak(50)
    assert room.sent_ms == []
    room.session.onset()
    room.speak(7)
    assert room.sent_ms == [100] * 5 + [20, 100]
    room.session.endpoint()
    assert room.sent_ms[-2:] == [20, "commit"]
    room.tell("committed_transcript", text="Hello.")
    final = room.notes.told[-1]
    assert (final.text, final.final, final.start_ms, final.end_ms) == ("Hello.", True, 500, 1140)


def test_telephone_sound_goes_out_as_mulaw() -> None:
    room = Room()
    room.session.onset()
    room.speak(5)
    assert b64decode(room.links[0].sent[0]["audio_base_64"]) == encode_mulaw(FRAME * 5)
    assert room.links[0].sent[0]["sample_rate"] == 8000


@pytest.mark.parametrize(
    ("caller_hz", "mulaw", "form"),
    [(8000, True, "ulaw_8000"), (8000, False, "pcm_8000"), (16000, True, "pcm_16000"), (48000, True, "pcm_48000"),
     (32000, True, "pcm_16000")],
)  # fmt: skip
def test_the_form_of_the_sound_suits_the_caller(caller_hz: int, mulaw: bool, form: str) -> None:
    assert Manners(caller_hz, mulaw, False, False, 100, 5, 10).audio_format == form


def test_interim_guesses_are_told_when_they_change() -> None:
    room = Room()
    room.session.onset()
    room.speak(10)
    for text in ("go", "go", "go forward"):
        room.tell("partial_transcript", text=text)
    assert room.notes.interims == ["go", "go forward"]


def test_a_short_utterance_is_made_long_enough_to_be_committed() -> None:
    room = Room()
    room.session.onset()
    room.speak(3)
    room.session.endpoint()
    assert room.sent_ms == [100, 100, 100, 20, "commit"]


def test_a_commit_of_too_little_sound_is_an_empty_final() -> None:
    room = Room()
    room.session.onset()
    room.speak(3)
    room.session.endpoint()
    room.tell("commit_throttled", error="too little")
    assert room.notes.finals == [""]
    assert room.notes.error is None


def test_finals_are_owed_in_order() -> None:
    room = Room()
    for _ in range(2):
        room.session.onset()
        room.speak(20)
        room.session.endpoint()
    room.tell("committed_transcript", text="one")
    room.tell("committed_transcript", text="two")
    assert [(each.text, each.start_ms, each.end_ms) for each in room.notes.told] == [("one", 0, 400), ("two", 400, 800)]
    room.clock.advance(60)
    assert room.notes.error is None


def test_with_times_only_the_message_that_has_them_counts() -> None:
    room = Room(timed=True)
    room.session.onset()
    room.speak(20)
    room.session.endpoint()
    room.tell("committed_transcript", text="one")
    words = [{"text": "one", "start": 0, "end": 0.3, "type": "word", "logprob": -0.5}]
    room.tell("committed_transcript_with_timestamps", text="one", language_code="en", words=words)
    assert room.notes.finals == ["one"]
    assert room.notes.told[-1].confidence == pytest.approx(0.6065, abs=1e-4)
    assert room.notes.told[-1].language == "en"


def test_what_is_said_before_the_session_is_open_is_sent_then() -> None:
    room = Room(slow=True)
    room.session.onset()
    room.speak(30)
    room.session.endpoint()
    room.session.onset()
    room.speak(5)
    room.opening[0].callback(cast(Link, room.links[0]))
    assert room.sent_ms == [100] * 6 + ["commit", 100]
    room.tell("committed_transcript", text="early")
    assert room.notes.finals == ["early"]


def test_an_endpoint_without_speech_is_answered_at_once() -> None:
    room = Room()
    room.session.onset()
    room.speak(20)
    room.session.endpoint()
    room.tell("committed_transcript", text="one")
    room.speak(20)
    room.session.endpoint()
    assert room.notes.finals == ["one", ""]


def test_silence_keeps_an_idle_session_open() -> None:
    room = Room()
    for _ in range(25):
        room.clock.advance(1)
    assert room.sent_ms == [100, 100]
    assert room.notes.told == []


def test_a_final_that_never_comes_fails_the_recognition() -> None:
    room = Room()
    room.session.onset()
    room.speak(20)
    room.session.endpoint()
    room.clock.advance(4.9)
    assert room.errors == []
    room.clock.advance(0.2)
    assert room.errors == ["no_answer"]
    assert room.links[0].closed


@pytest.mark.parametrize("kind", sorted(ERRORS - {"commit_throttled"}))
def test_every_error_of_the_service_ends_a_recognition_that_is_under_way(kind: str) -> None:
    room = Room()
    room.session.onset()
    room.speak(5)
    room.tell(kind, error="because")
    error = room.notes.error
    assert error is not None
    assert (str(error), error.code) == (f"{kind}: because", kind)
    assert error.retryable is (kind not in FATAL)
    assert error.blameless is (kind in NATURAL)
    assert room.clock.getDelayedCalls() == []


def test_an_error_nobody_knows_yet_is_one() -> None:
    room = Room()
    room.tell("brand_new_error", error="because")
    assert room.notes.error is not None


@pytest.mark.parametrize("kind", sorted(NATURAL))
def test_a_session_that_ends_in_silence_is_opened_again_for_the_next_words(kind: str) -> None:
    room = Room()
    room.tell(kind, error="because")
    room.session.lost("1000")
    room.speak(20)
    assert len(room.links) == 1
    room.session.onset()
    room.speak(20)
    assert len(room.links) == 2
    assert sum(cast(int, ms) for ms in room.sent_ms) == 800


def test_a_connection_lost_in_mid_sentence_fails_the_recognition() -> None:
    room = Room()
    room.session.onset()
    room.speak(5)
    room.session.lost("1006")
    assert room.notes.error is not None and room.notes.error.retryable


def test_a_busy_service_is_tried_again_with_growing_waits_while_sound_waits() -> None:
    room = Room()
    room.refusals = [Refused(429, "", ""), Refused(429, "", ""), Refused(503, "", "")]
    room.session.lost("1000")
    room.session.onset()
    room.speak(100)
    assert room.refusals == []
    assert room.notes.error is None
    assert sum(cast(int, ms) for ms in room.sent_ms) == 2000


def test_a_wrong_key_is_told_at_once() -> None:
    room = Room()
    room.refusals = [Refused(401, "", "no WebSocket")]
    room.session.lost("1000")
    room.session.onset()
    assert room.notes.error is not None and not room.notes.error.retryable


def test_their_endpointing_hears_all_sound_and_makes_finals_by_itself() -> None:
    room = Room(automatic=True)
    room.speak(50)
    assert room.sent_ms == [100] * 10
    room.tell("committed_transcript", text="one")
    assert room.notes.finals == ["one"]


def test_our_endpoint_waits_for_their_final() -> None:
    room = Room(automatic=True)
    room.session.onset()
    room.speak(20)
    room.tell("partial_transcript", text="on")
    room.session.endpoint()
    assert room.notes.finals == []
    room.tell("committed_transcript", text="one")
    assert room.notes.finals == ["one"]
    room.clock.advance(20)
    assert room.notes.finals == ["one"]


def test_their_final_may_come_before_our_endpoint() -> None:
    room = Room(automatic=True)
    room.session.onset()
    room.speak(20)
    room.tell("committed_transcript", text="one")
    room.session.endpoint()
    assert [(each.text, each.closes) for each in room.notes.told] == [("one", False), ("", True)]


def test_an_endpoint_they_never_notice_is_an_empty_final() -> None:
    room = Room(automatic=True)
    room.session.onset()
    room.speak(5)
    room.session.endpoint()
    room.clock.advance(6)
    assert room.notes.finals == [""]
    assert room.notes.error is None


def test_nothing_is_told_and_nothing_left_running_after_closing() -> None:
    room = Room()
    room.session.onset()
    room.speak(5)
    room.session.endpoint()
    room.session.close()
    room.tell("committed_transcript", text="late")
    room.session.feed(FRAME)
    room.session.endpoint()
    assert room.notes.told == []
    assert room.links[0].closed
    assert room.clock.getDelayedCalls() == []


def test_the_address_has_the_scheme_of_a_websocket() -> None:
    query = [("model_id", "m"), ("keyterms", "a b")]
    assert realtime_url("https://api.elevenlabs.io/", query) == (
        "wss://api.elevenlabs.io/v1/speech-to-text/realtime?model_id=m&keyterms=a+b"
    )


# --- over real sockets ---


class Served:
    """A stand-in and a recognizer that uses it, for one test."""

    def __init__(
        self, *, sessions: tuple[str, ...] = (), ear: Any = None, rate_hz: int = 16000, **options: Any
    ) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        words = [("go", 0.2, 0.5), ("forward", 0.5, 1.1), ("ten", 1.3, 1.6), ("meters", 1.7, 2.4)]
        self.cloud = ElevenLabs(reactor, ear or TimelineEar(words), sessions=sessions, key="xi-secret")
        self.port = serve(self.cloud.root, reactor)
        url = f"http://127.0.0.1:{self.port.getHost().port}"
        options = {"base_url": url, "key_env": "TEST_XI_KEY", "patience_s": 2, **options}
        self.recognizer = ScribeRealtimeRecognizer(Options(**options), reactor, lambda: 0.0)
        self.notes = Notes()
        self.rate_hz = rate_hz
        self.cloud.realtime.on_asked = self.notes.look

    async def __aenter__(self) -> "Served":
        await self.recognizer.start()
        self.recognition = self.recognizer.listen(self.rate_hz, self.notes)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.recognizer.stop()
        opened = [session for session in self.cloud.realtime.sessions if session.mishap[:5] != "http_"]
        await self.until(lambda: self.cloud.realtime.closed >= len(opened))
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


@in_reactor
async def test_an_utterance_is_heard_over_the_socket() -> None:
    async with Served(language="en-US", keyterms=("meters", "feet")) as served:
        await served.say()
        assert served.notes.finals == ["go forward ten meters"]
        assert "go" in served.notes.interims
        query = served.cloud.realtime.sessions[0].query
        assert (query["audio_format"], query["commit_strategy"], query["language_code"]) == (
            "pcm_16000",
            "manual",
            "en",
        )
        assert served.notes.told[-1].confidence == pytest.approx(0.8187, abs=1e-4)


@in_reactor
async def test_their_detector_ends_an_utterance() -> None:
    async with Served(ear=ScriptEar(["yes"]), commit="vad", rate_hz=8000) as served:
        for frame in stamped(60, 8000, first=2000) + [bytes(320)] * 40:
            served.recognition.feed(frame)
        await served.notes.until_finals(1, served.reactor)
        assert served.notes.finals == ["yes"]


@pytest.mark.parametrize(
    ("mishap", "code", "retryable"),
    [
        ("auth_error", "auth_error", False),
        ("quota_exceeded@commit", "quota_exceeded", False),
        ("rate_limited", "rate_limited", True),
        ("session_time_limit_exceeded@commit", "session_time_limit_exceeded", True),
        ("vanish", "connection_lost", True),
        ("vanish@commit", "connection_lost", True),
        ("garbage", "bad_message", True),
        ("http_401", "http_401", False),
    ],
)
@in_reactor
async def test_what_goes_wrong_at_the_service_is_told(mishap: str, code: str, retryable: bool) -> None:
    async with Served(sessions=(mishap,)) as served:
        await served.say()
        error = served.notes.error
        assert error is not None
        assert (error.code, error.retryable) == (code, retryable)
        # The natural end of a session is nobody's trouble.
        assert served.recognizer.trouble == ("" if error.blameless else str(error))


@in_reactor
async def test_a_handshake_refused_for_now_is_tried_again() -> None:
    async with Served(sessions=("http_429", "http_503")) as served:
        await served.say()
        assert served.notes.finals == ["go forward ten meters"]


@in_reactor
async def test_a_service_that_says_nothing_is_given_up() -> None:
    async with Served(sessions=("silent",), answer_s=0.1) as served:
        await served.say()
        assert served.notes.error is not None and served.notes.error.code == "no_answer"


@in_reactor
async def test_a_wrong_key_is_the_operators_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_XI_KEY", "wrong")
    async with Served() as served:
        await served.until(lambda: served.notes.error is not None)
        assert served.notes.error is not None and not served.notes.error.retryable


@in_reactor
async def test_a_recording_is_heard_for_real_over_mulaw() -> None:
    frames, rate_hz = frames_of("go_forward.wav")
    telephone = list(Framer(8000).feed(Resampler(rate_hz, 8000).feed(b"".join(frames))))
    # The stand-in hears in this process too, and on a busy machine slowly.
    async with Served(ear=SphinxEar(), rate_hz=8000, answer_s=19) as served:
        await served.say(telephone)
        assert served.notes.finals == ["go forward ten meters"]
