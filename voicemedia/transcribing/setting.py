"""What a session is given to work with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from voicemedia import config
from voicemedia.audio.voice import Endpointer
from voicemedia.interfaces import Recognizer
from voicemedia.transcribing.tally import Tally


@dataclass(frozen=True, slots=True)
class Setting:
    """What all sessions share."""

    stream: config.Stream
    endpointer: Callable[[int, int], Endpointer]
    "Makes the voice detection of one session, from its rate in Hz and the silence in ms that ends an utterance."
    clock: Callable[[], int]
    "Monotonic, in ms."
    time_of_day: Callable[[], float]
    "Seconds since 1970."
    keep_summary: Callable[[dict[str, Any]], None]
    "Told the summary of every session that is over."


@dataclass(frozen=True, slots=True)
class Provided:
    """A recognizer and what is counted of it."""

    recognizer: Recognizer
    tally: Tally
