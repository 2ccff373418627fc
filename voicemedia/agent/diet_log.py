"""What a caller ate today, and how it is said aloud. Pure data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from voicemedia.agent.diet_words import COUNTED, DRINK_UNITS, HOW_MADE, MEASURED, NUMBERS, SIDE_UNITS, plural


class Meal(Enum):
    """The meals of a day, in the order of the day."""

    BREAKFAST = "breakfast"
    LUNCH = "lunch"
    DINNER = "dinner"
    SNACKS = "snacks"


def meal_of(hour: int) -> Meal:
    """Tell the meal that fits the hour (0 to 23)."""
    if 4 <= hour < 11:
        return Meal.BREAKFAST
    if 11 <= hour < 16:
        return Meal.LUNCH
    return Meal.SNACKS if 16 <= hour < 18 else Meal.DINNER


UNIT_OF: Final = {food: unit for unit, foods in MEASURED.items() for food in foods}
"Food -> unit it usually comes in; counted and unknown foods have none."

_IS_COUNTED: Final = frozenset(COUNTED)
_NAME_OF: Final = {number: word for word, number in NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a food."""

    number: float | None = None
    "None: not said, or said vaguely."
    unit: str = ""
    "In the singular, such as `slice`; empty for counted foods."
    vague: str = ""
    "The caller's own word where it is no number: `some`, `a few`."

    @property
    def said(self) -> bool:
        """Whether the caller said anything about the amount."""
        return self.number is not None or bool(self.vague) or bool(self.unit)


NO_AMOUNT: Final = Amount()


@dataclass(frozen=True, slots=True)
class Entry:
    """One food of a meal."""

    food: str = field(repr=False)
    "In the singular if it is a counted one."
    amount: Amount = NO_AMOUNT
    preparation: str = ""
    without: str = ""
    "What was left out: `sugar` of `tea without sugar`."
    side: bool = False
    "It came with the food before it, as butter with toast."

    @property
    def needs_amount(self) -> bool:
        """Whether asking how much makes sense: not for drinks, spreads and what came with another food."""
        return not self.amount.said and not self.side and UNIT_OF.get(self.food) not in (*DRINK_UNITS, *SIDE_UNITS)

    @property
    def needs_preparation(self) -> bool:
        """Whether the preparation matters and was not said."""
        return self.food in HOW_MADE and not self.preparation

    def merged(self, other: "Entry") -> "Entry":
        """Take over what the other says about the same food."""
        return replace(
            self,
            amount=other.amount if other.amount.said else self.amount,
            preparation=other.preparation or self.preparation,
            without=other.without or self.without,
        )

    def spoken(self) -> str:
        """Say it as a person would: `two boiled eggs`, `half a cup of rice`."""
        food = f"{self.preparation} {self.food}".strip()
        tail = f" without {self.without}" if self.without else ""
        return _with_amount(food, self) + tail


def _with_amount(food: str, entry: Entry) -> str:
    amount, unit = entry.amount, entry.amount.unit
    if not unit and amount.number is not None and entry.food in UNIT_OF:
        unit = UNIT_OF[entry.food]
    many = plural(food) if entry.food in _IS_COUNTED else food
    if unit:
        return f"{count(1 if amount.number is None else amount.number, unit)} of {many}"
    if amount.number is not None:
        return count(amount.number, food)
    if not amount.vague and UNIT_OF.get(entry.food) in DRINK_UNITS:
        return food
    return f"{amount.vague or 'some'} {many}"


def count(number: float, noun: str) -> str:
    """Say a number of things: `an egg`, `half a cup`, `one and a half slices`, `200 grams`."""
    if number == 1:
        return f"{article(noun)} {noun}"
    if number == 0.5:
        return f"half {article(noun)} {noun}"
    return f"{number_words(number)} {noun if number < 1 else plural(noun)}"


def article(noun: str) -> str:
    """Choose `a` or `an`."""
    return "an" if noun[:1] in "aeio" or noun.startswith("ounce") else "a"


def number_words(number: float) -> str:
    """Say a number in words as far as they are short; digits otherwise, which every voice reads."""
    whole, rest = int(number), number - int(number)
    if rest == 0:
        return _NAME_OF.get(whole, str(whole))
    if rest == 0.5 and whole:
        return f"{number_words(whole)} and a half"
    return {0.25: "a quarter", 0.75: "three quarters of a"}.get(number, f"{number:g}")


def in_words(entries: Sequence[Entry]) -> str:
    """Say a list: `two eggs, a slice of toast with butter and some coffee`."""
    groups: list[str] = []
    for entry in entries:
        if entry.side and groups:
            joint = " and " if " with " in groups[-1] else " with "
            groups[-1] += joint + (entry.food if not entry.amount.said else entry.spoken())
        else:
            groups.append(entry.spoken())
    return listed(groups)


def listed(words: Sequence[str], last: str = "and") -> str:
    """Join words as in speech."""
    return f" {last} ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


class DayLog:
    """The foods of one day, meal by meal."""

    def __init__(self) -> None:
        self._entries: dict[Meal, list[Entry]] = {meal: [] for meal in Meal}
        self.closed: set[Meal] = set()
        "Meals that are complete, eaten or skipped."

    def entries(self, meal: Meal) -> tuple[Entry, ...]:
        """Return the foods of a meal."""
        return tuple(self._entries[meal])

    @property
    def empty(self) -> bool:
        """Whether nothing was logged at all."""
        return not any(self._entries.values())

    def add(self, meal: Meal, entry: Entry, asked: int | None = None) -> int:
        """Log a food and return its place; one whose amount was still open is completed instead.

        :param asked: place of the food that has just been asked about: named again, it is no second helping.
        """
        if asked is not None and self._entries[meal][asked].food == entry.food:
            return self.change(meal, asked, self._entries[meal][asked].merged(entry))
        place = self.find(meal, entry.food)
        if place is not None and not self._entries[meal][place].amount.said and entry.amount.said:
            return self.change(meal, place, self._entries[meal][place].merged(entry))
        self._entries[meal].append(entry)
        return len(self._entries[meal]) - 1

    def change(self, meal: Meal, place: int, entry: Entry) -> int:
        """Put another entry in a place."""
        self._entries[meal][place] = entry
        return place

    def find(self, meal: Meal, food: str) -> int | None:
        """Find a food in a meal, the last one first; `chicken` finds `fried chicken`."""
        foods = [entry.food for entry in self._entries[meal]]
        for same in (lambda other: other == food, lambda other: food in other.split() or other in food.split()):
            for place in reversed(range(len(foods))):
                if same(foods[place]):
                    return place
        return None

    def remove(self, meal: Meal, place: int) -> Entry:
        """Take a food out of a meal."""
        return self._entries[meal].pop(place)

    def erase(self) -> None:
        """Forget the whole day."""
        self.closed.clear()
        for entries in self._entries.values():
            entries.clear()

    def rows(self) -> list[tuple[str, str]]:
        """Return (meal, food in words) of everything logged, in the order of the day."""
        return [(meal.value, entry.spoken()) for meal in Meal for entry in self._entries[meal]]
