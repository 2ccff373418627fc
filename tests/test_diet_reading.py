"""What a caller's words mean, in the wording of any recognizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.agent.diet_log import in_words
from voicemedia.agent.diet_reading import Intent, read

FOODS = [
    ("I had two eggs and a slice of toast with butter.", "two eggs and a slice of toast with butter"),
    ("Two eggs, toast & coffee without sugar", "two eggs, some toast and coffee without sugar"),
    ("at 8 I ate 2 hard-boiled eggs", "two hard boiled eggs"),
    ("200g of chicken", "200 grams of chicken"),
    ("1,000 ml water", "1000 milliliters of water"),
    ("one and a half cups of rice", "one and a half cups of rice"),
    ("2 1/2 cups rice", "two and a half cups of rice"),
    ("½ cup of milk", "half a cup of milk"),
    ("half a dozen bananas", "six bananas"),
    ("two hundred and fifty grams of rice", "250 grams of rice"),
    ("three quarters of a cup of milk", "three quarters of a cup of milk"),
    ("a couple of rotis and some dal", "two rotis and some dal"),
    ("eggs, boiled", "some boiled eggs"),
    ("I had my eggs sunny side up", "some fried eggs"),
    ("coffee with milk and sugar", "coffee with milk and sugar"),
    ("tea no sugar", "tea without sugar"),
    ("I had pad thai with shrimp", "some pad thai with shrimp"),
    ("a bowl of khichdi", "a bowl of khichdi"),
    ("two ripe bananas", "two bananas"),
    ("two beer yanni and a dough sa", "two plates of biryani and a dosa"),
]


@pytest.mark.parametrize(("text", "understood"), FOODS)
def test_foods_are_found_with_their_amounts(text: str, understood: str) -> None:
    heard = read(text)
    assert heard.intent is Intent.FOOD
    assert in_words(heard.entries) == understood


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("", Intent.UNCLEAR),
        ("you know what I am so tired of this", Intent.UNCLEAR),
        ("That's all.", Intent.MEAL_DONE),
        ("No, that's it, thank you.", Intent.MEAL_DONE),
        ("that is all for breakfast", Intent.MEAL_DONE),
        ("I'm done.", Intent.MEAL_DONE),
        ("That is everything for today", Intent.DAY_DONE),
        ("OK, bye-bye!", Intent.DAY_DONE),
        ("I didn't have lunch", Intent.SKIP),
        ("I haven\u2019t eaten yet", Intent.SKIP),
        ("no", Intent.NO),
        ("No, thank you.", Intent.NO),
        ("Yeah, sure", Intent.YES),
        ("no, three eggs", Intent.CORRECT),
        ("make it three", Intent.CORRECT),
        ("remove the toast", Intent.REMOVE),
        ("start over", Intent.START_OVER),
        ("What did I eat today?", Intent.READ_BACK),
        ("read it back", Intent.READ_BACK),
        ("help", Intent.HELP),
        ("Pardon?", Intent.REPEAT),
        ("say again", Intent.REPEAT),
        ("hold on", Intent.WAIT),
        ("I don't know", Intent.UNSURE),
        ("lunch", Intent.MEAL),
        ("about two", Intent.AMOUNT),
        ("they were boiled", Intent.PREPARATION),
    ],
)
def test_the_intent_is_told_in_many_wordings(text: str, intent: Intent) -> None:
    assert read(text).intent is intent


def test_the_end_of_a_meal_may_follow_its_foods_in_one_breath() -> None:
    heard = read("I had a sandwich and that's all")
    assert (in_words(heard.entries), heard.then) == ("a sandwich", Intent.MEAL_DONE)


@given(st.text(max_size=300), st.floats(0, 1))
def test_any_text_has_a_meaning(text: str, confidence: float) -> None:
    assert isinstance(read(text, confidence).intent, Intent)


def test_a_very_long_turn_is_cut() -> None:
    assert len(read("two eggs and " * 100_000).entries) <= 60
