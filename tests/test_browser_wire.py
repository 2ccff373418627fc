"""A browser's messages: what is written for it, and whatever may come from it."""

import json
from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicemedia.audio.wav import read_wav
from voicemedia.errors import WireError
from voicemedia.protocols.browser_wire import READERS, Typed, Utterance, Writer, read_message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["data", "text", "message", "number", "digit", "mimeType"])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*READERS, "", "x_request"]) | st.text(), st.dictionaries(FIELDS, JSON, max_size=3))
def test_a_message_is_read_or_refused_as_the_peers_fault(kind: str, fields: dict[str, object]) -> None:
    try:
        read_message(json.dumps({"type": kind, **fields}).encode())
    except WireError:
        return


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_octets_that_are_no_message_are_the_peers_fault(octets: bytes) -> None:
    try:
        read_message(octets)
    except WireError:
        return


@pytest.mark.parametrize("prefix", ["", "data:audio/webm;codecs=opus;base64,"])
def test_a_recording_comes_as_base64_or_as_a_data_url(prefix: str) -> None:
    text = prefix + b64encode(b"sound").decode()
    assert read_message(json.dumps({"type": "webm_audio", "data": text}).encode()) == Utterance(b"sound")


def test_white_space_of_typed_words_is_one_space() -> None:
    assert read_message(b'{"type":"text_message","data":"  two\\n eggs "}') == Typed("two eggs")


def test_an_answer_carries_a_wav_file_and_its_length() -> None:
    message = json.loads(Writer("S1", lambda: 1_700_000_000_123).speech("hi", bytes(32_000)))
    assert message["timestamp"] == 1_700_000_000_123
    assert message["sessionId"] == "S1"
    assert message["data"]["duration"] == 1000
    assert read_wav(b64decode(message["data"]["audio"])) == (16_000, bytes(32_000))
