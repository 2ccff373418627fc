"""One conversation about a day's food: walks the table, keeps the log, words the answers. Pure; no clock, no I/O.

`greet`, `reply` and `heard` are all it needs to know; each answer is a `Reply`: sentences, the question last, and
whether to hang up.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from voicemedia.agent import diet_sentences as say
from voicemedia.agent.diet_log import DayLog, Entry, Meal, in_words, meal_of
from voicemedia.agent.diet_reading import Heard, Intent, read
from voicemedia.agent.diet_table import SCRIPT, YES_NO_STATES, Act, Choice, State, read_keys

MAX_UNCLEAR: Final = 3
"So many turns in a row may be unclear; at the next the conversation ends."
MAX_DETAILS: Final = 2
"So many follow-up questions a meal."

_SENTENCE_END: Final = re.compile(r"(?<=[.?!]) ")
_NO_ANSWER: Final = frozenset({Intent.YES, Intent.NO, Intent.UNSURE, Intent.UNCLEAR})
"What can not answer a question that was not heard."


@dataclass(frozen=True, slots=True)
class Reply:
    """What to say, and what follows."""

    sentences: tuple[str, ...]
    "At least one, each a single sentence; the question is the last."
    state: State
    hang_up: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the history."""

    who: str
    "`caller` or `agent`."
    text: str = field(repr=False)
    "The caller's words or keys; of ours what the caller heard."


@dataclass(frozen=True, slots=True)
class _Detail:
    """A follow-up question that may be asked."""

    state: State
    meal: Meal
    place: int


