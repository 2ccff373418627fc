"""What services say when they refuse, and how long we stay away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.errors import ProviderError, WireError
from voicemedia.stt.whisper_wire import read_answer, wav
from voicemedia.stt.words import text_of
from voicemedia.web.backoff import Backoff
from voicemedia.web.refusal_wire import Refused, read_error_body, read_refusal, read_retry_after

BODIES = [
    ("OpenAI", b'{"error":{"message":"m","type":"t","param":null,"code":"c"}}', ("c", "m")),
    ("OpenAI without a code", b'{"error":{"message":"m","type":"t","code":null}}', ("t", "m")),
    ("ElevenLabs", b'{"detail":{"status":"s","message":"m"}}', ("s", "m")),
    ("ElevenLabs, newer", b'{"detail":{"type":"t","code":"c","status":"s","message":"m"}}', ("c", "m")),
    ("FastAPI", b'{"detail":[{"loc":["body","model_id"],"msg":"field required","type":"x"}]}',
     ("", "body.model_id: field required")),
    ("FastAPI, plain", b'{"detail":"Not Found"}', ("", "Not Found")),
    ("Gemini", b'{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}', ("RESOURCE_EXHAUSTED", "m")),
    ("Gemini, in a list", b'[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]', ("UNAVAILABLE", "m")),
    ("one string", b'{"error":"no such model"}', ("", "no such model")),
    ("text", b"upstream timed out", ("", "upstream timed out")),
    ("a page", b"<html>Bad Gateway</html>", ("", "")),
    ("nothing", b"", ("", "")),
]  # fmt: skip


@pytest.mark.parametrize(("body", "told"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_error_bodies_of_all_forms_are_read(body: bytes, told: tuple[str, str]) -> None:
    assert read_error_body(body) == told


@given(st.one_of(st.binary(), st.sampled_from([row[1] for row in BODIES]).flatmap(lambda body: st.just(body[:-3]))))
def test_no_body_is_too_strange(body: bytes) -> None:
    assert read_refusal(500, {}, body).retryable


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [(429, "rate_limit_exceeded", True), (429, "insufficient_quota", False), (401, "", False),
     (401, "quota_exceeded", False),
     (422, "", False), (408, "", True), (500, "", True), (503, "system_busy", True), (404, "model_not_found", False)],
)  # fmt: skip
def test_it_is_known_whether_asking_again_is_of_use(status: int, code: str, retryable: bool) -> None:
    assert Refused(status, code, "").retryable is retryable


DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, 0.0),
        ({"retry-after": "soon", "date": DATE}, 0.0),
        ({}, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_of_the_servers_clock(headers: dict[str, str], seconds: float) -> None:
    assert read_retry_after(headers) == seconds


def test_the_wait_doubles_from_refusal_to_refusal_and_is_jittered() -> None:
    jitter = [0.0]
    backoff = Backoff(lambda: jitter[0], first_s=1, longest_s=4)
    waits = []
    now_s = 0.0
    for _ in range(4):
        backoff.refused(ProviderError("busy"), now_s)
        jitter[0] = 0.0
        shortest = backoff.wait_s(now_s)
        jitter[0] = 1.0
        waits.append((shortest, backoff.wait_s(now_s)))
        now_s += waits[-1][1]
    assert waits == [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (2.0, 4.0)]
    backoff.served()
    assert backoff.wait_s(now_s) == 0


def test_calls_refused_at_the_same_time_count_as_one() -> None:
    backoff = Backoff(lambda: 0.0, first_s=1)
    for _ in range(100):
        backoff.refused(ProviderError("busy"), 0)
    assert backoff.wait_s(0) == 0.5


def test_the_service_is_left_alone_as_long_as_it_asks() -> None:
    backoff = Backoff(lambda: 0.5, first_s=1)
    backoff.refused(Refused(429, "", "", retry_after_s=7), 10)
    assert backoff.wait_s(10) == 7.25
    assert backoff.wait_s(17) == 0


# Answers of a window from 10,000 to 13,000 ms -> words with times; "~" where the end is not exact.
ANSWERS = [
    ("text only", b'{"text":"go ten"}', "go@10000-11200~ ten@11200-13000~"),
    ("text and usage", b'{"text":" go ","usage":{"type":"duration","seconds":3}}', "go@10000-13000~"),
    ("segments", b'{"text":"x","segments":[{"start":0.5,"end":1,"text":" a b"},{"start":1,"end":3,"text":" c"}]}',
     "a@10500-10750~ b@10750-11000 c@11000-13000~"),
    ("words", b'{"text":"x","segments":[{"start":0,"end":3}],"words":[{"word":" a","start":0.1,"end":0.5}]}',
     "a@10100-10500"),
    ("words without segments", b'{"text":"a","words":[{"word":"a","start":"0.1","end":"0.5"}]}', "a@10100-10500"),
    ("made up", b'{"segments":[{"text":"thanks","start":0,"end":3,"avg_logprob":-1.2,"no_speech_prob":0.7}]}', ""),
    ("repeated without end", b'{"segments":[{"text":"la la","start":0,"end":3,"compression_ratio":"3.1"}]}', ""),
    ("after the end", b'{"segments":[{"text":"you","start":29,"end":30}]}', ""),
    ("unlikely, but speech", b'{"segments":[{"text":"yes","start":0,"end":1,"avg_logprob":-1.2,"no_speech_prob":0.1}]}',
     "yes@10000-11000"),
    ("nulls", b'{"text":"a","segments":null,"words":null,"language":null,"duration":null}', "a@10000-13000~"),
    ("silence", b'{"text":"","segments":[]}', ""),
]  # fmt: skip


@pytest.mark.parametrize(("body", "told"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_answers_of_all_servers_are_read(body: bytes, told: str) -> None:
    words = read_answer(body, 10_000, 13_000)
    assert " ".join(f"{w.text}@{w.start_ms}-{w.end_ms}{'' if w.exact else '~'}" for w in words) == told


@given(st.one_of(st.binary(), st.sampled_from([row[1].replace(b":0", b":{}") for row in ANSWERS])))
def test_an_answer_that_is_none_is_a_wire_error_and_nothing_else(body: bytes) -> None:
    try:
        read_answer(body, 0, 1000)
    except WireError as error:
        assert error.kind == "bad_answer"


@given(st.text(max_size=60))
def test_words_of_text_without_times_share_the_time_and_lose_nothing(text: str) -> None:
    import msgspec

    words = read_answer(msgspec.json.encode({"text": text}), 0, 1000)
    assert text_of(words).split() == text.split()
    assert all(0 <= word.start_ms <= word.end_ms <= 1000 for word in words)


def test_sound_is_wrapped_into_a_wav_file() -> None:
    import wave
    from io import BytesIO

    with wave.open(BytesIO(wav(b"\1\2" * 80, 8000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        assert file.readframes(100) == b"\1\2" * 80


@pytest.mark.parametrize(
    ("delay", "seconds"), [("15s", 15.0), ("0.25s", 0.25), ("soon", 0.0), ("infs", 0.0), ("", 0.0)]
)
def test_googles_delay_is_obeyed_where_no_header_tells_one(delay: str, seconds: float) -> None:
    details = f'{{"@type":"type.googleapis.com/google.rpc.Help"}},{{"retryDelay":"{delay}"}}'
    body = f'[{{"error":{{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{details}]}}}}]'.encode()
    assert read_refusal(429, {}, body).retry_after_s == seconds
    assert read_refusal(429, {"retry-after": "3"}, body).retry_after_s == 3
