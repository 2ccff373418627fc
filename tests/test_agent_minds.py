"""Language models as agents, against their stand-ins, over real sockets."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from tests.clouds.gemini import Gemini
from tests.clouds.minds import Answer, scripted
from tests.clouds.openai_chat import OpenAiChat
from tests.clouds.web import serve
from tests.in_reactor import in_reactor
from voicemedia.agent import gemini, openai
from voicemedia.agent.chat import MOST_ROUNDS, Memory
from voicemedia.agent.model import Line
from voicemedia.errors import ConfigError, ProviderError, Unable
from voicemedia.interfaces import Caller, Expected, Said
from voicemedia.past import Day, Food, Past, PastTurn
from voicemedia.switching import Unswitched

ANSWER = "Good choice. Two eggs have 140 calories. Anything else?"
SENTENCES = ["Good choice.", "Two eggs have 140 calories.", "Anything else?"]


class Floor(Unswitched):
    """Records what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.hung_up = False
        self.spoke: Deferred[None] = Deferred()

    def say(self, text: str, *, interruptible: bool = True) -> None:
        self.said.append(text)
        if not self.spoke.called:
            self.spoke.callback(None)

    def play(self, pcm: bytes) -> None:
        raise AssertionError

    def expect(self, expected: Expected) -> None:
        pass

    def hang_up(self) -> None:
        self.hung_up = True


class TransferringFloor(Floor):
    """A floor of a line that can transfer."""

    def __init__(self) -> None:
        super().__init__()
        self.transferred: list[str] = []
        self.pressed = ""
        self.turns: list[str] = []
        "Holds and resumes, and what was said in between."

    def say(self, text: str, *, interruptible: bool = True) -> None:
        super().say(text)
        self.turns.append(text)

    def hold(self) -> Deferred[None]:
        self.turns.append("hold")
        return succeed(None)

    def resume(self) -> Deferred[None]:
        self.turns.append("resume")
        return succeed(None)

    def transfer(self, target: str) -> Deferred[None]:
        if target == "+1":
            return fail(Unable("busy"))
        self.transferred.append(target)
        return succeed(None)

    def press(self, keys: str) -> None:
        self.pressed += keys


class Talk:
    """A stand-in and a conversation with it, for one test."""

    def __init__(
        self,
        module: Any,
        *answers: Answer,
        mishaps: tuple[str, ...] = (),
        gap_s: float = 0.0,
        **options: Any,
    ) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        stand_in = Gemini if module is gemini else OpenAiChat
        self.cloud: Any = stand_in(reactor, scripted(answers or [ANSWER]), key="k", mishaps=mishaps, gap_s=gap_s)
        self.port = serve(self.cloud, reactor)
        version = "v1beta" if module is gemini else "v1"
        url = f"http://127.0.0.1:{self.port.getHost().port}/{version}"
        self.agent = module.make(module.Options(base_url=url, key_env="TEST_KEY", **options), reactor)

    async def __aenter__(self) -> "Talk":
        await self.agent.start()
        self.chat = self.agent.converse(Caller("C1", "fake", 8000))
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.agent.stop()
        await maybeDeferred(self.port.stopListening)

    async def ask(self, text: str = "I had two eggs", floor: Floor | None = None) -> Floor:
        floor = floor or Floor()
        await self.chat.reply(Said(text), floor)
        self.chat.heard(" ".join(floor.said), complete=True)
        return floor

    async def until_left(self) -> None:
        waiting: Deferred[None] = Deferred()

        def look() -> None:
            if self.cloud.left and not waiting.called:
                waiting.callback(None)

        self.cloud.on_asked = look
        look()
        await waiting.addTimeout(5, self.reactor)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "k")


BOTH = pytest.mark.parametrize("module", [gemini, openai], ids=["gemini", "openai"])


@BOTH
@in_reactor
async def test_an_answer_is_said_sentence_by_sentence(module: Any) -> None:
    async with Talk(module) as talk:
        assert (await talk.ask()).said == SENTENCES


@BOTH
@in_reactor
async def test_an_answer_in_any_script_survives_any_cut(module: Any) -> None:
    async with Talk(module, "नमस्ते। आपने क्या खाया? 你好。 Ça va?", mishaps=("split",)) as talk:
        assert (await talk.ask()).said == ["नमस्ते।", "आपने क्या खाया?", "你好。", "Ça va?"]


