"""Transactions: a request, its responses, and what is sent again until somebody answers (RFC 3261, section 17).

Time is an argument: whoever owns a transaction calls `due` when `next_due_ms` has come.
"""

from collections.abc import Hashable, Mapping
from typing import Final

import msgspec

from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.transaction_tables_wire import (
    CLIENT,
    INVITE_CLIENT,
    INVITE_SERVER,
    SERVER,
    Act,
    Event,
    Kind,
    State,
)


class Timing(msgspec.Struct, frozen=True):
    """The three times everything else is made of, in ms (RFC 3261, table 4)."""

    t1: int = 500
    "A round trip."
    t2: int = 4000
    "The longest time between repetitions."
    t4: int = 5000
    "How long a message can live in the network."
    together: int = 1
    "What only waits to be forgotten is forgotten at a multiple of this: a thousand at once cost one look at the clock."

    @property
    def patience(self) -> int:
        """64 * T1, after which one gives up."""
        return 64 * self.t1


TIMING: Final = Timing()


class Send(msgspec.Struct, frozen=True):
    """Put this message on the wire."""

    message: Request | Response


class Pass(msgspec.Struct, frozen=True):
    """Look at this message."""

    message: Request | Response


class TimedOut(msgspec.Struct, frozen=True):
    """Nobody answered; as good as a 408."""


class Broken(msgspec.Struct, frozen=True):
    """The transport failed; as good as a 503."""


Output = Send | Pass | TimedOut | Broken

_REPEATING: Final = (Event.A, Event.E, Event.G)
_FORGETTING: Final = (Event.D, Event.I, Event.J, Event.K, Event.L, Event.M)
_UDP_ONLY: Final = (Event.A, Event.D, Event.E, Event.G, Event.I, Event.J, Event.K)
"Over reliable transports those that repeat never run and those that wait for stragglers are zero."


class Transaction:
    """One walk through one of the tables.

    :ivar flow: where its messages go; the owner's business.
    :ivar key: its name in the transaction layer.
    :ivar next_due_ms: when `due` has something to do, None when nothing is running.
    """

    def __init__(self, kind: Kind, request: Request, reliable: bool, timing: Timing = TIMING) -> None:
        self.kind = kind
        self.request = request
        self.reliable = reliable
        self.timing = timing
        self.state = kind.first
        self.flow: object = None
        self.key: Hashable = None
        self.next_due_ms: int | None = None
        self._timers: dict[Event, int] = {}
        self._interval_ms: dict[Event, int] = {}
        self._last: Request | Response | None = None
        "What SEND sends."

    @property
    def over(self) -> bool:
        """Nothing more will come of it."""
        return self.state is State.TERMINATED

    def broken(self, now_ms: int) -> list[Output]:
        """Take note that the transport failed."""
        return self._walk(Event.BROKEN, None, now_ms)

    def due(self, now_ms: int) -> list[Output]:
        """Let the timers fire that are due, in order."""
        outputs: list[Output] = []
        while self.next_due_ms is not None and self.next_due_ms <= now_ms:
            at_ms = self.next_due_ms
            timer = next(timer for timer, due_ms in self._timers.items() if due_ms == at_ms)
            if timer in _REPEATING:
                self._timers[timer] = at_ms + self._next_interval(timer)
            else:
                del self._timers[timer]
            outputs += self._walk(timer, None, at_ms)
            self._settle()
        return outputs

    def _next_interval(self, timer: Event) -> int:
        interval_ms = self._interval_ms[timer] * 2
        if timer is not Event.A:
            interval_ms = min(interval_ms, self.timing.t2)
        if timer is Event.E and self.state is State.PROCEEDING:
            interval_ms = self.timing.t2
        self._interval_ms[timer] = interval_ms
        return interval_ms

    def _walk(self, event: Event, message: Request | Response | None, now_ms: int) -> list[Output]:
        before = self.state
        self.state, acts = self.kind.table[before, event]
        if self.state is not before:
            self._enter(now_ms)
        return [output for act in acts if (output := self._do(act, message)) is not None]

    def _enter(self, now_ms: int) -> None:
        """Keep the timers that go on, stop the others, start the new."""
        wanted = self.kind.timers.get(self.state, ())
        running = self._timers
        self._timers = {}
        for timer in wanted:
            if timer in running:
                self._timers[timer] = running[timer]
            elif timer not in _REPEATING or not self.reliable:
                self._interval_ms[timer] = self._length(timer)
                self._timers[timer] = now_ms + self._interval_ms[timer]
                if timer in _FORGETTING and self._interval_ms[timer]:
                    self._timers[timer] += -self._timers[timer] % self.timing.together
        self._settle()

    def _length(self, timer: Event) -> int:
        if self.reliable and timer in _UDP_ONLY:
            return 0
        if timer in _REPEATING:
            return self.timing.t1
        if timer in (Event.I, Event.K):
            return self.timing.t4
        if timer is Event.HUNDRED:
            return 200 if self.kind is INVITE_SERVER else 7 * self.timing.t1
        return self.timing.patience

    def _settle(self) -> None:
        self.next_due_ms = min(self._timers.values(), default=None)

    def _do(self, act: Act, message: Request | Response | None) -> Output | None:
        match act:
            case Act.SEND:
                return Send(self._last) if self._last is not None else None
            case Act.SEND_ACK:
                assert isinstance(message, Response)
                return Send(ack_failure(self.request, message))
            case Act.SEND_HUNDRED:
                self._last = self.request.answer(100)
                return Send(self._last)
            case Act.PASS:
                assert message is not None
                return Pass(message)
            case Act.TELL_TIMEOUT:
                return TimedOut()
            case Act.TELL_BROKEN:
                return Broken()


