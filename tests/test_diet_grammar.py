"""The grammar of the diet conversation: its words can be recognized, its sentences understood, our examples heard."""

import re
import wave
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from voicemedia.agent.diet_grammar import COMMANDS, YES_NO, grammar, phrases, spelled
from voicemedia.agent.diet_items import read_items
from voicemedia.agent.diet_reading import Intent, read
from voicemedia.agent.diet_table import State
from voicemedia.agent.diet_words import COUNTED, HOW_MADE, MEASURED, PREPARATIONS, SOUNDS_LIKE, TOO_CLOSE, plural

try:
    import audioop
except ImportError:  # pragma: no cover - a part of Python up to 3.12
    audioop = pytest.importorskip("audioop_lts")

EXAMPLES = Path(__file__).parent.parent / "examples"
FOODS = [*COUNTED, *(food for foods in MEASURED.values() for food in foods)]

SPOKEN = {
    "breakfast": "i had two eggs and a slice of toast",
    "boiled": "boiled",
    "lunch": "for lunch i had a chicken sandwich and a bowl of tomato soup",
    "correction": "no three eggs",
    "done": "that is all",
    "yes": "yes",
    "repeat": "what did i eat today",
    "goodbye": "goodbye",
}


@cache
def model() -> Path:
    return Path(pytest.importorskip("pocketsphinx").get_model_path("en-us"))


@cache
def decoder(state: State) -> Any:
    pocketsphinx = pytest.importorskip("pocketsphinx")
    made = pocketsphinx.Decoder(lm=None, loglevel="FATAL", bestpath=False, wip=0.2, lw=3.0)
    made.add_jsgf_string("diet", grammar(state))
    made.activate_search("diet")
    return made


def recognized(pcm: bytes, state: State) -> str:
    ears = decoder(state)
    ears.reinit_feat()
    ears.start_utt()
    ears.process_raw(pcm, full_utt=True)
    ears.end_utt()
    hypothesis = ears.hyp()
    return hypothesis.hypstr if hypothesis else ""


def sound(name: str) -> bytes:
    with wave.open(str(EXAMPLES / f"{name}.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16000)
        return bytes(file.readframes(file.getnframes()))


def over_the_telephone(pcm: bytes) -> bytes:
    narrow, _ = audioop.ratecv(pcm, 2, 1, 16000, 8000, None)
    wide, _ = audioop.ratecv(audioop.ulaw2lin(audioop.lin2ulaw(narrow, 2), 2), 2, 1, 8000, 16000, None)
    return bytes(wide)


def state_for(name: str) -> State:
    return State.PREPARATION if name == "boiled" else State.ASKING


@pytest.mark.parametrize("state", State)
def test_every_word_is_in_the_recognizers_dictionary(state: State) -> None:
    dictionary = {line.split(maxsplit=1)[0] for line in (model() / "cmudict-en-us.dict").read_text().splitlines()}
    rules = re.sub(r"<\w+>|/[\d.]+/", " ", grammar(state).split(";", 2)[2])
    assert set(re.findall(r"[a-z']+", rules.replace("public", ""))) <= dictionary


@pytest.mark.parametrize("state", State)
def test_the_recognizer_reads_every_grammar(state: State) -> None:
    assert decoder(state).current_search() == "diet"


@pytest.mark.parametrize("name", SPOKEN)
def test_our_examples_are_heard_word_for_word(name: str) -> None:
    assert recognized(sound(name), state_for(name)) == SPOKEN[name]


@pytest.mark.parametrize("name", SPOKEN)
def test_our_examples_are_heard_word_for_word_over_the_telephone(name: str) -> None:
    assert recognized(over_the_telephone(sound(name)), state_for(name)) == SPOKEN[name]


def test_every_example_is_tried() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.wav")} == set(SPOKEN)


@pytest.mark.parametrize("command", [*COMMANDS, *YES_NO])
def test_every_command_of_the_grammar_is_understood(command: str) -> None:
    assert read(command).intent not in (Intent.UNCLEAR, Intent.FOOD, Intent.CORRECT, Intent.AMOUNT)


@pytest.mark.parametrize("food", FOODS)
def test_every_food_is_read_as_itself_also_as_the_recognizer_spells_it(food: str) -> None:
    for words in (food, spelled(food)):
        entries = read(f"i had {words} and a banana").entries
        assert [entry.food for entry in entries][-1] == "banana"
        assert entries[0].food == {"fries": "french fries"}.get(food, food)


@pytest.mark.parametrize("food", COUNTED)
def test_a_counted_food_is_read_in_the_plural_too(food: str) -> None:
    (entry,) = read_items(f"three {plural(food)}", 0.0).entries
    assert (entry.food, entry.amount.number) == (food, 3)


def test_there_are_foods_enough_and_no_table_speaks_of_others() -> None:
    assert 250 <= len(set(FOODS)) <= 350
    assert set(HOW_MADE) <= set(FOODS)
    assert set(FOODS) >= TOO_CLOSE
    assert {made for choices in HOW_MADE.values() for made in choices} <= set(PREPARATIONS)
    assert all(word not in spelling.split() for word, spelling in SOUNDS_LIKE.items() if not word.endswith("s"))


def test_phrases_say_first_what_was_asked() -> None:
    assert phrases(State.PREPARATION)[0] == "boiled"
    assert "yes" in phrases(State.ERASE)[:3]
    assert "toast" in phrases(State.ASKING)