@BOTH
@in_reactor
async def test_the_first_sentence_is_said_while_the_rest_is_written(module: Any) -> None:
    async with Talk(module, gap_s=0.05) as talk:
        floor = Floor()
        answering = talk.chat.reply(Said("hello"), floor)
        await floor.spoke
        assert floor.said == SENTENCES[:1]
        assert not answering.called
        await answering
        assert floor.said == SENTENCES


@BOTH
@in_reactor
async def test_an_interruption_closes_the_request(module: Any) -> None:
    async with Talk(module, mishaps=("stalled",)) as talk:
        floor = Floor()
        answering = talk.chat.reply(Said("hello"), floor)
        await floor.spoke
        answering.cancel()
        with pytest.raises(CancelledError):
            await answering
        await talk.until_left()
        assert floor.said == SENTENCES[:1]


@in_reactor
async def test_gemini_is_told_what_was_heard() -> None:
    async with Talk(gemini, greeting="Hi.") as talk:
        floor = Floor()
        await talk.chat.greet(floor)
        talk.chat.heard("Hi.", complete=True)
        await talk.ask("two eggs")
        await talk.ask("and tea")
        asked = talk.cloud.asked[-1]
        assert [(content["role"], content["parts"][0]["text"]) for content in asked["contents"]] == [
            ("user", "(The call begins.)"),
            ("model", "Hi."),
            ("user", "two eggs"),
            ("model", ANSWER),
            ("user", "and tea"),
        ]
        assert asked["systemInstruction"]["parts"][0]["text"].startswith("You are on the telephone.")
        assert asked["generationConfig"] == {
            "temperature": 0.6,
            "maxOutputTokens": 256,
            "thinkingConfig": {"thinkingBudget": 0},
        }


@in_reactor
async def test_openai_is_told_what_was_heard() -> None:
    async with Talk(openai, tools=()) as talk:
        await talk.ask("two eggs")
        talk.chat.memory.lines[-1] = Line("agent", "Good")
        await talk.ask("and tea")
        asked = talk.cloud.asked[-1]
        assert [message["role"] for message in asked["messages"]] == ["system", "user", "assistant", "user"]
        assert [message["content"] for message in asked["messages"][1:]] == ["two eggs", "Good", "and tea"]
        assert (asked["model"], asked["stream"], asked["max_tokens"]) == ("gpt-4.1-mini", True, 256)
        assert "tools" not in asked


@BOTH
@in_reactor
async def test_without_a_greeting_the_model_greets(module: Any) -> None:
    async with Talk(module, greeting="") as talk:
        floor = Floor()
        await talk.chat.greet(floor)
        assert floor.said == SENTENCES


UNHARMED = [
    (gemini, "thoughts"), (gemini, "no_parts"), (gemini, "rate_limit"), (gemini, "busy"), (gemini, "reset"),
    (gemini, "html"), (gemini, "empty"), (gemini, "garbage"),
    (openai, "reasoning"), (openai, "pings"), (openai, "no_done"), (openai, "rate_limit"), (openai, "busy"),
    (openai, "reset"), (openai, "empty"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "mishap"), UNHARMED)
@in_reactor
async def test_an_answer_is_unharmed_by(module: Any, mishap: str) -> None:
    async with Talk(module, mishaps=(mishap,), patience_s=2) as talk:
        assert (await talk.ask()).said == SENTENCES
        assert talk.agent.trouble == ""


FAILURES: list[tuple[Any, str, bool, str]] = [
    (gemini, "bad_key", False, "HTTP 400 INVALID_ARGUMENT: API key not valid."),
    (gemini, "blocked", False, "the model will not answer this: SAFETY"),
    (gemini, "safety", False, "the model will not answer this: SAFETY"),
    (gemini, "late_error", True, "HTTP 503 UNAVAILABLE"),
    (gemini, "cut", True, "connection lost"),
    (gemini, "stalled", True, "no answer in 0.3 s"),
    (openai, "bad_key", False, "invalid_api_key"),
    (openai, "no_model", False, "not found, try pulling it first"),
    (openai, "filtered", False, "the model will not answer this"),
    (openai, "late_error", True, "overloaded"),
    (openai, "cut", True, "connection lost"),
]


