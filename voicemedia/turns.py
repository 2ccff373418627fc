"""Whose turn it is: one total table, and the ten lines that walk it.

Events say what happened, orders say what the call has to do about it, in this order. Nothing here knows of
sound, words or time; what an order means is in `call`.
"""

from collections.abc import Mapping
from enum import Enum, auto
from itertools import product
from typing import Final


class State(Enum):
    """Who has the floor."""

    LISTENING = auto()
    "Nobody or the caller."
    THINKING = auto()
    "The agent has been asked; nothing of its answer has sounded yet."
    SPEAKING = auto()
    "We, and the caller may interrupt."
    ANNOUNCING = auto()
    "We, and the caller may not interrupt this passage."
    OVER = auto()


class Event(Enum):
    """What happened."""

    CALLER_STARTED = auto()
    "Voice detection heard an onset."
    CALLER_FINISHED = auto()
    "A turn of the caller is complete: words or keys are there, or it is clear that none were understood."
    KEY_PRESSED = auto()
    "A key, perhaps the first of several."
    SPEECH_BEGAN = auto()
    "The first sound of an interruptible sentence was sent."
    ANNOUNCEMENT_BEGAN = auto()
    "The first sound of an uninterruptible sentence was sent."
    SPEECH_ENDED = auto()
    "The agent's answer is complete and the caller has heard all of it (or it had nothing to say)."
    FAILED = auto()
    "The agent or a provider failed or is stuck."
    CALL_ENDED = auto()


class Order(Enum):
    """What the call has to do."""

    CANCEL_REPLY = auto()
    "Stop the agent and the synthesizer; what they still deliver goes nowhere."
    FALL_SILENT = auto()
    "Take back what was sent and not yet played."
    ASK = auto()
    "Give the caller's words to the agent."
    APOLOGIZE = auto()
    "Say that something went wrong, without the agent."


Row = tuple[State, tuple[Order, ...]]

_L, _T, _S, _A = State.LISTENING, State.THINKING, State.SPEAKING, State.ANNOUNCING

TURNS: Final[Mapping[tuple[State, Event], Row]] = {
    (_L, Event.CALLER_STARTED): (_L, ()),
    # What was to be said unasked, as a greeting, and has not sounded yet, gives way.
    (_L, Event.CALLER_FINISHED): (_T, (Order.CANCEL_REPLY, Order.FALL_SILENT, Order.ASK)),
    (_L, Event.KEY_PRESSED): (_L, ()),
    (_L, Event.SPEECH_BEGAN): (_S, ()),
    (_L, Event.ANNOUNCEMENT_BEGAN): (_A, ()),
    (_L, Event.SPEECH_ENDED): (_L, ()),
    (_L, Event.FAILED): (_T, (Order.CANCEL_REPLY, Order.APOLOGIZE)),
    # The caller goes on talking before we have said a word: what was asked is out of date. Words of a reply
    # that was not ready are asked again together with the new ones.
    (_T, Event.CALLER_STARTED): (_L, (Order.CANCEL_REPLY, Order.FALL_SILENT)),
    (_T, Event.CALLER_FINISHED): (_T, (Order.CANCEL_REPLY, Order.FALL_SILENT, Order.ASK)),
    (_T, Event.KEY_PRESSED): (_L, (Order.CANCEL_REPLY, Order.FALL_SILENT)),
    (_T, Event.SPEECH_BEGAN): (_S, ()),
    (_T, Event.ANNOUNCEMENT_BEGAN): (_A, ()),
    (_T, Event.SPEECH_ENDED): (_L, ()),
    (_T, Event.FAILED): (_T, (Order.CANCEL_REPLY, Order.APOLOGIZE)),
    # Barge-in: the caller takes the floor.
    (_S, Event.CALLER_STARTED): (_L, (Order.CANCEL_REPLY, Order.FALL_SILENT)),
    # Words that voice detection missed, or that came late, interrupt as well.
    (_S, Event.CALLER_FINISHED): (_T, (Order.CANCEL_REPLY, Order.FALL_SILENT, Order.ASK)),
    (_S, Event.KEY_PRESSED): (_L, (Order.CANCEL_REPLY, Order.FALL_SILENT)),
    (_S, Event.SPEECH_BEGAN): (_S, ()),
    (_S, Event.ANNOUNCEMENT_BEGAN): (_A, ()),
    (_S, Event.SPEECH_ENDED): (_L, ()),
    # What sounds already is sound: the apology comes behind it.
    (_S, Event.FAILED): (_S, (Order.CANCEL_REPLY, Order.APOLOGIZE)),
    # Words said over an announcement are kept; the call offers them again when the passage is over.
    (_A, Event.CALLER_STARTED): (_A, ()),
    (_A, Event.CALLER_FINISHED): (_A, ()),
    (_A, Event.KEY_PRESSED): (_A, ()),
    (_A, Event.SPEECH_BEGAN): (_S, ()),
    (_A, Event.ANNOUNCEMENT_BEGAN): (_A, ()),
    (_A, Event.SPEECH_ENDED): (_L, ()),
    (_A, Event.FAILED): (_A, (Order.CANCEL_REPLY, Order.APOLOGIZE)),
    # However it stands, the end is the end ...
    **{(state, Event.CALL_ENDED): (State.OVER, (Order.CANCEL_REPLY,)) for state in (_L, _T, _S, _A)},
    # ... and what is still under way comes to nothing.
    **{pair: (State.OVER, ()) for pair in product([State.OVER], Event)},
}


class Turns:
    """The state of one call's floor."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.LISTENING

    def on(self, event: Event) -> tuple[Order, ...]:
        """Take one event; return what to do about it."""
        self.state, orders = TURNS[self.state, event]
        return orders
