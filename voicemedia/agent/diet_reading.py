"""What a caller's words mean: intent, foods, amounts. Pure; takes the transcript of any recognizer.

A transcript may come from the grammar of `diet_grammar`, or from free dictation with capitals, punctuation, digits and
wording of its own. Commands are told by phrases, foods by the vocabulary; a food the vocabulary does not know is taken
from the sentence around it (`I had X`, `a bowl of X`) when the recognizer was sure of its words.
"""

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Final

from voicemedia.agent.diet_items import Items, read_items
from voicemedia.agent.diet_log import NO_AMOUNT, Amount, Entry, Meal
from voicemedia.agent.diet_words import SOUNDS_LIKE

MAX_WORDS: Final = 120
"A turn longer than this is cut: nobody lists more in one breath."


class Intent(Enum):
    """What the caller wants."""

    FOOD = "food"
    AMOUNT = "amount"
    PREPARATION = "preparation"
    CORRECT = "correct"
    REMOVE = "remove"
    YES = "yes"
    NO = "no"
    UNSURE = "unsure"
    MEAL = "meal"
    "Names a meal to talk about."
    MEAL_DONE = "meal_done"
    SKIP = "skip"
    DAY_DONE = "day_done"
    START_OVER = "start_over"
    READ_BACK = "read_back"
    HELP = "help"
    REPEAT = "repeat"
    WAIT = "wait"
    UNCLEAR = "unclear"
    LOST = "lost"
    "Unclear once too often; decided by the script, never by one turn."


@dataclass(frozen=True, slots=True)
class Heard:
    """The meaning of one turn."""

    intent: Intent
    entries: tuple[Entry, ...] = ()
    amount: Amount = NO_AMOUNT
    preparation: str = ""
    wrong: str = ""
    "The food a correction says it was not: `not a banana, an apple`."
    meal: Meal | None = None
    then: Intent | None = None
    "What the same breath said after the foods: `... and that is all`."


_CONTRACTIONS: Final = {
    "that's": "that is",
    "it's": "it is",
    "what's": "what is",
    "let's": "let us",
    "i'm": "i am",
    "i've": "i have",
    "i'd": "i would",
    "i'll": "i will",
    "that'll": "that will",
    "can't": "can not",
    "cannot": "can not",
    "dunno": "do not know",
    "thats": "that is",
    "didnt": "did not",
    "dont": "do not",
    "yup": "yes",
    "yeah": "yes",
    "yep": "yes",
    "yah": "yes",
    "haan": "yes",
    "nope": "no",
    "nah": "no",
    "ok": "okay",
    "goodbye": "good bye",
    "bye-bye": "bye",
    "supper": "dinner",
    "brunch": "breakfast",
    "snack": "snacks",
}
_WORD: Final = re.compile(r"\d+/\d+|\d+(?:\.\d+)?|(?:(?!\d)[\w\u0900-\u0dff'])+|[,.;:!?&+()\n-]")
_BREAKS: Final = frozenset(",.;:!?()\n")
_FILLERS: Final = frozenset({"um", "uh", "er", "erm", "hmm", "mm", "ah", "oh"})
_HEARD_AS: Final = [
    (re.compile(rf"\b{spelled}\b"), word)
    for word, spelled in sorted(SOUNDS_LIKE.items(), key=lambda pair: -len(pair[1]))
    if not word.endswith("s") or spelled.endswith(("s", "ease"))
]


def plain(text: str) -> str:
    """Bring a transcript to lower-case words without contractions; a comma stays where a pause was written."""
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'").replace("\u2044", "/")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    words: list[str] = []
    for word in _WORD.findall(text)[: 2 * MAX_WORDS]:
        if word in _BREAKS:
            words.append(",")
        elif word in "&+":
            words.append("and")
        elif word != "-" and word not in _FILLERS:
            full = _CONTRACTIONS.get(word, word)
            words.append(full[:-3] + " not" if full.endswith("n't") else full)
    text = " ".join(words[:MAX_WORDS])
    for spelled, meant in _HEARD_AS:
        text = spelled.sub(meant, text)
    return text


_MEAL: Final = re.compile(r"\b(breakfast|lunch|dinner|snacks)\b")
_ANY_MEAL: Final = r"(?:breakfast|lunch|dinner|snacks)"

