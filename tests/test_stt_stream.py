# mypy: disallow-untyped-calls=False
import base64
import io
import json
import wave
from typing import Any
from urllib.parse import urlencode

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tests.fake_stream import QUIET, SECOND, FakeService
from tests.fakes import FakeRecognizer
from tests.websocket_wires import BINARY, CLOSE, CONTINUATION, TEXT, Frame, Served, close, server_frames, text
from voicemedia.config import Stream
from voicemedia.metrics import Metrics
from voicemedia.protocols.fast_websocket import FastWebSocketFactory, WebSocketLimits
from voicemedia.protocols.stt_stream import Service, StreamSocket


class Client:
    """One client of a streaming API in memory."""

    def __init__(self, api: FakeService | None = None, **parameters: str | int) -> None:
        self.api = api or FakeService()
        self.metrics = Metrics()
        self.sockets: dict[StreamSocket, None] = {}
        service = Service(self.api.sessions, self.metrics, self.api.time_of_day, self.sockets)
        self.limits = WebSocketLimits()
        factory = FastWebSocketFactory(lambda: StreamSocket(service), self.api.clock, self.limits)
        path = f"/stt/stream?{urlencode(parameters)}".encode()
        self.served = Served(factory.buildProtocol(None), self.api.clock, path=path)
        head, _, rest = self.served.response.partition(b"\r\n\r\n")
        assert b" 101 " in head
        self.closed_with: int | None = None
        self.greeting = self._read(server_frames(rest))

    def send(self, payload: bytes | dict[str, Any]) -> list[dict[str, Any]]:
        if isinstance(payload, dict):
            return self._read(self.served.receive(text(json.dumps(payload))))
        return self._read(self.served.receive(bytes(Frame(BINARY, payload))))

    def receive(self, octets: bytes) -> list[dict[str, Any]]:
        return self._read(self.served.receive(octets))

    def say(self, words: str) -> list[dict[str, Any]]:
        return self._read(self.served.receive(text(words)))

    def read(self) -> list[dict[str, Any]]:
        return self._read(self.served.receive())

    def lose(self) -> None:
        """Lose the connection."""
        self.served.protocol.connectionLost(Failure(ConnectionLost()))

    def _read(self, frames: list[tuple[int, bytes]]) -> list[dict[str, Any]]:
        # In memory nobody tells that the kernel has taken what was written.
        self.served.protocol.resumeProducing()
        frames += server_frames(self.served.sent())
        for opcode, payload in frames:
            if opcode == CLOSE:
                self.closed_with = int.from_bytes(payload[:2], "big")
        return [json.loads(payload) for opcode, payload in frames if opcode == TEXT]

    @property
    def session_id(self) -> str:
        found: str = self.greeting[-1]["session_id"]
        return found


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    return [message.get("error_code") or message["type"] for message in messages]


def test_the_seeds_conversation() -> None:
    client = Client(language="en", provider="fake", sample_rate=16000, chunk_size=1024)
    (started,) = client.greeting
    assert {key: started[key] for key in ("type", "language", "provider", "sample_rate")} == {
        "type": "session_started",
        "language": "en",
        "provider": "fake",
        "sample_rate": 16000,
    }
    client.send(SECOND)
    client.api.ear.say("turn", final=False)
    (interim,) = client.read()
    assert (interim["type"], interim["text"], interim["is_final"]) == ("transcription", "turn", False)
    client.send(QUIET)
    client.api.ear.say("turn left")
    (final,) = client.read()
    assert (final["text"], final["is_final"], final["accumulated_text"]) == ("turn left", True, "turn left")
    client.send({"type": "end"})
    client.api.ear.say("")
    assert kinds(client.read()) == ["session_ended"]
    assert client.closed_with == 1000
    assert len(client.api.sessions) == 0