class DietScript:
    """One conversation about one day's food.

    :param hour: 0 to 23, in the caller's time zone.
    :param seed: chooses among wordings; the same seed gives the same conversation.
    """

    def __init__(self, hour: int, first_name: str = "", seed: int = 0) -> None:
        self.log = DayLog()
        self.state = State.ASKING
        self.meal = self._first_meal = meal_of(hour)
        self.history: list[Turn] = []
        self._hour, self._first_name, self._seed = hour, first_name, seed
        self._details: list[_Detail] = []
        self._asked: list[_Detail] = []
        self._unclear = 0
        self._newest: tuple[Meal, int] | None = None
        "The entry a correction without a name means."
        self._last: tuple[str, ...] = ()
        self._question_heard = True
        self._comes_back = False
        self._asking: tuple[str, ...] = ()
        "Wordings of the next question, where the act chose them."

    def greet(self) -> Reply:
        """Open the conversation with the meal that fits the hour, or go on with the one it stopped at."""
        if self._comes_back:
            eaten = () if self.meal in self.log.closed else self.log.entries(self.meal)
            so_far = [self._one_of(say.SO_FAR, in_words(eaten))] if eaten else []
            return self._answer([self._one_of(say.WELCOME_BACK), *so_far])
        return self._answer([say.greeting(self._hour, self._first_name)])

    def reply(self, text: str, keys: str = "", confidence: float = 0.0) -> Reply:
        """Answer one turn of words or keys; both empty when speech was not understood."""
        self.history.append(Turn("caller", keys or text))
        heard = read_keys(keys, self.state) if keys else read(text, confidence)
        return self._reply_to(heard, [])

    def understood(self, text: str, meanings: Sequence[Heard]) -> Reply:
        """Answer one turn whose meaning somebody else has found: one or more, in the order they were said."""
        self.history.append(Turn("caller", text))
        *first, last = meanings
        said: list[str] = []
        for heard in first:
            said += self._step(heard)
            self._leave_details()
        return self._reply_to(last, said)

    def worded(self, sentences: Sequence[str]) -> None:
        """Take note that the last answer was given in other words; the question is the last of them."""
        self._last = tuple(sentences)
        self.history[-1] = Turn("agent", " ".join(sentences))

    def heard(self, text: str, *, complete: bool) -> None:
        """Keep what the caller heard of the last reply."""
        if not self.history or self.history[-1].who != "agent":
            return
        words = sum(len(sentence.split()) for sentence in self._last)
        question = len(self._last[-1].split())
        self._question_heard = complete or len(text.split()) >= words - question / 2
        self.history[-1] = Turn("agent", text)

    # --- an earlier conversation ---

    def open_questions(self) -> list[tuple[Meal, int, State]]:
        """Return what is still to be asked: meal, place in it, AMOUNT or PREPARATION."""
        return [(detail.meal, detail.place, detail.state) for detail in self._details]

    def go_on(self, eaten: Iterable[tuple[Meal, Entry, State | None]], complete: set[Meal]) -> None:
        """Begin where an earlier conversation stopped: its foods with what is still to ask, its complete meals."""
        for meal, entry, still_to_ask in eaten:
            place = self.log.add(meal, entry)
            if still_to_ask is not None:
                self._details.append(_Detail(still_to_ask, meal, place))
        self._comes_back = True
        self.log.closed |= complete
        begun = [meal for meal in Meal if self.log.entries(meal) and meal not in complete]
        if begun:
            asked = [detail.meal for detail in self._details if detail.meal in begun]
            self.meal = asked[0] if asked else begun[-1]
        self._details = [detail for detail in self._details if detail.meal is self.meal]
        self.state = self._next_meal() if self.meal in complete else self._detail_or_more()

    # --- one step ---

    def _reply_to(self, heard: Heard, said: list[str]) -> Reply:
        self._unclear = self._unclear + 1 if heard.intent is Intent.UNCLEAR else 0
        if self._unclear > MAX_UNCLEAR:
            heard = Heard(Intent.LOST)
        elif not self._question_heard:
            if self._details and self._details[0] in self._asked:
                self._asked.remove(self._details[0])
            if heard.intent in _NO_ANSWER:
                return self._answer([self._one_of(say.LISTENING)])
        return self._answer(said + self._step(heard))

    def _step(self, heard: Heard) -> list[str]:
        """Walk one row of the table, and another for what the same breath said after it."""
        following, act = SCRIPT[self.state, heard.intent]
        said = _ACTS[act](self, heard)
        if isinstance(following, State):
            self.state = following
        elif following is Choice.DETAIL:
            self.state = self._detail_or_more()
        else:
            self.state = self._next_meal()
        if heard.then is None or self.state is State.OVER:
            return said
        self._leave_details()
        return said + self._step(Heard(heard.then))

    def _leave_details(self) -> None:
        """The same breath went on: whatever was open about its foods is not asked."""
        self._details.clear()
        if self.state is not State.OVER:
            self.state = State.MORE if self.log.entries(self.meal) else State.ASKING

    def _detail_or_more(self) -> State:
        for detail in list(self._details):
            if detail in self._asked or self._asked_of(detail.meal) < MAX_DETAILS:
                return detail.state
            self._details.remove(detail)
        return State.MORE if self.log.entries(self.meal) else State.ASKING

    def _asked_of(self, meal: Meal) -> int:
        return sum(detail.meal is meal for detail in self._asked)

    def _next_meal(self) -> State:
        missing = [meal for meal in Meal if meal not in self.log.closed]
        if not missing:
            return State.ALL_DONE
        self.meal = missing[0]
        return State.MORE if self.log.entries(self.meal) else State.ASKING

    def _answer(self, said: list[str]) -> Reply:
        if self.state is not State.OVER:
            said = [*said, self._question()]
        self._last = tuple(sentence for part in said for sentence in _SENTENCE_END.split(part))
        self._question_heard = True
        self.history.append(Turn("agent", " ".join(said)))
        return Reply(self._last, self.state, hang_up=self.state is State.OVER)

    def _question(self) -> str:
        if self.state in (State.AMOUNT, State.PREPARATION):
            detail = self._details[0]
            if detail not in self._asked:
                self._asked.append(detail)
            entry = self.log.entries(detail.meal)[detail.place]
            return say.how_much(entry) if self.state is State.AMOUNT else say.how_made(entry)
        if self.state is State.ERASE:
            return self._one_of(say.ASK_ERASE)
        if self.state is State.ALL_DONE and not self._asking:
            return self._one_of(say.ASK_ALL_DONE)
        asking, self._asking = self._asking or self._meal_question(), ()
        return self._one_of(asking)

    def _meal_question(self) -> tuple[str, ...]:
        if self.meal is Meal.SNACKS:
            return say.ASK_MORE_SNACKS if self.state is State.MORE else say.ASK_SNACKS
        if self.state is State.MORE:
            return say.ASK_MORE
        later = list(Meal).index(self.meal) > list(Meal).index(self._first_meal)
        return say.ASK_LATER_MEAL if later and self._first_meal is not Meal.SNACKS else say.ASK_MEAL

    def _one_of(self, wordings: Sequence[str], foods: str = "") -> str:
        wording = wordings[(self._seed + len(self.history) // 2) % len(wordings)]
        name = f", {self._first_name}" if self._first_name else ""
        meal = self.meal.value
        return wording.format(meal=meal, foods=foods, name=name)

    # --- acts ---

    def _log_foods(self, heard: Heard) -> list[str]:
        before = self._details[:1] if self.state in (State.AMOUNT, State.PREPARATION) else []
        self._go_to(heard.meal or (Meal.SNACKS if self.state is State.ALL_DONE else self.meal))
        asked = next((detail.place for detail in before if detail.meal is self.meal), None)
        # Whoever answers a follow-up question with another food does not care for it.
        self._details = [detail for detail in self._details if detail not in self._asked]
        places = [self.log.add(self.meal, entry, asked) for entry in heard.entries]
        self._newest = (self.meal, places[-1])
        self._open_details(places)
        return [self._one_of(say.NOTED, self._in_words(places))]

    def _in_words(self, places: Sequence[int]) -> str:
        return in_words([self.log.entries(self.meal)[place] for place in dict.fromkeys(places)])

    def _open_details(self, places: Sequence[int]) -> None:
        entries = self.log.entries(self.meal)
        places = list(dict.fromkeys(places))
        amounts = [_Detail(State.AMOUNT, self.meal, place) for place in places if entries[place].needs_amount]
        made = [_Detail(State.PREPARATION, self.meal, place) for place in places if entries[place].needs_preparation]
        self._details = [
            detail
            for detail in [*self._details, *amounts, *made]
            if detail not in self._asked and self._still_open(detail)
        ]

    def _still_open(self, detail: _Detail) -> bool:
        entry = self.log.entries(detail.meal)[detail.place]
        return entry.needs_amount if detail.state is State.AMOUNT else entry.needs_preparation

    def _go_to(self, meal: Meal) -> None:
        if meal is not self.meal:
            self._details.clear()
        self.meal = meal
        self.log.closed.discard(meal)

    def _correct(self, heard: Heard) -> list[str]:
        if not heard.entries:
            return self._fill(heard, say.CHANGED)
        if heard.meal:
            self._go_to(heard.meal)
        wrong = self.log.find(self.meal, heard.wrong) if heard.wrong else None
        if wrong is not None:
            self._newest = (self.meal, wrong)
        if self._newest is None or not self.log.entries(self.meal):
            return self._log_foods(heard)
        places = [self._put_right(entry) for entry in heard.entries]
        self._newest = (self.meal, places[-1])
        self._open_details(places)
        return [self._one_of(say.CHANGED, self._in_words(places))]

    def _put_right(self, entry: Entry) -> int:
        """Change the food of that name, or the newest one when it was misheard."""
        place = self.log.find(self.meal, entry.food)
        if place is not None:
            return self.log.change(self.meal, place, self.log.entries(self.meal)[place].merged(entry))
        meal, newest = self._newest or (self.meal, 0)
        self._newest = None
        if meal is self.meal and newest < len(self.log.entries(meal)):
            return self.log.change(meal, newest, entry)
        return self.log.add(self.meal, entry)

    def _remove(self, heard: Heard) -> list[str]:
        if heard.meal:
            self._go_to(heard.meal)
        elif heard.entries and not self._has(self.meal, heard.entries):
            # "Remove the toast" at lunch means that of breakfast.
            self._go_to(next((meal for meal in Meal if self._has(meal, heard.entries)), self.meal))
        removed = []
        for name in [entry.food for entry in heard.entries] or [""]:
            place = self.log.find(self.meal, name) if name else len(self.log.entries(self.meal)) - 1
            if place is not None and place >= 0:
                removed.append(self.log.remove(self.meal, place))
        if not removed:
            return [self._one_of(say.NOT_THERE)]
        # Places have moved.
        self._details.clear()
        self._asked = [detail for detail in self._asked if detail.meal is not self.meal]
        self._newest = None
        return [self._one_of(say.REMOVED, in_words(removed))]

    def _has(self, meal: Meal, entries: Sequence[Entry]) -> bool:
        return any(self.log.find(meal, entry.food) is not None for entry in entries)

    def _fill(self, heard: Heard, wordings: Sequence[str] = say.FILLED) -> list[str]:
        detail = self._details.pop(0) if self.state in (State.AMOUNT, State.PREPARATION) else None
        meal, place = (detail.meal, detail.place) if detail else self._newest or (self.meal, -1)
        if not 0 <= place < len(entries := self.log.entries(meal)):
            return self._rephrase(heard)
        self.log.change(meal, place, entries[place].merged(Entry("", heard.amount, heard.preparation)))
        self._details = [other for other in self._details if self._still_open(other)]
        return [self._one_of(wordings, self.log.entries(meal)[place].spoken())]

    def _leave_open(self, _heard: Heard) -> list[str]:
        self._details.pop(0)
        return [self._one_of(say.NEVER_MIND)]

    def _close_meal(self, heard: Heard) -> list[str]:
        return self._close(heard, say.CLOSED if self.log.entries(heard.meal or self.meal) else say.SKIPPED)

    def _skip_meal(self, heard: Heard) -> list[str]:
        return self._close(heard, say.SKIPPED)

    def _close(self, heard: Heard, wordings: Sequence[str]) -> list[str]:
        self._details.clear()
        self.meal = heard.meal or self.meal
        self.log.closed.add(self.meal)
        return [self._one_of(wordings)]

    def _turn_to_meal(self, heard: Heard) -> list[str]:
        self._details.clear()
        self._go_to(heard.meal or self.meal)
        return []

    def _ask_what(self, _heard: Heard) -> list[str]:
        self._asking = say.ASK_WHAT_TO_ADD if self.state is State.ALL_DONE else say.ASK_WHAT
        return []

    def _read_back(self, _heard: Heard) -> list[str]:
        return say.read_back(self.log)

    def _rephrase(self, _heard: Heard) -> list[str]:
        yes_no = self.state in YES_NO_STATES
        if self._unclear == 2:
            return [say.KEYS_YES_NO if yes_no else say.KEYS]
        return [self._one_of(say.ONCE_MORE if self._unclear > 2 else say.UNCLEAR["yes_no" if yes_no else "food"])]

    def _erase(self, _heard: Heard) -> list[str]:
        self.log.erase()
        self._details.clear()
        self._asked.clear()
        self._newest = None
        self.meal = self._first_meal
        return [self._one_of(say.ERASED)]

    def _help(self, _heard: Heard) -> list[str]:
        return [say.HELP]

    def _wait(self, _heard: Heard) -> list[str]:
        return [self._one_of(say.WAITING)]

    def _keep(self, _heard: Heard) -> list[str]:
        return [self._one_of(say.KEPT)]

    def _farewell(self, _heard: Heard) -> list[str]:
        return [self._one_of(say.FAREWELLS)]

    def _give_up(self, _heard: Heard) -> list[str]:
        return [self._one_of(say.GIVING_UP)]

    def _nothing(self, _heard: Heard) -> list[str]:
        return []


_ACTS: Final[dict[Act, Callable[[DietScript, Heard], list[str]]]] = {
    Act.LOG: DietScript._log_foods,
    Act.CORRECT: DietScript._correct,
    Act.REMOVE: DietScript._remove,
    Act.FILL: DietScript._fill,
    Act.LEAVE_OPEN: DietScript._leave_open,
    Act.CLOSE_MEAL: DietScript._close_meal,
    Act.SKIP_MEAL: DietScript._skip_meal,
    Act.TURN_TO_MEAL: DietScript._turn_to_meal,
    Act.ASK_WHAT: DietScript._ask_what,
    Act.READ_BACK: DietScript._read_back,
    Act.HELP: DietScript._help,
    Act.WAIT: DietScript._wait,
    Act.REPHRASE: DietScript._rephrase,
    Act.ERASE: DietScript._erase,
    Act.KEEP: DietScript._keep,
    Act.FAREWELL: DietScript._farewell,
    Act.GIVE_UP: DietScript._give_up,
    Act.NOTHING: DietScript._nothing,
}
