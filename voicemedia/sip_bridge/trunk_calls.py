"""The calls of one trunk: taken, placed, handed over, ended. Everything its user agent says of calls passes `told`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from twisted.logger import Logger

from voicemedia.config import Trunk
from voicemedia.errors import CallRefused, Unable, WireError
from voicemedia.guards import guarded
from voicemedia.interfaces import Goodbye
from voicemedia.sip_bridge.call_wire import Call, CallState
from voicemedia.sip_bridge.codec_wire import CODECS
from voicemedia.sip_bridge.crypto_wire import SUITES
from voicemedia.sip_bridge.desk import Card, Desk
from voicemedia.sip_bridge.flow_wire import (
    Answered,
    Destination,
    Ended,
    Event,
    Flow,
    Incoming,
    KeyPressed,
    MediaChanged,
    MediaRefused,
    Progress,
    TransferAsked,
    TransferReport,
)
from voicemedia.sip_bridge.incoming_wire import IncomingCall
from voicemedia.sip_bridge.offer_wire import Negotiation, Terms
from voicemedia.sip_bridge.outgoing_wire import OutgoingCall
from voicemedia.sip_bridge.pace_wire import Pace
from voicemedia.sip_bridge.reason_wire import NORMAL
from voicemedia.sip_bridge.redialing import Redialing
from voicemedia.sip_bridge.sip_ports import SipPorts
from voicemedia.sip_bridge.sip_wire import REASONS as PHRASES
from voicemedia.sip_bridge.succession import Succession
from voicemedia.sip_bridge.trunk_call import Order, TrunkCall
from voicemedia.sip_bridge.trunk_callers import called_by_us, caller_of, headers_to_send, readable
from voicemedia.sip_bridge.udp_ports import NoPorts, PortPair
from voicemedia.sip_bridge.user_agent_wire import UserAgent
from voicemedia.sip_bridge.whom import Ways, Whom

REMEMBERED: Final = 200
"Cards of ended calls that can still be read."
SILENT_S: Final = 30
"An agent waits so long for a call in which nobody is to hear anybody."
LOST: Final = "a bug of the server; its log says more"


class TrunkCalls:
    """All calls of a trunk.

    :ivar live: those that are not over, by their dialogs.
    """

    log = Logger()

    def __init__(self, trunk: Trunk, ports: SipPorts, desk: Desk, agent: UserAgent, ways: Ways) -> None:
        self.trunk, self.desk, self.agent = trunk, desk, agent
        self._ports = ports
        self.knows, self.wake = ways.knows, ways.wake
        self.whom = Whom(trunk, ways)
        self._pace = Pace(trunk.calls_per_s)
        self._codecs = tuple(CODECS[name.lower()] for name in trunk.codecs)
        self.live: dict[Call, TrunkCall] = {}
        self.succession = Succession(self)
        self._redialing = Redialing(self, ways.elsewhere)
        self.cards: OrderedDict[str, Card] = OrderedDict()
        "Of ended calls."

    def __iter__(self) -> Iterator[TrunkCall]:
        return iter(tuple(self.live.values()))

    @property
    def now_ms(self) -> int:
        """The time of all calls."""
        return self.desk.room.clock()

    def find(self, call_id: str) -> TrunkCall | None:
        """Find a live call."""
        return next((call for call in self if call.card.call_id == call_id), None)

    # --- what the user agent tells ---

    def told(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, Incoming):
            self._invited(event.call, event.replaces)
            return
        if self.succession.told(event):
            return
        call = self.live.get(event.call)
        if call is not None:
            self._told_of(call, event)
        elif isinstance(event, Answered):
            # A bug has kept it from becoming a call of ours.
            event.call.hang_up(self.now_ms)

    def _told_of(self, call: TrunkCall, event: Event) -> None:
        match event:
            case MediaChanged() | MediaRefused() | KeyPressed():
                call.told(event)
                if call.card.answered_ms is not None and not call.silent:
                    self._begin(call)
            case Progress():
                self._progressed(call, event)
            case Answered():
                self._answered(call)
            case TransferAsked(_, transfer):
                self.succession.asked(call, transfer)
            case TransferReport() if call.moving is not None:
                call.moving.reported(event)
            case Ended():
                self._ended(call, event)

    # --- in ---

    def _invited(self, sip: IncomingCall, replaced: Call | None) -> None:
        if replaced is not None and replaced in self.live:
            self.succession.replaced(self.live[replaced], sip)
            return
        try:
            pair = self._room(sip.flow)
        except CallRefused as refusal:
            self._refuse(sip, refusal)
            return
        with self._keeping(pair):
            call = self._taken(sip, pair)
        media = self.media(pair, sip.flow)
        if self.trunk.answer_after_s:
            self._ring(call, sip, media)
        else:
            sip.answer(media, self.now_ms)

    def _taken(self, sip: IncomingCall, pair: PortPair) -> TrunkCall:
        caller = caller_of(sip, self.trunk.name, self.desk.route, self.whom.rewrite_caller)
        card = self._card(caller.call_id, "inbound", caller.number, caller.to)
        card.agent = self.trunk.agent
        call = TrunkCall(sip, self, pair, caller, card)
        self._add(call)
        return call

    @contextmanager
    def _keeping(self, pair: PortPair) -> Iterator[None]:
        """Take ports back that were lent for a call which then could not be made."""
        try:
            yield
        except BaseException:
            if all(call.pair is not pair for call in self):
                self.desk.room.give_back(pair)
            raise

    def admit(self) -> None:
        """Let one more call begin, whoever wants it.

        :raises CallRefused: it may not.
        """
        refusal = self.desk.refusal()
        if refusal is not None:
            raise refusal
        if not self._pace.admits(self.now_ms):
            raise CallRefused(f"full: calls_per_s = {self.trunk.calls_per_s} of trunk {self.trunk.name}", 1)

    def _room(self, flow: Flow) -> PortPair:
        """Find room for one more call, with whom a flow leads to.

        :raises CallRefused: there is none.
        """
        self.admit()
        try:
            return self.desk.room.ports.lend(flow.peer[0])
        except NoPorts:
            raise CallRefused("no port for the sound is free", 5) from None

    def _ring(self, call: TrunkCall, sip: IncomingCall, media: Negotiation) -> None:
        """Let it ring for a while; the agent may speak already."""

        def answer() -> None:
            sip.answer(media, self.now_ms)

        call.card.state = "early" if self.trunk.early_media else "ringing"
        if not self.trunk.early_media:
            sip.ring(self.now_ms)
        else:
            sip.progress(media, self.now_ms)
            if sip.state is CallState.STARTING:
                # Only once the outcome of the offer has reached the leg.
                call.later(0, self._greet, call)
        call.later(self.trunk.answer_after_s, answer)

    def _greet(self, call: TrunkCall) -> None:
        if call.sip.state is CallState.STARTING and call.leg.listener is None and not call.silent:
            self._listen(call)

    def _listen(self, call: TrunkCall) -> None:
        """Give a call its agent."""
        call.begin(self.desk.answer(call.leg))

    def media(self, pair: PortPair, flow: Flow) -> Negotiation:
        """Make what we bring to a negotiation."""
        trunk = self.trunk
        terms = Terms(
            self._ports.address(flow.peer[0]),
            pair.port,
            self._codecs,
            trunk.ptime_ms,
            voip_metrics=True,
            **self._srtp(flow),
        )
        return Negotiation(terms, int.from_bytes(self.desk.random(4)), self.desk.random)

    def _srtp(self, flow: Flow) -> dict[str, Any]:
        """Tell how a call may be protected: keys that come in the clear protect nothing, unless they have to."""
        wanted, identity = self.trunk.srtp, self.desk.room.identity
        suites = () if wanted == "allow" and flow.transport != "TLS" else tuple(SUITES)
        return {"srtp": wanted, "suites": suites, "fingerprint": identity.fingerprint if identity else None}

    def _refuse(self, sip: IncomingCall, refusal: CallRefused) -> None:
        self.log.info("trunk {trunk}: a call is refused: {reason}", trunk=self.trunk.name, reason=refusal.reason)
        self.desk.room.metrics.calls_refused += 1
        # A server that stops is not busy: the carrier shall try the next one.
        full = 503 if self.desk.draining() else self.trunk.full
        headers = (("Retry-After", str(refusal.retry_after_s)),) if full == 503 else ()
        sip.refuse(full, self.now_ms, headers=headers)

    # --- out ---

    def place(self, order: Order) -> TrunkCall:
        """Call somebody.

        :raises Unable: the number may not be called, there is no room, or no way.
        """
        whom = self.whom
        called = whom.plan.called(order.to)
        uri, flow = whom.way_to(called)
        ours, headers = whom.ours(order.caller), headers_to_send(order.headers)
        try:
            pair = self._room(flow)
        except CallRefused as refusal:
            raise Unable(refusal.reason, 503) from None
        call_id = self.desk.random(12).hex()
        from_ = whom.own_address(flow, ours)
        asserted = (("P-Asserted-Identity", from_),) if self.trunk.asserted else ()
        to = Destination(uri, from_, (*asserted, *headers), call_id)
        with self._keeping(pair):
            try:
                sip = self.agent.dial(to, self.media(pair, flow), flow, self.now_ms)
            except WireError as error:
                raise Unable(f"that is no address ({error.kind})", 400) from error
            call = self._placed(sip, pair, order, called.number, ours)
        self._redialing.watch(call, to)
        return call

    def _placed(self, sip: OutgoingCall, pair: PortPair, order: Order, number: str, ours: str) -> TrunkCall:
        call_id = sip.dialog.call_id
        parameters = {"trunk": self.trunk.name, **order.parameters}
        caller = called_by_us(sip, self.desk.route, number, ours, parameters)
        card = self._card(call_id, "outbound", number, ours)
        card.agent = order.agent
        call = TrunkCall(sip, self, pair, caller, card)
        call.order = order
        self._add(call)
        patience_s = order.ring_s or self.trunk.ring_s
        call.later(patience_s, self._unanswered, call)
        self.log.info("trunk {trunk}: call {call} goes out", trunk=self.trunk.name, call=call_id, pii_to=number)
        self.wake()
        return call

    def order(self, to: str, taken: Callable[[TrunkCall], None], changed: Callable[[TrunkCall], None]) -> Order:
        """Make an order of our own."""
        return Order(to, taken, changed)

    def _unanswered(self, call: TrunkCall) -> None:
        if call.sip.state is CallState.STARTING:
            call.card.reason = "nobody answered"
            call.hang_up(Goodbye.IDLE)

    def _progressed(self, call: TrunkCall, progress: Progress) -> None:
        call.card.status = progress.response.status
        if progress.agreement is not None:
            call.agreed(progress.agreement)
            call.card.state = "early"
        elif call.card.state == "dialing":
            call.card.state = "ringing"
        self._changed(call)

    # --- both ---

    def lose(self, sip: Call | None) -> None:
        """Log the bug that is being handled, and take note of the call it costs."""
        call = self.live.get(sip) if sip is not None else None
        name = sip.dialog.call_id if sip is not None else "none"
        self.log.failure("trunk {trunk}: call {call}: lost to a bug", trunk=self.trunk.name, call=name)
        self.desk.room.metrics.bugs += 1
        if call is not None:
            call.why = call.why or Goodbye.FAILED
            call.card.reason = call.card.reason or LOST

    def safely(self, sip: Call, act: Callable[..., None], *args: object) -> None:
        """Do something for a call in its own turn: a bug ends it."""
        try:
            act(*args)
        except Exception:
            self.agent.give_up(sip, self.now_ms)
        self.wake()

    def _card(self, call_id: str, direction: str, number: str, ours: str) -> Card:
        return Card(call_id, self.trunk.name, direction, number, ours, self.now_ms)

    def _add(self, call: TrunkCall) -> None:
        self.desk.hold(+1)
        self.live[call.sip] = call

    def _answered(self, call: TrunkCall) -> None:
        card = call.card
        card.state, card.status = "up", 200
        if card.answered_ms is not None:
            # Somebody has come in the place of another; the conversation goes on.
            return
        card.answered_ms = self.now_ms
        for timer in call.timers:
            if timer.active():
                timer.cancel()
        if call.silent:
            # Whoever joins two parties may bring ours only later, who is to hear the first words.
            call.later(SILENT_S, self._begin, call)
        else:
            self._begin(call)

    def _begin(self, call: TrunkCall) -> None:
        """Let the agent, or whoever has placed the call, take it; once."""
        if call.begun or not call.sip.up:
            return
        call.begun = True
        if call.order is not None:
            call.order.taken(call)
            self._changed(call)
        elif call.leg.listener is None:
            self._listen(call)

    def _changed(self, call: TrunkCall) -> None:
        if call.order is not None:
            call.order.changed(call)

    def _ended(self, call: TrunkCall, ended: Ended) -> None:
        if self._again(call, ended):
            return
        del self.live[call.sip]
        self.desk.hold(-1)
        if (ended.status, ended.cause) != (200, NORMAL):
            # How it ended otherwise is what the call itself says.
            self.log.info(
                "trunk {trunk}: call {call} over, status {status}, cause {cause}",
                trunk=self.trunk.name,
                call=call.card.call_id,
                status=ended.status,
                cause=ended.cause,
            )
        why = call.why
        if why is None:
            moved = call.moving is not None and call.moving.referring
            why = Goodbye.CALLER_HUNG_UP if ended.status in (200, 487) else Goodbye.PEER_VANISHED
            why = Goodbye.TRANSFERRED if moved else why
        steps = partial(self._close, call.card, ended), call.over, partial(call.leg.ended, why)
        for step in (*steps, partial(self._changed, call)):
            # Whatever becomes of one, the others follow: ports and listener are not kept by a call that is over.
            guarded(step, partial(self.agent.give_up, ended.call, self.now_ms))()

    def _again(self, call: TrunkCall, ended: Ended) -> bool:
        try:
            return self._redialing.ended(call, ended)
        except Exception:
            self.agent.give_up(ended.call, self.now_ms)
            return False

    def _close(self, card: Card, ended: Ended) -> None:
        phrase = ended.response.reason if ended.response is not None else PHRASES.get(ended.status, "")
        card.state, card.ended_ms, card.cause = "ended", self.now_ms, ended.cause
        card.status = ended.status
        card.reason = card.reason or ("" if ended.answered else readable(phrase))
        self.cards[card.call_id] = card
        while len(self.cards) > REMEMBERED:
            self.cards.popitem(last=False)
