import pytest
from twisted.internet.defer import Deferred

from tests.fake_stream import SECOND, FakeService
from voicemedia.errors import CallRefused, ProviderError
from voicemedia.transcribing.seed_names import (
    StreamingSession,
    StreamingSessionManager,
    StreamTranscriptionRequest,
    StreamTranscriptionResponse,
)

REQUEST = StreamTranscriptionRequest(language="en", provider="fake")


def collect(manager: StreamingSessionManager, audio: bytes, *, is_final: bool = False) -> Deferred[list[str]]:
    async def read() -> list[str]:
        return [each.text async for each in manager.process_audio_chunk("s", audio, is_final)]

    return Deferred.fromCoroutine(read())


def result(deferred: Deferred[list[str]]) -> list[str] | None:
    """Look at what a Deferred has; None: nothing yet."""
    found: list[str] | None = getattr(deferred, "result", None)
    return found


def test_a_session_cuts_sound_into_seconds_that_overlap_by_200_ms() -> None:
    session = StreamingSession("s", StreamTranscriptionRequest())
    assert session.add_audio_data(bytes(31_998)) == []
    sound = bytes(range(256)) * 375
    session = StreamingSession("s", StreamTranscriptionRequest())
    chunks = [*session.add_audio_data(sound[:50_000]), *session.add_audio_data(sound[50_000:], is_final=True)]
    assert [chunk.sequence_id for chunk in chunks] == [0, 1, 2, 3]
    assert [chunk.is_final for chunk in chunks] == [False, False, False, True]
    assert [chunk.data for chunk in chunks] == [sound[start : start + 32_000] for start in (0, 25_600, 51_200, 76_800)]
    assert session.audio_buffer == b""
    with pytest.raises(ValueError, match="overlap_ms"):
        StreamingSession("s", REQUEST, overlap_ms=1000)


def test_a_session_expires_and_adds_up() -> None:
    now = [0.0]
    session = StreamingSession("s", REQUEST, now_s=lambda: now[0])
    now[0] = 300
    assert not session.is_expired()
    now[0] = 301
    assert session.is_expired()
    assert not session.is_expired(timeout_seconds=400)
    session.add_audio_data(b"")
    assert not session.is_expired()
    for text, final, confidence in (("one", True, 0.5), ("tw", False, 0.1), ("two", True, 1.0), ("three", True, 0.0)):
        session.update_transcription(StreamTranscriptionResponse(text, final, confidence, "en", ""))
    assert (session.accumulated_text, session.last_final_text) == ("one two three", "three")
    assert session.get_average_confidence() == 0.75


def test_a_manager_hears_through_the_servers_own_sessions() -> None:
    service = FakeService()
    manager = StreamingSessionManager(service)
    session = manager.create_session(REQUEST, "s")
    assert manager.get_session("s") is session
    assert result(collect(manager, SECOND)) == []
    service.ear.say("turn", final=False)
    assert result(collect(manager, SECOND)) == ["turn"]
    last = collect(manager, SECOND, is_final=True)
    assert result(last) is None
    service.ear.say("turn left")
    assert result(last) == ["turn left"]
    assert session.accumulated_text == "turn left"
    assert manager.sessions == {}
    assert len(service.sessions) == 0


def test_a_manager_refuses_what_cannot_be() -> None:
    service = FakeService(max_sessions=2)
    manager = StreamingSessionManager(service)
    manager.create_session(REQUEST, "s")
    with pytest.raises(ValueError, match="exists"):
        manager.create_session(REQUEST, "s")
    with pytest.raises(ProviderError, match="no provider nobody"):
        manager.create_session(StreamTranscriptionRequest(provider="nobody"))
    manager.create_session(REQUEST)
    with pytest.raises(CallRefused):
        manager.create_session(REQUEST)
    service.wait(300)
    errors: list[object] = []
    collect(manager, SECOND).addErrback(lambda failure: errors.append(failure.value))
    assert isinstance(errors[0], KeyError)
    assert manager.get_session("s") is None


def test_a_session_that_fails_says_so_and_stop_ends_the_others() -> None:
    service = FakeService()
    manager = StreamingSessionManager(service)
    Deferred.fromCoroutine(manager.start())
    manager.create_session(REQUEST, "s")
    errors: list[object] = []
    collect(manager, SECOND, is_final=True).addErrback(lambda failure: errors.append(failure.value))
    service.ear.fail(retryable=False)
    assert isinstance(errors[0], ProviderError)
    manager.create_session(REQUEST, "t")
    Deferred.fromCoroutine(manager.stop())
    assert len(service.sessions) == 0
    assert manager.sessions == {}
