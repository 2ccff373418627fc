"""`voicemedia call browser`: its recorders, its messages, and whole conversations with a server in this process."""

import argparse
import json
import wave
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.browsers import SCRIPTED, VOICE
from tests.fake_carrier_server import tone
from tests.in_reactor import in_reactor
from voicemedia.audio import opus
from voicemedia.audio.arriving import Arriving
from voicemedia.audio.wav import write_wav as wav_of
from voicemedia.callers.browser_call import BrowserCall, session_url
from voicemedia.callers.call_command import add_arguments, place
from voicemedia.callers.carrier import CallPlan
from voicemedia.callers.recorder import RECORDERS, RawRecorder
from voicemedia.callers.script import Keys, Line, Manners, Typed
from voicemedia.callers.sound import load_utterance, write_wav
from voicemedia.config import Config, Grpc, History, Limits, Route, Server
from voicemedia.errors import ConfigError
from voicemedia.service import MediaServer

PATIENT = Manners(wait_greeting_ms=0, answer_timeout_ms=2000, quiet_ms=200)
NO_OPUS = pytest.mark.skipif(bool(opus.missing()), reason=opus.missing() or "installed")
LOUD = b"\x10\x27" * 320
"20 ms."


def page(*lines: Line, chunk_ms: int = 20) -> BrowserCall:
    return BrowserCall(CallPlan(list(lines), manners=PATIENT), RawRecorder(), chunk_ms)


