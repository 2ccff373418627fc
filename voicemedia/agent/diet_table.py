"""The diet conversation as one total table: what was asked last, what the caller means -> what comes next. Pure.

Where the next question depends on what is logged, a row names a `Choice`; `diet_script` makes it in one place.
docs/agents.md has the picture.
"""

import re
from enum import Enum
from typing import Final

from voicemedia.agent.diet_log import Amount, Meal
from voicemedia.agent.diet_reading import Heard, Intent


class State(Enum):
    """What the caller was asked last."""

    ASKING = "asking"
    "What did you have for this meal?"
    AMOUNT = "amount"
    "How much was it?"
    PREPARATION = "preparation"
    "How was it made?"
    MORE = "more"
    "Anything else for this meal?"
    ERASE = "erase"
    "Shall I erase everything?"
    ALL_DONE = "all_done"
    "Every meal is complete; anything to add?"
    OVER = "over"


class Choice(Enum):
    """A next state that depends on the log."""

    DETAIL = "detail"
    "AMOUNT or PREPARATION while a detail is open; else MORE, or ASKING while the meal is empty."
    NEXT_MEAL = "next_meal"
    "ASKING for the next meal not complete; ALL_DONE after the last."


class Act(Enum):
    """What is done, and said, before the next question."""

    LOG = "log"
    CORRECT = "correct"
    REMOVE = "remove"
    FILL = "fill"
    LEAVE_OPEN = "leave_open"
    CLOSE_MEAL = "close_meal"
    SKIP_MEAL = "skip_meal"
    TURN_TO_MEAL = "turn_to_meal"
    ASK_WHAT = "ask_what"
    READ_BACK = "read_back"
    HELP = "help"
    WAIT = "wait"
    REPHRASE = "rephrase"
    ERASE = "erase"
    KEEP = "keep"
    FAREWELL = "farewell"
    GIVE_UP = "give_up"
    NOTHING = "nothing"


def _everywhere(state: State) -> dict[tuple[State, Intent], tuple[State | Choice, Act]]:
    """Rows that are the same whatever was asked."""
    return {
        (state, Intent.FOOD): (Choice.DETAIL, Act.LOG),
        (state, Intent.CORRECT): (Choice.DETAIL, Act.CORRECT),
        (state, Intent.REMOVE): (Choice.DETAIL, Act.REMOVE),
        (state, Intent.MEAL): (Choice.DETAIL, Act.TURN_TO_MEAL),
        (state, Intent.MEAL_DONE): (Choice.NEXT_MEAL, Act.CLOSE_MEAL),
        (state, Intent.SKIP): (Choice.NEXT_MEAL, Act.SKIP_MEAL),
        (state, Intent.DAY_DONE): (State.OVER, Act.FAREWELL),
        # Forgetting a day is the one thing that can not be taken back: it is asked for twice.
        (state, Intent.START_OVER): (State.ERASE, Act.NOTHING),
        (state, Intent.READ_BACK): (state, Act.READ_BACK),
        (state, Intent.HELP): (state, Act.HELP),
        (state, Intent.REPEAT): (state, Act.NOTHING),
        (state, Intent.WAIT): (state, Act.WAIT),
        (state, Intent.AMOUNT): (state, Act.REPHRASE),
        (state, Intent.PREPARATION): (state, Act.REPHRASE),
        (state, Intent.UNSURE): (state, Act.REPHRASE),
        (state, Intent.UNCLEAR): (state, Act.REPHRASE),
        (state, Intent.LOST): (State.OVER, Act.GIVE_UP),
    }


def _detail(state: State) -> dict[tuple[State, Intent], tuple[State | Choice, Act]]:
    """Rows of a follow-up question: any answer fills it, and none is asked for twice."""
    return {
        **_everywhere(state),
        (state, Intent.AMOUNT): (Choice.DETAIL, Act.FILL),
        (state, Intent.PREPARATION): (Choice.DETAIL, Act.FILL),
        **{
            (state, intent): (Choice.DETAIL, Act.LEAVE_OPEN)
            for intent in (Intent.YES, Intent.NO, Intent.UNSURE, Intent.UNCLEAR, Intent.SKIP)
        },
    }


SCRIPT: Final[dict[tuple[State, Intent], tuple[State | Choice, Act]]] = {
    **_everywhere(State.ASKING),
    # "Did you have any snacks?" "Yes."
    (State.ASKING, Intent.YES): (State.ASKING, Act.ASK_WHAT),
    (State.ASKING, Intent.NO): (Choice.NEXT_MEAL, Act.SKIP_MEAL),
    **_detail(State.AMOUNT),
    **_detail(State.PREPARATION),
    **_everywhere(State.MORE),
    (State.MORE, Intent.YES): (State.ASKING, Act.ASK_WHAT),
    (State.MORE, Intent.NO): (Choice.NEXT_MEAL, Act.CLOSE_MEAL),
    # "Anything else?" "Skip": the meal has foods, so it is complete rather than skipped.
    (State.MORE, Intent.SKIP): (Choice.NEXT_MEAL, Act.CLOSE_MEAL),
    # A late answer to the follow-up question before.
    (State.MORE, Intent.AMOUNT): (Choice.DETAIL, Act.FILL),
    (State.MORE, Intent.PREPARATION): (Choice.DETAIL, Act.FILL),
    **_everywhere(State.ERASE),
    (State.ERASE, Intent.YES): (State.ASKING, Act.ERASE),
    (State.ERASE, Intent.START_OVER): (State.ASKING, Act.ERASE),
    (State.ERASE, Intent.NO): (Choice.DETAIL, Act.KEEP),
    **_everywhere(State.ALL_DONE),
    (State.ALL_DONE, Intent.YES): (State.ALL_DONE, Act.ASK_WHAT),
    **{
        (State.ALL_DONE, intent): (State.OVER, Act.FAREWELL)
        for intent in (Intent.NO, Intent.MEAL_DONE, Intent.SKIP, Intent.UNSURE)
    },
    # Words that were on their way when we said goodbye.
    **{(State.OVER, intent): (State.OVER, Act.FAREWELL) for intent in Intent},
}


# --- keys ---

KEYS: Final = {
    "0": Heard(Intent.HELP),
    "1": Heard(Intent.MEAL, meal=Meal.BREAKFAST),
    "2": Heard(Intent.MEAL, meal=Meal.LUNCH),
    "3": Heard(Intent.MEAL, meal=Meal.DINNER),
    "4": Heard(Intent.MEAL, meal=Meal.SNACKS),
    "5": Heard(Intent.SKIP),
    "7": Heard(Intent.READ_BACK),
    "9": Heard(Intent.DAY_DONE),
    "*": Heard(Intent.REPEAT),
    "#": Heard(Intent.MEAL_DONE),
}
YES_NO_KEYS: Final = {"1": Heard(Intent.YES), "2": Heard(Intent.NO)}
YES_NO_STATES: Final = frozenset({State.ERASE, State.ALL_DONE})


def read_keys(keys: str, state: State) -> Heard:
    """Read pressed keys: a number where one was asked for (`#` may end it), else the last key of the menu."""
    number = keys.rstrip("#")
    if state is State.AMOUNT and re.fullmatch("[1-9][0-9]{0,2}", number):
        return Heard(Intent.AMOUNT, amount=Amount(float(number)))
    key = number[-1:] or "#"
    if state in YES_NO_STATES and key in YES_NO_KEYS:
        return YES_NO_KEYS[key]
    return KEYS.get(key, Heard(Intent.UNCLEAR))
