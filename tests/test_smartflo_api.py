"""The names for programs written against Smartflo, and the examples of their documentation."""

import json
import re
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.wire_vectors import load, message
from voicemedia.errors import WireError
from voicemedia.protocols import smartflo_wire as smartflo
from voicemedia.protocols.smartflo_wire import (
    ClearEvent,
    ConnectedEvent,
    CustomEvent,
    DTMFEvent,
    EventBuilder,
    EventRouter,
    MarkEvent,
    MediaEvent,
    SessionRegistry,
    StartEvent,
    StopEvent,
    VendorMarkEvent,
    VendorMediaEvent,
    decode_mulaw_from_base64,
    encode_pcm16_to_mulaw_base64,
    parse_incoming_event,
)

PAGE = Path(__file__).parent.parent / "docs" / "smartflo.md"
EXAMPLES = re.findall(r"^### (\w[^\n]*)\n(?:(?!^###).)*?^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)

VECTORS = [*load("smartflo"), *load("twilio")]
SHAPES: dict[str, Any] = {
    "Connected": ConnectedEvent,
    "Start": StartEvent,
    "Media": MediaEvent,
    "Dtmf": DTMFEvent,
    "Mark": MarkEvent,
    "Stop": StopEvent,
    "Custom": CustomEvent,
}


@pytest.mark.parametrize("code", [code for _, code in EXAMPLES], ids=[name for name, _ in EXAMPLES])
def test_an_example_of_the_documentation_runs(code: str) -> None:
    exec(compile(code, str(PAGE), "exec"), {"__name__": "example"})


def test_the_documentation_has_an_example_of_each_part() -> None:
    assert [name for name, _ in EXAMPLES] == ["Parse", "Build", "Sound", "Sessions", "Custom events"]


def test_every_public_name_exists() -> None:
    assert [name for name in smartflo.__all__ if not hasattr(smartflo, name)] == []


# --- parsing ---


def everything() -> EventRouter:
    """Return a router that knows the custom events of the vectors."""
    routes = EventRouter()
    for name in ("custom_event", "x-y"):
        routes.route(name)(print)
    return routes


@pytest.mark.parametrize("vector", [v for v in VECTORS if "out" in v], ids=lambda v: v["id"])
def test_every_vector_parses_alike_from_bytes_text_and_dict(vector: dict[str, Any]) -> None:
    (name,) = vector["out"]
    raw, routes = message(vector), everything()
    if name not in ("Connected", "Custom") and "stream_id" not in vector["out"][name]:
        with pytest.raises(WireError, match="missing_field: streamSid"):
            parse_incoming_event(raw, routes)
        return
    event = parse_incoming_event(raw, routes)
    assert isinstance(event, SHAPES[name])
    assert event == parse_incoming_event(raw.decode(), routes) == parse_incoming_event(json.loads(raw), routes)


@pytest.mark.parametrize("vector", [v for v in VECTORS if "error" in v], ids=lambda v: v["id"])
def test_a_bad_message_is_a_value_error_of_its_kind(vector: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as error:
        parse_incoming_event(message(vector))
    assert isinstance(error.value, WireError)
    assert error.value.kind == vector["error"]


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if "out" in v and "Custom" not in v["out"]], ids=lambda v: v["id"]
)
def test_a_parsed_event_written_and_parsed_again_is_the_same(vector: dict[str, Any]) -> None:
    try:
        event = parse_incoming_event(message(vector))
    except WireError as error:
        assert error.kind == "missing_field"
        return
    assert parse_incoming_event(event.to_dict()) == event
    assert parse_incoming_event(event.to_json()) == event


def test_fields_have_the_carriers_names_and_numbers_stay_as_they_came() -> None:
    media = parse_incoming_event(
        {
            "event": "media",
            "sequenceNumber": "2",
            "streamSid": "ST1",
            "media": {"payload": "AAECAwQFBgc=", "chunk": 1, "timestamp": "1234567890"},
        }
    )
    assert isinstance(media, MediaEvent)
    assert (media.event, media.streamSid, media.sequenceNumber) == ("media", "ST1", "2")
    assert (media.media.payload, media.media.chunk, media.media.timestamp) == ("AAECAwQFBgc=", 1, "1234567890")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"event": "nobody"}, "unknown_event"),
        ({"event": "media", "media": {"payload": ""}}, "missing_field"),
        ({"event": "start", "start": {"callSid": "C1"}}, "missing_field"),
        ({}, "no_event"),
        (None, "not_object"),
        ([], "not_object"),
        ({1: 2, "event": "start"}, "missing_field"),
        ({"event": "start", "streamSid": "S", "start": {"customParameters": {"k": object()}}}, "wrong_type"),
        ({"event": "start", "streamSid": "S", "sequenceNumber": 10**6000}, "wrong_type"),
        ({"event": "media", "streamSid": "S", "media": {"payload": b"AA=="}}, "wrong_type"),
        ({"event": "media", "streamSid": "S", "media": {"payload": "\ud800"}}, "bad_base64"),
    ],
)
def test_what_never_was_a_message_is_a_wire_error_too(raw: Any, kind: str) -> None:
    with pytest.raises(WireError) as error:
        parse_incoming_event(raw)
    assert error.value.kind == kind


# --- building ---


