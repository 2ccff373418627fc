"""Recognizer `grpc`: segments on a fake clock, then against a real gRPC server on the asyncio thread."""
# mypy: disallow-untyped-calls=False

from typing import Any, cast

import grpc
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from tests.hearing import Notes, speak
from tests.in_reactor import in_reactor
from tests.scripted_ears import ScriptedRecognizer
from voicemedia.audio.g711 import decode_mulaw, encode_mulaw
from voicemedia.errors import ProviderError
from voicemedia.proto import audio_stream_pb2 as pb
from voicemedia.proto.audio_stream_pb2_grpc import SpeechToTextServicer, add_SpeechToTextServicer_to_server
from voicemedia.providers import load
from voicemedia.stt.failover import Lineup, Place
from voicemedia.stt.grpc_remote import GrpcRecognizer, Options, missing
from voicemedia.stt.segments import Segment, SegmentRecognition, Understood
from voicemedia.threads import loop_thread
from voicemedia.web.backoff import Backoff

FRAME = b"\x10\x00" * 160


class Room:
    """A recognition on a fake clock; the test answers its segments."""

    def __init__(self, *, rate_hz: int = 8000) -> None:
        self.clock = Clock()
        self.notes = Notes()
        self.asked: list[Segment] = []
        self.waiting: list[Deferred[Understood]] = []
        self.recognition = SegmentRecognition(self.clock, rate_hz, self.ask, Backoff(lambda: 0.0), segment_ms=100)
        self.recognition.begin(self.notes, "call", 10)

    def ask(self, segment: Segment) -> Deferred[Understood]:
        self.asked.append(segment)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def hear(self, frames: int) -> None:
        for _ in range(frames):
            self.recognition.feed(FRAME)

    def answer(self, text: str = "", confidence: float = 0.5) -> None:
        self.waiting.pop(0).callback(Understood(text, self.asked[-1].last, confidence))

    def refuse(self, *, retryable: bool = True) -> None:
        self.waiting.pop(0).errback(ProviderError("no", retryable=retryable, code="unavailable"))

    @property
    def sent(self) -> list[str]:
        """Session, number and length in ms of each segment, `!` after the last one of a session."""
        return [
            f"{each.session.removeprefix('call-')}.{each.number} {len(each.octets) // 8}{'!' * each.last}"
            for each in self.asked
        ]


def test_an_utterance_is_a_session_of_segments_and_its_last_answer_the_final() -> None:
    room = Room()
    room.recognition.onset()
    room.hear(5)
    room.answer("go")
    room.hear(7)
    room.answer("go forward")
    room.recognition.endpoint()
    room.answer("go forward ten", confidence=0.9)
    assert room.sent == ["1.1 100", "1.2 100", "1.3 40!"]
    assert room.notes.interims == ["go", "go forward"]
    final = room.notes.told[-1]
    assert (final.text, final.final, final.confidence, final.end_ms) == ("go forward ten", True, 0.9, 240)


def test_one_segment_is_under_way_and_the_next_has_all_that_came_meanwhile() -> None:
    room = Room()
    room.recognition.onset()
    room.hear(50)
    room.answer()
    assert room.sent == ["1.1 100", "1.2 900"]


def test_an_endpoint_while_a_segment_is_under_way_is_sent_after_it() -> None:
    room = Room()
    room.recognition.onset()
    room.hear(5)
    room.recognition.endpoint()
    room.answer()
    assert room.sent == ["1.1 100", "1.2 0!"]
    room.answer("yes")
    assert room.notes.finals == ["yes"]


def test_utterances_follow_each_other() -> None:
    room = Room()
    for _ in range(2):
        room.recognition.onset()
        room.hear(5)
        room.recognition.endpoint()
    room.recognition.endpoint()
    for text in ("", "one", "two"):
        room.answer(text)
    assert room.sent == ["1.1 100", "1.2 0!", "2.1 100!"]
    assert room.notes.finals == ["one", "two", ""]


