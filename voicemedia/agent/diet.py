"""Agent `diet`: a food diary by voice. The shell around `diet_script`: names, hours, the floor.

It needs no network; with a `model` a language model finds the words, and the table still decides.
"""

from collections.abc import Mapping
from datetime import datetime, tzinfo
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final
from zlib import crc32

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.agent.chat import read_prompt
from voicemedia.agent.diet_grammar import grammar, phrases
from voicemedia.agent.diet_memory import resume, to_day
from voicemedia.agent.diet_mind import DietMind, MindedTurns
from voicemedia.agent.diet_script import DietScript, Reply
from voicemedia.agent.zones import zone_of, zone_told
from voicemedia.config import convert
from voicemedia.errors import ConfigError, ProviderError
from voicemedia.interfaces import Agent, Caller, Conversation, Expected, Floor, Goodbye, Said
from voicemedia.past import Day, Past

MODELS: Final = {"gemini": "voicemedia.agent.gemini", "openai": "voicemedia.agent.openai"}
"Modules with `Options` and `make_model`."
PROMPT: Final = Path(__file__).with_name("prompts") / "diet.md"
MAX_NAME: Final = 30
"Letters of a first name we say; a carrier's parameter may hold anything."


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    time_zone: str = ""
    "Of callers who bring none: `Asia/Kolkata` or an offset such as `+05:30`; empty: the server's own."
    model: str = ""
    "Agent whose language model reads and words the turns, `gemini` or `openai`; empty: the diary's own sentences."
    model_options: Mapping[str, object] = {}
    "Options of that agent: `base_url`, `model`, `key_env` ..."
    prompt: str = ""
    "File with the model's instructions; empty: `agent/prompts/diet.md`."
    patience_s: Annotated[float, Meta(gt=0)] = 4.0
    "How long the model may think before the diary's own sentences are said, in seconds."


def missing(options: Options) -> str:
    """Say what is not installed or configured here."""
    if options.time_zone and zone_of(options.time_zone) is None:
        return (
            f"The time zone {options.time_zone!r} is not known here: write one such as Asia/Kolkata or +05:30, "
            "or install the system's time zones (sudo apt-get install tzdata)."
        )
    return ""


def make(options: Options, reactor: IReactorTime) -> Agent:
    """Make the agent.

    :raises ConfigError: the time zone is not known here.
    """
    if trouble := missing(options):
        raise ConfigError(trouble)
    return DietAgent(zone_of(options.time_zone), reactor, make_mind(options, reactor))


def make_mind(options: Options, reactor: IReactorTime) -> DietMind | None:
    """Make the model's part; None: no model is configured.

    :raises ConfigError: there is no such model, or its options are at fault.
    """
    if not options.model:
        return None
    if options.model not in MODELS:
        raise ConfigError(f"model: unknown {options.model}; there are {', '.join(MODELS)}")
    module = import_module(MODELS[options.model])
    model_options = convert(options.model_options, module.Options, key="model_options")
    instructions = read_prompt(options.prompt or PROMPT)
    return DietMind(module.make_model(model_options, reactor), instructions, reactor, options.patience_s)


class DietAgent:
    """Leads callers through the meals of their day."""

    log = Logger()
    name = "diet"

    def __init__(self, zone: tzinfo | None, reactor: IReactorTime, mind: DietMind | None = None) -> None:
        self._zone = zone
        self._reactor = reactor
        self._mind = mind

    @property
    def trouble(self) -> str:
        """Nothing: without its model the diary speaks for itself."""
        return ""

    def start(self) -> Deferred[None]:
        """Start the model's client, if there is one; without it the diary goes on."""
        if self._mind is None:
            return succeed(None)
        return maybeDeferred(self._mind.model.start).addErrback(self._without_model)

    def stop(self) -> Deferred[None]:
        """Stop it."""
        return self._mind.model.stop() if self._mind else succeed(None)

    def _without_model(self, failure: Failure) -> None:
        failure.trap(ConfigError, ProviderError)  # type: ignore[no-untyped-call]
        self._mind = None
        self.log.error("agent diet speaks without its model: {reason}", reason=failure.getErrorMessage())

    def converse(self, caller: Caller) -> Conversation:
        """Begin with the caller's hour of day and first name, as far as the carrier says them."""
        zone = zone_told(caller.parameters) or self._zone
        now = datetime.fromtimestamp(self._reactor.seconds(), zone)
        seed = crc32(caller.call_id.encode("utf-8", "replace"))
        script = DietScript(now.hour, first_name(caller.parameters), seed)
        return DietConversation(script, now.date().isoformat(), self._mind)


def first_name(parameters: Mapping[str, str]) -> str:
    """Find the caller's first name among the carrier's parameters; empty when none can be said aloud."""
    for key in ("first_name", "firstName", "firstname", "name"):
        name = next(iter(parameters.get(key, "").split()), "")
        if len(name) <= MAX_NAME and name.replace("-", "").replace("'", "").isalpha():
            return name if any(letter.isupper() for letter in name) else name.capitalize()
    return ""


class DietConversation:
    """One caller's diary: without a model every answer is known at once."""

    def __init__(self, script: DietScript, date: str, mind: DietMind | None = None) -> None:
        self.script = script
        self._date = date
        self._minded = MindedTurns(mind, script, self._speak) if mind else None

    def recall(self, past: Past) -> None:
        """Go on where today's diary, or this session, stopped; yesterday's diary is another one."""
        today = next((day for day in past.days if day.date == self._date), Day(self._date))
        if past.continues or today.foods or today.complete:
            resume(self.script, today)

    def logged(self) -> Day:
        """Tell the diary of today."""
        return to_day(self.script, self._date)

    def greet(self, floor: Floor) -> Deferred[None]:
        """Greet, and ask for the meal of the hour."""
        return self._speak(self.script.greet(), floor)

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        """Answer one turn."""
        if self._minded is not None:
            return self._minded.reply(said, floor)
        return self._speak(self.script.reply(said.text, said.keys, said.confidence), floor)

    def heard(self, text: str, *, complete: bool) -> None:
        """Keep what was heard: a question that was not is asked again."""
        self.script.heard(text, complete=complete)

    def overhear(self, pcm: bytes) -> None:
        """Do nothing with single frames."""

    def over(self, _why: Goodbye) -> None:
        """Do nothing: `logged` is asked by whoever writes history."""

    def _speak(self, reply: Reply, floor: Floor) -> Deferred[None]:
        floor.expect(Expected(phrases(reply.state), grammar(reply.state)))
        for sentence in reply.sentences:
            floor.say(sentence, interruptible=not reply.hang_up)
        if reply.hang_up:
            floor.hang_up()
        return succeed(None)
