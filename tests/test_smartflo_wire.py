"""Smartflo's messages in both directions, and the streams of one socket."""

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire_vectors import expected, load, message
from voicemedia.errors import WireError
from voicemedia.protocols.media_stream_session_wire import CONNECTED, MARKS_KEPT, MediaStreamSession, StreamWriter
from voicemedia.protocols.media_stream_wire import Event, Mark, Media, Start, Stop, read
from voicemedia.protocols.smartflo_wire import SMARTFLO, SMARTFLO_STRICT

VECTORS = list(load("smartflo"))
START = b'{"event":"start","start":{"streamSid":"S1","callSid":"C1"}}'
START_2 = START.replace(b"S1", b"S2")
STOP = b'{"event":"stop","streamSid":"S1"}'
MEDIA = b'{"event":"media","streamSid":"S1","media":{"payload":"AAE=","chunk":"1","timestamp":"20"}}'
SOUND = Media("S1", payload=b"\0\1", chunk=1, timestamp_ms=20)


def kind_of(session: MediaStreamSession, raw: bytes) -> str:
    with pytest.raises(WireError) as error:
        session.receive(raw)
    return error.value.kind


@pytest.mark.parametrize("vector", [v for v in VECTORS if "out" in v], ids=lambda v: v["id"])
def test_a_message_gives_its_event(vector: dict[str, Any]) -> None:
    assert read(message(vector)) == expected(vector)
    assert read(message(vector).decode()) == expected(vector)


@pytest.mark.parametrize("vector", [v for v in VECTORS if "error" in v], ids=lambda v: v["id"])
def test_a_bad_message_is_refused_by_kind(vector: dict[str, Any]) -> None:
    with pytest.raises(WireError) as error:
        read(message(vector))
    assert error.value.kind == vector["error"]


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"event":"media","media":'])
def test_endless_nesting_is_not_json(opening: str) -> None:
    with pytest.raises(WireError, match="not_json"):
        read(opening * 200_000)


def test_a_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(WireError, match="bad_utf8"):
        read('{"event":"stop","streamSid":"\ud800"}')


def test_an_event_shows_nothing_a_caller_said_or_dialed() -> None:
    start = read(
        '{"event":"start","start":{"streamSid":"S1","from":"911234567890","customParameters":{"name":"Asha"}}}'
    )
    assert repr(start) == "<Start of S1>"


number = st.integers(-(2**62), 2**62)


@given(st.binary(max_size=400), number, number, number, st.text())
def test_strict_and_tolerant_reader_agree(sound: bytes, sequence: int, chunk: int, time_ms: int, sid: str) -> None:
    media = {"payload": b64encode(sound).decode(), "chunk": str(chunk), "timestamp": time_ms}
    strict = json.dumps({"event": "media", "streamSid": sid, "sequenceNumber": str(sequence), "media": media})
    tolerant = json.dumps({"event": "MEDIA", "stream_id": sid, "sequence_number": sequence, "media": media})
    assert read(strict) == read(tolerant) == Media(sid, sequence, sound, chunk, time_ms)


# --- what we say ---


def writer(codec: str = "PCMU", rate_hz: int = 8000, sid: str = "S1") -> StreamWriter:
    return StreamWriter(SMARTFLO, Start(sid, codec=codec, rate_hz=rate_hz))


def test_the_greeting_is_the_seeds() -> None:
    assert json.loads(CONNECTED) == {"event": "connected", "protocol": "Call", "version": "1.0.0"}


def test_we_write_what_both_documents_ask_for() -> None:
    out = writer()
    written = [out.media(b"\xff" * 160), out.media(b"\0" * 320), out.mark("m1"), out.clear(), out.media(b"\xff" * 160)]
    messages = [json.loads(text) for text in written]
    payloads = [each["media"].pop("payload") for each in messages if "media" in each]
    assert messages == [
        {"event": "media", "streamSid": "S1", "sequenceNumber": 1, "media": {"chunk": 1}},
        {"event": "media", "streamSid": "S1", "sequenceNumber": 2, "media": {"chunk": 2}},
        {"event": "mark", "streamSid": "S1", "sequenceNumber": 3, "mark": {"name": "m1"}},
        {"event": "clear", "streamSid": "S1"},
        {"event": "media", "streamSid": "S1", "sequenceNumber": 5, "media": {"chunk": 3}},
    ]
    assert [b64decode(text) for text in payloads] == [b"\xff" * 160, b"\0" * 320, b"\xff" * 160]