class ClientTransaction(Transaction):
    """A request of ours."""

    def __init__(self, request: Request, reliable: bool, timing: Timing = TIMING) -> None:
        super().__init__(INVITE_CLIENT if request.method == "INVITE" else CLIENT, request, reliable, timing)
        self._last = request

    def start(self, now_ms: int) -> list[Output]:
        """Send the request for the first time."""
        self._enter(now_ms)
        return [Send(self.request)]

    def receive(self, response: Response, now_ms: int) -> list[Output]:
        """Take a response that matches."""
        return self._walk(_status_event(response.status), response, now_ms)


class ServerTransaction(Transaction):
    """A request of the peer's."""

    def __init__(self, request: Request, reliable: bool, timing: Timing = TIMING) -> None:
        super().__init__(INVITE_SERVER if request.method == "INVITE" else SERVER, request, reliable, timing)
        self._hundred_from_ms = 0

    @property
    def to_tag(self) -> str:
        """The tag of our last response; empty before there is one."""
        return (self._last.recipient.tag or "") if self._last is not None else ""

    def start(self, now_ms: int) -> list[Output]:
        """Pass the request on for the first time."""
        self._hundred_from_ms = now_ms + self._length(Event.HUNDRED)
        self._enter(now_ms)
        return [Pass(self.request)]

    def receive(self, request: Request, now_ms: int) -> list[Output]:
        """Take the same request again, or its ACK."""
        return self._walk(Event.ACK if request.method == "ACK" else Event.REQUEST, request, now_ms)

    def send(self, response: Response, now_ms: int) -> list[Output]:
        """Send a response, or not, as the state and RFC 4320 have it."""
        event = _status_event(response.status)
        if self.kind is SERVER:
            if response.status == 408:
                event = Event.LATE
            elif event is Event.PROVISIONAL and not self.reliable and now_ms < self._hundred_from_ms:
                return []
        if (self.state, event) in _SENDING[self.kind.name]:
            self._last = response
        if event is Event.PROVISIONAL:
            self._timers.pop(Event.HUNDRED, None)
            self._settle()
        return self._walk(event, response, now_ms)


_SENDING: Final[Mapping[str, frozenset[tuple[State, Event]]]] = {
    kind.name: frozenset(
        pair
        for pair, (_, acts) in kind.table.items()
        if Act.SEND in acts and pair[1] in (Event.PROVISIONAL, Event.SUCCESS, Event.FAILURE)
    )
    for kind in (INVITE_SERVER, SERVER)
}
"Where a response of the user's is sent, and so becomes the one to be repeated."


def _status_event(status: int) -> Event:
    if status < 200:
        return Event.PROVISIONAL
    return Event.SUCCESS if status < 300 else Event.FAILURE


def ack_failure(invite: Request, response: Response) -> Request:
    """Make the ACK for a failure: of the INVITE's transaction, with the response's To (section 17.1.1.3)."""
    ack = Request(method="ACK", uri=invite.uri)
    headers = ack.headers
    headers.extend(invite.headers.raw("via")[:1])
    headers.extend(invite.headers.raw("route", "max-forwards", "from"))
    headers.extend(response.headers.raw("to"))
    headers.extend(invite.headers.raw("call-id"))
    headers.add("CSeq", f"{invite.cseq.number} ACK")
    return ack


def cancel_of(invite: Request) -> Request:
    """Make the CANCEL of an INVITE that has got a provisional response (RFC 3261, section 9.1)."""
    cancel = Request(method="CANCEL", uri=invite.uri)
    headers = cancel.headers
    headers.extend(invite.headers.raw("via")[:1])
    headers.extend(invite.headers.raw("route", "max-forwards", "from", "to", "call-id"))
    headers.add("CSeq", f"{invite.cseq.number} CANCEL")
    return cancel
