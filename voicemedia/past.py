"""What is remembered of a caller, in the words agents and history share. Pure data."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Food:
    """One food of a meal, as far as it is known."""

    meal: str
    food: str = field(repr=False)
    amount: float | None = None
    "None: not said, or said vaguely."
    unit: str = ""
    "In the singular, such as `slice`; empty for counted foods."
    vague: str = ""
    "The caller's own word where it is no number: `some`, `a few`."
    preparation: str = ""
    without: str = ""
    side: bool = False
    "It came with the food before it, as butter with toast."
    still_to_ask: str = ""
    "What the agent has yet to ask about it, in the agent's own word."


@dataclass(frozen=True, slots=True)
class Day:
    """What somebody ate on one day."""

    date: str
    "ISO 8601, in the caller's time zone: `2026-11-03`; an agent that knows none leaves it empty: the server's date."
    foods: tuple[Food, ...] = ()
    complete: tuple[str, ...] = ()
    "Meals nothing more is to be asked about, eaten or skipped."


@dataclass(frozen=True, slots=True)
class PastTurn:
    """Something said earlier."""

    who: Literal["user", "ai"]
    at_ms: int
    "Since 1970."
    text: str = field(repr=False)
    "Of our own turns what was heard."
    interrupted: bool = False
    here: bool = False
    "In this very session, not in another one of the same user."


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a caller when a conversation begins."""

    turns: tuple[PastTurn, ...] = ()
    "The last ones, oldest first."
    days: tuple[Day, ...] = ()
    "Of the last two days."
    continues: bool = False
    "Whether this session was begun earlier: the caller comes back to it."
