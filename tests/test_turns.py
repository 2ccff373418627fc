"""The table of turns: total, and each story of a call as a line."""

from itertools import product

import pytest

from voicemedia.turns import TURNS, Event, Order, State, Turns


def test_table_has_every_pair() -> None:
    assert set(TURNS) == set(product(State, Event))


def test_nothing_comes_of_anything_once_a_call_is_over() -> None:
    for event in Event:
        assert TURNS[State.OVER, event] == (State.OVER, ())


def test_only_announcements_keep_the_floor_when_the_caller_speaks() -> None:
    for state in (State.LISTENING, State.THINKING, State.SPEAKING):
        assert TURNS[state, Event.CALLER_STARTED][0] is State.LISTENING
    assert TURNS[State.ANNOUNCING, Event.CALLER_STARTED] == (State.ANNOUNCING, ())


STORIES = [
    (
        "a plain turn",
        "CALLER_STARTED CALLER_FINISHED SPEECH_BEGAN SPEECH_ENDED",
        "CANCEL_REPLY FALL_SILENT ASK",
        State.LISTENING,
    ),
    ("barge-in by voice", "SPEECH_BEGAN CALLER_STARTED", "CANCEL_REPLY FALL_SILENT", State.LISTENING),
    ("barge-in by key", "SPEECH_BEGAN KEY_PRESSED", "CANCEL_REPLY FALL_SILENT", State.LISTENING),
    (
        "the caller goes on talking while we think",
        "CALLER_FINISHED CALLER_STARTED CALLER_FINISHED",
        "CANCEL_REPLY FALL_SILENT ASK CANCEL_REPLY FALL_SILENT CANCEL_REPLY FALL_SILENT ASK",
        State.THINKING,
    ),
    ("an announcement is not interrupted", "ANNOUNCEMENT_BEGAN CALLER_STARTED KEY_PRESSED", "", State.ANNOUNCING),
    (
        "an announcement passes into plain speech",
        "ANNOUNCEMENT_BEGAN SPEECH_BEGAN CALLER_STARTED",
        "CANCEL_REPLY FALL_SILENT",
        State.LISTENING,
    ),
    (
        "a stuck agent",
        "CALLER_FINISHED FAILED SPEECH_BEGAN",
        "CANCEL_REPLY FALL_SILENT ASK CANCEL_REPLY APOLOGIZE",
        State.SPEAKING,
    ),
    ("a transcript after the goodbye", "CALL_ENDED CALLER_FINISHED", "CANCEL_REPLY", State.OVER),
]


@pytest.mark.parametrize(("name", "events", "orders", "state"), STORIES, ids=[story[0] for story in STORIES])
def test_story(name: str, events: str, orders: str, state: State) -> None:
    turns = Turns()
    given = [order for event in events.split() for order in turns.on(Event[event])]
    assert given == [Order[order] for order in orders.split()]
    assert turns.state is state