@pytest.mark.parametrize(("module", "mishap", "retryable", "says"), FAILURES)
@in_reactor
async def test_failures_are_told(module: Any, mishap: str, retryable: bool, says: str) -> None:
    # Who says nothing more is given up soon; who is only slow to fail, on a busy machine, is waited for.
    timeout_s = 0.3 if mishap == "stalled" else 30
    async with Talk(module, mishaps=(mishap,) * 9, timeout_s=timeout_s, patience_s=0.0) as talk:
        with pytest.raises(ProviderError, match=says) as failed:
            await talk.ask()
        assert failed.value.retryable is retryable


@BOTH
@in_reactor
async def test_the_model_may_hang_up_after_its_goodbye(module: Any) -> None:
    goodbye: Answer = "Goodbye. "
    async with Talk(module, {"name": "hang_up", "arguments": {}}, goodbye) as talk:
        floor = await talk.ask("bye")
        # It called without a word: it is asked for the goodbye.
        assert (floor.said, floor.hung_up, len(talk.cloud.asked)) == (["Goodbye."], True, 2)


@pytest.mark.parametrize(("module", "mishap"), [(gemini, ""), (openai, ""), (openai, "ollama")])
@in_reactor
async def test_foods_are_logged_as_rows(module: Any, mishap: str) -> None:
    food = {"meal": "lunch", "food": "dal", "amount": 2, "unit": "bowl"}
    call: Answer = {"name": "log_food", "arguments": food}
    async with Talk(module, call, "Noted.", mishaps=(mishap,), tools=("log_food",)) as talk:
        floor = await talk.ask("two bowls of dal")
        assert floor.said == ["Noted."]
        assert talk.chat.logged() == Day("", (Food("lunch", "dal", 2, "bowl"),))


@in_reactor
async def test_a_food_that_is_corrected_is_one_row_and_one_struck_out_is_none() -> None:
    eggs: Answer = {"name": "log_food", "arguments": {"meal": "lunch", "food": "eggs", "amount": 2}}
    tea: Answer = {"name": "log_food", "arguments": {"meal": "lunch", "food": "tea"}}
    more: Answer = {"name": "log_food", "arguments": {"meal": "lunch", "food": "Eggs", "amount": 3}}
    none: Answer = {"name": "log_food", "arguments": {"meal": "lunch", "food": "tea", "amount": 0}}
    async with Talk(openai, eggs, tea, "Ok.", more, none, "Ok.", tools=("log_food",)) as talk:
        await talk.ask("two eggs and tea")
        await talk.ask("no, three eggs and no tea")
        assert talk.chat.logged().foods == (Food("lunch", "Eggs", 3),)


@in_reactor
async def test_what_was_written_down_earlier_today_is_told_and_can_be_corrected() -> None:
    today = "2026-11-20"
    days = (Day("2026-11-19", (Food("dinner", "rice"),)), Day(today, (Food("lunch", "egg", 2, preparation="boiled"),)))
    more: Answer = {"name": "log_food", "arguments": {"meal": "lunch", "food": "egg", "amount": 3}}
    async with Talk(openai, more, "Ok.", tools=("log_food",)) as talk:
        chat = chat_on(today, talk)
        chat.recall(Past((), days))
        await chat.reply(Said("three eggs"), Floor())
        assert "Written down today, in an earlier call: lunch: 2 boiled egg." in str(talk.cloud.asked[0])
        assert chat.logged() == Day(today, (Food("lunch", "egg", 3),))


def chat_on(date: str, talk: Talk) -> Any:
    """A conversation of a caller who has told a time zone."""
    noon_s = datetime.fromisoformat(f"{date}T12:00:00+00:00").timestamp()
    clock: Any = Clock()
    clock.advance(noon_s)
    talk.agent._reactor = clock
    return talk.agent.converse(Caller("C1", "fake", 8000, parameters={"time_zone": "Asia/Kolkata"}))


@pytest.mark.parametrize(
    ("written", "logged"),
    [
        ({"meal": "lunch", "food": "dal", "amount": 2, "unit": "bowl"}, Food("lunch", "dal", 2.0, "bowl")),
        ({"meal": "lunch", "food": "dal", "amount": "some"}, Food("lunch", "dal", vague="some")),
        ({"food": "x" * 9999, "amount": 1e300}, Food("", "x" * 200, vague="1e+300")),
        ({"meal": "lunch", "food": None}, None),
    ],
)
@in_reactor
async def test_history_is_told_of_foods_whatever_the_model_wrote(written: Any, logged: Food | None) -> None:
    async with Talk(openai, {"name": "log_food", "arguments": written}, "Ok.", tools=("log_food",)) as talk:
        await talk.ask()
        assert talk.chat.logged() == Day("", (logged,) if logged else ())
        told = "Written down." if logged else "Nothing was written down: name the food."
        assert talk.cloud.asked[1]["messages"][-1]["content"] == told


