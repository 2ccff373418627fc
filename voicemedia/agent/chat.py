"""A conversation a language model holds: history as it was heard, sentences spoken while the rest is being written."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voicemedia.agent.food_notes import LOG_FOOD, FoodNotes
from voicemedia.agent.http_model import ModelOptions
from voicemedia.agent.model import Line, Model, Prompt, Tool, ToolCall
from voicemedia.agent.sentences import Sentences
from voicemedia.agent.zones import zone_told
from voicemedia.errors import ConfigError, Unable
from voicemedia.interfaces import Agent, Caller, Conversation, Expected, Floor, Goodbye, Said
from voicemedia.past import Day, Past

MOST_LINES: Final = 60
"Of the history; older ones are no longer told."
COMES_BACK: Final = "(The caller was away and is back. Welcome them in a few words, and go on where you stopped.)"
WRITTEN: Final = "(Written down today, in an earlier call: {foods}.)"
MOST_ROUNDS: Final = 5
"Questions to the model for one turn, when it wants to know what came of its calls."
BEGINNING: Final = (Line("caller", "(The call begins.)"),)
"What a model is asked when it is to greet: many insist on a user who spoke."
PROMPT: Final = Path(__file__).with_name("prompts") / "chat.md"

HANG_UP: Final = Tool(
    "hang_up", "End the call, after your goodbye has been heard.", {"type": "object", "properties": {}}
)

PRESS: Final = Tool(
    "press",
    "Press telephone keys towards the other end, for instance to get through its menu.",
    {
        "type": "object",
        "properties": {"keys": {"type": "string", "pattern": "^[0-9*#A-D]+$"}},
        "required": ["keys"],
    },
)
HOLD: Final = Tool(
    "hold",
    "Let the caller wait and hear music while you use other tools, after what you say now has been heard. "
    "Call resume when you are done.",
    {"type": "object", "properties": {}},
)
RESUME: Final = Tool("resume", "Talk again with a caller who waits.", {"type": "object", "properties": {}})
TOOLS: Final = ("hang_up", "transfer", "press", "hold", "resume", "log_food")


class ChatOptions(ModelOptions, frozen=True, forbid_unknown_fields=True):
    """What the operator may set of a conversation."""

    prompt: str = ""
    "File with the instructions; empty: `agent/prompts/chat.md`."
    greeting: str = "Hello, how can I help you?"
    "The first sentence; empty: the model writes one."
    tools: tuple[str, ...] = ("hang_up",)
    "What the model may do: `hang_up`, `transfer`, `press`, `hold`, `resume`, `log_food`."
    transfer_to: Mapping[str, str] = {}
    "Whom the model may transfer to: name and number."
    phrases: tuple[str, ...] = ()
    "Words the recognizer should expect."

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := set(self.tools) - set(TOOLS):
            raise ValueError(f"tools: unknown {', '.join(sorted(unknown))}; there are {', '.join(TOOLS)}")
        if "transfer" in self.tools and not self.transfer_to:
            raise ValueError("tools: transfer wants transfer_to")

    def declared(self) -> tuple[Tool, ...]:
        """Declare the tools to the model."""
        transfer = Tool(
            "transfer",
            "Connect the caller with somebody else.",
            {
                "type": "object",
                "properties": {"to": {"type": "string", "enum": list(self.transfer_to)}},
                "required": ["to"],
            },
        )
        known = {tool.name: tool for tool in (HANG_UP, transfer, PRESS, HOLD, RESUME, LOG_FOOD)}
        return tuple(known[name] for name in self.tools)

    def instructions(self) -> str:
        """Read the instructions.

        :raises ConfigError: the file cannot be read.
        """
        return read_prompt(self.prompt or PROMPT)


def read_prompt(path: str | Path) -> str:
    """Read a prompt's file.

    :raises ConfigError: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompt: {path}: {error}; give a readable file, or none for the default") from error


class ChatAgent:
    """Lets a model talk with callers."""

    def __init__(self, model: Model, options: ChatOptions, reactor: IReactorTime) -> None:
        self._model, self._options, self._reactor = model, options, reactor
        self._instructions = options.instructions()
        self.name = model.name

    @property
    def trouble(self) -> str:
        """Why it cannot answer now."""
        return self._model.trouble

    def start(self) -> Deferred[None]:
        """Start the model's client."""
        return self._model.start()

    def stop(self) -> Deferred[None]:
        """Stop it."""
        return self._model.stop()

    def converse(self, caller: Caller) -> Conversation:
        """Begin a conversation."""
        zone = zone_told(caller.parameters)
        date = datetime.fromtimestamp(self._reactor.seconds(), zone).date().isoformat() if zone else ""
        return Chat(self._model, self._options, self._instructions, FoodNotes(date))


def chat_agent(model: Model, options: ChatOptions, reactor: IReactorTime) -> Agent:
    """Make an agent of a model."""
    return ChatAgent(model, options, reactor)