@pytest.mark.parametrize(
    ("builder", "shape", "fields"),
    [
        (EventBuilder().type("media").sid("S").payload(payload="AA==", chunk=4), VendorMediaEvent,
         {"event": "media", "streamSid": "S", "media": {"payload": "AA==", "chunk": 4}}),
        (EventBuilder().type("mark").sid("S").sequence(2).payload(name="m"), VendorMarkEvent,
         {"event": "mark", "streamSid": "S", "sequenceNumber": 2, "mark": {"name": "m"}}),
        (EventBuilder().type("clear").sid("S"), ClearEvent, {"event": "clear", "streamSid": "S"}),
        (EventBuilder().type("connected"), ConnectedEvent,
         {"event": "connected", "protocol": "Call", "version": "1.0.0"}),
    ],
)  # fmt: skip
def test_the_builder_builds_what_the_carrier_reads(builder: EventBuilder, shape: type, fields: dict[str, Any]) -> None:
    event = builder.build()
    assert type(event) is shape
    assert event.to_dict() == json.loads(event.to_json()) == fields
    assert list(event.to_dict()) == list(fields)


@pytest.mark.parametrize(
    ("builder", "complaint"),
    [
        (EventBuilder(), "type: expected one of media, mark, clear, connected, got ''"),
        (EventBuilder().type("start"), "type: expected one of"),
        (EventBuilder().type("media").payload(payload=""), "sid: a media event needs the streamSid"),
        (EventBuilder().type("clear"), "sid: a clear event needs the streamSid"),
        (EventBuilder().type("media").sid("S"), "payload: a media event needs payload"),
        (EventBuilder().type("mark").sid("S").sequence(1), "payload: a mark event needs name"),
        (EventBuilder().type("mark").sid("S").payload(name="m", chunk=1), "payload: a mark event has no chunk"),
        (EventBuilder().type("mark").sid("S").payload(name=1), "payload: name must be str, got 1"),
        (EventBuilder().type("clear").sid("S").sequence("1"), "sequence: expected an int, got '1'"),  # type: ignore[arg-type]
    ],
)
def test_what_is_missing_is_named(builder: EventBuilder, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(complaint)}"):
        builder.build()


# --- sound ---


@given(st.binary(max_size=400))
def test_mulaw_survives_the_way_to_pcm_and_back(sound: bytes) -> None:
    # 0x7F is the other zero of mu-law: it comes back as 0xFF.
    text = b64encode(sound.replace(b"\x7f", b"\xff")).decode()
    assert len(decode_mulaw_from_base64(text)) == 2 * len(sound)
    assert encode_pcm16_to_mulaw_base64(decode_mulaw_from_base64(text)) == text
    assert decode_mulaw_from_base64(text.encode()) == decode_mulaw_from_base64(text)


@pytest.mark.parametrize("text", ["?", "AAA", b"\xff\xff", "base64_encoded_mulaw_audio_data..."])
def test_sound_that_is_no_base64_is_refused(text: str | bytes) -> None:
    with pytest.raises(WireError, match="bad_base64"):
        decode_mulaw_from_base64(text)


def test_half_a_sample_cannot_be_encoded() -> None:
    with pytest.raises(WireError, match="odd_length"):
        encode_pcm16_to_mulaw_base64(b"\0\0\0")


# --- routing and sessions ---


def result_of(deferred: Deferred[Any]) -> Any:
    """Return what a Deferred that has fired holds."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    (result,) = results
    return result


def test_plain_and_async_handlers_get_the_event_and_what_comes_with_it() -> None:
    routes = EventRouter()

    @routes.route("Plain")
    def plain(event: CustomEvent, word: str) -> str:
        return f"{event.event} {word}"

    @routes.route("slow")
    async def slow(event: CustomEvent, *, gate: "Deferred[str]") -> str:
        return await gate

    gate: Deferred[str] = Deferred()
    waiting = Deferred.fromCoroutine(routes.dispatch(parse_incoming_event({"event": "SLOW"}, routes), gate=gate))
    assert not waiting.called
    gate.callback("done")
    assert result_of(waiting) == "done"
    plain_event = parse_incoming_event({"event": "plain"}, routes)
    assert result_of(Deferred.fromCoroutine(routes.dispatch(plain_event, "word"))) == "plain word"


def test_an_event_nobody_registered_for_is_unknown() -> None:
    failure = result_of(Deferred.fromCoroutine(EventRouter().dispatch(CustomEvent(event="x"))))
    assert failure.check(WireError)
    assert failure.value.kind == "unknown_event"


def test_a_session_lives_in_its_registry() -> None:
    born = datetime(2025, 1, 2, tzinfo=UTC)
    registry = SessionRegistry(now=lambda: born)

    async def life() -> list[Any]:
        session = await registry.create_session("ST1", "CA1")
        session.update_metadata(a=1)
        session.update_metadata(a=2, b=3)
        same = await registry.get_session("ST1")
        with pytest.raises(ValueError, match="ST1 has a session already"):
            await registry.create_session("ST1", "CA2")
        numbers = [session.next_sequence() for _ in range(3)]
        gone = [await registry.delete_session("ST1"), await registry.delete_session("ST1")]
        return [session.created, session.metadata, numbers, same is session, gone == [session, None], len(registry)]

    assert result_of(Deferred.fromCoroutine(life())) == [born, {"a": 2, "b": 3}, [1, 2, 3], True, True, 0]
