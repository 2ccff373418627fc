"""A language model's part in the diet conversation: it reads the caller's words and finds the words to say.

The table decides what follows. Until the model's answer has passed its checks nothing of it counts; if it never does,
the same turn is answered by the offline reading and the offline sentences.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from voicemedia.agent.diet_answer_wire import Command, DietAnswer, together, unfounded
from voicemedia.agent.diet_grammar import grammar, phrases
from voicemedia.agent.diet_log import Meal
from voicemedia.agent.diet_reading import Heard, Intent, read
from voicemedia.agent.diet_script import DietScript, Reply
from voicemedia.agent.diet_table import State
from voicemedia.agent.model import Line, Model, Prompt, ToolCall
from voicemedia.agent.sentences import Sentences
from voicemedia.errors import ProviderError, WireError
from voicemedia.interfaces import Expected, Floor, Said

MOST_TURNS: Final = 30
"Of the history that are told to the model."
MOST_SENTENCES: Final = 4
LONGEST_SENTENCE: Final = 220
"Characters; more is no sentence of a telephone talk."
NEVER_SAID: Final = frozenset("@{}[]<>|\\_")
"Marks of a model that has lost its way."
NOT_FOR_MODELS: Final = frozenset({Intent.START_OVER, Intent.READ_BACK, Intent.HELP, Intent.REPEAT})
"What the offline reading is sure of, or what must not be left to a guess: forgetting a day."
MUST_BE_COMMANDS: Final = frozenset(
    {Intent.FOOD, Intent.CORRECT, Intent.REMOVE, Intent.MEAL_DONE, Intent.SKIP, Intent.DAY_DONE, Intent.AMOUNT}
)
"An answer without any command to words that mean this is none."


class DietMind:
    """The model, its instructions, and how long it may think.

    :param patience_s: until its first sentence has passed the checks.
    """

    def __init__(self, model: Model, instructions: str, reactor: Any, patience_s: float) -> None:
        self.model, self.instructions, self.reactor, self.patience_s = model, instructions, reactor, patience_s


class MindedTurns:
    """The turns of one conversation that a model answers.

    :param speak: tells the floor what an offline reply says and expects.
    """

    log = Logger()

    def __init__(self, mind: DietMind, script: DietScript, speak: Callable[[Reply, Floor], Deferred[None]]) -> None:
        self._mind, self._script, self._speak = mind, script, speak
        self._taken = ""
        "Words of a turn that counts though its answer was cut off; they come again in front of the next ones."

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        """Answer one turn."""
        text, taken, self._taken = said.text, self._taken, ""
        if taken and text.startswith(taken):
            text = text[len(taken) :].strip()
            if not text and not said.keys:
                return self._speak(self._script.understood("", [Heard(Intent.REPEAT)]), floor)
        offline = read(text, said.confidence).intent
        if said.keys or not text or offline in NOT_FOR_MODELS or self._script.state in (State.ERASE, State.OVER):
            return self._speak(self._script.reply(text, said.keys, said.confidence), floor)
        return Deferred.fromCoroutine(self._reply(Said(text, confidence=said.confidence), offline, floor))

    async def _reply(self, said: Said, offline: Intent, floor: Floor) -> None:
        turn = MindedTurn(self._script, said, offline, floor)
        try:
            await self._ask(turn)
        except CancelledError:
            if turn.reply is not None:
                self._taken = said.text
            raise
        except (ProviderError, WireError) as error:
            self.log.warn("the model's answer does not serve, we answer offline: {reason}", reason=str(error))
        if turn.reply is None:
            await self._speak(self._script.reply(said.text, "", said.confidence), floor)
        else:
            turn.complete(self._speak)

    async def _ask(self, turn: "MindedTurn") -> None:
        """Ask the model; give it up when nothing can be said in time."""
        overdue = False

        def give_up() -> None:
            nonlocal overdue
            if turn.reply is None:
                overdue = True
                asked.cancel()

        mind = self._mind
        asked = mind.model.ask(self._prompt(turn.said.text), turn.take)
        patience = mind.reactor.callLater(mind.patience_s, give_up)
        try:
            await asked
            turn.finish()
        except CancelledError:
            if overdue:
                raise ProviderError(f"nothing to say for {mind.patience_s:g} s", code="slow") from None
            raise
        finally:
            if patience.active():
                patience.cancel()

    def _prompt(self, text: str) -> Prompt:
        script = self._script
        lines = [Line(turn.who, turn.text) for turn in script.history[-MOST_TURNS:] if turn.text]
        return Prompt(f"{self._mind.instructions}\n\n{situation(script)}", (*lines, Line("caller", text)))


def situation(script: DietScript) -> str:
    """Tell the model where the conversation stands."""
    log = script.log
    eaten = [f"- {meal}: {food}" for meal, food in log.rows()] or ["- nothing yet"]
    missing = [meal.value for meal in Meal if meal not in log.closed and meal is not script.meal]
    asked = {State.AMOUNT: "how much of a food it was", State.PREPARATION: "how a food was made"}
    return "\n".join(
        [
            "## Now",
            "",
            f"Asked about: {script.meal.value}. Asked last: {asked.get(script.state, 'what was eaten')}.",
            f"When {script.meal.value} is complete, ask for: {missing[0] if missing else 'anything to add'}.",
            "In the diary:",
            *eaten,
        ]
    )


class MindedTurn:
    """One answer of the model, checked as it is written."""

    def __init__(self, script: DietScript, said: Said, offline: Intent, floor: Floor) -> None:
        self.said = said
        self.reply: Reply | None = None
        "What the table made of the commands; None: nothing has passed the checks yet."
        self._script, self._offline, self._floor = script, offline, floor
        self._answer, self._sentences = DietAnswer(script.meal), Sentences()
        self._heard: list[Heard] = []
        self._before = script.meal
        self._spoken: list[str] = []

    def take(self, piece: str | ToolCall) -> None:
        """Take a piece of the answer.

        :raises WireError: it is nonsense.
        """
        if isinstance(piece, str):
            self._read(self._answer.feed(piece))

    def finish(self) -> None:
        """The answer is over."""
        self._read(self._answer.finish())
        for sentence in self._sentences.finish():
            self._say(sentence)

    def complete(self, speak: Callable[[Reply, Floor], Deferred[None]]) -> None:
        """Say what the model left out: all of it, or the question."""
        reply = self.reply
        assert reply is not None, "nothing has been decided"
        if not self._spoken:
            speak(reply, self._floor)
            return
        if not reply.hang_up and not any("?" in said or "\u061f" in said for said in self._spoken):
            self._spoken.append(reply.sentences[-1])
            self._floor.say(reply.sentences[-1])
        self._script.worded(self._spoken)
        if reply.hang_up:
            self._floor.hang_up()

    def _read(self, found: list[Command | str]) -> None:
        for each in found:
            if isinstance(each, Command):
                self._heard.append(each.heard)
            else:
                for sentence in self._sentences.feed(each):
                    self._say(sentence)

    def _say(self, sentence: str) -> None:
        if self.reply is None:
            self._check_commands()
            self._check(sentence, set(Meal))
            self.reply = self._script.understood(self.said.text, together(self._heard) or [Heard(Intent.REPEAT)])
            self._floor.expect(Expected(phrases(self.reply.state), grammar(self.reply.state)))
            if any(heard.intent is Intent.READ_BACK for heard in self._heard):
                raise WireError("not_its_own", "the diary is read back in its own words")
        self._check(sentence, {self._before, self._script.meal, *(heard.meal for heard in self._heard)})
        self._spoken.append(sentence)
        self._script.worded(self._spoken)
        self._floor.say(sentence, interruptible=not self.reply.hang_up)

    def _check_commands(self) -> None:
        if not self._heard and self._offline in MUST_BE_COMMANDS:
            raise WireError("no_command", f"for {self._offline.value}")
        if food := unfounded(self._heard, self.said.text):
            raise WireError("made_up", food)

    def _check(self, sentence: str, meals: Collection[Meal | None]) -> None:
        """Refuse words that do not fit what the table has decided."""
        if len(sentence) > LONGEST_SENTENCE or len(self._spoken) >= MOST_SENTENCES or NEVER_SAID & set(sentence):
            raise WireError("no_speech", sentence[:20])
        if self.reply is not None and self.reply.hang_up and "?" in sentence:
            raise WireError("question_at_the_end")
        named = {meal for meal in Meal if meal.value.rstrip("s") in sentence.lower()}
        if named and "?" in sentence and not named.intersection(meals):
            raise WireError("wrong_meal", sentence[:40])
