"""The four transaction machines as tables (RFC 3261, section 17, with the repairs of RFC 6026 and RFC 4320).

All knowledge of what follows what is here; `transaction_wire` only walks the tables. A row says to which state
an event leads and what is done; the timers of a state run while it lasts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class State(Enum):
    """Where a transaction stands."""

    # The tables are asked forty times a call: by identity, in C, that is 10 us less than by the name's hash.
    __hash__ = object.__hash__

    CALLING = auto()
    TRYING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    ACCEPTED = auto()
    TERMINATED = auto()


class Event(Enum):
    """What happens to a transaction: messages of either side, timers by their letters in the RFC."""

    __hash__ = object.__hash__

    REQUEST = auto()
    "The same request again."
    ACK = auto()
    PROVISIONAL = auto()
    SUCCESS = auto()
    "2xx; to a non-INVITE any final response is SUCCESS or FAILURE alike."
    FAILURE = auto()
    LATE = auto()
    "Our own 408 to a non-INVITE, which must not be sent (RFC 4320, section 4.2)."
    BROKEN = auto()
    "The transport failed."
    A = auto()
    B = auto()
    D = auto()
    E = auto()
    F = auto()
    G = auto()
    H = auto()
    I = auto()  # noqa: E741 - the RFC's name
    J = auto()
    K = auto()
    L = auto()
    M = auto()
    HUNDRED = auto()
    "Time to send a 100: 200 ms for an INVITE, 3.5 s for others over UDP (RFC 4320, section 4.1)."


class Act(Enum):
    """What a transaction does."""

    SEND = auto()
    "Send the request, or the last response, (again)."
    SEND_ACK = auto()
    SEND_HUNDRED = auto()
    PASS = auto()
    "Give the message to the user of the transaction."
    TELL_TIMEOUT = auto()
    TELL_BROKEN = auto()


Row = tuple[State, tuple[Act, ...]]
Table = Mapping[tuple[State, Event], Row]

(CALLING, TRYING, PROCEEDING, COMPLETED, CONFIRMED, ACCEPTED, TERMINATED) = State
(SEND, SEND_ACK, SEND_HUNDRED, PASS, TELL_TIMEOUT, TELL_BROKEN) = Act
(REQUEST, ACK, PROVISIONAL, SUCCESS, FAILURE, LATE, BROKEN, *_) = Event
E = Event


def _stay(state: State, *events: Event) -> dict[tuple[State, Event], Row]:
    """Return rows for what is of no account in a state."""
    return {(state, event): (state, ()) for event in events}


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the four machines."""

    name: str
    first: State
    table: Table
    timers: Mapping[State, tuple[Event, ...]]
    "Those that run in a state: started on the way in unless already running, stopped on the way out."


INVITE_CLIENT: Final = Kind(
    "INVITE client",
    CALLING,
    {
        (CALLING, PROVISIONAL): (PROCEEDING, (PASS,)),
        (CALLING, SUCCESS): (ACCEPTED, (PASS,)),
        (CALLING, FAILURE): (COMPLETED, (SEND_ACK, PASS)),
        (CALLING, E.A): (CALLING, (SEND,)),
        (CALLING, E.B): (TERMINATED, (TELL_TIMEOUT,)),
        (CALLING, BROKEN): (TERMINATED, (TELL_BROKEN,)),
        **_stay(CALLING, E.D, E.M),
        # Once anything has been heard, the request is not repeated; a phone may ring for minutes.
        (PROCEEDING, PROVISIONAL): (PROCEEDING, (PASS,)),
        (PROCEEDING, SUCCESS): (ACCEPTED, (PASS,)),
        (PROCEEDING, FAILURE): (COMPLETED, (SEND_ACK, PASS)),
        **_stay(PROCEEDING, E.A, E.B, E.D, E.M, BROKEN),
        (COMPLETED, FAILURE): (COMPLETED, (SEND_ACK,)),
        (COMPLETED, E.D): (TERMINATED, ()),
        (COMPLETED, BROKEN): (TERMINATED, (TELL_BROKEN,)),
        **_stay(COMPLETED, PROVISIONAL, SUCCESS, E.A, E.B, E.M),
        # RFC 6026: 2xx again, or from other branches of a fork, all go up; the user sends the ACKs.
        (ACCEPTED, SUCCESS): (ACCEPTED, (PASS,)),
        (ACCEPTED, E.M): (TERMINATED, ()),
        **_stay(ACCEPTED, PROVISIONAL, FAILURE, E.A, E.B, E.D, BROKEN),
        **_stay(TERMINATED, PROVISIONAL, SUCCESS, FAILURE, E.A, E.B, E.D, E.M, BROKEN),
    },
    {CALLING: (E.A, E.B), COMPLETED: (E.D,), ACCEPTED: (E.M,)},
)