def sent(call: BrowserCall, until_ms: int, start_ms: int = 0) -> list[Any]:
    """Let time pass; return what was sent: samples as their number, messages decoded."""
    found: list[Any] = []
    for now_ms in range(start_ms, until_ms + 1, 10):
        found += [len(each) // 2 if isinstance(each, bytes) else json.loads(each) for each in call.due(now_ms)]
    return found


def told(call: BrowserCall, kind: str, now_ms: float, **data: object) -> None:
    call.receive(json.dumps({"type": kind, "data": data, "sessionId": "S", "timestamp": 1}).encode(), now_ms)


def turn(number: int, who: str, text: str, **more: object) -> dict[str, object]:
    return {
        **{"number": number, "who": who, "text": text, "atMs": 0, "keys": "", "heardText": "", "interrupted": False},
        **{"complete": False, "latencyMs": {}},
        **more,
    }


# --- what it sends ---


@NO_OPUS
@pytest.mark.parametrize("container", RECORDERS)
def test_what_the_server_decodes_is_what_the_microphone_heard(container: str) -> None:
    pcm = (np.sin(np.arange(16_000 * 2) * 2 * np.pi * 440 / 16_000) * 8000).astype("<i2").tobytes()
    recorder, arriving = RECORDERS[container](), Arriving()
    heard, behind_ms = b"", 0
    for at in range(0, len(pcm), 640):
        chunk = recorder.feed(pcm[at : at + 640])
        heard += arriving.feed(chunk) if chunk else b""
        behind_ms = max(behind_ms, (at + 640 - len(heard)) // 32)
    assert behind_ms <= (240 if container in ("webm", "ogg") else 0)
    samples = np.frombuffer(heard[6400:], "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) * 16_000 / len(samples) - 440) < 2
    assert 5500 < np.abs(samples).max() < 9500


def test_chunks_leave_as_often_as_a_recorder_gives_them() -> None:
    assert sent(page(chunk_ms=250), 1000) == [4000 + 160, 4000 - 160, 4000 + 160, 4000 - 160]
    assert sent(page(), 60) == [320, 320, 320]


def test_what_is_said_leaves_wideband_after_the_greeting(tmp_path: Path) -> None:
    (tmp_path / "hiss.wav").write_bytes(wav_of(b"\x10\x27\xf0\xd8" * 8000, 16_000))
    wide, narrow = (load_utterance(tmp_path / "hiss.wav", wide=wide) for wide in (True, False))
    assert (wide.ulaw, narrow.wide) == (narrow.ulaw, b"")
    # A tone of 8 kHz is beyond a telephone.
    assert np.abs(np.frombuffer(wide.wide, "<i2")).max() > 5000
    call = page(wide)
    call.due(0)
    sound = b"".join(each for ms in range(20, 1300, 20) for each in call.due(ms) if isinstance(each, bytes))
    assert sound.strip(b"\0") == wide.wide.strip(b"\0")


def test_keys_and_words_are_sent_one_after_the_other_and_the_end_is_told() -> None:
    call = page(Typed("two eggs"), Keys("1#"))
    messages = [each for each in sent(call, 300) if isinstance(each, dict)]
    assert messages == [{"type": "text_message", "data": "two eggs"}]
    told(call, "turn", 310, **turn(1, "agent", "Noted.", complete=True))
    keys = [each for each in sent(call, 1300, 320) if isinstance(each, dict)]
    assert keys == [{"type": "dtmf", "digit": "1"}, {"type": "dtmf", "digit": "#"}]
    call.hang_up()
    assert sent(call, 1310, 1310)[-1] == {"type": "hang_up"}
    assert call.over


# --- what it hears ---


def test_marks_are_reported_when_their_sound_has_been_played_and_at_once_when_it_is_taken_back() -> None:
    call = page()
    for _ in range(10):
        call.receive_binary(LOUD, 0)
    told(call, "mark", 0, number=1)
    assert {"type": "marked", "number": 1} not in sent(call, 180)
    assert {"type": "marked", "number": 1} in sent(call, 200, 190)
    call.receive_binary(LOUD * 10, 200)
    told(call, "mark", 200, number=2)
    told(call, "clear", 260)
    assert {"type": "marked", "number": 2} in sent(call, 260, 260)
    assert call.playback.heard(400) == LOUD * 13 + bytes(640 * 7)


def test_a_turn_is_measured_from_the_last_sample_said_to_the_first_heard() -> None:
    call = page(Typed("two eggs"))
    sent(call, 400)
    call.receive_binary(LOUD * 10, 400)
    sent(call, 1000, 410)
    greeting, answer = call.take_turns_over()
    assert (greeting.line, answer.latency_ms) == (None, 150)
    assert call.done


def test_an_answer_that_never_sounds_is_read() -> None:
    call = page(Typed("two eggs"))
    sent(call, 400)
    told(call, "turn", 400, **turn(1, "agent", "Noted."))
    assert call.script.turn.answer_start_ms is None
    told(call, "turn", 420, **turn(1, "agent", "Noted.", complete=True))
    assert call.script.turn.answer_start_ms == 420


def test_turns_of_an_earlier_visit_are_not_told_again() -> None:
    call = page()
    told(call, "session", 0, turns=[turn(1, "agent", "Hello."), turn(2, "caller", "hi")])
    told(call, "turn", 5, **turn(3, "agent", "Wel"))
    told(call, "turn", 9, **turn(3, "agent", "Welcome back.", latencyMs={"total": 7}))
    assert [(each.text, each.latency_ms) for each in call.told] == [("Welcome back.", {"total": 7})]


def test_answers_in_one_piece_are_played_whatever_their_rate() -> None:
    call = page()
    told(call, "audio", 0, text="Hello.", audio=b64encode(wav_of(LOUD * 5, 8000)).decode(), duration=200)
    assert call.playback.end_ms == 200
    assert [each.text for each in call.told] == ["Hello."]
    told(call, "audio", 300, text="No voice.", audio="", duration=0)
    told(call, "audio", 300, text="Odd.", audio="SUQz", duration=0)
    assert [fault for fault in call.faults] == [
        "audio: audio is not a WAV file; convert it with: ffmpeg -i audio speech.wav"
    ]


@given(
    st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_whatever_a_server_sends_is_counted_and_ends_nothing(octets: bytes) -> None:
    call = page()
    call.receive(octets, 0)
    for kind in ("session", "turn", "mark", "audio", "error"):
        told(call, kind, 0)
    call.receive_binary(b"x", 0)
    assert call.faults.total() == 7


@pytest.mark.parametrize(
    ("whole", "url"),
    [
        (False, "ws://h:1/audio-stream?a=b&sessionId=my+one&agent=diet&stream=1"),
        (True, "ws://h:1/audio-stream?a=b&sessionId=my+one&agent=diet"),
    ],
)
def test_the_address_has_the_session_and_its_parameters(whole: bool, url: str) -> None:
    assert session_url("ws://h:1/audio-stream?a=b", "my one", whole=whole, parameters=[("agent", "diet")]) == url


# --- whole conversations ---

ROUTE = Route("/audio-stream", "browser", agent="repeat", stt=SCRIPTED, tts=SCRIPTED)


@asynccontextmanager
async def serving(**sections: Any) -> AsyncIterator[str]:
    """Run a server on a port the system chooses; give its address."""
    from twisted.internet import reactor

    rest: dict[str, Any] = {"grpc": Grpc(enabled=False), "history": History(enabled=False), **sections}
    config = Config(server=Server(port=0), limits=Limits(drain_s=0), routes=(ROUTE,), voice=VOICE, **rest)
    server = MediaServer(config, reactor)
    server.startService()
    try:
        yield f"ws://127.0.0.1:{cast(Any, server.port).getHost().port}"
    finally:
        await server.stopService()


async def called(*line: str) -> int:
    from twisted.internet import reactor

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    hands = ("--quiet", "0.2", "--wait-greeting", "0.1", "--answer-timeout", "4")
    return await place(reactor, parser.parse_args(["browser", *hands, *line]))


@pytest.fixture
def speech(tmp_path: Path) -> str:
    write_wav(tmp_path / "speech.wav", b"\xff" * 800 + tone(400) + b"\xff" * 800)
    return str(tmp_path / "speech.wav")


@pytest.mark.parametrize(
    "sends", [["--raw"], ["--wav"], pytest.param(["--webm"], marks=NO_OPUS), pytest.param(["--ogg"], marks=NO_OPUS)]
)
@in_reactor
async def test_a_page_is_heard_understood_and_answered(
    sends: list[str], speech: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving() as url:
        line = [speech, "text:two eggs", *sends, "--url", url, "--session", "S1", "--json", "--stereo"]
        assert await called(*line, "--record", str(tmp_path / "heard.wav")) == 0
    whole = json.loads(capsys.readouterr().out)
    spoken, typed = (turn for turn in whole["turns"] if turn["said"] != "greeting")
    assert spoken["understood"].endswith(" frames") and spoken["answer"] == f"You said: {spoken['understood']}."
    assert (typed["said"], typed["understood"], typed["answer"]) == ("typed", "two eggs", "You said: two eggs.")
    assert {"transcript", "agent", "voice", "total"} == set(typed["server_latency_ms"])
    assert (whole["session"], whole["errors"], whole["carrier_rules_broken"]) == ("S1", [], {})
    with wave.open(str(tmp_path / "heard.wav")) as heard:
        assert (heard.getnchannels(), heard.getframerate()) == (2, 16_000)


@in_reactor
async def test_a_page_of_audio_stream_server_gets_its_answers_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving() as url:
        line = ["--text", "two eggs", "--raw", "--whole", "--url", url, "--record", str(tmp_path / "h.wav")]
        assert await called(*line) == 0
    shown = capsys.readouterr().out
    assert "caller  two eggs   [typed, 0.0 s]" in shown
    assert "agent   You said: two eggs.   [" in shown


@in_reactor
async def test_no_answer_and_a_refusal_are_status_1_with_what_the_server_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tts={SCRIPTED: {"holds": True}}) as url:
        line = ["--text", "hi", "--raw", "--url", url, "--record", str(tmp_path / "h.wav"), "--answer-timeout", "0.5"]
        assert await called(*line) == 1
        assert "no answer" in capsys.readouterr().out
        assert await called(*line, "--param", "stt=google") == 1
    assert "The server said: stt google: not in this server's configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (["--raw", "--text", "hi", "--loss", "0.1"], "a browser's sound comes by TCP"),
        (["--raw"], "nothing to say"),
    ],
)
@in_reactor
async def test_what_makes_no_sense_is_status_2(
    line: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await called(*line, "--record", str(tmp_path / "h.wav")) == 2
    assert why in capsys.readouterr().err


def test_recording_opus_without_its_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_name: str) -> None:
        raise ImportError

    monkeypatch.setattr("voicemedia.callers.recorder.import_module", absent)
    with pytest.raises(ConfigError, match="or send samples with --raw"):
        RECORDERS["webm"]()