_ANYWHERE: Final = [
    (
        Intent.DAY_DONE,
        r"\b(good bye|bye|good night|hang up|end (the |this )?call|see you)\b"
        r"|\b(everything|all|it|done|finished|enough) (for|with) (today|the day|tonight|now goodbye)\b"
        r"|\b(today|the day|day) is (done|complete|finished|over)\b",
    ),
    (
        Intent.START_OVER,
        r"\bstart (all )?over\b|\b(start|begin) again\b|\b(erase|clear|delete|reset) (everything|all|it all|my log)\b",
    ),
    (
        Intent.READ_BACK,
        r"\bwhat (did|have|had) i (just )?(eat|eaten|ate|have|had|drink|log|logged|say|said|told|tell)\b"
        r"|\bwhat i (ate|had|have eaten|logged)\b|\bwhat do (i|you) have\b|\bso far\b"
        r"|\bread (it|that|them|my|the|everything|back|out)\b"
        r"|\brepeat (the|my) (log|list|meals?|foods?)\b|\b(my|the) (log|list)\b",
    ),
]
"Commands that are meant wherever they stand; the first that matches counts."

_WHOLE: Final = [
    (
        Intent.MEAL_DONE,
        r"(that|this|it) (is|was|will be|would be) (all|it|everything|enough)|nothing (else|more)|no (more|thing else)"
        r"|(i am )?(all )?(done|finished|full|complete)|enough|(just|only) that|finish|not any ?more|stop|the end"
        rf"|(my )?{_ANY_MEAL} is (complete|done|finished|over)|no i am (good|fine|okay)"
        rf"|(done|finished) with {_ANY_MEAL}|all for {_ANY_MEAL}|i (ate|had|have) nothing (else|more)|i am (good|fine)",
    ),
    (
        Intent.SKIP,
        r"skip( it| this| that| this one| this meal| to the next)?|next( one| meal)?|later|not yet"
        rf"|(i )?(skip|skipped|missed) (my |the )?{_ANY_MEAL}|no {_ANY_MEAL}|i fasted|i was not hungry"
        rf"|(i )?(did not|have not|do not|never) (have|had|eat|eaten|take|took)( any| my| a)?"
        rf"( {_ANY_MEAL}| anything| it)?( yet| today)?|(i (had|ate) )?nothing (yet|at all|for {_ANY_MEAL}|today)"
        r"|i (had|ate) nothing",
    ),
    (
        Intent.HELP,
        r"(i need )?help( me)?|what can i (say|do)|how does (this|it) work|what (should|do|must) i (say|do)|menu",
    ),
    (
        Intent.REPEAT,
        r"pardon( me)?|(say|repeat|ask)( that| it| this| the question)?( again| once more)?|again|come again"
        r"|what( did you say| was (that|the question))?|(i am )?sorry|excuse me|once more|one more time|huh"
        r"|i (did not|can not|could not) (hear|catch|understand|get)( you| that| it)?|hello( there| hello)?|hi( there)?"
        r"|thank you|thanks|repeat (that|it|the question)",
    ),
    (
        Intent.WAIT,
        r"wait( a (moment|minute|second))?|hold on|hang on|(one|just a|a|just one) (moment|minute|second)"
        r"|let me (think|see)|give me a (moment|minute|second)",
    ),
    (
        Intent.UNSURE,
        r"i (do not|can not) (know|remember|recall)|not sure|i am not sure|no idea|i have no idea|hard to say"
        r"|who knows",
    ),
    (
        Intent.YES,
        r"yes|sure|of course|correct|right|okay|i (did|do|have)|please( do)?|go ahead|definitely|absolutely|all right"
        r"|(that|it) is (right|correct)|yes (i (did|do|have)|please|sure|of course|there is)|exactly|true"
        r"|one more thing",
    ),
    (
        Intent.NO,
        r"no|no thank you|no thanks|not|none|nothing|i (did|do) not|never mind|not really|no no|not at all"
        r"|nothing at all|not now|no not really|no i (did|do) not|(leave|keep) it|cancel",
    ),
]
"Commands that are the whole turn, after its politeness is taken off."