PAST = Past((PastTurn("user", 1, "two eggs"), PastTurn("ai", 2, "Got it.")), continues=True)


@BOTH
@in_reactor
async def test_a_session_that_goes_on_is_not_greeted_as_a_new_one(module: Any) -> None:
    async with Talk(module, "Welcome back. Anything else?") as talk:
        talk.chat.recall(PAST)
        floor = Floor()
        await talk.chat.greet(floor)
        assert floor.said == ["Welcome back.", "Anything else?"]
        asked = str(talk.cloud.asked[0])
        assert asked.index("two eggs") < asked.index("Got it.") < asked.index("The caller was away")


@in_reactor
async def test_a_new_session_of_a_known_caller_is_greeted_and_what_was_said_is_known() -> None:
    async with Talk(openai, greeting="Hello.") as talk:
        talk.chat.recall(Past(PAST.turns))
        floor = Floor()
        await talk.chat.greet(floor)
        assert floor.said == ["Hello."]
        await talk.ask("what did I say?")
        assert "two eggs" in str(talk.cloud.asked[0])


TRANSFERS = [
    (TransferringFloor, "boss", "The transfer failed: busy. Tell the caller so."),
    (TransferringFloor, "nobody", "There is nobody called nobody."),
    (Floor, "desk", "The transfer failed: this line cannot transfer calls. Tell the caller so."),
]


@pytest.mark.parametrize(("floor", "to", "told"), TRANSFERS)
@in_reactor
async def test_the_model_is_told_what_came_of_a_transfer(floor: type[Floor], to: str, told: str) -> None:
    call: Answer = {"name": "transfer", "arguments": {"to": to}}
    numbers = {"desk": "+4930123", "boss": "+1"}
    async with Talk(openai, call, "One moment.", tools=("transfer",), transfer_to=numbers) as talk:
        given = await talk.ask("the desk, please", floor())
        assert talk.cloud.asked[1]["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": told}
        assert given.said == ["One moment."]
        if isinstance(given, TransferringFloor):
            assert given.transferred == []


PRESSED = [
    (TransferringFloor, "The keys have been pressed."),
    (Floor, "No keys were pressed: this line takes no keys."),
]


@pytest.mark.parametrize(("floor", "told"), PRESSED)
@in_reactor
async def test_the_model_presses_keys_where_the_line_takes_some(floor: type[Floor], told: str) -> None:
    call: Answer = {"name": "press", "arguments": {"keys": "12#"}}
    async with Talk(openai, call, "Let us see.", tools=("press",)) as talk:
        given = await talk.ask("press one two hash", floor())
        assert talk.cloud.asked[1]["messages"][-1]["content"] == told
        assert given.said == ["Let us see."]
        if isinstance(given, TransferringFloor):
            assert given.pressed == "12#"


HOLD: Answer = {"name": "hold", "arguments": {}}
RESUME: Answer = {"name": "resume", "arguments": {}}
WAITING: Any = {"tools": ("hold", "resume", "press")}


@BOTH
@in_reactor
async def test_the_model_lets_the_caller_wait_does_something_and_comes_back(module: Any) -> None:
    press: Answer = {"name": "press", "arguments": {"keys": "1"}}
    async with Talk(module, HOLD, press, RESUME, "Here I am again. Done.", **WAITING) as talk:
        floor = TransferringFloor()
        await talk.ask("look it up, please", floor)
        assert floor.turns == ["hold", "resume", "Here I am again.", "Done."] and floor.pressed == "1"
        declared = str(talk.cloud.asked[0]["tools"])
        assert "'hold'" in declared and "'resume'" in declared


@pytest.mark.parametrize("answers", [("There it is. Anything else?",), (RESUME, "There it is. Anything else?")])
@in_reactor
async def test_what_the_model_says_to_a_caller_who_waits_is_heard(answers: tuple[Answer, ...]) -> None:
    async with Talk(openai, HOLD, *answers, "Good.", **WAITING) as talk:
        floor = TransferringFloor()
        await talk.ask("wait a moment", floor)
        assert floor.turns == ["hold", "resume", "There it is.", "Anything else?"]
        await talk.ask("that is all", floor)
        assert floor.turns[4:] == ["Good."]


