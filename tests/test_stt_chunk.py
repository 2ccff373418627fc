# mypy: disallow-untyped-calls=False
import json
from typing import Any

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.fake_stream import QUIET, SECOND, FakeService
from tests.test_status import FakeSessions
from tests.test_stt_stream import wav
from voicemedia.config import Stream, networks
from voicemedia.metrics import Metrics
from voicemedia.protocols.access import Access
from voicemedia.protocols.door import Door
from voicemedia.protocols.status import World, make_site
from voicemedia.protocols.stt_chunk import LOOK_S, PATH, ChunkPage

BOUNDARY = "----7MA4YWxkTrZu0gW"


def form(audio: bytes | None, **fields: str) -> bytes:
    body = b""
    for name, value in fields.items():
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    if audio is not None:
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="audio_chunk"; filename="a.pcm"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body += audio + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


class Asking:
    """One request that has been sent."""

    def __init__(self, site: Any, body: bytes, query: str, head: str, method: str) -> None:
        self.transport = StringTransport()
        self.channel: Any = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        top = f"{method} {PATH}{query} HTTP/1.1\r\nHost: a\r\n{head}Content-Length: {len(body)}\r\n\r\n"
        self.channel.dataReceived(top.encode() + body)

    @property
    def answered(self) -> bool:
        return bool(self.transport.value())

    @property
    def status(self) -> int:
        return int(self.transport.value().split()[1])

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.transport.value().partition(b"\r\n\r\n")[2])
        return found

    def header(self, name: str) -> str:
        lines: list[str] = self.transport.value().partition(b"\r\n\r\n")[0].decode().splitlines()[1:]
        return {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}.get(name, "")


class Api:
    """The HTTP door in memory."""

    def __init__(self, api: FakeService | None = None, allow: tuple[str, ...] = (), **options: Any) -> None:
        self.api = api or FakeService(**options)
        door = Door(PATH, Access(None, networks(allow)), None, "", (), lambda: None, Metrics())
        page = ChunkPage(self.api.sessions, door, self.api.clock, Stream(**options), ())
        world = World(FakeSessions(), Metrics(), dict, self.api.sessions.read)
        self.site = make_site({}, world, self.api.clock, pages={PATH: page}, max_body_bytes=1 << 20)

    def post(self, audio: bytes | None, query: str = "", head: str = "", **fields: str) -> Asking:
        head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        return self.raw(form(audio, **fields), head, query)

    def raw(self, body: bytes, head: str, query: str = "", method: str = "POST") -> Asking:
        return Asking(self.site, body, query, head, method)

    def say(self, words: str, *, final: bool = True) -> None:
        self.api.ear.say(words, final=final)


def test_chunk_after_chunk_of_a_session_gives_growing_transcripts() -> None:
    api = Api()
    first = api.post(SECOND, session_id="talk-1", language="en", provider="fake", sample_rate="16000")
    assert not first.answered
    api.say("turn", final=False)
    assert (first.status, first.body["text"], first.body["is_final"]) == (200, "turn", False)
    second = api.post(QUIET, session_id="talk-1")
    api.say("turn left")
    assert (second.body["text"], second.body["is_final"]) == ("turn left", False)
    third = api.post(SECOND, session_id="talk-1", is_final_chunk="true")
    assert not third.answered
    api.say("and stop")
    assert (third.body["text"], third.body["is_final"]) == ("turn left and stop", True)
    assert third.body["session_id"] == "talk-1"
    assert third.body["summary"]["results"]["full_transcript"] == "turn left and stop"
    assert set(third.body) >= {"text", "is_final", "confidence", "language", "timestamp"}
    assert len(api.api.sessions) == 0


def test_a_chunk_that_brings_no_words_is_answered_in_a_moment() -> None:
    api = Api()
    asking = api.post(SECOND, session_id="new")
    api.api.clock.advance(LOOK_S)
    assert (asking.status, asking.body["text"]) == (200, "")
    again = api.post(SECOND, session_id=asking.body["session_id"])
    api.say("words")
    assert again.body["text"] == "words"
    assert again.body["session_id"] == asking.body["session_id"]
    assert len(api.api.sessions) == 1


