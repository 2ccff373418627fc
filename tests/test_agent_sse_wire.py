"""Server-sent events."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.agent.gemini_wire import GeminiReader
from voicemedia.agent.openai_wire import OpenAiReader
from voicemedia.agent.sse_wire import LONGEST_EVENT, EventStream
from voicemedia.errors import ProviderError, WireError

EVENTS = [
    ("one", b"data: a\n\n", ["a"]),
    ("without a space", b"data:a\n\n", ["a"]),
    ("several lines", b"data: a\ndata: b\n\n", ["a\nb"]),
    ("carriage returns", b"data: a\r\n\r\ndata: b\r\r", ["a", "b"]),
    ("comments and other fields", b": ping\n\nevent: x\nid: 7\nretry: 1\ndata: a\n\n", ["a"]),
    ("no empty line at the end", b"data: a\n\ndata: b", ["a", "b"]),
    ("a byte order mark", b"\xef\xbb\xbfdata: a\n\n", ["a"]),
    ("empty data", b"data\n\ndata:\n\n", ["", ""]),
    ("nothing", b"", []),
]


@pytest.mark.parametrize(("body", "events"), [row[1:] for row in EVENTS], ids=[row[0] for row in EVENTS])
def test_events_are_the_same_for_any_cut(body: bytes, events: list[str]) -> None:
    for size in range(1, len(body) + 2):
        stream = EventStream()
        got = [event for at in range(0, len(body), size) for event in stream.feed(body[at : at + size])]
        assert got + stream.finish() == events


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"))), st.integers(1, 7))
def test_any_text_survives_any_cut(texts: list[str], size: int) -> None:
    body = "".join(f"data: {text}\n\n" for text in texts).encode()
    stream = EventStream()
    got = [event for at in range(0, len(body), size) for event in stream.feed(body[at : at + size])]
    assert got + stream.finish() == texts


def test_an_endless_event_is_refused() -> None:
    stream = EventStream()
    with pytest.raises(WireError, match="too_long"):
        for _ in range(3):
            stream.feed(b"data: " + b"x" * (LONGEST_EVENT // 2))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 600) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "candidates",
                    "content",
                    "parts",
                    "text",
                    "error",
                    "code",
                    "choices",
                    "delta",
                    "tool_calls",
                    "function",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON.map(json.dumps) | st.text(max_size=20), st.sampled_from([GeminiReader, OpenAiReader]))
def test_nothing_but_our_errors_leaves_a_reader(payload: str, reader: type[GeminiReader] | type[OpenAiReader]) -> None:
    with suppress(WireError, ProviderError):
        made = reader()
        made.event(payload)
        made.end()
