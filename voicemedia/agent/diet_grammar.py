"""The JSGF grammars of the diet conversation: what the offline recognizer may hear next. Pure.

One grammar a kind of question, made once. Articles and numbers are bound to the form of the food that follows
(`an egg`, `two eggs`, `a bowl of rice`): it halves the words the recognizer has to tell apart at each step.
"""

from collections.abc import Iterable
from functools import cache
from typing import Final

from voicemedia.agent.diet_log import article
from voicemedia.agent.diet_table import YES_NO_STATES, State
from voicemedia.agent.diet_words import (
    COUNTED,
    HOW_MADE,
    MEASURED,
    NUMBERS,
    PREPARATIONS,
    SOUNDS_LIKE,
    TOO_CLOSE,
    UNITS,
    plural,
)

COMMANDS: Final = (
    "that is all",
    "that's all",
    "that is it",
    "that's it",
    "nothing else",
    "nothing more",
    "no that's all",
    "no that is all",
    "i am done",
    "i'm done",
    "that is everything",
    "that is everything for today",
    "that's all for today",
    "i am done for today",
    "goodbye",
    "bye bye",
    "thank you goodbye",
    "skip",
    "skip it",
    "nothing",
    "not yet",
    "i did not have breakfast",
    "i did not have lunch",
    "i did not have dinner",
    "i didn't have lunch",
    "i didn't have dinner",
    "i skipped lunch",
    "i skipped breakfast",
    "start over",
    "what did i eat",
    "what did i eat today",
    "what have i had so far",
    "read it back",
    "read it back please",
    "help",
    "pardon",
    "say that again",
    "say again",
    "please repeat that",
    "one moment please",
    "wait a moment",
    "i don't know",
    "i do not know",
    "breakfast",
    "lunch",
    "dinner",
    "snacks",
    "remove that",
)
YES_NO: Final = (
    "yes",
    "yes please",
    "yeah",
    "sure",
    "okay",
    "yes i did",
    "no",
    "no thank you",
    "no thanks",
    "no i did not",
    "no nothing else",
)


def spelled(words: str) -> str:
    """Spell a food with words of the recognizer's dictionary."""
    return " ".join(SOUNDS_LIKE.get(word, word) for word in words.split())


def _any_of(words: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(spelled(word) for word in words))


_MEASURED: Final = tuple(food for foods in MEASURED.values() for food in foods if food not in TOO_CLOSE)

# A rule is copied wherever it is named, and every copy costs the decoder: each list of foods is named once.
_RULES: Final = f"""
<numbers> = {_any_of([word for word in NUMBERS if word != "one"])};
<hundreds> = (a | one | two | three | four | five) hundred [and fifty];
<one_unit> = {_any_of(UNITS)};
<many_units> = {_any_of(plural(unit) for unit in UNITS)};
<made> = {_any_of(PREPARATIONS)};
<many> = <numbers> | a couple of | one and a half | two and a half | half a dozen | a dozen;
<some> = some | a few | a little | a lot of;
<measure> = (<a> | half a | a small | a large) <one_unit> | (<many> | <hundreds>) <many_units>;
<a> = a | one | another;
<item> = <a> [<made>] ({_any_of(food for food in COUNTED if article(food) == "a")})
       | (an | one | another) ({_any_of(food for food in COUNTED if article(food) == "an")})
       | <a> <made> ({_any_of(food for food in COUNTED if article(food) == "an")})
       | [<many> | <some>] [<made>] ({_any_of(plural(food) for food in COUNTED)})
       | [<measure> of | <a> | <some>] [<made>] ({_any_of(_MEASURED)});
<meal> = breakfast | lunch | dinner | a snack;
<lead> = (i | we) (had | ate | drank) | for <meal> [i had] | i just had | i mean | sorry i had | no [i had]
       | change that to | (remove | delete) the;
<foods> = [<lead>] <item> ((and | with | without) <item>)* [and that is all];
<amount> = [about] (<measure> | <a> | <many> | <hundreds> | <some> | just one | not much);
<correction> = (no | make it | i mean) <numbers>;
<command> = {_any_of(COMMANDS)};
<yes_no> = {_any_of(YES_NO)};
"""

_PUBLIC: Final = {
    State.ASKING: "<foods> | <correction> | <command> | <yes_no>",
    State.MORE: "<foods> | <correction> | <command> | <yes_no>",
    State.AMOUNT: "<amount> | <foods> | <correction> | <command> | <yes_no>",
    State.PREPARATION: "[they were | it was] <made> | <foods> | <correction> | <command> | <yes_no>",
    State.ERASE: "<yes_no> | <command>",
    State.ALL_DONE: "<foods> | <correction> | <command> | <yes_no>",
    State.OVER: "<command>",
}


@cache
def grammar(state: State) -> str:
    """Build the complete grammar for the answer to one kind of question."""
    return f"#JSGF V1.0;\ngrammar diet;\npublic <turn> = {_PUBLIC[state]};\n{_RULES}"


@cache
def phrases(state: State) -> tuple[str, ...]:
    """List the words and phrases to prefer, for recognizers without grammars; the likeliest first."""
    if state in YES_NO_STATES:
        return (*YES_NO, *COMMANDS)
    foods = (*COUNTED, *(plural(food) for food in COUNTED), *_MEASURED)
    asked = tuple(dict.fromkeys(made for choices in HOW_MADE.values() for made in choices))
    return (*(asked if state is State.PREPARATION else ()), *foods, *COMMANDS, *YES_NO)
