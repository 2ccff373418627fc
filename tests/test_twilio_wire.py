"""Twilio's few differences, and its signature."""

import json
from typing import Any

import pytest

from tests.wire_vectors import expected, load, message
from voicemedia.errors import WireError
from voicemedia.protocols.media_stream_session_wire import MediaStreamSession, StreamWriter
from voicemedia.protocols.media_stream_wire import Start, read
from voicemedia.protocols.twilio_wire import TWILIO, signature, signature_valid


@pytest.mark.parametrize("vector", list(load("twilio")), ids=lambda v: v["id"])
def test_a_message_gives_its_event(vector: dict[str, Any]) -> None:
    assert read(message(vector)) == expected(vector)


def test_we_write_neither_chunk_nor_sequence_number_nor_fill_up() -> None:
    out = StreamWriter(TWILIO, Start("MZ0"))
    assert json.loads(out.media(b"\0\1")) == {"event": "media", "streamSid": "MZ0", "media": {"payload": "AAE="}}
    assert json.loads(out.mark("m")) == {"event": "mark", "streamSid": "MZ0", "mark": {"name": "m"}}
    assert json.loads(out.clear()) == {"event": "clear", "streamSid": "MZ0"}


def test_the_callers_side_of_both_tracks_is_heard_and_ours_is_not() -> None:
    session = MediaStreamSession(TWILIO)
    session.receive(b'{"event":"start","streamSid":"MZ0","start":{"tracks":["inbound","outbound"]}}')
    sound = '{"event":"media","streamSid":"MZ0","media":{"track":"%s","payload":""}}'
    assert len(session.receive(sound % "inbound")) == 1
    with pytest.raises(WireError, match="outbound_track"):
        session.receive(sound % "outbound")


# --- signature ---

TOKEN = "12345"
FORM = {
    "CallSid": ["CA1234567890ABCDE"],
    "Caller": ["+14158675309"],
    "Digits": ["1234"],
    "From": ["+14158675309"],
    "To": ["+18005551212"],
}


def test_the_published_example_is_signed_as_published() -> None:
    # The example of Twilio's page "Webhooks security": this URL, these fields, auth token 12345.
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature(TOKEN, url, FORM) == "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    assert signature_valid(TOKEN, url, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", FORM)


@pytest.mark.parametrize("signed", ["wss://voice.example.com/twilio?a=1", "wss://voice.example.com:443/twilio?a=1"])
@pytest.mark.parametrize("seen", ["wss://voice.example.com/twilio?a=1", "wss://voice.example.com:443/twilio?a=1"])
def test_a_handshake_is_valid_with_and_without_port(signed: str, seen: str) -> None:
    assert signature_valid(TOKEN, seen, signature(TOKEN, signed))


def test_an_unusual_port_may_be_left_out_by_the_signer() -> None:
    assert signature_valid(TOKEN, "ws://[::1]:8000/t", signature(TOKEN, "ws://[::1]/t"))


@pytest.mark.parametrize(
    ("token", "url", "given"),
    [
        ("other", "wss://voice.example.com/twilio", signature(TOKEN, "wss://voice.example.com/twilio")),
        (TOKEN, "wss://voice.example.com/twilio?x=1", signature(TOKEN, "wss://voice.example.com/twilio")),
        (TOKEN, "wss://voice.example.com/twilio", ""),
        (TOKEN, "wss://voice.example.com/twilio", "ü\ud800"),
        (TOKEN, "wss://voice.example.com:99999/twilio", "x"),
        (TOKEN, "wss://[::1/twilio", "x"),
        (TOKEN, "nonsense", "x"),
    ],
)
def test_a_wrong_signature_is_not_valid(token: str, url: str, given: str) -> None:
    assert not signature_valid(token, url, given)


def test_fields_are_signed_sorted_and_once() -> None:
    assert signature(TOKEN, "https://x/", {"b": ["2", "1", "2"], "a": ["0"]}) == signature(TOKEN, "https://x/a0b1b2")
