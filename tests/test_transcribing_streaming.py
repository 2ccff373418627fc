from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.clouds.marked import silence, speak
from tests.scripted_ears import KILLED, Fate, ScriptedRecognizer
from voicemedia.interfaces import Traits
from voicemedia.stt.failover import Place
from voicemedia.stt.renewing import RenewingRecognizer
from voicemedia.transcribing.streaming import (
    AudioChunkError,
    SessionNotFoundError,
    StreamingError,
    StreamingResult,
    StreamingSession,
    StreamingSessionManager,
)

STREAMING = Traits(one_utterance=True, interims=True, usd_per_hour=36)


def state(session: StreamingSession) -> str:
    return session.status.value


class Desk:
    """A manager on a fake clock, and what its sessions said."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.ears = ScriptedRecognizer(self.clock, traits=STREAMING, **options)
        recognizer = RenewingRecognizer([Place(self.ears)], self.clock)
        self.results: list[StreamingResult] = []
        self.summaries: list[dict[str, Any]] = []
        self.manager = StreamingSessionManager(
            recognizer, self.clock, self.results.append, summaries=self.summaries.append
        )

    def send(self, name: str, pcm: bytes) -> None:
        """Send 100 ms at a time, as it is spoken."""
        for at in range(0, len(pcm), 1600):
            self.clock.advance(0.1)
            self.manager.send_audio_chunk(name, pcm[at : at + 1600])

    def close(self, name: str) -> dict[str, Any]:
        told: list[dict[str, Any]] = []
        self.manager.close_session(name).addCallback(told.append)
        for _ in range(100):
            self.clock.advance(0.1)
        return told[0]


def test_a_session_goes_from_creation_to_its_summary() -> None:
    desk = Desk()
    manager = desk.manager
    session = manager.create_session("talk", "slides", "en-US", sample_rate=8000)
    assert state(session) == "initializing"
    assert manager.send_audio_chunk("talk", bytes(320)) is False
    manager.start_session("talk")
    assert state(session) == "active"
    assert manager.get_active_sessions() == [session]
    desk.send("talk", silence(1000) + speak("ban bar") + silence(1000) + speak("bas") + silence(200))
    summary = desk.close("talk")
    assert state(session) == "closed"
    assert manager.get_session_count() == 0
    told = summary["session"]
    assert (told["session_id"], told["presentation_id"], told["status"]) == ("talk", "slides", "closed")
    assert (told["renewal_count"], told["total_chunks_sent"], told["total_bytes_sent"]) == (0, 28, 44800)
    assert summary["results"]["full_transcript"] == "ban bar bas"
    assert summary["results"]["total_final_results"] == 2
    assert summary["audio_metrics"]["latency_ms"]["p50"] >= 50
    assert summary["audio_metrics"]["cost_usd"] == pytest.approx(0.028)
    assert [result.text for result in desk.results if result.is_final] == ["ban bar", "bas"]
    assert desk.results[0].is_final is False
    assert len(desk.summaries) == 1


def test_words_still_in_flight_at_the_close_are_waited_for() -> None:
    desk = Desk(delay_ms=lambda: 2000.0)
    desk.manager.create_session("talk", sample_rate=8000)
    desk.manager.start_session("talk")
    desk.send("talk", speak("ban bar"))
    assert desk.results == []
    assert desk.close("talk")["results"]["full_transcript"] == "ban bar"


def test_a_stream_that_dies_costs_the_session_nothing() -> None:
    fates = iter([Fate(1500, KILLED)])
    desk = Desk(fates=lambda: next(fates, Fate()))
    desk.manager.create_session("talk", sample_rate=8000)
    desk.manager.start_session("talk")
    desk.send("talk", silence(600) + speak("ban bar bas bat dan"))
    summary = desk.close("talk")
    assert summary["results"]["full_transcript"] == "ban bar bas bat dan"
    told = summary["audio_metrics"]
    assert (told["recoveries"], told["lost_s"], told["skipped_silence_s"]) == (1, 0, 0)
    assert told["replayed_s"] > 0


def test_a_name_is_used_once_at_a_time() -> None:
    desk = Desk()
    desk.manager.create_session("talk")
    with pytest.raises(ValueError, match="session talk exists"):
        desk.manager.create_session("talk")
    desk.manager.start_session("talk")
    with pytest.raises(StreamingError, match="started before"):
        desk.manager.start_session("talk")
    desk.close("talk")
    desk.manager.create_session("talk")


def test_what_cannot_be_done_is_said() -> None:
    desk = Desk()
    for ask in (desk.manager.start_session, desk.manager.close_session):
        with pytest.raises(SessionNotFoundError, match="no session talk"):
            ask("talk")
    desk.manager.create_session("talk")
    desk.manager.start_session("talk")
    with pytest.raises(AudioChunkError, match="3 bytes"):
        desk.manager.send_audio_chunk("talk", b"abc")
    with pytest.raises(ValueError, match="sample rate 7000"):
        desk.manager.create_session("other", sample_rate=7000)


def test_a_session_no_recognizer_can_serve_ends_in_error() -> None:
    desk = Desk(fates=lambda: Fate(10, KILLED))
    session = desk.manager.create_session("talk", sample_rate=8000)
    desk.manager.start_session("talk")
    desk.send("talk", silence(1000))
    assert state(session) == "renewing"
    desk.send("talk", silence(120_000))
    assert state(session) == "error"
    assert any("Socket closed" in trouble for trouble in session.troubles)
    assert desk.manager.send_audio_chunk("talk", bytes(320)) is False


def test_a_session_closed_before_it_began_has_an_empty_summary() -> None:
    desk = Desk()
    desk.manager.create_session("talk")
    summary = desk.close("talk")
    assert (summary["results"]["full_transcript"], summary["session"]["status"]) == ("", "closed")
    assert desk.clock.getDelayedCalls() == []