def test_to_the_letter_of_the_carrier_there_is_no_sequence_number() -> None:
    out = StreamWriter(SMARTFLO_STRICT, Start("S1"))
    assert json.loads(out.media(b"\xff" * 160))["media"]["chunk"] == 1
    assert [json.loads(text).keys() for text in (out.media(b""), out.mark("m"), out.clear())] == [
        {"event", "streamSid", "media"},
        {"event", "streamSid", "mark"},
        {"event", "streamSid"},
    ]


@pytest.mark.parametrize(
    ("codec", "given_bytes", "sent_bytes", "last"),
    [
        ("PCMU", 1, 160, b"\xff\xff"),
        ("PCMU", 161, 320, b"\xff\xff"),
        ("PCMA", 100, 160, b"\xd5\xd5"),
        ("L16", 160, 320, b"\0\0"),
        ("L16", 640, 640, b"\1\1"),
    ],
)
def test_a_last_part_of_a_block_is_filled_with_silence(
    codec: str, given_bytes: int, sent_bytes: int, last: bytes
) -> None:
    sent = b64decode(json.loads(writer(codec).media(b"\1" * given_bytes))["media"]["payload"])
    assert (len(sent), sent[:given_bytes], sent[-2:]) == (sent_bytes, b"\1" * given_bytes, last)


@given(st.text(), st.text(), st.binary(max_size=400))
def test_what_we_write_reads_back(sid: str, name: str, sound: bytes) -> None:
    out = writer(sid=sid)
    event = read(out.media(sound))
    assert isinstance(event, Media)
    assert (event.stream_id, event.sequence, event.chunk, event.payload[: len(sound)]) == (sid, 1, 1, sound)
    assert len(event.payload) % 160 == 0
    assert json.loads(out.mark(name)) == {
        "event": "mark",
        "streamSid": sid,
        "sequenceNumber": 2,
        "mark": {"name": name},
    }
    assert json.loads(out.clear()) == {"event": "clear", "streamSid": sid}


# --- the streams of one socket: what comes in, and what the session makes of it ---

MARK = b'{"event":"mark","streamSid":"S1","mark":{"name":"m1"}}'
DTMF = b'{"event":"dtmf","streamSid":"S1","dtmf":{"digit":"1"}}'
OTHER = MEDIA.replace(b"S1", b"S9")

LIVES = [
    ("a whole call", [b'{"event":"connected"}', START, MEDIA, DTMF, STOP], "Connected Start Media Dtmf Stop"),
    ("connected twice", [b'{"event":"connected"}', START, b'{"event":"connected"}'], "Connected Start Connected"),
    ("sound first", [MEDIA, START, MEDIA], "!media_before_start Start Media"),
    ("all before the start", [DTMF, MARK, STOP], "!dtmf_before_start !mark_before_start !stop_before_start"),
    ("start twice", [START, START, MEDIA], "Start !duplicate_start Media"),
    ("a second stream replaces the first", [START, START_2, MEDIA], "Start Stop,Start !unknown_stream"),
    ("stop twice", [START, STOP, STOP], "Start Stop !duplicate_stop"),
    ("late sound", [START, STOP, MEDIA, DTMF], "Start Stop !media_after_stop !dtmf_after_stop"),
    ("another call on the same socket", [START, STOP, START_2, STOP], "Start Stop Start !unknown_stream"),
    ("the same stream again", [START, STOP, START, MEDIA], "Start Stop Start Media"),
    ("sound of another stream", [START, OTHER, MEDIA], "Start !unknown_stream Media"),
    ("a mark never asked for", [START, MARK, MEDIA], "Start !unknown_mark Media"),
    ("rubbish does no harm", [START, b"{", b"[]", b'{"event":"x"}', MEDIA], "Start !not_json !not_object Custom Media"),
    ("a start we cannot hear", [START.replace(b'"C1"', b'"C1","mediaFormat":{"encoding":"opus"}'), MEDIA, START, MEDIA],
     "!unsupported_encoding !media_before_start Start Media"),
]  # fmt: skip


def live(session: MediaStreamSession, messages: list[bytes]) -> str:
    """Return what happened in words: events, `!kind` for an error."""
    said = []
    for raw in messages:
        try:
            said.append(",".join(type(event).__name__ for event in session.receive(raw)))
        except WireError as error:
            said.append(f"!{error.kind}")
    return " ".join(said)


