"""Agent `diet` on a floor: what it says, expects, and takes from the carrier's parameters."""

from collections.abc import Mapping

import pytest
from twisted.internet.task import Clock

from voicemedia.agent import diet
from voicemedia.errors import ConfigError
from voicemedia.interfaces import Caller, Expected, Goodbye, Said
from voicemedia.past import Day, Food, Past
from voicemedia.switching import Unswitched

NINE_UTC = 9 * 3600


class Floor(Unswitched):
    """Records the reply in the order it was given."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.expected: list[Expected] = []

    def say(self, text: str, *, interruptible: bool = True) -> None:
        self.events.append(("say" if interruptible else "say to the end", text))

    def play(self, pcm: bytes) -> None:
        raise AssertionError

    def expect(self, expected: Expected) -> None:
        self.expected.append(expected)

    def hang_up(self) -> None:
        self.events.append(("hang up", None))

    def words(self) -> str:
        return " ".join(str(text) for _, text in self.events)


def converse(parameters: Mapping[str, str], time_zone: str = "UTC") -> diet.DietConversation:
    clock = Clock()
    clock.advance(NINE_UTC)
    agent = diet.make(diet.Options(time_zone=time_zone), clock)
    talk = agent.converse(Caller("CA1", "smartflo", 8000, parameters=parameters))
    assert isinstance(talk, diet.DietConversation)
    return talk


def greeting(parameters: Mapping[str, str], time_zone: str = "UTC") -> str:
    floor = Floor()
    assert converse(parameters, time_zone).greet(floor).called
    return floor.words()


@pytest.mark.parametrize(
    ("time_zone", "said"),
    [
        ("", "Good morning"),
        ("Asia/Kolkata", "Good afternoon"),
        ("+05:30", "Good afternoon"),
        ("UTC-8", "Good evening"),
        ("Mars/Olympus", "Good morning"),
        ("../../etc/passwd", "Good morning"),
        ("/etc", "Good morning"),
        ("Asia", "Good morning"),
        ("a\0b", "Good morning"),
        ("+99:00", "Good morning"),
        ("x" * 5000, "Good morning"),
    ],
)
def test_the_greeting_follows_the_callers_clock(time_zone: str, said: str) -> None:
    assert greeting({"time_zone": time_zone}).startswith(said)


def test_callers_without_a_time_zone_have_the_configured_one() -> None:
    assert greeting({}, "Asia/Tokyo").startswith("Good evening")


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"first_name": "asha"}, "Asha"),
        ({"firstName": "Asha Rao"}, "Asha"),
        ({"name": "O'Neil"}, "O'Neil"),
        ({"first_name": "", "name": "Zoë"}, "Zoë"),
        ({"first_name": "<script>"}, ""),
        ({"first_name": "{name}"}, ""),
        ({"first_name": "a" * 500}, ""),
        ({}, ""),
    ],
)
def test_the_first_name_is_what_can_be_said_of_the_carriers_parameters(parameters: dict[str, str], name: str) -> None:
    assert diet.first_name(parameters) == name
    assert greeting(parameters).startswith(f"Good morning{f', {name}' if name else ''}.")


def test_each_turn_says_what_it_expects_before_it_speaks() -> None:
    floor, talk = Floor(), converse({})
    talk.greet(floor)
    assert floor.expected[0].grammar.startswith("#JSGF")
    assert "toast" in floor.expected[0].phrases
    assert talk.reply(Said("rice"), floor).called
    assert floor.expected[1].grammar != floor.expected[0].grammar


def test_goodbye_is_said_to_the_end_and_then_the_call_is_hung_up() -> None:
    floor, talk = Floor(), converse({})
    talk.reply(Said("goodbye"), floor)
    assert [kind for kind, _ in floor.events][-2:] == ["say to the end", "hang up"]
    talk.over(Goodbye.AGENT_HUNG_UP)


def test_a_question_that_was_cut_is_asked_again() -> None:
    first, second, talk = Floor(), Floor(), converse({})
    talk.reply(Said("eggs"), first)
    talk.heard("Got it,", complete=False)
    talk.reply(Said(), second)
    assert "How many eggs did you have?" in second.words()


def test_keys_are_taken_as_turns() -> None:
    floor = Floor()
    converse({}).reply(Said(keys="2"), floor)
    assert "lunch" in floor.words()


def test_an_unknown_configured_time_zone_is_named_with_its_cure() -> None:
    assert "tzdata" in diet.missing(diet.Options(time_zone="Mars/Olympus"))
    with pytest.raises(ConfigError, match="Mars/Olympus"):
        diet.make(diet.Options(time_zone="Mars/Olympus"), Clock())


# --- coming back ---

TODAY = "1970-01-01"


def said_after(past: Past, *turns: str, **parameters: str) -> str:
    """Return what is said to a caller who comes back, to the greeting and each turn."""
    floor, talk = Floor(), converse(parameters)
    talk.recall(past)
    talk.greet(floor)
    for turn in turns:
        talk.reply(Said(turn), floor)
    return floor.words()


def begun(*turns: str) -> Day:
    talk, floor = converse({}), Floor()
    talk.greet(floor)
    for turn in turns:
        talk.reply(Said(turn), floor)
    return talk.logged()


def test_a_meal_that_was_begun_is_gone_on_with() -> None:
    day = begun("two boiled eggs and a slice of toast with butter")
    said = said_after(Past(days=(day,)), first_name="Asha")
    assert said == (
        "Welcome back, Asha. For breakfast I have two boiled eggs and a slice of toast with butter. "
        "What else did you have for breakfast?"
    )


def test_a_question_that_was_not_answered_is_asked_again() -> None:
    day = begun("rice")
    assert [food.still_to_ask for food in day.foods] == ["amount"]
    said = said_after(Past(days=(day,)), "two bowls")
    assert "How many bowls of rice did you have?" in said
    assert "two bowls of rice" in said.rpartition("?")[0]


def test_after_a_meal_that_is_complete_comes_the_next() -> None:
    day = begun("two boiled eggs", "that is all")
    assert day.complete == ("breakfast",)
    said = said_after(Past(days=(day,)))
    assert said.startswith("Welcome back. ")
    assert "lunch" in said


def test_a_day_that_is_complete_asks_only_whether_to_add_anything() -> None:
    day = Day(TODAY, (Food("breakfast", "egg", 2.0),), ("breakfast", "lunch", "dinner", "snacks"))
    assert said_after(Past(days=(day,))) == "Welcome back. That is the whole day. Would you like to add anything?"


def test_yesterdays_diary_is_closed() -> None:
    past = Past(days=(Day("1969-12-31", (Food("breakfast", "egg", 2.0),)),))
    assert said_after(past).startswith("Good morning.")


def test_a_session_of_yesterday_is_welcomed_back_to_an_empty_diary() -> None:
    past = Past(days=(Day("1969-12-31", (Food("breakfast", "egg", 2.0),)),), continues=True)
    assert said_after(past) == "Welcome back. What did you eat for breakfast?"


def test_what_was_remembered_can_be_corrected_and_read_back() -> None:
    day = begun("two boiled eggs and a cup of coffee")
    said = said_after(Past(days=(day,)), "remove the coffee", "read it back")
    assert "I removed a cup of coffee." in said
    assert said.count("For breakfast you had two boiled eggs.") == 1


def test_the_diary_survives_the_way_through_history_unchanged() -> None:
    day = begun("half a cup of tea without sugar, some fried chicken and toast with butter", "that is all", "rice")
    talk = converse({})
    talk.recall(Past(days=(day,)))
    assert talk.logged() == day


def test_meals_nobody_knows_are_left_out() -> None:
    day = Day(TODAY, (Food("second breakfast", "egg"),), ("elevenses",))
    assert said_after(Past(days=(day,))) == "Welcome back. What did you eat for breakfast?"
