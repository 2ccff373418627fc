"""What was said in one call, turn by turn, with the latency of each answer."""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final, Literal

from voicemedia.account import Account, together

MAX_TURNS: Final = 500
"Turns kept of one call; older ones are forgotten."


@dataclass(slots=True)
class Turn:
    """One turn; of the agent, also how much of it was heard."""

    who: Literal["caller", "agent"]
    at_ms: int
    "Since the call was answered."
    text: str = field(default="", repr=False)
    "What was understood, or was to be said."
    keys: str = field(default="", repr=False)
    heard_text: str = field(default="", repr=False)
    "What the caller heard of it before it ended or was interrupted."
    interrupted: bool = False
    complete: bool = False
    "Whether nothing more will be added to this turn."
    number: int = 0
    "Of the call's turns, from 1; set when it is written."
    latency_ms: dict[str, int] = field(default_factory=dict)
    "`transcript`, `agent`, `voice` and their sum `total`: from the endpoint to the first sound sent."


class Diary:
    """The turns of one call."""

    def __init__(self) -> None:
        self.readers: list[Callable[[Turn], None]] = []
        "Told each turn when it is written and whenever it has changed."
        self._turns: deque[Turn] = deque(maxlen=MAX_TURNS)
        self.count = 0
        self.accounts: list[Account] = []
        "What the recognizers of the call charge, one account a recognition."

    def write(self, turn: Turn) -> Turn:
        """Add a turn; it may still be completed."""
        self._turns.append(turn)
        self.count += 1
        turn.number = self.count
        self.tell(turn)
        return turn

    def tell(self, turn: Turn) -> None:
        """Tell whoever reads along that a turn has changed."""
        for read in self.readers:
            read(turn)

    def costs(self) -> dict[str, dict[str, float]]:
        """Return what each recognizer has cost in this call, in streams that have ended."""
        return together(self.accounts).read()

    def totals(self) -> dict[str, object]:
        """Return what the last line of the call's log tells."""
        return {"turns": self.count, "recognition": self.costs()}

    def read(self) -> list[dict[str, object]]:
        """Return all turns, oldest first, as plain values."""
        return [asdict(turn) for turn in self._turns]