def test_without_a_session_id_each_chunk_stands_alone() -> None:
    api = Api()
    for words in ("one", "two"):
        asking = api.post(wav(SECOND, 16000), is_final_chunk="true")
        api.say(words)
        assert (asking.status, asking.body["text"], asking.body["is_final"]) == (200, words, True)
    assert len(api.api.sessions) == 0


def test_the_session_id_may_stand_in_the_query_or_a_header() -> None:
    api = Api()
    for query, head in (("?session_id=s1", ""), ("", "X-Session-ID: s1\r\n")):
        api.post(SECOND, query, head)
    (session,) = api.api.sessions
    assert session.totals.heard_ms == 2000


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"language": "klingon"}, 422, "unsupported_language"),
        ({"sample_rate": "fast"}, 422, "unsupported_sample_rate"),
        ({"is_final_chunk": "perhaps"}, 422, "invalid_parameter"),
        ({"language": "e" * 2000}, 422, "invalid_parameter"),
        ({"provider": "nobody"}, 422, "provider_unavailable"),
        ({"provider": "no body"}, 422, "provider_unavailable"),
        ({"session_id": "a b"}, 422, "invalid_parameter"),
    ],
)
def test_a_field_at_fault_is_422(fields: dict[str, str], status: int, code: str) -> None:
    asking = Api().post(SECOND, "", "", **fields)
    assert (asking.status, asking.body["code"], asking.body["error_code"]) == (status, code, code)
    assert asking.body["error"]
    assert asking.header("content-type") == "application/json"


def test_a_form_without_a_chunk_is_422() -> None:
    for asking in (Api().post(None), Api().post(None, language="en")):
        assert (asking.status, asking.body["code"]) == (422, "invalid_parameter")
        assert "audio_chunk" in asking.body["message"]


def test_what_is_no_form_is_400_or_415() -> None:
    api = Api()
    multipart = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    answers = [
        api.raw(b"nonsense", multipart),
        api.raw(form(SECOND)[:-40], multipart),
        api.raw(form(SECOND), "Content-Type: multipart/form-data\r\n"),
    ]
    assert [asking.status for asking in answers] == [400] * 3
    assert {asking.body["code"] for asking in answers} == {"invalid_request"}
    for head in ("Content-Type: application/json\r\n", ""):
        asking = api.raw(b"{}", head)
        assert (asking.status, asking.body["code"]) == (415, "unsupported_media_type")
    assert api.raw(b"", "", method="PUT").status == 405
    assert len(api.api.sessions) == 0


def test_sound_of_another_kind_is_415_and_damaged_sound_422() -> None:
    api = Api()
    ogg = api.post(b"OggS" + bytes(100))
    assert (ogg.status, ogg.body["code"]) == (415, "unsupported_audio_format")
    for damaged in (wav(SECOND, 16000)[:20], bytes(641)):
        asking = api.post(damaged)
        assert (asking.status, asking.body["code"]) == (422, "audio_format_error")


def test_too_much_at_once_is_413_and_too_fast_429() -> None:
    api = Api(max_ahead_s=2, max_chunk_s=1)
    asking = api.post(SECOND * 3)
    assert (asking.status, asking.body["code"]) == (413, "audio_too_large")
    assert api.post(SECOND * 2, session_id="s").answered is False
    fast = api.post(SECOND, session_id="s")
    assert fast.answered is False
    fast = api.post(SECOND, session_id="s")
    assert (fast.status, fast.body["code"], fast.header("retry-after")) == (429, "too_fast", "1")
    assert api.raw(bytes(1 << 20), "", "").status == 415
    for body in (bytes((1 << 20) + 1), bytes(2 << 20)):
        longer = api.raw(body, "", "?language=en")
        assert (longer.status, longer.body["code"], longer.body["type"]) == (413, "audio_too_large", "error")
        assert set(longer.body) == set(asking.body)