@pytest.mark.parametrize(("messages", "happened"), [life[1:] for life in LIVES], ids=[life[0] for life in LIVES])
def test_a_socket_lives(messages: list[bytes], happened: str) -> None:
    assert live(MediaStreamSession(SMARTFLO), messages) == happened


@pytest.mark.parametrize(
    ("messages", "happened"),
    [
        ([MEDIA, MEDIA, START, MEDIA], "Start,Media Media Stop,Start Media"),
        ([START, STOP, MEDIA, OTHER], "Start Stop !media_after_stop Start,Media"),
        ([b'{"event":"media","media":{"payload":""}}'], "!media_before_start"),
    ],
)
def test_sound_may_start_its_stream(messages: list[bytes], happened: str) -> None:
    assert live(MediaStreamSession(SMARTFLO, implicit_start=True), messages) == happened


def test_an_implied_start_says_so() -> None:
    happened = MediaStreamSession(SMARTFLO, implicit_start=True).receive(MEDIA)
    assert happened == (Start("S1", implied=True), SOUND)


def test_a_replaced_stream_says_so() -> None:
    session = MediaStreamSession(SMARTFLO)
    session.receive(START)
    assert session.receive(START_2) == (
        Stop("S1", call_id="C1", reason="replaced", replaced=True),
        Start("S2", call_id="C1"),
    )
    assert session.writer is not None
    assert json.loads(session.writer.clear())["streamSid"] == "S2"


def test_nothing_can_be_sent_before_start_and_after_stop() -> None:
    session = MediaStreamSession(SMARTFLO)
    sendable = [session.writer is not None]
    for raw in (START, b'{"event":"stop"}'):
        session.receive(raw)
        sendable.append(session.writer is not None)
    assert sendable == [False, True, False]


def test_sound_that_names_no_stream_belongs_to_the_live_one() -> None:
    session = MediaStreamSession(SMARTFLO)
    session.receive(START)
    assert session.receive(b'{"event":"media","media":{"payload":""}}') == (Media(),)


def test_half_a_sample_is_refused() -> None:
    session = MediaStreamSession(SMARTFLO)
    session.receive(b'{"event":"start","start":{"streamSid":"S1","mediaFormat":{"encoding":"L16"}}}')
    assert session.receive(MEDIA) == (SOUND,)
    assert kind_of(session, MEDIA.replace(b"AAE=", b"AA==")) == "odd_length"


def test_a_mark_comes_back_once_and_knows_whether_we_cleared() -> None:
    session = MediaStreamSession(SMARTFLO)
    session.receive(START)
    assert session.writer is not None
    session.writer.mark("m1")
    session.writer.mark("m2")
    assert session.receive(MARK) == (Mark("S1", name="m1"),)
    session.writer.clear()
    session.writer.mark("m3")
    assert session.receive(MARK.replace(b"m1", b"m2")) == (Mark("S1", name="m2", cleared=True),)
    assert session.receive(MARK.replace(b"m1", b"m3")) == (Mark("S1", name="m3"),)
    assert kind_of(session, MARK) == "unknown_mark"


def test_marks_that_never_come_back_are_forgotten() -> None:
    out = writer()
    for number in range(MARKS_KEPT + 1):
        out.mark(str(number))
    assert out.came_back(Mark(name="1")) == Mark(name="1")
    with pytest.raises(WireError, match="unknown_mark"):
        out.came_back(Mark(name="0"))


def test_binary_frames_are_sound_where_allowed() -> None:
    session = MediaStreamSession(SMARTFLO, binary_audio=True)
    with pytest.raises(WireError, match="binary_frame"):
        session.receive_binary(b"\0" * 160)
    session.receive(START)
    happened: list[Event] = [*session.receive_binary(b"\0" * 160), *session.receive_binary(b"\1" * 80)]
    assert happened == [
        Media("S1", payload=b"\0" * 160, chunk=1, timestamp_ms=0),
        Media("S1", payload=b"\1" * 80, chunk=2, timestamp_ms=20),
    ]
    with pytest.raises(WireError, match="binary_frame"):
        session.receive_binary(b"")


def test_binary_frames_are_refused_where_not_allowed() -> None:
    session = MediaStreamSession(SMARTFLO)
    session.receive(START)
    with pytest.raises(WireError, match="binary_frame"):
        session.receive_binary(b"\0" * 160)
