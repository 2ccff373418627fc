"""The diet conversation: whole conversations as files, the table counted, and what no caller may do to it."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.agent.diet_log import Meal, meal_of
from voicemedia.agent.diet_reading import Intent
from voicemedia.agent.diet_script import _ACTS, MAX_UNCLEAR, DietScript, Reply
from voicemedia.agent.diet_sentences import greeting
from voicemedia.agent.diet_table import SCRIPT, Act, State

CONVERSATIONS = sorted((Path(__file__).parent / "vectors" / "diet").glob("*.txt"))


class Play:
    """Plays a conversation file against the script, a line at a time."""

    def __init__(self, lines: list[str]) -> None:
        settings = dict(line.split(maxsplit=1) for line in lines if line.startswith(("hour ", "name ")))
        self.script = DietScript(int(settings["hour"]), settings.get("name", ""))
        self.reply = self.script.greet()
        self.logged: list[str] = []

    def take(self, line: str) -> None:
        mark, _, rest = line.partition(" ")
        match mark:
            case ">":
                self.reply = self.script.reply(rest)
            case "!":
                self.reply = self.script.reply("", rest)
            case "<":
                assert rest in " ".join(self.reply.sentences)
            case "heard":
                self.script.heard(rest, complete=False)
            case "=":
                self.logged.append(rest)
            case "over":
                assert self.reply.hang_up


@pytest.mark.parametrize("path", CONVERSATIONS, ids=lambda path: path.stem)
def test_a_conversation_goes_as_written(path: Path) -> None:
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    play = Play(lines)
    for line in lines:
        play.take(line)
    assert [f"{meal}, {food}" for meal, food in play.script.log.rows()] == play.logged


def test_the_table_has_a_row_for_every_pair() -> None:
    assert set(SCRIPT) == set(product(State, Intent))


def test_every_act_of_the_table_is_played_and_no_other_exists() -> None:
    assert {act for _, act in SCRIPT.values()} == set(Act) == set(_ACTS)


def test_every_state_can_be_left_for_the_end() -> None:
    assert all(SCRIPT[state, Intent.DAY_DONE][0] is State.OVER for state in State)


@pytest.mark.parametrize(
    ("hour", "words", "meal"),
    [
        (0, "Good evening", Meal.DINNER),
        (4, "Good morning", Meal.BREAKFAST),
        (10, "Good morning", Meal.BREAKFAST),
        (11, "Good morning", Meal.LUNCH),
        (12, "Good afternoon", Meal.LUNCH),
        (16, "Good afternoon", Meal.SNACKS),
        (17, "Good evening", Meal.SNACKS),
        (18, "Good evening", Meal.DINNER),
        (23, "Good evening", Meal.DINNER),
    ],
)
def test_the_hour_chooses_the_greeting_and_the_first_meal(hour: int, words: str, meal: Meal) -> None:
    assert greeting(hour, "").startswith(words)
    assert meal_of(hour) is meal
    assert meal.value in DietScript(hour).greet().sentences[-1]


def test_the_first_name_is_said_when_it_is_known() -> None:
    assert DietScript(9, "Asha").greet().sentences[0] == "Good morning, Asha."
    assert DietScript(9).greet().sentences[0] == "Good morning."


def test_the_same_seed_gives_the_same_conversation_and_another_other_words() -> None:
    def talk(seed: int) -> list[tuple[str, ...]]:
        script = DietScript(9, seed=seed)
        return [script.greet().sentences, *(script.reply(text).sentences for text in ("two bananas", "no", "skip"))]

    assert talk(7) == talk(7)
    assert talk(7) != talk(8)


def test_missing_meals_follow_in_the_order_of_the_day() -> None:
    script = DietScript(13)
    script.greet()
    asked = [script.meal]
    for _ in range(3):
        script.reply("skip")
        asked.append(script.meal)
    assert asked == [Meal.LUNCH, Meal.BREAKFAST, Meal.DINNER, Meal.SNACKS]
    assert script.reply("skip").state is State.ALL_DONE


def test_a_meal_has_at_most_two_follow_up_questions() -> None:
    script = DietScript(13)
    script.greet()
    states = [script.reply("rice, dal, soup, pasta and eggs").state]
    for answer in ("a little", "a little", "two eggs and fish"):
        states.append(script.reply(answer).state)
    assert states == [State.AMOUNT, State.AMOUNT, State.MORE, State.MORE]


def test_a_follow_up_question_is_not_asked_twice() -> None:
    script = DietScript(13)
    script.greet()
    assert script.reply("eggs").state is State.AMOUNT
    assert script.reply("mumble").state is State.PREPARATION
    assert script.reply("mumble").state is State.MORE


def test_memory_keeps_what_was_heard_and_not_what_was_sent() -> None:
    script = DietScript(9)
    script.greet()
    script.heard("Good morning.", complete=False)
    script.reply("an apple")
    assert [(turn.who, turn.text) for turn in script.history[:2]] == [
        ("agent", "Good morning."),
        ("caller", "an apple"),
    ]


def test_a_food_unknown_to_the_vocabulary_needs_a_recognizer_that_is_sure() -> None:
    sure, unsure = DietScript(9), DietScript(9)
    sure.reply("I had pad thai", confidence=0.9)
    unsure.reply("I had pad thai", confidence=0.3)
    assert sure.log.rows() == [("breakfast", "some pad thai")]
    assert unsure.log.rows() == []


VOCABULARY = """
i had no two eggs egg rice toast with and without half a dozen remove the start over yes skip lunch snacks bowl of
boiled not that is all make it three , 1/2 200g what did i eat wait help sorry sugar hundred quarter unknown
"""
CALLERS_WORDS = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(VOCABULARY.split()), max_size=10).map(" ".join),
    st.sampled_from(["yes", "no", "start over", "that's all", "skip", "eggs and rice", "two", "boiled", "remove that"]),
)
KEYS = st.text("0123456789*#ABCD", max_size=3)
HEARD = st.one_of(st.none(), st.text(max_size=20))


@given(st.lists(st.tuples(CALLERS_WORDS, KEYS, st.floats(0, 1), HEARD), max_size=12), st.integers(0, 23))
def test_no_caller_makes_it_fail_or_fall_silent(turns: list[tuple[str, str, float, str | None]], hour: int) -> None:
    script = DietScript(hour)
    replies: list[Reply] = [script.greet()]
    for text, keys, confidence, heard in turns:
        if heard is not None:
            script.heard(heard, complete=False)
        replies.append(script.reply(text, keys, confidence))
    assert all(reply.sentences and all(reply.sentences) for reply in replies)
    assert all(reply.hang_up == (reply.state is State.OVER) for reply in replies)
    assert all(reply.hang_up or reply.sentences[-1].endswith("?") for reply in replies)
    assert all("{" not in sentence for reply in replies for sentence in reply.sentences)


@given(st.lists(st.sampled_from(["", "hrmpf", "the of", "????"]), min_size=30, max_size=30), st.booleans())
def test_noise_never_keeps_a_call_alive(noises: list[str], interrupting: bool) -> None:
    script = DietScript(9)
    script.greet()
    for count, noise in enumerate(noises):
        if interrupting:
            script.heard("", complete=False)
        if script.reply(noise).hang_up:
            assert count == MAX_UNCLEAR
            return
    raise AssertionError("still asking")