def test_no_room_and_no_provider_are_503() -> None:
    api = Api(max_sessions=1)
    api.post(SECOND, session_id="s")
    full = api.post(SECOND, session_id="t")
    assert (full.status, full.body["code"]) == (503, "server_full")
    assert full.header("retry-after")
    api = Api()
    vars(api.api.ear)["full"] = "80 s of speech wait for 2 decoders"
    behind = api.post(SECOND)
    assert (behind.status, behind.body["code"], behind.header("retry-after")) == (503, "server_full", "5")
    assert behind.body["recovery_suggestion"]
    api = Api()
    api.api.troubles["fake"] = "no model"
    for name in ("fake", "FAKE", ""):
        away = api.post(SECOND, provider=name)
        assert (away.status, away.body["code"]) == (503, "provider_unavailable")
        assert away.header("retry-after")
    api.api.troubles.clear()
    failing = api.post(SECOND)
    api.api.ear.fail(retryable=False)
    assert (failing.status, failing.body["code"]) == (503, "provider_unavailable")


def test_a_final_that_does_not_come_is_503() -> None:
    api = Api(final_s=3)
    asking = api.post(SECOND, is_final_chunk="true")
    api.api.wait(5)
    assert (asking.status, asking.body["code"]) == (503, "transcription_timeout")


def test_an_expired_session_is_404() -> None:
    api = Api(idle_s=3)
    api.post(SECOND, session_id="s")
    api.api.wait(4)
    asking = api.post(SECOND, session_id="s")
    assert (asking.status, asking.body["code"]) == (404, "session_expired")


def test_another_rate_in_the_same_session_is_422() -> None:
    api = Api()
    api.post(wav(SECOND, 8000), session_id="s")
    api.post(SECOND, session_id="s")
    (session,) = api.api.sessions
    assert (session.wish.rate_hz, session.totals.heard_ms) == (8000, 4000)
    asking = api.post(wav(SECOND, 16000), session_id="s")
    assert (asking.status, asking.body["code"]) == (422, "unsupported_sample_rate")


def test_a_chunk_waits_for_words_half_as_long_as_it_sounds() -> None:
    api = Api()
    for chunk, wait_s in ((SECOND[:6400], 0.1), (SECOND, 0.5), (SECOND * 4, 0.5), (b"", 0.0)):
        asking = api.post(chunk, session_id="s")
        api.api.clock.advance(wait_s - 0.01 if wait_s else 0)
        assert asking.answered is (wait_s == 0)
        api.api.clock.advance(0.02)
        assert asking.answered


def test_a_wav_file_in_pieces_is_one_file() -> None:
    api = Api()
    file = wav(SECOND, 8000)
    for start in range(0, len(file), 1001):
        asking = api.post(file[start : start + 1001], session_id="s", sample_rate="16000")
        api.api.clock.advance(LOOK_S)
        assert asking.status == 200, asking.body
    (session,) = api.api.sessions
    assert (session.wish.rate_hz, session.totals.heard_ms) == (8000, 2000)


def test_a_chunk_that_is_refused_may_be_sent_again() -> None:
    api = Api(max_ahead_s=2)
    file = wav(SECOND * 5, 16000)
    pieces = [file[start : start + 47_001] for start in range(0, len(file), 47_001)]
    for piece in pieces:
        while (asking := api.post(piece, session_id="s")).answered:
            assert asking.status == 429
            api.api.wait(1)
        api.api.clock.advance(LOOK_S)
    (session,) = api.api.sessions
    assert session.totals.heard_ms == 5000


def test_a_client_that_leaves_leaves_nothing_behind() -> None:
    api = Api()
    asking = api.post(SECOND)
    assert len(api.api.sessions) == 1
    asking.channel.connectionLost(Failure(ConnectionLost()))
    assert len(api.api.sessions) == 0
    asking = api.post(SECOND, session_id="s")
    asking.channel.connectionLost(Failure(ConnectionLost()))
    assert len(api.api.sessions) == 1
    api.api.wait(300)
    assert len(api.api.sessions) == 0


def test_who_is_not_allowed_is_403() -> None:
    asking = Api(allow=("10.0.0.0/8",)).post(SECOND)
    assert (asking.status, asking.body["code"]) == (403, "forbidden")