_COMMANDS: Final = [(intent, re.compile(pattern)) for intent, pattern in _WHOLE]
_STRONG: Final = [(intent, re.compile(pattern)) for intent, pattern in _ANYWHERE]
_POLITE: Final = re.compile(
    r"^(?:okay|well|so|and|um|please|i think|i guess|actually|no thank you|no thanks|thanks|thank you|yes|but|no|,"
    r"|sorry)\s"
    r"|\s(?:please|thank you|thanks|i think|i guess|for now|now|,|then|really|okay)$"
)
_CLOSING: Final = re.compile(
    r"[, ]*\b(?:and )?(?:(?:that|this) (?:is|was) (?:all|it|everything)|nothing (?:else|more)|i am (?:all )?done"
    rf"|no more|all done)( for {_ANY_MEAL})?\s*,?$"
)
_REMOVING: Final = re.compile(
    r"\b(?:remove|delete|take (?:off|out|away)|cross (?:off|out)|scratch|forget|drop|get rid of|erase|undo)\b(.*)"
)
_CORRECTING: Final = re.compile(
    r"^(?:,|no|wrong|sorry|actually|i (?:mean|meant|said)|correction|change|make (?:it|that)|oops|wait|rather|not"
    r"|it was)\b"
)
_NOT_BUT: Final = re.compile(r"\bnot [^,]*?(?:,| but )")
_SKIPPED: Final = re.compile(
    rf"\b(?:i )?(?:did not|have not|never) (?:have|had|eat|eaten) (?:any |my )?({_ANY_MEAL})\b"
    rf"|\bskipped ({_ANY_MEAL})\b"
)


def read(text: str, confidence: float = 0.0) -> Heard:
    """Read a transcript; `confidence` 0 to 1, 0 when the recognizer gives none."""
    words = plain(text)
    meal = Meal(found[1]) if (found := _MEAL.search(words)) else None
    for intent, pattern in _STRONG:
        if pattern.search(words):
            return _strong(intent, words, meal)
    if command := _command(words):
        return Heard(command, meal=meal)
    if removing := _REMOVING.search(words):
        return Heard(Intent.REMOVE, read_items(removing[1], 0.0).entries, meal=meal)
    return _about_food(words, confidence, meal)


def _strong(intent: Intent, words: str, meal: Meal | None) -> Heard:
    """Keep the foods said in the same breath as the goodbye."""
    entries = read_items(words, 0.0).entries if intent is Intent.DAY_DONE else ()
    if entries:
        return Heard(Intent.FOOD, entries, meal=meal, then=intent)
    return Heard(intent, meal=meal)


def _command(words: str) -> Intent | None:
    """Find the command that is the whole turn, as said or with its politeness taken off bit by bit."""
    words = words.strip(" ,").replace(" ,", "")
    while words:
        for intent, pattern in _COMMANDS:
            if pattern.fullmatch(words):
                return intent
        shorter = _POLITE.sub("", words, count=1).strip()
        if shorter == words:
            return None
        words = shorter
    return None


def _about_food(words: str, confidence: float, meal: Meal | None) -> Heard:
    then = None
    if closing := _CLOSING.search(words):
        words, then = words[: closing.start()], Intent.MEAL_DONE
    if skipped := _SKIPPED.search(words):
        words = words.replace(skipped[0], ",")
        meal = Meal(found[1]) if (found := _MEAL.search(words)) else None
    correcting = bool(_CORRECTING.match(words))
    denied = _NOT_BUT.search(words) if correcting else None
    if denied:
        words = words.replace(denied[0], " ", 1)
    items = read_items(words, confidence)
    if items.entries:
        wrong = next((entry.food for entry in read_items(denied[0], 0.0).entries), "") if denied else ""
        return Heard(Intent.CORRECT if correcting else Intent.FOOD, items.entries, wrong=wrong, meal=meal, then=then)
    return _without_food(items, correcting, meal, then or (Intent.SKIP if skipped else None))


def _without_food(items: Items, correcting: bool, meal: Meal | None, then: Intent | None) -> Heard:
    if items.amount.said:
        return Heard(Intent.CORRECT if correcting else Intent.AMOUNT, amount=items.amount, meal=meal, then=then)
    if items.preparation:
        return Heard(Intent.CORRECT if correcting else Intent.PREPARATION, preparation=items.preparation, then=then)
    if then is not None:
        return Heard(then, meal=meal)
    if meal is not None:
        return Heard(Intent.MEAL, meal=meal)
    return Heard(Intent.UNCLEAR)
