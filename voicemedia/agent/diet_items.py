"""Foods with amounts, found in plain words: `two eggs and a slice of toast with butter`. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from voicemedia.agent.diet_log import NO_AMOUNT, UNIT_OF, Amount, Entry
from voicemedia.agent.diet_words import COUNTED, MEASURED, NUMBERS, OTHER_UNITS, PREPARATIONS, SIDE_UNITS, UNITS, plural

SURE: Final = 0.6
"From this confidence on an unknown word after `I had` is a food. Recognizers that give none (0) are believed."
VERY_SURE: Final = 0.8
"From this confidence on an unknown answer of few words is a food by itself."

_ALIASES: Final = {
    "omelette": "omelet",
    "donut": "doughnut",
    "donuts": "doughnut",
    "yoghurt": "yogurt",
    "dahi": "curd",
    "curds": "curd",
    "daal": "dal",
    "dhal": "dal",
    "dahl": "dal",
    "chapatti": "chapati",
    "chapattis": "chapati",
    "idly": "idli",
    "brinjal": "eggplant",
    "aubergine": "eggplant",
    "ladies finger": "okra",
    "mac and cheese": "macaroni and cheese",
    "milkshake": "milk shake",
    "cheesecake": "cheese cake",
    "cornflakes": "corn flakes",
    "hotdog": "hot dog",
    "hotdogs": "hot dog",
    "iced tea": "ice tea",
    "chai tea": "chai",
    "fries": "french fries",
    "cheese burger": "cheeseburger",
    "curries": "curry",
    "teas": "tea",
    "coffees": "coffee",
    "beers": "beer",
    "toasts": "toast",
    "pizzas": "pizza",
    "cakes": "cake",
    "salads": "salad",
    "soups": "soup",
    "juices": "juice",
    "fishes": "fish",
    "chickens": "chicken",
    "chocolates": "chocolate",
    "mushroom": "mushrooms",
    "vegetable": "vegetables",
    "lentil": "lentils",
}

_Table = dict[tuple[str, ...], str]


def _index(names: Iterable[tuple[str, str]]) -> _Table:
    return {tuple(said.split()): meant for said, meant in names}


_FOODS: Final = _index(
    [
        *((food, food) for food in UNIT_OF),
        *((name, food) for food in COUNTED for name in (food, plural(food))),
        *_ALIASES.items(),
    ]
)
_UNITS: Final = _index([*((name, unit) for unit in UNITS for name in (unit, plural(unit))), *OTHER_UNITS.items()])
_MADE: Final = _index([*((made, made) for made in PREPARATIONS), ("sunny side up", "fried"), ("roast", "roasted")])
_VAGUE: Final = _index(
    [
        *((word, word) for word in ("some", "a few", "several", "a little", "a lot of", "plenty of", "many")),
        ("a bit of", "a little"),
        ("a little bit of", "a little"),
        ("a little bit", "a little"),
        ("a bit", "a little"),
        ("lots of", "a lot of"),
        ("a lot", "a lot of"),
        ("few", "a few"),
    ]
)
_FIXED: Final[dict[tuple[str, ...], float]] = {
    tuple(said.split()): number
    for said, number in [
        *((word, float(number)) for word, number in NUMBERS.items()),
        *((word, 1.0) for word in ("a", "an", "another", "one more", "a single")),
        *((words, 2.0) for words in ("a couple of", "a couple", "couple of", "a pair of")),
        *((words, 0.5) for words in ("half", "half a", "half an", "a half", "half of a", "one half", "half of")),
        *((words, 0.25) for words in ("a quarter", "quarter", "a quarter of a", "one quarter", "quarter of a")),
        *((words, 0.75) for words in ("three quarters", "three quarters of a")),
        *((words, 12.0) for words in ("a dozen", "one dozen", "dozen")),
        *((words, 6.0) for words in ("half a dozen", "half dozen")),
        *((words, 100.0) for words in ("a hundred", "hundred")),
    ]
}
_LEFT_OUT: Final = [[food] for food in (*MEASURED["spoon"], "milk", "ice", "onions", "cheese", "bread", "meat")]
"What `no` after a food leaves out: `tea, no sugar`; before other foods it corrects."
_BREAKS: Final = frozenset({",", "and", "plus", "then", "also", "followed", "along", "as", "but", "with", "without"})
_LEADS: Final = frozenset({"had", "have", "ate", "eat", "eaten", "drank", "drink", "having", "took", "was", "consumed"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SMALL_WORDS: Final = _words("""
    i we he she it is was were am are been be had have ate eat eaten drank drink having took consumed grabbed got for my
    the this that these those today morning afternoon evening night yesterday at in on of to just like only so well
    breakfast lunch dinner snacks some more a an by too as about around maybe probably think was there no not yes okay
    please can could would add log also little bit home made homemade nice big small large medium whole hot cold
    clock oclock o'clock am pm after before later first again instead make change mean meant said wait sorry
    actually rather correction now still really thank thanks your me us lot any all
