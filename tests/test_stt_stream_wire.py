import base64
import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.errors import WireError
from voicemedia.interfaces import Transcript, Word
from voicemedia.protocols import stt_stream_wire as wire
from voicemedia.protocols.languages_wire import known_language, usual_spelling
from voicemedia.protocols.stt_stream_wire import Audio, End, Finalize, Ping, read_parameters, read_text
from voicemedia.transcribing.events import SUGGESTIONS, Heard, Over, Trouble, Wish

PCM = bytes(range(256)) * 2
B64 = base64.b64encode(PCM).decode()


@pytest.mark.parametrize("kind", ["audio", "audio_chunk", "audio_data"])
@pytest.mark.parametrize("key", ["data", "audio", "audio_data"])
def test_sound_is_read_in_every_form_met(kind: str, key: str) -> None:
    assert read_text(json.dumps({"type": kind, key: B64}).encode()) == Audio(PCM)
    assert read_text(json.dumps({"type": kind, key: B64, "is_final": True}).encode()) == Audio(PCM, final=True)


@pytest.mark.parametrize(
    "message",
    [
        {"audio": B64},
        {"type": "AUDIO", "data": B64.rstrip("=")},
        {"event": "media", "media": B64, "payload": B64},
        {"type": "audio", "data": {"payload": B64}},
        {"type": "audio", "data": base64.urlsafe_b64encode(PCM).decode()},
        {"type": "audio", "data": f"data:audio/pcm;base64,{B64}"},
        {"type": "audio", "data": "\r\n".join(B64[at : at + 76] for at in range(0, len(B64), 76))},
    ],
)
def test_sound_is_read_in_dialects_of_base64_and_json(message: dict[str, Any]) -> None:
    assert read_text(json.dumps(message).encode()) == Audio(PCM)


@pytest.mark.parametrize("word", ["end", "stop", "end_of_stream", "close", "EOS"])
def test_the_end_is_said_in_many_words(word: str) -> None:
    for text in (json.dumps({"type": word}), json.dumps({"action": word}), word, json.dumps(word)):
        assert read_text(text.encode()) == End()


def test_finalize_and_ping_are_read() -> None:
    assert read_text(b'{"type":"finalize"}') == Finalize()
    assert read_text(b'{"type":"ping","id":7}') == Ping({"id": 7})
    assert read_text(b"ping") == Ping({})
    assert read_text(b'{"type":"audio","is_final":true}') == Audio(b"", final=True)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"hello there", "bad_json"),
        (b"{", "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b"[]", "not_an_object"),
        (b"7", "not_an_object"),
        (b"{}", "unknown_message"),
        (b'{"type":"dance"}', "unknown_message"),
        (b'{"type":7}', "unknown_message"),
        (b'{"type":"audio"}', "no_audio"),
        (b'{"type":"audio","data":[1,2]}', "no_audio"),
        (b'{"type":"audio","data":"***"}', "bad_base64"),
        (b'{"type":"audio","data":"abcde"}', "bad_base64"),
        ('{"type":"audio","data":"é"}'.encode(), "bad_base64"),
        (b'"nonsense"', "unknown_message"),
    ],
)
def test_what_is_no_message_is_named(text: bytes, kind: str) -> None:
    with pytest.raises(WireError) as caught:
        read_text(text)
    assert caught.value.kind == kind


KEYS = st.sampled_from((*wire.TYPE_KEYS, *wire.AUDIO_KEYS, *wire.FINAL_KEYS))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(("audio", "end", "ping", B64)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)


@given(st.one_of(st.binary(), st.dictionaries(KEYS, VALUES).map(msgspec.json.encode)))
def test_no_text_gives_anything_but_a_message_or_a_wire_error(text: bytes) -> None:
    with suppress(WireError):
        assert isinstance(read_text(text), Audio | End | Finalize | Ping)


