"""What a language model answers for the diet diary: commands, a line each, then words to say. `prompts/diet.md`.

Everything is checked: a model may write anything.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from voicemedia.agent.diet_items import read_items
from voicemedia.agent.diet_log import NO_AMOUNT, Amount, Entry, Meal
from voicemedia.agent.diet_reading import Heard, Intent
from voicemedia.errors import WireError

MOST_COMMANDS: Final = 24
MOST_AMOUNT: Final = 5_000
LONGEST_FOOD: Final = 40

_FOOD: Final = re.compile(r"[^\W\d_][\w '&,-]*")
_SIMPLE: Final = {
    "yes": Intent.YES,
    "no": Intent.NO,
    "read_back": Intent.READ_BACK,
    "unclear": Intent.UNCLEAR,
    "goodbye": Intent.DAY_DONE,
}
_OF_MEAL: Final = {"done": Intent.MEAL_DONE, "skip": Intent.SKIP, "meal": Intent.MEAL}


@dataclass(frozen=True, slots=True)
class Command:
    """One line that begins with `@`."""

    heard: Heard


class DietAnswer:
    """One answer as it is written.

    :param asked_about: the meal that commands without one mean.
    """

    def __init__(self, asked_about: Meal) -> None:
        self._meal = asked_about
        self._rest = ""
        self._speaking = False
        self._commands = 0

    def feed(self, piece: str) -> list[Command | str]:
        """Take a piece; return commands, and words to say as they come.

        :raises WireError: a command that is none, or comes after words.
        """
        self._rest += piece
        found: list[Command | str] = []
        while not self._speaking and (line := self._rest.lstrip()):
            if not line.startswith("@"):
                self._speaking = True
                break
            command, ended, self._rest = line.partition("\n")
            if not ended:
                self._rest = line
                return found
            found.append(self._command(command))
        if self._speaking and self._rest:
            words, self._rest = self._rest, ""
            if "@" in words:
                raise WireError("late_command")
            found.append(words)
        return found

    def finish(self) -> list[Command | str]:
        """The answer is over."""
        return self.feed("\n") if self._rest.strip() else []

    def _command(self, line: str) -> Command:
        self._commands += 1
        if self._commands > MOST_COMMANDS:
            raise WireError("too_many_commands")
        name, _, rest = line[1:].strip().partition(" ")
        fields = [field.strip() for field in rest.split("|")]
        name = name.lower().rstrip(",")
        if name in _SIMPLE:
            return Command(Heard(_SIMPLE[name]))
        if name in _OF_MEAL:
            return Command(Heard(_OF_MEAL[name], meal=self._meal_of(fields[0])))
        read: dict[str, Callable[[list[str]], Heard]] = {
            "log": lambda fields: self._food(Intent.FOOD, fields),
            "change": lambda fields: self._food(Intent.CORRECT, fields),
            "remove": lambda fields: self._food(Intent.REMOVE, fields[:2]),
            "amount": _amount_told,
            "made": _made_told,
        }
        if name not in read:
            raise WireError("unknown_command", name[:20])
        return Command(read[name](fields))

    def _meal_of(self, text: str) -> Meal:
        try:
            return Meal(text.lower()) if text else self._meal
        except ValueError as error:
            raise WireError("unknown_meal", text[:20]) from error

    def _food(self, intent: Intent, fields: list[str]) -> Heard:
        # A meal left out is left out with its bar.
        if fields[0].lower() not in {meal.value for meal in Meal} and fields[0]:
            fields = ["", *fields]
        meal_text, food, number, unit, made, *_ = [*fields, "", "", "", "", ""]
        entry = Entry(_food_name(food), _amount(number, unit), _word(made))
        return Heard(intent, (_known(entry),), meal=self._meal_of(meal_text))


def _amount_told(fields: list[str]) -> Heard:
    number, unit, *_ = [*fields, "", ""]
    amount = _amount(number, unit)
    if not amount.said:
        raise WireError("no_amount")
    return Heard(Intent.AMOUNT, amount=amount)


def _made_told(fields: list[str]) -> Heard:
    if not fields[0]:
        raise WireError("no_preparation")
    return Heard(Intent.PREPARATION, preparation=_word(fields[0]))


def _amount(number: str, unit: str) -> Amount:
    if not number:
        return Amount(unit=_word(unit)) if unit else NO_AMOUNT
    try:
        value = float(number.replace(",", "."))
    except ValueError as error:
        raise WireError("no_number", number[:20]) from error
    if not 0 < value <= MOST_AMOUNT:
        raise WireError("unlikely_amount", number[:20])
    return Amount(value, _word(unit))


def _word(text: str) -> str:
    """Take a unit or a preparation: a few letters, or nothing."""
    if text and (len(text) > LONGEST_FOOD or not _FOOD.fullmatch(text)):
        raise WireError("no_word", text[:20])
    return text.lower()


def _food_name(text: str) -> str:
    if not text or len(text) > LONGEST_FOOD or not _FOOD.fullmatch(text):
        raise WireError("no_food", text[:20])
    return text.lower()


def _known(entry: Entry) -> Entry:
    """Call a food as the diary's own vocabulary does, if that has it."""
    own = read_items(entry.food, 0.0).entries
    if len(own) != 1:
        return entry
    return replace(entry, food=own[0].food, preparation=entry.preparation or own[0].preparation)


def together(commands: Sequence[Heard]) -> list[Heard]:
    """Join what is said of several foods of one meal."""
    joined: list[Heard] = []
    for heard in commands:
        last = joined[-1] if joined else None
        if last and heard.entries and (heard.intent, heard.meal) == (last.intent, last.meal):
            joined[-1] = replace(last, entries=last.entries + heard.entries)
        else:
            joined.append(heard)
    return joined


def unfounded(commands: Sequence[Heard], said: str) -> str:
    """Name a food the model logs that is nowhere in the caller's words; words in other scripts are believed."""
    if not said.isascii():
        return ""
    words = said.lower()
    for heard in commands:
        for entry in heard.entries if heard.intent is Intent.FOOD else ():
            if not any(word[:3] in words for word in entry.food.split()):
                return entry.food
    return ""