@pytest.mark.parametrize("opcode", [BINARY, TEXT])
def test_a_message_beyond_the_limit_is_skipped_and_the_session_lives(opcode: int) -> None:
    client = Client()
    over = client.limits.max_message_bytes + 1
    first, rest = Frame(opcode, b" " * (over // 2), fin=False), Frame(CONTINUATION, b" " * over)
    for message in (bytes(Frame(opcode, b" " * over)), bytes(first) + bytes(rest)):
        (error,) = client.receive(message)
        assert error["error_code"] == "audio_too_large"
        assert client.closed_with is None
    assert client.metrics.wire_errors["stt_stream", "too_long"] == 2
    client.send(SECOND)
    client.api.ear.say("still here")
    assert client.read()[-1]["text"] == "still here"


def test_a_client_whom_the_recognizer_would_not_hear_in_time_is_told_at_once() -> None:
    api = FakeService()
    vars(api.ear)["full"] = "80 s of speech wait for 2 decoders"
    client = Client(api)
    (error,) = client.greeting
    assert (error["error_code"], client.closed_with) == ("server_full", 1013)
    assert error["recovery_suggestion"]
    assert len(api.sessions) == 0


def test_a_pong_nobody_asked_for_is_no_error() -> None:
    assert Client().send({"type": "pong"}) == []


def test_binary_and_base64_are_the_same_sound() -> None:
    client = Client()
    client.send(SECOND)
    client.send({"type": "audio", "data": base64.b64encode(SECOND).decode()})
    (session,) = client.api.sessions
    assert session.totals.heard_ms == 2000


def test_sound_marked_as_the_last_ends_the_session() -> None:
    client = Client()
    client.send({"type": "audio_chunk", "audio": base64.b64encode(SECOND).decode(), "is_final": True})
    client.api.ear.say("that is all")
    assert kinds(client.read()) == ["transcription", "session_ended"]


def test_pings_and_finalize_are_answered() -> None:
    client = Client()
    (pong,) = client.send({"type": "ping", "id": 7})
    assert (pong["type"], pong["id"]) == ("pong", 7)
    (final,) = client.send({"type": "finalize"})
    assert (final["is_final"], final["text"]) == (True, "")
    assert client.closed_with is None


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"provider": "nobody"}, "provider_unavailable"),
        ({"language": "klingon"}, "unsupported_language"),
        ({"sample_rate": "15999"}, "unsupported_sample_rate"),
        ({"chunk_size": "-1"}, "invalid_parameter"),
        ({"session_id": "5f9b7a5e"}, "session_not_found"),
    ],
)
def test_a_wrong_parameter_is_an_error_and_the_session_lives(parameters: dict[str, str], code: str) -> None:
    client = Client(None, **parameters)
    assert kinds(client.greeting) == [code, "session_started"]
    client.send(SECOND)
    client.api.ear.say("alive")
    assert client.read()[-1]["text"] == "alive"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("hello", "invalid_message"),
        ('{"type":"dance"}', "invalid_message"),
        ('{"type":"audio","data":"***"}', "invalid_message"),
        ("[1,2]", "invalid_message"),
    ],
)
def test_text_where_sound_is_due_is_an_error_and_the_session_lives(words: str, code: str) -> None:
    client = Client()
    assert kinds(client.say(words)) == [code]
    assert sum(client.metrics.wire_errors.values()) == 1
    client.send(SECOND)
    client.api.ear.say("alive")
    assert client.read()[-1]["text"] == "alive"


def test_odd_oversized_and_foreign_chunks_are_errors_and_the_session_lives() -> None:
    client = Client(FakeService(max_chunk_s=1))
    assert kinds(client.send(b"OggS" + bytes(100))) == ["audio_format_error"]
    assert kinds(client.send(SECOND + SECOND)) == ["audio_too_large"]
    assert kinds(client.send(bytes(641))) == ["audio_format_error"]
    assert kinds(client.send({"type": "ping"})) == ["pong"]