CLIENT: Final = Kind(
    "client",
    TRYING,
    {
        (TRYING, PROVISIONAL): (PROCEEDING, (PASS,)),
        (TRYING, SUCCESS): (COMPLETED, (PASS,)),
        (TRYING, FAILURE): (COMPLETED, (PASS,)),
        (TRYING, E.E): (TRYING, (SEND,)),
        (TRYING, E.F): (TERMINATED, (TELL_TIMEOUT,)),
        (TRYING, BROKEN): (TERMINATED, (TELL_BROKEN,)),
        **_stay(TRYING, E.K),
        (PROCEEDING, PROVISIONAL): (PROCEEDING, (PASS,)),
        (PROCEEDING, SUCCESS): (COMPLETED, (PASS,)),
        (PROCEEDING, FAILURE): (COMPLETED, (PASS,)),
        (PROCEEDING, E.E): (PROCEEDING, (SEND,)),
        (PROCEEDING, E.F): (TERMINATED, (TELL_TIMEOUT,)),
        (PROCEEDING, BROKEN): (TERMINATED, (TELL_BROKEN,)),
        **_stay(PROCEEDING, E.K),
        (COMPLETED, E.K): (TERMINATED, ()),
        **_stay(COMPLETED, PROVISIONAL, SUCCESS, FAILURE, E.E, E.F, BROKEN),
        **_stay(TERMINATED, PROVISIONAL, SUCCESS, FAILURE, E.E, E.F, E.K, BROKEN),
    },
    {TRYING: (E.E, E.F), PROCEEDING: (E.E, E.F), COMPLETED: (E.K,)},
)

INVITE_SERVER: Final = Kind(
    "INVITE server",
    PROCEEDING,
    {
        (PROCEEDING, REQUEST): (PROCEEDING, (SEND,)),
        (PROCEEDING, PROVISIONAL): (PROCEEDING, (SEND,)),
        (PROCEEDING, SUCCESS): (ACCEPTED, (SEND,)),
        (PROCEEDING, FAILURE): (COMPLETED, (SEND,)),
        (PROCEEDING, E.HUNDRED): (PROCEEDING, (SEND_HUNDRED,)),
        (PROCEEDING, BROKEN): (TERMINATED, (TELL_BROKEN,)),
        **_stay(PROCEEDING, ACK, E.G, E.H, E.I, E.L),
        (COMPLETED, REQUEST): (COMPLETED, (SEND,)),
        (COMPLETED, ACK): (CONFIRMED, ()),
        (COMPLETED, E.G): (COMPLETED, (SEND,)),
        (COMPLETED, E.H): (TERMINATED, (TELL_TIMEOUT,)),
        (COMPLETED, BROKEN): (TERMINATED, (TELL_BROKEN,)),
        **_stay(COMPLETED, PROVISIONAL, SUCCESS, FAILURE, E.HUNDRED, E.I, E.L),
        (CONFIRMED, E.I): (TERMINATED, ()),
        **_stay(CONFIRMED, REQUEST, ACK, PROVISIONAL, SUCCESS, FAILURE, E.HUNDRED, E.G, E.H, E.L, BROKEN),
        # RFC 6026: the INVITE again is absorbed, the 2xx again comes from the user, who also waits for the ACK.
        (ACCEPTED, SUCCESS): (ACCEPTED, (SEND,)),
        (ACCEPTED, ACK): (ACCEPTED, (PASS,)),
        (ACCEPTED, E.L): (TERMINATED, ()),
        (ACCEPTED, BROKEN): (ACCEPTED, (TELL_BROKEN,)),
        **_stay(ACCEPTED, REQUEST, PROVISIONAL, FAILURE, E.HUNDRED, E.G, E.H, E.I),
        **_stay(TERMINATED, REQUEST, ACK, PROVISIONAL, SUCCESS, FAILURE, E.HUNDRED, E.G, E.H, E.I, E.L, BROKEN),
    },
    {PROCEEDING: (E.HUNDRED,), COMPLETED: (E.G, E.H), CONFIRMED: (E.I,), ACCEPTED: (E.L,)},
)

SERVER: Final = Kind(
    "server",
    TRYING,
    {
        (TRYING, PROVISIONAL): (PROCEEDING, (SEND,)),
        (TRYING, SUCCESS): (COMPLETED, (SEND,)),
        (TRYING, FAILURE): (COMPLETED, (SEND,)),
        (TRYING, E.HUNDRED): (PROCEEDING, (SEND_HUNDRED,)),
        # The client has given up by now (RFC 4320): whatever we say, nobody listens.
        (TRYING, E.F): (TERMINATED, ()),
        (TRYING, LATE): (TERMINATED, ()),
        (TRYING, BROKEN): (TERMINATED, (TELL_BROKEN,)),
        **_stay(TRYING, REQUEST, E.J),
        (PROCEEDING, REQUEST): (PROCEEDING, (SEND,)),
        (PROCEEDING, PROVISIONAL): (PROCEEDING, (SEND,)),
        (PROCEEDING, SUCCESS): (COMPLETED, (SEND,)),
        (PROCEEDING, FAILURE): (COMPLETED, (SEND,)),
        (PROCEEDING, E.F): (TERMINATED, ()),
        (PROCEEDING, LATE): (TERMINATED, ()),
        (PROCEEDING, BROKEN): (TERMINATED, (TELL_BROKEN,)),
        **_stay(PROCEEDING, E.HUNDRED, E.J),
        (COMPLETED, REQUEST): (COMPLETED, (SEND,)),
        (COMPLETED, E.J): (TERMINATED, ()),
        (COMPLETED, BROKEN): (TERMINATED, (TELL_BROKEN,)),
        **_stay(COMPLETED, PROVISIONAL, SUCCESS, FAILURE, LATE, E.HUNDRED, E.F),
        **_stay(TERMINATED, REQUEST, PROVISIONAL, SUCCESS, FAILURE, LATE, E.HUNDRED, E.F, E.J, BROKEN),
    },
    {TRYING: (E.HUNDRED, E.F), PROCEEDING: (E.F,), COMPLETED: (E.J,)},
)

KINDS: Final = (INVITE_CLIENT, CLIENT, INVITE_SERVER, SERVER)