def test_after_a_failure_the_utterance_is_said_again_as_a_new_session() -> None:
    room = Room()
    room.recognition.onset()
    room.hear(5)
    room.answer("go")
    room.hear(5)
    room.refuse()
    room.hear(5)
    room.clock.advance(1)
    assert room.sent == ["1.1 100", "1.2 100", "2.1 300"]
    room.recognition.endpoint()
    room.answer("go forward")
    room.answer("go forward ten")
    assert room.notes.finals == ["go forward ten"]


def test_patience_ends() -> None:
    room = Room()
    room.recognition.onset()
    room.hear(5)
    for _ in range(200):
        if room.waiting:
            room.refuse()
        room.clock.advance(0.1)
    assert room.notes.error is not None and room.notes.error.code == "unavailable"
    assert room.clock.getDelayedCalls() == []


def test_what_cannot_succeed_is_told_at_once() -> None:
    room = Room()
    room.recognition.onset()
    room.hear(5)
    room.refuse(retryable=False)
    assert room.notes.error is not None


def test_a_wide_band_goes_as_linear_sound_at_16_khz() -> None:
    room = Room(rate_hz=48000)
    room.recognition.onset()
    room.recognition.feed(bytes(48000 * 2))
    segment = room.asked[0]
    assert (segment.codec, segment.rate_hz) == ("LINEAR16", 16000)
    assert len(segment.octets) == pytest.approx(32000, abs=200)


def test_nothing_is_told_after_closing() -> None:
    room = Room()
    room.recognition.onset()
    room.hear(5)
    room.recognition.close()
    room.hear(5)
    assert room.notes.told == []
    assert len(room.asked) == 1


# --- a real server ---


