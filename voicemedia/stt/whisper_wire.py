"""The answers of OpenAI-compatible transcription servers, read tolerantly.

`verbose_json` is asked for; OpenAI, vLLM, speaches, LocalAI and whisper.cpp differ in what they leave out, in
numbers written as text, and in where words stand. Sources: OpenAI's API reference and its Python SDK.
"""

import struct
from dataclasses import replace
from math import inf
from typing import Final

import msgspec

from voicemedia.errors import WireError
from voicemedia.stt.language_names import code_of
from voicemedia.stt.words import HeardWord

NO_SPEECH: Final = 0.6
UNLIKELY: Final = -1.0
REPETITIVE: Final = 2.4
"Whisper's own thresholds: what is probably no speech and unlikely too, or compresses this well, was made up."

Number = float | str | None


class Segment(msgspec.Struct):
    """A stretch of text with its times in seconds."""

    text: str = ""
    start: Number = None
    end: Number = None
    avg_logprob: Number = None
    no_speech_prob: Number = None
    compression_ratio: Number = None


class TimedWord(msgspec.Struct):
    """One word with its times in seconds."""

    word: str = ""
    start: Number = None
    end: Number = None


class Answer(msgspec.Struct):
    """A `json` or `verbose_json` answer; fields not named here are ignored."""

    text: str = ""
    language: str | None = None
    duration: Number = None
    segments: list[Segment] | None = None
    words: list[TimedWord] | None = None


_decoder = msgspec.json.Decoder(Answer)


def read_answer(body: bytes, start_ms: int, end_ms: int) -> list[HeardWord]:
    """Read what was heard in the window from `start_ms` to `end_ms` of the media clock.

    :raises WireError: no JSON, or fields of other types.
    """
    try:
        answer = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError("bad_answer", str(error)) from error
    return words_of(answer, start_ms, end_ms)


def words_of(answer: Answer, start_ms: int, end_ms: int) -> list[HeardWord]:
    """Give the words of an answer on the media clock, those made up left out."""
    language = code_of(answer.language)
    if answer.segments is None:
        if answer.words:
            return [
                _timed(word, start_ms, HeardWord("", 0, 0, language=language)) for word in answer.words if _said(word)
            ]
        return spread(answer.text, HeardWord("", start_ms, end_ms, exact=False, language=language))
    told: list[HeardWord] = []
    for segment in answer.segments:
        if _made_up(segment, (end_ms - start_ms) / 1000):
            continue
        doubts = _segment(segment, start_ms, end_ms, language)
        timed = [
            _timed(word, start_ms, doubts) for word in answer.words or () if _said(word) and _within(word, segment)
        ]
        told += timed or spread(segment.text, doubts)
    return told


def _number(value: Number, default: float) -> float:
    try:
        number = float(default if value is None else value)
    except ValueError:
        return default
    return number if abs(number) < 1e9 else default


def _made_up(segment: Segment, duration_s: float) -> bool:
    doubtful = _number(segment.no_speech_prob, 0) > NO_SPEECH and _number(segment.avg_logprob, 0) < UNLIKELY
    return doubtful or _number(segment.compression_ratio, 0) > REPETITIVE or _number(segment.start, 0) > duration_s


def _segment(segment: Segment, start_ms: int, end_ms: int, language: str) -> HeardWord:
    """Put a segment on the media clock, as if it were one word."""
    duration_s = (end_ms - start_ms) / 1000
    begin_s = _number(segment.start, 0)
    finish_s = _number(segment.end, duration_s)
    return HeardWord(
        segment.text,
        start_ms + round(begin_s * 1000),
        start_ms + round(min(max(begin_s, finish_s), duration_s) * 1000),
        _number(segment.avg_logprob, -inf),
        _number(segment.no_speech_prob, 0),
        # The end of the last segment is often that of the sound, with a word cut in two by it.
        exact=segment.end is not None and finish_s < duration_s,
        language=language,
    )


def _said(word: TimedWord) -> bool:
    return bool(word.word.strip())


def _within(word: TimedWord, segment: Segment) -> bool:
    middle_s = (_number(word.start, 0) + _number(word.end, 0)) / 2
    return _number(segment.start, 0) <= middle_s <= _number(segment.end, inf)


def _timed(word: TimedWord, start_ms: int, doubts: HeardWord) -> HeardWord:
    begin_ms = start_ms + round(_number(word.start, 0) * 1000)
    finish_ms = start_ms + round(_number(word.end, 0) * 1000)
    return replace(doubts, text=word.word.strip(), start_ms=begin_ms, end_ms=max(begin_ms, finish_ms), exact=True)


def spread(text: str, doubts: HeardWord) -> list[HeardWord]:
    """Cut a stretch of text into words and share its time among them by length."""
    texts = text.split()
    letters = sum(map(len, texts))
    words, at = [], doubts.start_ms
    for piece in texts:
        until = at + (doubts.end_ms - doubts.start_ms) * len(piece) // letters
        words.append(replace(doubts, text=piece, start_ms=at, end_ms=until, exact=False))
        at = until
    if words:
        words[-1] = replace(words[-1], end_ms=doubts.end_ms, exact=doubts.exact)
    return words


def wav(pcm: bytes, rate_hz: int) -> bytes:
    """Wrap s16le mono into a WAV file."""
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(pcm), b"WAVE")
        + struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16)
        + struct.pack("<4sI", b"data", len(pcm))
        + pcm
    )
