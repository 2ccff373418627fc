"""What a route gives each of its calls."""

from collections.abc import Callable
from dataclasses import dataclass

from voicemedia import config
from voicemedia.interfaces import Recognizer, Synthesizer
from voicemedia.metrics import Metrics
from voicemedia.taping import UNTAPED, Tape


@dataclass(frozen=True, slots=True)
class Setting:
    """Limits, manners and providers of one route."""

    limits: config.Limits
    turns: config.Turns
    voice: config.Voice
    metrics: Metrics
    clock: Callable[[], int]
    "Now, in ms, never running backwards."
    recognizer: Recognizer | None
    synthesizer: Synthesizer | None
    agent: str
    "The agent's name in the configuration."
    tape: Tape = UNTAPED
    "Records one call; each call's setting has its own."

    @property
    def path(self) -> str:
        """Who hears, thinks and speaks, by name."""
        ears, voice = self.recognizer, self.synthesizer
        return f"{ears.name if ears else 'no ears'} -> {self.agent} -> {voice.name if voice else 'no voice'}"
