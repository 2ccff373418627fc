"""Asking a voice for a sentence that stands between others, where it heeds them."""

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred

from voicemedia.interfaces import Surroundings, Synthesizer

ALONE: Final = Surroundings()
"Nothing stands around this sentence, or nobody knows what."

Order = tuple[str, int, Callable[[bytes], None], Callable[[int, int], None]]
"What `Synthesizer.speak` is given."


def speak_between(voice: Synthesizer, order: Order, around: Surroundings) -> Deferred[None]:
    """Have a sentence spoken; a voice without `speak_between` speaks it as if it stood alone."""
    between: Callable[..., Deferred[None]] | None = getattr(voice, "speak_between", None)
    return maybeDeferred(between, *order, around) if between else maybeDeferred(voice.speak, *order)
