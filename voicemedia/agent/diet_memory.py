"""The diet conversation as history knows it: a day's foods out of the script, and into the next one. Pure."""

from voicemedia.agent.diet_log import Amount, Entry, Meal
from voicemedia.agent.diet_script import DietScript
from voicemedia.agent.diet_table import State
from voicemedia.past import Day, Food

_MEALS = {meal.value: meal for meal in Meal}
_QUESTIONS = {State.AMOUNT.value: State.AMOUNT, State.PREPARATION.value: State.PREPARATION}


def to_day(script: DietScript, date: str) -> Day:
    """Tell what is logged, and what was still to be asked."""
    open_questions = {(meal, place): state.value for meal, place, state in script.open_questions()}
    foods = [
        _food(meal, entry, open_questions.get((meal, place), ""))
        for meal in Meal
        for place, entry in enumerate(script.log.entries(meal))
    ]
    return Day(date, tuple(foods), tuple(meal.value for meal in Meal if meal in script.log.closed))


def resume(script: DietScript, day: Day) -> None:
    """Let a script that has not begun go on where an earlier one stopped."""
    eaten = [
        (_MEALS[food.meal], _entry(food), _QUESTIONS.get(food.still_to_ask))
        for food in day.foods
        if food.meal in _MEALS
    ]
    script.go_on(eaten, {_MEALS[name] for name in day.complete if name in _MEALS})


def _food(meal: Meal, entry: Entry, still_to_ask: str) -> Food:
    amount = entry.amount
    return Food(
        meal.value,
        entry.food,
        amount.number,
        amount.unit,
        amount.vague,
        entry.preparation,
        entry.without,
        entry.side,
        still_to_ask,
    )


def _entry(food: Food) -> Entry:
    return Entry(food.food, Amount(food.amount, food.unit, food.vague), food.preparation, food.without, food.side)