""")
_NO_FOOD: Final = _words("""
    what why how who where when which you your do does did not never know want tell ask if because can could would
    will shall should hello hi yes no okay is are he she they nothing none else
""")


@dataclass(frozen=True, slots=True)
class Items:
    """What was found in a turn; amount and preparation only where no food takes them."""

    entries: tuple[Entry, ...] = ()
    amount: Amount = NO_AMOUNT
    preparation: str = ""


@dataclass(slots=True)
class _Open:
    """What has been read since the last food or break."""

    number: float | None = None
    unit: str = ""
    vague: str = ""
    made: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def amount(self) -> Amount:
        return Amount(self.number, self.unit, "" if self.number is not None else self.vague)


def _completed(entry: Entry, left: _Open) -> Entry:
    """Take what was said after the food: `eggs, boiled`, `change the eggs to three`."""
    made = " ".join(left.made) or entry.preparation
    return replace(entry, preparation=made, amount=entry.amount if entry.amount.said else left.amount())


def read_items(words: str, confidence: float) -> Items:
    """Find the foods in plain lower-case words; unknown ones only as far as the confidence allows."""
    return _Reader(words.split(), confidence).read()


class _Reader:
    """Walks once over the words, from the left, the longest match first."""

    def __init__(self, words: list[str], confidence: float) -> None:
        self._words = words
        self._at = 0
        self._open = _Open()
        self._side = self._leaving_out = False
        self._entries: list[Entry] = []
        self._begun = 0
        "Number of entries when this part began."
        self._rest = _Open()
        "Amount and preparation that no food took."
        self._takes_unknown = bool(confidence == 0 or confidence >= SURE)
        self._led = bool(_LEADS & set(words))
        self._bare = confidence >= VERY_SURE and not (_NO_FOOD | {"i"}) & set(words)

    def read(self) -> Items:
        """Read to the end."""
        while self._at < len(self._words):
            if not (self._food() or self._number() or self._unit_or_made()):
                self._word()
        self._break()
        return Items(tuple(self._entries), self._rest.amount(), " ".join(self._rest.made))

    def _match(self, table: _Table) -> str | None:
        """Match the longest phrase of a table here and step over it."""
        for length in range(min(4, len(self._words) - self._at), 0, -1):
            meant = table.get(tuple(self._words[self._at : self._at + length]))
            if meant is not None:
                self._at += length
                return meant
        return None

    def _food(self) -> bool:
        food = self._match(_FOODS)
        if food is None:
            return False
        self._log(food)
        return True

    def _log(self, food: str) -> None:
        if self._leaving_out and self._entries:
            self._entries[-1] = replace(self._entries[-1], without=food)
        else:
            amount = self._open.amount()
            side = self._side or (bool(self._entries) and not amount.said and UNIT_OF.get(food) in SIDE_UNITS)
            self._entries.append(Entry(food, amount, " ".join(self._open.made), side=side))
        self._open = _Open()
        self._side = self._leaving_out = False

    def _number(self) -> bool:
        start = self._at
        vague = self._match(_VAGUE)
        number = None if vague else self._read_number()
        if vague is None and number is None:
            return False
        if start and self._words[start - 1] == "at":  # A time of day, such as "at eight".
            return True
        if vague:
            self._open.vague = vague
        elif not (number == 1 and self._open.number is not None):
            self._open.number = number
        return True

    def _read_number(self) -> float | None:
        number = self._read_whole()
        if number is None:
            return None
        if self._words[self._at : self._at + 3] == ["and", "a", "half"]:
            self._at += 3
            return number + 0.5
        fraction = self._words[self._at : self._at + 1]
        if fraction and re.fullmatch(r"[1-9]/[1-9]", fraction[0]):
            self._at += 1
            return number + int(fraction[0][0]) / int(fraction[0][2])
        return number

    def _read_whole(self) -> float | None:
        word = self._words[self._at]
        if re.fullmatch(r"\d{1,4}(\.\d{1,2})?", word):
            self._at += 1
            return float(word)
        if re.fullmatch(r"[1-9]/[1-9]", word):
            self._at += 1
            return int(word[0]) / int(word[2])
        number = self._match_number()
        while number is not None and number >= 1:
            following = self._following(number)
            if following is None:
                break
            number = following
        return number

    def _following(self, number: float) -> float | None:
        """Go on with a number of several words: `two` `hundred` `and` `fifty`."""
        ahead = self._words[self._at : self._at + 2]
        if number >= 100 and number % 100 == 0 and len(ahead) == 2 and ahead[0] == "and" and ahead[1] in NUMBERS:
            self._at += 1
            return self._following(number)
        word = ahead[0] if ahead else ""
        more = NUMBERS.get(word, 0)
        if word == "hundred" and number < 10:
            self._at += 1
            return number * 100
        if (number >= 100 and number % 100 == 0 and more) or (
            20 <= number < 100 and number % 10 == 0 and 0 < more < 10
        ):
            self._at += 1
            return number + more
        return None

    def _match_number(self) -> float | None:
        for length in range(min(4, len(self._words) - self._at), 0, -1):
            number = _FIXED.get(tuple(self._words[self._at : self._at + length]))
            if number is not None:
                self._at += length
                return number
        return None

    def _unit_or_made(self) -> bool:
        if unit := self._match(_UNITS):
            self._open.unit = unit
            return True
        if made := self._match(_MADE):
            self._open.made.append(made)
            return True
        return False

    def _word(self) -> None:
        word = self._words[self._at]
        self._at += 1
        if word in _BREAKS:
            self._break()
            self._side = word == "with" and bool(self._entries)
            self._leaving_out = word == "without"
        elif word == "no" and self._entries and self._words[self._at : self._at + 1] in _LEFT_OUT:
            self._break()
            self._leaving_out = True
        else:
            self._open.unknown.append(word)

    def _break(self) -> None:
        """End a part: what is left belongs to the food before it, is an unknown food, or stays over."""
        left, self._open = self._open, _Open()
        if unknown := self._unknown_food(left):
            self._open = replace(left, unknown=[])
            self._log(unknown)
        elif self._entries and not left.unit and (left.made or left.number is not None):
            self._entries[-1] = _completed(self._entries[-1], left)
        elif left.amount().said or left.made:
            self._rest = left
        self._begun = len(self._entries)
        self._side = self._leaving_out = False

    def _unknown_food(self, left: _Open) -> str:
        """Name the food of a part in which the vocabulary found none."""
        if not self._takes_unknown or len(self._entries) > self._begun:
            return ""
        named = [word for word in left.unknown if word not in _SMALL_WORDS]
        if not 1 <= len(named) <= 4 or _NO_FOOD & set(left.unknown):
            return ""
        measured = bool(left.unit) or left.number is not None or self._leaving_out
        return " ".join(named) if measured or self._led or self._bare else ""
