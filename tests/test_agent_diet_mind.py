"""The diet diary with a language model: the table decides, the model reads and words, and nonsense does no harm."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from voicemedia.agent import diet
from voicemedia.agent.diet import DietConversation
from voicemedia.agent.diet_answer_wire import Command, DietAnswer
from voicemedia.agent.diet_log import Amount, Meal
from voicemedia.agent.diet_mind import DietMind
from voicemedia.agent.diet_reading import Intent
from voicemedia.agent.diet_script import DietScript
from voicemedia.agent.diet_table import State
from voicemedia.agent.model import Prompt, ToolCall
from voicemedia.errors import ConfigError, ProviderError, WireError
from voicemedia.interfaces import Expected, Said
from voicemedia.switching import Unswitched


class FakeModel:
    """Answers with what the test says, when it says so."""

    name, trouble = "fake", ""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []
        self.cancelled = 0
        self.take: Callable[[str | ToolCall], None] = lambda _piece: None
        self.done: Deferred[None] = Deferred()

    def start(self) -> Deferred[None]:
        return succeed(None)

    stop = start

    def ask(self, prompt: Prompt, take: Callable[[str | ToolCall], None]) -> Deferred[None]:
        self.prompts.append(prompt)
        self.take, self.done = take, Deferred(self._cancel)
        return self.done

    def _cancel(self, _done: Deferred[None]) -> None:
        self.cancelled += 1

    def write(self, text: str) -> None:
        try:
            for at in range(0, len(text), 7):
                self.take(text[at : at + 7])
        except WireError as error:
            self.done.errback(ProviderError(f"cannot read the answer: {error}"))
        else:
            self.done.callback(None)


class Floor(Unswitched):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.expected: list[Expected] = []
        self.hung_up = False

    def say(self, text: str, *, interruptible: bool = True) -> None:
        self.said.append(text)

    def play(self, pcm: bytes) -> None:
        raise AssertionError

    def expect(self, expected: Expected) -> None:
        self.expected.append(expected)

    def hang_up(self) -> None:
        self.hung_up = True


class Talk:
    """A conversation at breakfast."""

    def __init__(self) -> None:
        self.clock, self.model = Clock(), FakeModel()
        self.script = DietScript(8)
        mind = DietMind(self.model, "Instructions.", self.clock, 4.0)
        self.talk = DietConversation(self.script, "1970-01-01", mind)
        self.talk.greet(Floor())
        self.floor = Floor()
        self.ended: list[Any] = []

    def says(self, text: str, **more: Any) -> Deferred[None]:
        self.floor, self.ended = Floor(), []
        answering = self.talk.reply(Said(text, **more), self.floor)
        answering.addBoth(self.ended.append)
        return answering

    def turn(self, text: str, answer: str) -> list[str]:
        self.says(text)
        self.model.write(answer)
        assert self.ended == [None]
        self.talk.heard(" ".join(self.floor.said), complete=True)
        assert self.clock.getDelayedCalls() == []
        return self.floor.said

    @property
    def rows(self) -> list[tuple[str, str]]:
        return self.script.log.rows()


def test_the_model_reads_and_words_and_the_table_decides() -> None:
    talk = Talk()
    answer = (
        "@log breakfast | egg | 2 | | boiled\n@log breakfast | toast | 1 | slice\nLovely. Anything else for breakfast?"
    )
    assert talk.turn("i had to boiled eggs and a slice of toast", answer) == [
        "Lovely.",
        "Anything else for breakfast?",
    ]
    assert talk.rows == [("breakfast", "two boiled eggs"), ("breakfast", "a slice of toast")]
    assert talk.script.state is State.MORE
    assert talk.turn("no", "@done\nGood. And what did you have for lunch?") == [
        "Good.",
        "And what did you have for lunch?",
    ]
    assert (talk.script.meal, talk.script.log.closed) == (Meal.LUNCH, {Meal.BREAKFAST})
    assert talk.script.history[-1].text == "Good. And what did you have for lunch?"


def test_the_model_is_told_where_the_conversation_stands() -> None:
    talk = Talk()
    talk.turn("two eggs", "@log | egg | 2 | | fried\nNoted. Anything else?")
    talk.says("that is all")
    system = talk.model.prompts[-1].system
    assert system.startswith("Instructions.\n\n## Now")
    assert "Asked about: breakfast." in system and "ask for: lunch." in system
    assert "- breakfast: two fried eggs" in system
    assert [line.text for line in talk.model.prompts[-1].lines[-3:]] == [
        "two eggs",
        "Noted. Anything else?",
        "that is all",
    ]


def test_a_meal_told_in_one_breath_is_logged_and_closed() -> None:
    talk = Talk()
    talk.turn("idli with chutney, that's all", "@log | idli\n@log | chutney\n@done\nTasty. What about lunch?")
    assert talk.rows == [("breakfast", "some idlis"), ("breakfast", "some chutney")]
    assert talk.script.meal is Meal.LUNCH


def test_foods_of_other_languages_are_believed() -> None:
    talk = Talk()
    said = talk.turn("मैंने दो अंडे खाए", "@log | egg | 2 | | boiled\nअच्छा। और कुछ?")
    assert said == ["अच्छा।", "और कुछ?"]
    assert talk.rows == [("breakfast", "two boiled eggs")]


def test_a_question_the_model_forgot_is_asked() -> None:
    talk = Talk()
    said = talk.turn("two boiled eggs", "@log | egg | 2 | | boiled\nGood for you.")
    assert said[0] == "Good for you."
    assert said[1].endswith("?") and "breakfast" in said[1]


def test_goodbye_ends_the_call() -> None:
    talk = Talk()
    talk.turn("that is everything for today", "@goodbye\nThank you, goodbye.")
    assert (talk.floor.said, talk.floor.hung_up) == (["Thank you, goodbye."], True)


NONSENSE = [
    "",
    "\n\n",
    "Lovely eggs. Anything else?",
    "@log brunch | egg | 2\nNice.",
    "@log breakfast | egg | many\nNice.",
    "@log breakfast | egg | 99999\nNice.",
    "@log breakfast | <script>\nNice.",
    "@log breakfast | lobster | 2\nNice. Anything else?",
    "@eat breakfast | egg\nNice.",
    "@log breakfast | egg | 2",
    '{"commands": []}',
    "@log breakfast | egg | 2\n" + "so " * 90 + "?",
    "@log | egg | 2 | | boiled\n@read_back\nYou had caviar.",
]


@pytest.mark.parametrize("answer", NONSENSE)
def test_after_nonsense_the_own_sentences_take_over_in_the_same_turn(answer: str) -> None:
    talk, plain = Talk(), DietScript(8)
    plain.greet()
    said = talk.turn("i had two boiled eggs", answer)
    assert talk.rows == [("breakfast", "two boiled eggs")]
    if "read_back" in answer:
        assert "For breakfast you had two boiled eggs." in said
    elif answer != "@log breakfast | egg | 2":
        assert said == list(plain.reply("i had two boiled eggs").sentences)
    assert said[-1].endswith("?")


def test_a_model_that_loses_its_way_is_stopped_and_the_question_asked() -> None:
    talk = Talk()
    answer = "@log | egg | 2 | | boiled\nNoted. @log | toast\nWhat was your salary?"
    said = talk.turn("two boiled eggs", answer)
    assert not any("salary" in sentence for sentence in said)
    assert said[-1].endswith("breakfast?")
    assert talk.rows == [("breakfast", "two boiled eggs")]


def test_a_question_about_the_wrong_meal_is_not_asked() -> None:
    talk = Talk()
    said = talk.turn("two boiled eggs", "@log | egg | 2 | | boiled\nNoted. What did you have for dinner?")
    assert said[0] == "Noted."
    assert "dinner" not in said[1] and said[1].endswith("?")


def test_a_model_that_fails_is_replaced_in_the_same_turn() -> None:
    talk = Talk()
    talk.says("two boiled eggs")
    talk.model.done.errback(ProviderError("HTTP 503"))
    assert talk.rows == [("breakfast", "two boiled eggs")]
    assert len(talk.floor.said) == 2


def test_a_model_that_thinks_too_long_is_replaced() -> None:
    talk = Talk()
    talk.says("two boiled eggs")
    talk.clock.advance(3.9)
    assert talk.floor.said == []
    talk.clock.advance(0.2)
    assert talk.model.cancelled == 1
    assert (talk.ended, len(talk.floor.said)) == ([None], 2)


def test_a_model_that_breaks_off_is_followed_by_the_question() -> None:
    talk = Talk()
    talk.says("two boiled eggs")
    talk.model.take("@log | egg | 2 | | boiled\nNoted. And ")
    talk.model.done.errback(ProviderError("connection lost"))
    assert talk.floor.said[0] == "Noted."
    assert talk.floor.said[1].endswith("?")


def test_an_interruption_before_anything_counted_forgets_the_turn() -> None:
    talk = Talk()
    talk.says("two boiled eggs").cancel()
    assert talk.ended[0].check(CancelledError)
    talk.talk.heard("", complete=False)
    assert (talk.model.cancelled, talk.rows) == (1, [])
    talk.turn("two boiled eggs and tea", "@log | egg | 2 | | boiled\n@log | tea\nNoted. Anything else?")
    assert len(talk.rows) == 2


def test_an_interruption_after_the_foods_counted_does_not_log_them_twice() -> None:
    talk = Talk()
    answering = talk.says("two boiled eggs")
    talk.model.take("@log | egg | 2 | | boiled\nNoted. And ")
    answering.cancel()
    talk.talk.heard("Noted.", complete=False)
    talk.says("two boiled eggs and some tea")
    assert talk.model.prompts[-1].lines[-1].text == "and some tea"
    talk.model.write("@log | tea\nTea, too. Anything else?")
    assert talk.rows == [("breakfast", "two boiled eggs"), ("breakfast", "tea")]
    # Nothing new was said: the question is all there is to say.
    answering = talk.says("a banana")
    talk.model.take("@log | banana | 1\nA banana. And ")
    answering.cancel()
    talk.talk.heard("", complete=False)
    talk.says("a banana")
    assert len(talk.model.prompts) == 3
    assert [food for _, food in talk.rows].count("a banana") == 1


@pytest.mark.parametrize("said", [Said(keys="2"), Said(), Said("start over"), Said("what did i eat"), Said("help")])
def test_what_must_not_be_guessed_is_not_left_to_the_model(said: Said) -> None:
    talk = Talk()
    talk.says(said.text, keys=said.keys)
    assert (talk.model.prompts, talk.ended) == ([], [None])
    assert talk.floor.said


# "@" lines of an answer -> intent, food or amount, meal.
COMMANDS: list[tuple[str, tuple[Intent, Any, Meal | None]]] = [
    ("@log lunch | rice | 1 | bowl", (Intent.FOOD, "rice", Meal.LUNCH)),
    ("@log | rice", (Intent.FOOD, "rice", Meal.BREAKFAST)),
    ("@log rice | 1", (Intent.FOOD, "rice", Meal.BREAKFAST)),
    ("@change Dinner | eggs | 3", (Intent.CORRECT, "egg", Meal.DINNER)),
    ("@remove | toast", (Intent.REMOVE, "toast", Meal.BREAKFAST)),
    ("@amount 1.5 | Cup", (Intent.AMOUNT, Amount(1.5, "cup"), None)),
    ("@made fried", (Intent.PREPARATION, "fried", None)),
    ("@skip", (Intent.SKIP, None, Meal.BREAKFAST)),
    ("@meal snacks", (Intent.MEAL, None, Meal.SNACKS)),
    ("  @yes", (Intent.YES, None, None)),
]


@pytest.mark.parametrize(("line", "meaning"), COMMANDS)
def test_commands_are_read(line: str, meaning: tuple[Intent, Any, Meal | None]) -> None:
    command, words = DietAnswer(Meal.BREAKFAST).feed(line + "\nFine.")
    assert isinstance(command, Command)
    heard = command.heard
    found = heard.entries[0].food if heard.entries else heard.amount if heard.amount.said else heard.preparation or None
    assert (heard.intent, found, heard.meal) == meaning
    assert words == "Fine."


@given(st.lists(st.sampled_from(["@log ", "@done", "|", " ", "\n", "egg", "2", "breakfast", "@", "Hi. ", "-1", "é"])))
def test_nothing_but_a_wire_error_leaves_the_reader(pieces: list[str]) -> None:
    with suppress(WireError):
        answer = DietAnswer(Meal.LUNCH)
        for piece in pieces:
            answer.feed(piece)
        answer.finish()


@given(
    st.lists(
        st.tuples(st.sampled_from(["two eggs", "that is all", "no", "tea"]), st.sampled_from(NONSENSE)), max_size=6
    )
)
def test_every_turn_is_answered_whatever_the_model_writes(turns: list[tuple[str, str]]) -> None:
    talk = Talk()
    for said, answer in turns:
        talk.says(said)
        if not talk.ended:
            talk.model.write(answer)
        assert talk.ended == [None]
        assert talk.floor.said
        talk.talk.heard(" ".join(talk.floor.said), complete=True)


def test_without_its_key_the_diary_speaks_for_itself() -> None:
    options = diet.Options(model="gemini", model_options={"key_env": "NO_SUCH_KEY"})
    agent = diet.make(options, Clock())
    ended: list[Any] = []
    agent.start().addBoth(ended.append)
    assert (ended, agent.trouble) == ([None], "")


def test_a_model_that_is_unknown_is_told() -> None:
    with pytest.raises(ConfigError, match=r"model: unknown parrot; there are gemini, openai"):
        diet.make(diet.Options(model="parrot"), Clock())
    with pytest.raises(ConfigError, match=r"model_options\.modle: unknown key; did you mean model"):
        diet.make(diet.Options(model="gemini", model_options={"modle": "x"}), Clock())