@in_reactor
async def test_whom_somebody_else_has_brought_back_the_model_answers_at_once() -> None:
    press: Answer = {"name": "press", "arguments": {"keys": "1"}}
    async with Talk(openai, HOLD, *[press] * (MOST_ROUNDS - 1), "Good.", **WAITING) as talk:
        floor = TransferringFloor()
        await talk.ask("let me think", floor)
        assert floor.turns == ["hold"]
        # Who waits is not heard: if words come, the caller is back.
        await talk.ask("I am back", floor)
        assert floor.turns == ["hold", "Good."]


@pytest.mark.parametrize(("call", "told"), [(HOLD, "hold"), (RESUME, "resume")])
@in_reactor
async def test_the_model_is_told_where_nobody_can_wait(call: Answer, told: str) -> None:
    async with Talk(openai, call, "I look.", **WAITING) as talk:
        assert (await talk.ask("wait", Floor())).said == ["I look."]
        failed = f"{told} failed: this line cannot be put on hold."
        assert talk.cloud.asked[1]["messages"][-1]["content"] == failed


@BOTH
@in_reactor
async def test_after_a_transfer_the_model_has_nothing_more_to_say(module: Any) -> None:
    call: Answer = {"name": "transfer", "arguments": {"to": "desk"}}
    async with Talk(module, call, "Still here?", tools=("transfer",), transfer_to={"desk": "+4930123"}) as talk:
        floor = TransferringFloor()
        await talk.ask("the desk, please", floor)
        assert (floor.said, floor.transferred, len(talk.cloud.asked)) == ([], ["+4930123"], 1)


@in_reactor
async def test_gemini_sees_its_own_calls_again() -> None:
    tea = {"meal": "snacks", "food": "tea"}
    async with Talk(gemini, {"name": "log_food", "arguments": tea}, "Noted.", tools=("log_food",)) as talk:
        await talk.ask("tea")
        call, result = talk.cloud.asked[1]["contents"][-2:]
        assert call["parts"] == [{"functionCall": {"name": "log_food", "args": tea}, "thoughtSignature": "c2ln"}]
        assert result["parts"] == [{"functionResponse": {"name": "log_food", "response": {"result": "Written down."}}}]


@BOTH
def test_options_at_fault_are_told(module: Any) -> None:
    assert "NO_SUCH_KEY is not set" in module.missing(module.Options(key_env="NO_SUCH_KEY"))
    with pytest.raises(ValueError, match="tools: unknown fly"):
        module.Options(tools=("fly",))
    with pytest.raises(ConfigError, match=r"prompt: /nowhere\.md"):
        module.make(module.Options(prompt="/nowhere.md"), Clock())


# "asked": the caller's turn comes. "heard": this much of the answer was heard. "cut": it was interrupted.
MEMORIES: list[tuple[str, list[tuple[str, str]], list[str]]] = [
    ("a whole answer", [("asked", "one"), ("heard", "A."), ("asked", "two")], ["one", "A.", "two"]),
    (
        "nothing heard: the words come again",
        [("asked", "one"), ("cut", ""), ("heard", ""), ("asked", "one two")],
        ["one two"],
    ),
    (
        "part heard: only what is new is added",
        [("asked", "one"), ("cut", ""), ("heard", "A"), ("asked", "one two")],
        ["one", "A", "two"],
    ),
    (
        "part heard, nothing new",
        [("asked", "one"), ("cut", ""), ("heard", "A"), ("asked", "one")],
        ["one", "A", "one"],
    ),
]


@pytest.mark.parametrize(("events", "lines"), [row[1:] for row in MEMORIES], ids=[row[0] for row in MEMORIES])
def test_memory_keeps_what_was_heard(events: list[tuple[str, str]], lines: list[str]) -> None:
    memory = Memory()
    for event, text in events:
        actions: dict[str, Callable[[str], None]] = {
            "asked": lambda text: memory.asked(Said(text)),
            "heard": memory.heard,
            "cut": lambda _text: memory.cut_off(),
        }
        actions[event](text)
    assert [line.text for line in memory.lines] == lines