class Memory:
    """What was said, as it was heard."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._unanswered = ""
        "Words whose answer was cut off; they come again in front of the next ones."

    def asked(self, said: Said) -> None:
        """Take a turn of the caller."""
        text = said.text or (f"(The caller pressed {said.keys}.)" if said.keys else "(The caller was not understood.)")
        again, self._unanswered = self._unanswered, ""
        if again and text.startswith(again):
            if self.lines and self.lines[-1].who == "agent":
                # Part of the answer was heard: the history keeps both, and what is new.
                text = text[len(again) :].strip() or text
            elif self.lines and self.lines[-1] == Line("caller", again):
                self.lines.pop()
        self.lines.append(Line("caller", text))

    def cut_off(self) -> None:
        """The answer was interrupted before it was complete."""
        callers = [line.text for line in self.lines if line.who == "caller"]
        self._unanswered = callers[-1] if callers else ""

    def heard(self, text: str) -> None:
        """Keep the part of the last answer that was heard."""
        if text:
            self.lines.append(Line("agent", text))

    @property
    def latest(self) -> tuple[Line, ...]:
        """What is told to the model."""
        return tuple(self.lines[-MOST_LINES:])


class Chat:
    """One caller's talk with a model."""

    log = Logger()

    def __init__(self, model: Model, options: ChatOptions, instructions: str, notes: FoodNotes) -> None:
        self._model, self._options, self._instructions = model, options, instructions
        self._tools = options.declared()
        self.memory = Memory()
        self._comes_back = self._gone = False
        "Whether the session was begun earlier; whether the caller has been transferred."
        self._waits = False
        "The caller is on hold, and hears nothing that is said."
        self._notes, self._writes = notes, "log_food" in options.tools

    def recall(self, past: Past) -> None:
        """Have the model know what was said earlier; a session that goes on is not greeted as a new one."""
        self.memory.lines[:0] = [Line("agent" if turn.who == "ai" else "caller", turn.text) for turn in past.turns]
        self._comes_back = past.continues
        if self._writes and (written := self._notes.recall(past.days)):
            self.memory.lines.append(Line("caller", WRITTEN.format(foods=written)))

    def logged(self) -> Day | None:
        """Tell what `log_food` wrote down; None: it cannot write."""
        return self._notes.day() if self._writes else None

    def greet(self, floor: Floor) -> Deferred[None]:
        """Say the greeting, or let the model say one."""
        floor.expect(Expected(self._options.phrases))
        if self._comes_back:
            self.memory.lines.append(Line("caller", COMES_BACK))
        elif self._options.greeting:
            floor.say(self._options.greeting)
            return succeed(None)
        return Deferred.fromCoroutine(self._answer(floor))

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        """Ask the model; its sentences are said as they complete."""
        self.memory.asked(said)
        # Who waits is not heard: whoever asks has been brought back.
        self._waits = False
        floor.expect(Expected(self._options.phrases))
        return Deferred.fromCoroutine(self._answer(floor))

    def heard(self, text: str, *, complete: bool) -> None:
        """Keep what was heard."""
        self.memory.heard(text)

    def overhear(self, pcm: bytes) -> None:
        """Do nothing with single frames."""

    def over(self, _why: Goodbye) -> None:
        """Nothing is left to do."""

    async def _answer(self, floor: Floor) -> None:
        asides: tuple[Line, ...] = ()
        try:
            for _ in range(MOST_ROUNDS):
                said, calls = await self._round(floor, asides)
                results = await self._do(calls, floor)
                if not results or self._gone or ("hang_up" in {call.name for call in calls} and said):
                    return
                asides = (*asides, Line("agent", said, calls), *results)
        except CancelledError:
            self.memory.cut_off()
            raise

    async def _round(self, floor: Floor, asides: tuple[Line, ...]) -> tuple[str, tuple[ToolCall, ...]]:
        """Ask once; return what was written and what is to be done."""
        sentences, written, calls = Sentences(), list[str](), list[ToolCall]()
        unheard: list[str] = []
        say = unheard.append if self._waits else floor.say

        def take(piece: str | ToolCall) -> None:
            if isinstance(piece, ToolCall):
                calls.append(piece)
                return
            written.append(piece)
            for sentence in sentences.feed(piece):
                say(sentence)

        prompt = Prompt(self._instructions, (*(self.memory.latest or BEGINNING), *asides), self._tools)
        await self._model.ask(prompt, take)
        for sentence in sentences.finish():
            say(sentence)
        if unheard:
            await self._turn("resume", floor)
            for sentence in unheard:
                floor.say(sentence)
        return "".join(written).strip(), tuple(calls)

    async def _do(self, calls: tuple[ToolCall, ...], floor: Floor) -> tuple[Line, ...]:
        results = []
        for call in calls:
            told = await self._do_one(call, floor)
            results.append(Line("tool", told, (call,)))
        return tuple(results)

    async def _do_one(self, call: ToolCall, floor: Floor) -> str:
        if call.name not in self._options.tools:
            return "There is no such tool."
        if call.name == "hang_up":
            floor.hang_up()
            return "The call ends when your goodbye has been heard. Say it now."
        if call.name == "log_food":
            return self._notes.write(call.arguments)
        if call.name == "press":
            return self._press(str(call.arguments.get("keys", "")), floor)
        if call.name in ("hold", "resume"):
            return await self._turn(call.name, floor)
        return await self._transfer(str(call.arguments.get("to", "")), floor)

    def _press(self, keys: str, floor: Floor) -> str:
        try:
            floor.press(keys)
        except Unable as error:
            self.log.warn("keys could not be pressed: {reason}", reason=str(error))
            return f"No keys were pressed: {error}."
        return "The keys have been pressed."

    async def _turn(self, what: str, floor: Floor) -> str:
        """Hold or resume."""
        try:
            await (floor.hold() if what == "hold" else floor.resume())
        except Unable as error:
            self.log.warn("{what} failed: {reason}", what=what, reason=str(error))
            return f"{what} failed: {error}."
        self._waits = what == "hold"
        return "The caller waits, and does not hear you." if self._waits else "The caller hears you again."

    async def _transfer(self, name: str, floor: Floor) -> str:
        number = self._options.transfer_to.get(name)
        if number is None:
            return f"There is nobody called {name}."
        try:
            await floor.transfer(number)
        except Unable as error:
            self.log.warn("transfer to {name} failed: {reason}", name=name, reason=str(error))
            return f"The transfer failed: {error}. Tell the caller so."
        self._gone = True
        return "The caller has been connected."