class Servicer(SpeechToTextServicer):
    """Says how much it has heard; `refusals` are the codes of the next answers."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.heard: dict[str, int] = {}
        self.refusals: list[grpc.StatusCode] = []
        self.metadata: dict[str, str] = {}

    async def TranscribeAudioSegment(self, request: Any, context: Any) -> Any:
        self.metadata = dict(context.invocation_metadata())
        if self.refusals:
            await context.abort(self.refusals.pop(0), "refused")
        self.seen.append(request)
        so_far = self.heard.get(request.session_id, 0) + len(decode_mulaw(request.data)) // 16
        self.heard[request.session_id] = so_far
        return pb.TranscriptionResponse(
            session_id=request.session_id,
            sequence_number=request.sequence_number,
            transcript=f"{so_far} ms",
            is_final=request.is_final,
            confidence=0.75,
        )


class Served:
    """A server on the asyncio thread and a recognizer that uses it."""

    def __init__(self, **options: Any) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.thread = loop_thread(reactor)
        self.servicer = Servicer()
        self.options = options
        self.notes = Notes()

    async def _serve(self) -> int:
        self.server = grpc.aio.server()
        add_SpeechToTextServicer_to_server(self.servicer, self.server)
        port: int = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        return port

    async def __aenter__(self) -> "Served":
        self.thread.hold()
        port = await self.thread.ask(self._serve)
        options = Options(target=f"127.0.0.1:{port}", **self.options)
        self.recognizer = GrpcRecognizer(options, self.reactor, self.thread, lambda: 0.0)
        await self.recognizer.start()
        self.recognition = self.recognizer.listen(8000, self.notes)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.recognition.close()
        await self.recognizer.stop()
        await self.thread.ask(self.server.stop, None)
        await self.thread.release()

    async def say(self, frames: int = 50) -> None:
        speak(self.recognition, [FRAME] * frames)
        await self.notes.until_finals(1, self.reactor)


@in_reactor
async def test_a_server_hears_every_sample_in_order() -> None:
    async with Served(language="en-IN") as served:
        await served.say()
        assert served.notes.finals == ["1000 ms"]
        assert served.notes.told[-1].confidence == 0.75
        seen = served.servicer.seen
        assert [each.sequence_number for each in seen] == list(range(1, len(seen) + 1))
        assert b"".join(each.data for each in seen) == encode_mulaw(FRAME * 50)
        assert [each.is_final for each in seen] == [False] * (len(seen) - 1) + [True]
        assert {(each.audio_format, each.sample_rate_hertz, each.language_code) for each in seen} == {
            (pb.PCMU, 8000, "en-IN")
        }


@in_reactor
async def test_a_server_that_is_away_for_a_moment_costs_no_sound() -> None:
    async with Served() as served:
        served.servicer.refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]
        await served.say()
        assert served.notes.finals == ["1000 ms"]
        assert served.recognizer.trouble == ""


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT])
@in_reactor
async def test_a_refusal_for_good_is_told_with_its_code(code: Any) -> None:
    async with Served() as served:
        served.servicer.refusals = [code]
        await served.say()
        error = served.notes.error
        assert error is not None
        assert (error.code, error.retryable, str(error)) == (code.name.lower(), False, f"{code.name}: refused")
        assert served.recognizer.trouble == str(error)


class Line:
    """In place of the asyncio thread: every segment fails while `error` is set."""

    def __init__(self) -> None:
        self.error: ProviderError | None = None
        self.asked = 0

    def hold(self) -> None: ...

    def ask(self, work: Any, *args: Any) -> Deferred[Any]:
        self.asked += bool(args)
        if args and self.error is not None:
            return fail(self.error)
        return succeed(Understood("ban", args[0].last, 0.5) if args else None)


def test_a_server_that_has_recovered_is_preferred_again_without_anybody_asking_it() -> None:
    clock, line = Clock(), Line()
    recognizer = GrpcRecognizer(Options(patience_s=1), clock, cast(Any, line), lambda: 0.0)
    recognizer.start()
    places = [Place(recognizer, name="first"), Place(ScriptedRecognizer(clock), name="second")]
    lineup = Lineup(places, clock.seconds)
    line.error = ProviderError("the server is gone", code="unavailable")
    lineup.listen(places[0], 8000, notes := Notes())
    recognition = recognizer.listen(8000, notes)
    for _ in range(30):
        recognition.onset()
        recognition.feed(FRAME * 10)
        clock.advance(0.1)
    assert str(notes.error) == "the server is gone"
    asked, line.error = line.asked, None
    assert recognizer.trouble == "the server is gone"
    assert [place.name for place in lineup.candidates()] == ["second", "first"]
    clock.advance(20)
    assert [place.name for place in lineup.candidates()] == ["first", "second"]
    assert line.asked == asked


@in_reactor
async def test_the_token_goes_with_every_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_GRPC_TOKEN", "t0ken")
    async with Served(token_env="TEST_GRPC_TOKEN") as served:
        await served.say()
        assert served.servicer.metadata["authorization"] == "Bearer t0ken"


@in_reactor
async def test_nobody_there_is_a_failure_that_may_pass() -> None:
    async with Served(patience_s=0.2, deadline_s=1) as served:
        await served.thread.ask(served.server.stop, None)
        await served.say()
        assert served.notes.error is not None and served.notes.error.retryable


def test_what_is_missing_is_told() -> None:
    assert missing(Options()) == ""
    assert "NO_SUCH_TOKEN is not set" in missing(Options(token_env="NO_SUCH_TOKEN"))
    assert "no file" in missing(Options(ca_file="/nowhere.pem"))
    module, options = load("stt", "grpc", {"target": "stt.example.com:443", "tls": True})
    assert module.missing(options) == ""


def test_a_recognizer_that_has_not_started_refuses() -> None:
    clock: Any = Clock()
    recognizer = GrpcRecognizer(Options(), clock, loop_thread(clock), lambda: 0.0)
    with pytest.raises(ProviderError):
        recognizer.listen(8000, Notes())
