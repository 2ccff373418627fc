"""What a trunk shares with the rest of the house, and what is known of one of its calls from outside."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from voicemedia.config import Secret
from voicemedia.errors import CallRefused
from voicemedia.interfaces import Goodbye, Leg, Listener
from voicemedia.sip_bridge.reason_wire import NORMAL, Reason
from voicemedia.sip_bridge.room import Room
from voicemedia.sip_bridge.tones_wire import Source

REASONS: Final = {
    Goodbye.AGENT_HUNG_UP: Reason("Q.850", NORMAL, "Normal call clearing"),
    Goodbye.FAILED: Reason("Q.850", 41, "Temporary failure"),
    Goodbye.DRAINED: Reason("Q.850", NORMAL, "Normal call clearing"),
    Goodbye.TOO_LONG: Reason("Q.850", NORMAL, "Longest call"),
    Goodbye.IDLE: Reason("Q.850", 102, "Nothing heard"),
    Goodbye.PEER_VANISHED: Reason("Q.850", 102, "No sound from you"),
    Goodbye.TRANSFERRED: Reason("Q.850", NORMAL, "Transferred"),
}
"What a BYE gives as its reason (RFC 3326)."


class Ticking(Protocol):
    """What wants to be told that time passes."""

    def tick(self, now_ms: int) -> None:
        """20 ms have passed."""

    def sweep(self, now_ms: int) -> None:
        """A second has passed."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the house gives one trunk."""

    reactor: Any
    room: Room
    random: Callable[[int], bytes]
    "Makes that many random bytes."
    route: str
    answer: Callable[[Leg], Listener]
    "The switchboard's: makes a call of a leg."
    refusal: Callable[[], CallRefused | None]
    draining: Callable[[], bool]
    hold: Callable[[int], None]
    "Told +1 for a call that is there and -1 for one that is gone."
    join: Callable[[Ticking], None]
    "The ticker's: tells that time passes from now on."
    leave: Callable[[Ticking], None]
    music: Callable[[int], Source]
    "Makes what callers on hold hear, from its rate in Hz."
    max_call_s: int = 3600
    dns_server: str = ""
    "Whom to ask for the servers behind a name, `host:port`; empty: the system's."
    secret: Secret | None = None


@dataclass(slots=True)
class Card:
    """What is known of a call from outside."""

    call_id: str
    trunk: str
    direction: str
    "`inbound` or `outbound`."
    number: str = field(repr=False)
    "Whom we talk to (personal)."
    ours: str = field(repr=False)
    "The number that was called, or that we call as (personal)."
    began_ms: int
    agent: str = ""
    state: str = "dialing"
    "`dialing`, `ringing`, `early` (it has sound), `up`, `ended`."
    status: int = 0
    "Of the last response: 180, 486; 200 once it is up."
    cause: int = 0
    "Q.850, once it is over."
    reason: str = ""
    "In words, once it is over."
    held: bool = False
    joined: str = ""
    "The call whose person this one talks with, when both are joined."
    answered_ms: int | None = None
    ended_ms: int | None = None

    def as_json(self, now_ms: int) -> Mapping[str, object]:
        """Return what `GET /calls` shows."""
        end_ms = now_ms if self.ended_ms is None else self.ended_ms
        shown = {
            "id": self.call_id,
            "carrier": "sip",
            "trunk": self.trunk,
            "direction": self.direction,
            "state": self.state,
            "number": self.number,
            "ours": self.ours,
            "agent": self.agent,
            "held": self.held,
            "joined": self.joined,
            "status": self.status,
            "age_s": round((end_ms - self.began_ms) / 1000, 1),
            "duration_s": 0.0 if self.answered_ms is None else round((end_ms - self.answered_ms) / 1000, 1),
        }
        return shown if self.ended_ms is None else {**shown, "cause": self.cause, "reason": self.reason}