def wav(pcm: bytes, rate_hz: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(pcm)
    return file.getvalue()


def test_a_wav_file_is_taken_for_what_it_is() -> None:
    client = Client(sample_rate=16000)
    octets = wav(SECOND, 8000)
    client.send(octets[:1044])
    client.send(octets[1044:])
    (session,) = client.api.sessions
    assert (session.wish.rate_hz, session.totals.heard_ms) == (8000, 2000)


def test_a_wav_file_may_be_cut_in_mid_sample() -> None:
    client = Client()
    octets = wav(SECOND, 8000)
    for start in range(0, len(octets), 1023):
        assert client.send(octets[start : start + 1023]) == []
    (session,) = client.api.sessions
    assert session.totals.heard_ms == 2000


def test_each_message_may_be_a_wav_file_but_not_at_another_rate() -> None:
    client = Client()
    assert client.send(wav(SECOND, 16000)) + client.send(wav(SECOND, 16000)) == []
    (error,) = client.send(wav(SECOND, 8000))
    assert (error["error_code"], error["error"]) == (
        "audio_format_error",
        "the session has 16000 Hz, the WAV file 8000",
    )
    (session,) = client.api.sessions
    assert session.totals.heard_ms == 2000


def test_without_any_provider_the_client_is_told_to_come_later() -> None:
    client = Client(FakeService(recognizers={}))
    assert kinds(client.greeting) == ["provider_unavailable"]
    assert client.closed_with == 1013


def test_a_client_waits_for_a_recognizer_that_is_loading() -> None:
    api = FakeService()
    api.troubles["fake"] = "loading"
    client = Client(api)
    assert client.greeting == []
    assert client.served.transport.producerState == "paused"
    next(iter(client.sockets)).sweep()
    api.troubles.clear()
    next(iter(client.sockets)).sweep()
    assert kinds(client.read()) == ["session_started"]
    assert client.served.transport.producerState == "producing"
    api.troubles["fake"] = "no model"
    client = Client(api)
    for _ in range(10):
        next(iter(client.sockets)).sweep()
    (error,) = client.read()
    assert (error["error_code"], error["error"]) == ("provider_unavailable", "fake cannot serve: no model")
    assert client.closed_with == 1013


def test_an_expired_session_is_told_before_the_close() -> None:
    client = Client(FakeService(idle_s=3))
    client.api.wait(3)
    assert kinds(client.read()) == ["session_expired", "session_ended"]
    assert client.closed_with == 1000
    again = Client(client.api, session_id=client.session_id)
    assert kinds(again.greeting) == ["session_expired", "session_started"]


def test_a_lost_client_resumes_and_gets_what_it_missed() -> None:
    client = Client()
    client.send(SECOND)
    client.api.ear.say("one")
    (one,) = client.read()
    client.api.wait(1)
    client.send(SECOND)
    client.lose()
    client.api.ear.say("two")
    client.api.wait(20)
    again = Client(client.api, session_id=client.session_id, last_seq=one["seq"])
    started, two = again.greeting
    assert (started["type"], started["session_id"], started["resumed"]) == (
        "session_started",
        client.session_id,
        True,
    )
    assert (two["text"], two["accumulated_text"]) == ("two", "one two")
    again.send(SECOND)
    client.api.ear.say("three")
    assert again.read()[-1]["accumulated_text"] == "one two three"
    assert len(client.api.sessions) == 1


def test_whoever_resumes_takes_the_session_from_a_connection_half_dead() -> None:
    client = Client()
    again = Client(client.api, session_id=client.session_id)
    client.read()
    assert client.closed_with == 4001
    client.lose()
    again.send(SECOND)
    client.api.ear.say("here")
    assert again.read()[-1]["text"] == "here"
    client.api.wait(31)
    assert len(client.api.sessions) == 1


def test_a_client_that_is_too_fast_is_not_read_until_time_has_passed() -> None:
    client = Client(FakeService(max_ahead_s=3))
    for _ in range(3):
        assert client.send(SECOND) == []
    assert kinds(client.send(SECOND)) == ["too_fast"]
    assert client.served.transport.producerState == "paused"
    for _ in range(2):
        client.api.wait(1)
        next(iter(client.sockets)).sweep()
    assert client.served.transport.producerState == "producing"


def test_a_client_that_does_not_read_gets_all_finals_and_the_newest_guess() -> None:
    client = Client()
    client.send(SECOND)
    protocol = client.served.protocol
    protocol.pauseProducing()
    for number in range(20):
        client.api.ear.say(f"guess {number}", final=False)
        client.api.ear.say(f"word {number}")
    client.api.ear.say("newest", final=False)
    assert client.served.transport.value() == b""
    texts = [message["text"] for message in client.read()]
    assert texts == [*(f"word {number}" for number in range(20)), "newest"]


def test_a_clean_close_leaves_the_session_to_be_resumed_for_a_while_only() -> None:
    client = Client()
    client.served.receive(close(1000))
    client.lose()
    assert len(client.api.sessions) == 1
    client.api.wait(30)
    assert len(client.api.sessions) == 0
    assert client.sockets == {}


def test_a_server_that_stops_says_so() -> None:
    client = Client()
    client.api.sessions.drain()
    assert kinds(client.read()) == ["session_ended"]
    assert client.closed_with == 1012


def test_a_failed_recognizer_is_told_with_its_end() -> None:
    client = Client(FakeService(Stream(), {"fake": (ear := FakeRecognizer())}))
    client.send(SECOND)
    ear.fail(retryable=False)
    assert kinds(client.read()) == ["provider_unavailable", "session_ended"]
    assert client.closed_with == 1011
