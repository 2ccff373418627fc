"""The messages of ElevenLabs' voices."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.errors import WireError
from voicemedia.tts.elevenlabs_wire import Alignment, Piece, Words, begin, close, read, text


def test_sound_comes_with_the_times_of_its_characters() -> None:
    payload = (
        b'{"audio":"AAE=","isFinal":null,"normalizedAlignment":null,"contextId":"s1",'
        b'"alignment":{"charStartTimesMs":[0,3],"charDurationsMs":[3,4],"chars":["H","i"]}}'
    )
    assert read(payload) == Piece("s1", b"\x00\x01", Alignment(["H", "i"], [0, 3]))


@pytest.mark.parametrize(
    ("payload", "piece"),
    [
        (b'{"isFinal":true,"audio":null,"contextId":"s1"}', Piece("s1", final=True)),
        (b'{"is_final":true,"isFinal":true,"context_id":"s1"}', Piece("s1", final=True)),
        (b'{"error":"quota_exceeded","message":"m","code":1008}', Piece("", error="quota_exceeded: m")),
        (b'{"message":"a warning"}', Piece("")),
    ],
)
def test_what_else_comes(payload: bytes, piece: Piece) -> None:
    assert read(payload) == piece


@given(st.one_of(st.binary(), st.sampled_from([b"{", b"[]", b'{"audio":7}', b'{"audio":"%"}', b'{"alignment":[]}'])))
def test_nothing_but_a_wire_error_leaves_the_reader(payload: bytes) -> None:
    with suppress(WireError):
        read(payload)


def test_what_is_sent() -> None:
    sent = [msgspec.json.decode(each) for each in (begin("s1", {"speed": 1.0}), text("s1", "Hi."), close("s1"))]
    assert sent == [
        {"text": " ", "voice_settings": {"speed": 1.0}, "context_id": "s1"},
        {"text": "Hi. ", "context_id": "s1", "flush": True},
        {"context_id": "s1", "close_context": True},
    ]


def chunk(characters: str, start_ms: int) -> Alignment:
    return Alignment(list(characters), [start_ms + 10 * number for number in range(len(characters))])


@pytest.mark.parametrize("later_ms", [0, 500], ids=["each chunk from its own start", "all from the first"])
def test_words_begin_where_their_chunk_does(later_ms: int) -> None:
    words = Words("two big eggs")
    assert list(words.take(chunk("two bi", 0), 0)) == [(0, 0), (4, 40)]
    assert not words.complete
    assert list(words.take(chunk("g eggs ", later_ms), 500)) == [(8, 520)]
    assert words.complete


def test_characters_that_are_not_in_the_sentence_are_passed_over() -> None:
    words = Words("a  b")
    assert list(words.take(chunk("#a b", 0), 0)) == [(0, 10), (3, 30)]
    assert words.complete
