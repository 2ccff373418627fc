"""Shows a simulated call: the conversation turn by turn as it happens, and the whole as JSON."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

import msgspec

from voicemedia.callers.carrier import CarrierCall
from voicemedia.callers.script import Keys, Turn, Typed
from voicemedia.callers.told import ToldTurn

NOT_TOLD = "(not told)"


@dataclass(slots=True)
class Exchange:
    """A turn as measured from the sound, with what the server told about it."""

    turn: Turn
    told: Sequence[ToldTurn] = ()

    @property
    def said(self) -> str:
        match self.turn.line:
            case None:
                return "greeting"
            case Keys(keys):
                return f"keys {keys}"
            case Typed():
                return "typed"
            case utterance:
                return utterance.name

    def text(self, who: str) -> str:
        turns = (turn for turn in self.told if turn.who == who and (turn.text or turn.keys))
        parts = []
        for spoken, row in groupby(turns, lambda turn: bool(turn.text)):
            words = [turn.text or turn.keys for turn in row]
            parts.append(" ".join(words) if spoken else f"keys {''.join(words)}")
        return " ".join(parts)

    def as_json(self) -> dict[str, Any]:
        turn = self.turn
        greeting = turn.line is None
        return {
            "said": self.said,
            "understood": self.text("caller") or None,
            "answer": self.text("agent") or None,
            "answered": turn.answered,
            "latency_ms": _rounded(turn.latency_ms),
            "talked_over": turn.talked_over,
            "barge_in_ms": _rounded(turn.barge_in_ms),
            "speech_start_ms": None if greeting else _rounded(turn.speech_start_ms),
            "speech_end_ms": None if greeting else _rounded(turn.speech_end_ms),
            "answer_start_ms": _rounded(turn.answer_start_ms),
            "answer_end_ms": _rounded(turn.answer_end_ms),
            "server_latency_ms": _stages(self.told),
        }


def _stages(told: Sequence[ToldTurn]) -> dict[str, float]:
    return {stage: latency_ms for turn in told for stage, latency_ms in turn.latency_ms.items()}


def _rounded(time_ms: float | None) -> float | None:
    return None if time_ms is None else round(time_ms, 1)


class Talk:
    """Prints exchanges; quiet when the whole is wanted as JSON."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self.exchanges: list[Exchange] = []
        self._known = 0
        self._starts: list[int] = []

    def complete(self, told: Sequence[ToldTurn]) -> None:
        """Take the server's account as it is at the end: answers may have grown since they were shown."""
        ends = [*self._starts[1:], len(told)]
        for exchange, start, end in zip(self.exchanges, self._starts, ends, strict=False):
            exchange.told = told[start:end]

    def line(self, text: str = "") -> None:
        if not self._quiet:
            print(text, flush=True)

    def show(self, turn: Turn, told: Sequence[ToldTurn]) -> None:
        """Print one turn with what the server has told about it, and keep it.

        :param told: all the server has told about the call; what was there at the turn before belongs to that one.
        """
        exchange = Exchange(turn, told[self._known :])
        self._starts.append(self._known)
        self._known = len(told)
        self.exchanges.append(exchange)
        if turn.line is not None:
            seconds = (turn.speech_end_ms - turn.speech_start_ms) / 1000
            understood = exchange.text("caller") or NOT_TOLD
            self.line(f"{_clock(turn.speech_start_ms)}  caller  {understood}   [{exchange.said}, {seconds:.1f} s]")
        if turn.barge_in_ms is not None:
            self.line(f"{'':8}agent fell silent {turn.barge_in_ms:.0f} ms after the caller began")
        if turn.answer_start_ms is not None:
            self.line(f"{_clock(turn.answer_start_ms)}  agent   {exchange.text('agent') or NOT_TOLD}   [{_how(turn)}]")
        elif turn.line is not None:
            self.line(f"{'':8}no answer")

    @property
    def latencies_ms(self) -> list[float]:
        found = (exchange.turn.latency_ms for exchange in self.exchanges)
        return [latency_ms for latency_ms in found if latency_ms is not None]

    @property
    def unanswered(self) -> list[str]:
        return [each.said for each in self.exchanges if each.turn.line is not None and not each.turn.answered]


def summary(talk: Talk, call: CarrierCall, why: str, told: Sequence[ToldTurn]) -> dict[str, Any]:
    """Tell the whole call.

    :param told: the server's own account at the end, with what it takes for heard of interrupted answers.
    """
    return {
        "ended": why,
        "turns": [exchange.as_json() for exchange in talk.exchanges],
        "server_turns": [msgspec.to_builtins(turn) for turn in told],
        "unanswered": talk.unanswered,
        "unsaid": len(call.script.unsaid),
        "packets_sent": call.packets_sent,
        "packets_lost": call.packets_lost,
        "received": dict(call.received),
        "carrier_rules_broken": dict(call.faults),
    }


def show_summary(talk: Talk, call: CarrierCall, why: str) -> None:
    """Print how the call went, in a few lines."""
    latencies_ms = talk.latencies_ms
    talk.line()
    measured = f", latency {median(latencies_ms):.0f} ms (median)" if latencies_ms else ""
    asked = sum(exchange.turn.line is not None for exchange in talk.exchanges)
    talk.line(f"{asked - len(talk.unanswered)} of {asked} answered{measured}; {why}.")
    for fault, count in call.faults.most_common():
        print(f"The carrier would not like this: {fault} ({count} times)", file=sys.stderr)
    if call.script.unsaid:
        print(f"Not said any more: {len(call.script.unsaid)} of the caller's lines.", file=sys.stderr)


def as_text(whole: dict[str, Any]) -> str:
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _clock(time_ms: float) -> str:
    return f"{int(time_ms // 60_000):2d}:{time_ms % 60_000 / 1000:04.1f}"


def _how(turn: Turn) -> str:
    lasted = f"{((turn.answer_end_ms or 0.0) - (turn.answer_start_ms or 0.0)) / 1000:.1f} s"
    if turn.latency_ms is not None:
        return f"after {turn.latency_ms:.0f} ms, {lasted}"
    return lasted if turn.line is None else f"already talking, {lasted}"