def test_the_parameters_of_the_seed_are_read() -> None:
    asked = read_parameters(
        {"language": ["fr"], "provider": ["google"], "sample_rate": ["8000"], "chunk_size": ["2048"]}
    )
    assert asked.wish == Wish("fr", "google", 8000, 2048)
    assert asked.faults == ()
    assert read_parameters({}).wish == Wish("en", "", 16000, 1024)
    asked = read_parameters({"words": ["1"], "interim": ["false"], "silence_ms": ["900"], "last_seq": ["12"]})
    assert asked.wish == Wish(words=True, interim=False, silence_ms=900)
    assert asked.last_seq == 12


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("language", "klingon", "unsupported_language"),
        ("language", "xx", "unsupported_language"),
        ("language", "en;drop", "unsupported_language"),
        ("sample_rate", "abc", "unsupported_sample_rate"),
        ("sample_rate", "-1", "unsupported_sample_rate"),
        ("sample_rate", "16001", "unsupported_sample_rate"),
        ("sample_rate", "9" * 5000, "unsupported_sample_rate"),
        ("sample_rate", "١٦٠٠٠", "unsupported_sample_rate"),
        ("chunk_size", "0", "invalid_parameter"),
        ("chunk_size", "big", "invalid_parameter"),
        ("provider", "../etc", "provider_unavailable"),
        ("words", "maybe", "invalid_parameter"),
        ("silence_ms", "5", "invalid_parameter"),
        ("last_seq", "-3", "invalid_parameter"),
        ("session_id", "a b", "session_not_found"),
    ],
)
def test_a_parameter_at_fault_is_named_and_its_default_taken(name: str, value: str, code: str) -> None:
    asked = read_parameters({name: [value]})
    assert asked.wish == Wish()
    assert [fault.code for fault in asked.faults] == [code]
    assert code in SUGGESTIONS


@given(st.dictionaries(st.sampled_from([*wire.PARAMETERS, "session_id", "last_seq"]), st.lists(st.text(), max_size=2)))
def test_no_parameters_make_the_reader_fail(parameters: dict[str, list[str]]) -> None:
    for fault in read_parameters(parameters).faults:
        assert fault.code in SUGGESTIONS


@pytest.mark.parametrize("text", ["en", "EN", "en-US", "fr", "ja-JP", "zh-Hans-CN", "yue", "auto", "AUTO", "en_GB"])
def test_languages_are_known(text: str) -> None:
    assert known_language(text)


@pytest.mark.parametrize(
    ("written", "usual"),
    [("EN", "en"), ("AUTO", "auto"), ("en_gb", "en-GB"), ("ja-JP", "ja-JP"), ("ZH-hans-cn", "zh-Hans-CN")],
)
def test_a_language_is_passed_on_in_its_usual_spelling(written: str, usual: str) -> None:
    assert usual_spelling(written) == usual
    assert read_parameters({"language": [written]}).wish.language == usual


def test_a_transcription_has_the_seeds_keys() -> None:
    heard = Heard(Transcript("turn left", True, 0.85), "en", 1_758_305_652.5, "go on turn left", 0.8)
    message = json.loads(wire.event_message(3, heard, "S1"))
    assert message == {
        "type": "transcription",
        "text": "turn left",
        "is_final": True,
        "confidence": 0.85,
        "language": "en",
        "timestamp": "2025-09-19T18:14:12.500000+00:00",
        "accumulated_text": "go on turn left",
        "average_confidence": 0.8,
        "session_id": "S1",
        "seq": 3,
    }


def test_words_have_times_when_asked_for() -> None:
    transcript = Transcript("left", True, 0.5, 100, 400, words=(Word("left", 120, 380, 0.5),))
    message = json.loads(wire.event_message(1, Heard(transcript, "en", 0.0, "left", 0.5, words=True), "S1"))
    assert (message["start_ms"], message["end_ms"]) == (100, 400)
    assert message["words"] == [{"word": "left", "start_ms": 120, "end_ms": 380, "confidence": 0.5}]
    assert "words" not in json.loads(wire.event_message(1, Heard(transcript, "en", 0.0, "left", 0.5), "S1"))


def test_an_error_has_both_forms() -> None:
    message = json.loads(wire.error_message(Trouble("provider_unavailable", "google is away", 1758305652.38)))
    assert message["type"] == "error"
    assert message["error"] == message["message"] == "google is away"
    assert message["error_code"] == "provider_unavailable"
    assert message["timestamp"] == 1758305652.38
    assert message["recovery_suggestion"]


def test_the_end_brings_the_summary_and_a_replay_says_so() -> None:
    message = json.loads(wire.event_message(9, Over("ended", {"session": {}}), "S1", replayed=True))
    assert message == {
        "type": "session_ended",
        "reason": "ended",
        "summary": {"session": {}},
        "session_id": "S1",
        "seq": 9,
        "replayed": True,
    }
