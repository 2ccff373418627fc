"""What a model writes down of a day with `log_food`, as rows. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from voicemedia.agent.model import Tool
from voicemedia.past import Day, Food

MOST_AMOUNT: Final = 1e9
MOST_LETTERS: Final = 200
"Of what a model writes down."
MEALS: Final = ("breakfast", "lunch", "dinner", "snacks")

_TEXT: Final = {"type": "string"}
LOG_FOOD: Final = Tool(
    "log_food",
    "Write down one food the caller has eaten, or correct it: the same food of the same meal replaces what was written "
    "before, amount 0 strikes it out.",
    {
        "type": "object",
        "properties": {
            "meal": {"type": "string", "enum": list(MEALS)},
            "food": _TEXT,
            "amount": {"type": "number"},
            "unit": _TEXT,
            "preparation": _TEXT,
        },
        "required": ["meal", "food"],
    },
)


class FoodNotes:
    """The foods of one conversation's day.

    :param date: the caller's, ISO 8601; empty: unknown, and what earlier calls left cannot be told from other days.
    """

    def __init__(self, date: str = "") -> None:
        self._date = date
        self._foods: dict[tuple[str, str], Food] = {}

    def recall(self, days: Sequence[Day]) -> str:
        """Go on with what was written down today; return it in words for the model, empty when there is nothing."""
        foods = [food for day in days if self._date and day.date == self._date for food in day.foods]
        self._foods |= {_place(food): food for food in foods}
        return "; ".join(f"{food.meal}: {_words(food)}" for food in foods)

    def write(self, arguments: Mapping[str, Any]) -> str:
        """Take what a model wrote, which does not always keep to the types; return what it is told."""
        food = read_food(arguments)
        if not food.food:
            return "Nothing was written down: name the food."
        # What is corrected keeps its place.
        self._foods[_place(food)] = food
        if food.amount == 0:
            del self._foods[_place(food)]
            return "Struck out."
        return "Written down."

    def day(self) -> Day:
        """Tell all of it."""
        return Day(self._date, tuple(self._foods.values()))


def read_food(arguments: Mapping[str, Any]) -> Food:
    """Read the arguments of one call."""
    amount = arguments.get("amount")
    usable = isinstance(amount, (int, float)) and not isinstance(amount, bool) and abs(amount) < MOST_AMOUNT
    number = float(amount) if usable and amount is not None else None
    vague = str(amount)[:MOST_LETTERS] if number is None and amount is not None else ""
    meal, food, unit, preparation = (
        " ".join(str(arguments.get(name) or "").split())[:MOST_LETTERS]
        for name in ("meal", "food", "unit", "preparation")
    )
    return Food(meal, food, number, unit, vague, preparation)


def _place(food: Food) -> tuple[str, str]:
    return food.meal, food.food.lower()


def _words(food: Food) -> str:
    amount = food.vague if food.amount is None else f"{food.amount:g}"
    return " ".join(word for word in (amount, food.unit, food.preparation, food.food) if word)
