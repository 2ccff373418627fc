"""The messages between us and an agent of the user's own, in any language: docs/agents.md has them all."""

from collections.abc import Mapping

import msgspec

from voicemedia.errors import WireError
from voicemedia.interfaces import Caller, Expected, Goodbye, Said


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the caller may say next."""

    phrases: tuple[str, ...] = ()
    grammar: str = ""
    keys: int = 1
    language: str = ""

    def expected(self) -> Expected:
        """Give it as recognizers know it."""
        return Expected(self.phrases, self.grammar, max(0, self.keys), self.language)


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of the agent; its keys are done in this order."""

    turn: int | None = None
    "The turn it answers; None: the one that waits."
    expect: Expectation | None = None
    say: str = ""
    interruptible: bool = True
    hang_up: bool = False
    transfer: str = ""
    "A number or an address the caller is to be connected with when this answer is complete and heard."
    done: bool = False
    "This turn's answer is complete."


_COMMANDS = msgspec.json.Decoder(Command | list[Command])


def read(payload: bytes | str) -> list[Command]:
    """Read one message: a command, or a list of them.

    :raises WireError: it is neither.
    """
    try:
        found = _COMMANDS.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WireError("bad_command", str(error)) from error
    return found if isinstance(found, list) else [found]


Event = Mapping[str, object]


def started(caller: Caller) -> Event:
    """A call has begun: who calls, and how."""
    return {
        "event": "start",
        "call": caller.call_id,
        "carrier": caller.carrier,
        "route": caller.route,
        "from": caller.number,
        "to": caller.to,
        "direction": caller.direction,
        "rate_hz": caller.rate_hz,
        "parameters": dict(caller.parameters),
    }


def greet(call: str, turn: int) -> Event:
    """The agent has the floor, and nothing has been said yet."""
    return {"event": "greet", "call": call, "turn": turn}


def said(call: str, turn: int, words: Said) -> Event:
    """The caller has said or pressed something; both empty: was not understood."""
    told = {"text": words.text, "keys": words.keys, "confidence": round(words.confidence, 3)}
    return {"event": "said", "call": call, "turn": turn, **told}


def not_transferred(call: str, turn: int, why: str) -> Event:
    """The caller is still here, and the agent has the floor."""
    return {"event": "not_transferred", "call": call, "turn": turn, "why": why}


def interrupted(call: str, turn: int) -> Event:
    """The caller has taken the floor: what is still said in this turn goes nowhere."""
    return {"event": "interrupted", "call": call, "turn": turn}


def heard(call: str, turn: int, text: str, complete: bool) -> Event:
    """The caller has heard this much of the last answer."""
    return {"event": "heard", "call": call, "turn": turn, "text": text, "complete": complete}


def over(call: str, why: Goodbye) -> Event:
    """The call has ended."""
    return {"event": "over", "call": call, "why": why.value}


class Lines:
    """Cuts a body into lines, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes) -> list[bytes]:
        """Take bytes; return the lines that are complete and not empty."""
        *lines, self._rest = (self._rest + octets).split(b"\n")
        return [line for line in lines if line.strip()]

    def finish(self) -> list[bytes]:
        """The body is over: return a last line without its end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest.strip() else []
