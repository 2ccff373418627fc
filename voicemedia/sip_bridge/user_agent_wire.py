"""A SIP user agent without sockets: messages and time in, messages and events out.

After every call of `receive`, `due`, `dial` or a verb of a call, the owner takes `outputs` and asks `next_due_ms`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.agenda_wire import Agenda
from voicemedia.sip_bridge.alarms_wire import earlier
from voicemedia.sip_bridge.arrival_wire import invitation, meant_for_a_call, stamp, stateless_tag
from voicemedia.sip_bridge.call_wire import Call, CallState
from voicemedia.sip_bridge.challenge_wire import answering
from voicemedia.sip_bridge.dialog_wire import DialogKey, key_of_request
from voicemedia.sip_bridge.digest_wire import Credentials
from voicemedia.sip_bridge.exchange_wire import Exchange
from voicemedia.sip_bridge.flow_wire import Destination, Event, Flow, Incoming, Output, Transmit
from voicemedia.sip_bridge.incoming_wire import IncomingCall
from voicemedia.sip_bridge.offer_wire import Negotiation
from voicemedia.sip_bridge.outgoing_wire import OutgoingCall
from voicemedia.sip_bridge.reaction_wire import ABILITIES, Abilities, bad_response, refusal
from voicemedia.sip_bridge.refer_wire import Replaces
from voicemedia.sip_bridge.session_timer_wire import SESSION, SessionTerms
from voicemedia.sip_bridge.sip_wire import CSeq, Request, Response
from voicemedia.sip_bridge.transaction_tables_wire import State
from voicemedia.sip_bridge.transaction_wire import (
    TIMING,
    Broken,
    ClientTransaction,
    Pass,
    Send,
    ServerTransaction,
    TimedOut,
    Timing,
)
from voicemedia.sip_bridge.transactions_wire import ANSWERED, Effect, Transactions
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.sip_bridge.via_wire import MAGIC

REFUSALS: Final = 3
"Of an INVITE by the network, after 1.5 s: whoever is just being started takes one that is repeated."


@dataclass(frozen=True, slots=True)
class Settings:
    """How a user agent behaves."""

    product: str = "voicemedia"
    "User-Agent and Server; empty: neither."
    timing: Timing = TIMING
    session: SessionTerms = SESSION
    abilities: Abilities = ABILITIES
    datagram_limit: int = 0
    "A longer request (RFC 3261: 1300 bytes) goes over TCP; 0: never, as most trunks take fragments."
    ring_limit_ms: int = 180_000
    "An incoming call nobody answers is refused with 480: its caller may be gone without our knowing."
    ring_again_ms: int = 60_000
    "A provisional response is repeated that often, lest proxies give up (RFC 3261, section 13.3.1.1)."


class UserAgent:
    """One endpoint: its transactions, dialogs and calls.

    :param token: makes a new random token for tags, branches and Call-IDs.
    :param chance: makes a random number from 0 up to 1.
    :param lose: called while a bug of ours is handled that costs a call or, with None, a message; none: it raises.
    :ivar dropped: what was thrown away, by kind.
    """

    def __init__(
        self,
        token: Callable[[], str],
        chance: Callable[[], float],
        settings: Settings | None = None,
        lose: Callable[[Call | None], None] | None = None,
    ) -> None:
        self.token = token
        self.chance = chance
        self._lose = lose
        self.settings = settings or Settings()
        self.dialogs: dict[DialogKey, Call] = {}
        self.credentials: Credentials | None = None
        self.dropped: dict[str, int] = {}
        self._outputs: list[Output] = []
        self._transactions = Transactions(self.settings.timing)
        self._agenda: Agenda[Call] = Agenda()
        self._incoming: dict[ServerTransaction, IncomingCall] = {}
        "Calls not yet answered, by the transaction a CANCEL names."
        self._inviting: set[tuple[str, str | None, CSeq]] = set()
        "(Call-ID, From tag, CSeq) of the INVITEs of calls that are not over."

    # --- what the owner calls ---

    @property
    def next_due_ms(self) -> int | None:
        """When `due` has something to do."""
        return earlier(self._transactions.next_due_ms, self._agenda.next_due_ms)

    def outputs(self) -> list[Output]:
        """Take what has to be sent and told, in order."""
        taken, self._outputs = self._outputs, []
        return taken

    def due(self, now_ms: int) -> None:
        """Let time pass."""
        self._perform(self._transactions.due(now_ms), now_ms)
        while (call := self._agenda.take(now_ms)) is not None:
            try:
                call.due(now_ms)
            except Exception:
                self.give_up(call, now_ms)
            self.noted(call)

    def receive(self, message: Request | Response, flow: Flow, now_ms: int) -> None:
        """Take a message that came over a flow."""
        try:
            self._receive(message, flow, now_ms)
        except Exception:
            self.give_up(None, now_ms)
            if isinstance(message, Request) and message.method != "ACK":
                self._outputs.append(Transmit(message.answer(500, to_tag=stateless_tag(message)), flow))

    def give_up(self, call: Call | None, now_ms: int) -> None:
        """End a call for a bug of ours, while that is being handled; the owner is told once, others are not harmed."""
        if self._lose is None:
            raise
        if call is None or not call.failed:
            self._lose(call)
        if call is not None:
            call.fail(now_ms)
            self.noted(call)

    def _receive(self, message: Request | Response, flow: Flow, now_ms: int) -> None:
        if isinstance(message, Response):
            kind = bad_response(message)
            if kind:
                self._drop(kind)
            else:
                self._perform(self._transactions.receive_response(message, now_ms), now_ms)
            return
        stamp(message, flow)
        refused = refusal(message, self.settings.abilities)
        if refused is None:
            self._perform(self._transactions.receive_request(message, flow, flow.reliable, now_ms), now_ms)
            return
        self._drop(refused.kind)
        response = refused.response(message, stateless_tag(message))
        if response is not None:
            self._outputs.append(Transmit(response, flow))

    def unsent(self, message: Request | Response, now_ms: int) -> None:
        """Take note that a message could not leave: its connection broke, or no way led to its host."""
        if (transaction := self._transactions.of(message)) is not None:
            self._perform(self._transactions.broken(transaction, now_ms), now_ms)

    def disconnected(self, flow: Flow, now_ms: int) -> None:
        """Take note that a connection is gone: say again what was last said of calls over it that have no answer.

        When it cannot leave by another connection either, they are over (RFC 3261, section 17.2.4).
        """
        for transaction in tuple(self._incoming):
            if transaction.flow == flow:
                self._perform(self._transactions.again(transaction, now_ms), now_ms)

    def refused(self, peer: tuple[str, int], branch: str, now_ms: int, patience: int = REFUSALS) -> None:
        """Take note that nobody is there who could take a message (ICMP; RFC 3261, section 18.4).

        When that was said often enough it is the end of an INVITE that has had no answer. All else, calls that are up
        above all, has time until its timers say so: forged notes must end nothing.
        """
        transaction = self._transactions.clients.get((branch, "INVITE"))
        if transaction is None or transaction.state is not State.CALLING:
            return
        exchange = transaction.flow
        assert isinstance(exchange, Exchange)
        exchange.refused += exchange.dialog is None and exchange.flow.peer == peer
        if exchange.refused >= patience:
            self._perform(self._transactions.broken(transaction, now_ms), now_ms)

    def dial(self, to: Destination, media: Negotiation, flow: Flow, now_ms: int) -> OutgoingCall:
        """Call somebody; the INVITE goes out over `flow`.

        :raises WireError: when the destination or the caller is no address.
        """
        call = OutgoingCall(self, flow, media)
        call.start(to, now_ms)
        return call

    def request(self, exchange: Exchange, now_ms: int) -> None:
        """Send a request that wants a response: REGISTER, OPTIONS, or any inside a dialog."""
        request = exchange.request
        if self.settings.product and "user-agent" not in request.headers:
            request.headers.add("User-Agent", self.settings.product)
        limit = self.settings.datagram_limit
        if limit and not exchange.enlarged and exchange.flow.transport == "UDP" and len(request.encode()) > limit:
            exchange.enlarged, exchange.flow = True, exchange.flow.over("TCP")
        flow = exchange.flow
        request.headers.remove("via")
        self._put_via(request, flow)
        self._perform(self._transactions.request(request, exchange, flow.reliable, now_ms), now_ms)

    def new_request(self, method: str, uri: Uri, caller: str, to: str) -> Request:
        """Make a request outside of any dialog, with new tag and Call-ID."""
        request = Request(method=method, uri=str(uri.bare()))
        headers = request.headers
        headers.add("Max-Forwards", "70")
        headers.add("From", f"{caller};tag={self.token()}")
        headers.add("To", to)
        headers.add("Call-ID", self.token())
        headers.add("CSeq", f"1 {method}")
        return request

    # --- what calls use ---

    def transmit(self, request: Request, flow: Flow, hop: Uri) -> None:
        """Send an ACK of a 2xx; its Via is made once, so that the same ACK can be sent again."""
        if "via" not in request.headers:
            self._put_via(request, flow)
        self._outputs.append(Transmit(request, flow, hop))

    def cancel(self, exchange: Exchange, cancel: Request, now_ms: int) -> None:
        """Send the CANCEL of an INVITE: it keeps the INVITE's Via and way."""
        canceling = Exchange(cancel, exchange.flow, exchange.hop, lambda *_: None)
        self._perform(self._transactions.request(cancel, canceling, exchange.flow.reliable, now_ms), now_ms)

    def respond(self, transaction: ServerTransaction, response: Response, now_ms: int) -> None:
        """Send a response."""
        if self.settings.product and "server" not in response.headers:
            response.headers.add("Server", self.settings.product)
        if response.status >= 200:
            self._incoming.pop(transaction, None)
        self._perform(self._transactions.respond(transaction, response, now_ms), now_ms)

    def tell(self, event: Event) -> None:
        """Tell the owner."""
        self._outputs.append(event)

    def ended(self, call: IncomingCall) -> None:
        """Take note that a call is over: its INVITE may come again."""
        self._inviting.discard(invitation(call.invite))

    def noted(self, call: Call) -> None:
        """Take note that a call's alarms may have changed."""
        self._agenda.note(call)

    def allow(self, message: Request | Response) -> None:
        """Say what we can do, where the RFC wants it said."""
        abilities = self.settings.abilities
        message.headers.add("Allow", ", ".join(abilities.allow))
        message.headers.add("Supported", ", ".join(abilities.supported))

    # --- inside ---

    def _put_via(self, request: Request, flow: Flow) -> None:
        branch = f"{MAGIC}{self.token()}"
        request.headers.put_first("Via", f"SIP/2.0/{flow.transport} {flow.local};branch={branch};rport")

    def _drop(self, kind: str) -> None:
        self.dropped[kind] = self.dropped.get(kind, 0) + 1

    def _perform(self, effects: list[Effect], now_ms: int) -> None:
        for effect in effects:
            try:
                self._follow(effect, now_ms)
            except Exception:
                self._spoiled(effect, now_ms)

    def _follow(self, effect: Effect, now_ms: int) -> None:
        transaction = effect.transaction
        if isinstance(transaction, ClientTransaction):
            self._client(transaction, effect, now_ms)
        elif isinstance(effect.output, Send):
            assert transaction is not None and isinstance(transaction.flow, Flow)
            self._outputs.append(Transmit(effect.output.message, transaction.flow))
        elif isinstance(effect.output, Pass) and isinstance(effect.output.message, Request):
            self._server(transaction, effect.output.message, now_ms)
        elif isinstance(effect.output, Broken) and transaction in self._incoming:
            self._incoming[transaction].canceled(transaction.request, now_ms)

    def _spoiled(self, effect: Effect, now_ms: int) -> None:
        """Answer a request with 500 that has met a bug of ours, and end the call it or a response is for."""
        transaction = effect.transaction
        if isinstance(transaction, ClientTransaction):
            assert isinstance(transaction.flow, Exchange)
            self.give_up(transaction.flow.call, now_ms)
            return
        call = self._worked_on(effect)
        if transaction is not None and transaction.request is not ANSWERED:
            tag = call.dialog.local_tag if call is not None else self.token()
            self.respond(transaction, transaction.request.answer(500, to_tag=tag), now_ms)
        self.give_up(call, now_ms)

    def _worked_on(self, effect: Effect) -> Call | None:
        """Return the call a request is for, be it the INVITE or the CANCEL of one that has no answer yet."""
        transaction, output = effect.transaction, effect.output
        request = output.message if isinstance(output, Pass) and isinstance(output.message, Request) else None
        if request is not None and request.method == "CANCEL":
            transaction = self._transactions.canceled(request)
        assert not isinstance(transaction, ClientTransaction)
        call = self._incoming.get(transaction) if transaction is not None else None
        return call or (self.dialogs.get(key_of_request(request)) if request is not None else None)

    def _client(self, transaction: ClientTransaction, effect: Effect, now_ms: int) -> None:
        exchange = transaction.flow
        assert isinstance(exchange, Exchange)
        match effect.output:
            case Send(message):
                self._outputs.append(Transmit(message, exchange.flow, exchange.hop))
            case Pass(Response() as response):
                if not self._authenticate(exchange, response, now_ms):
                    exchange.tell(exchange, response, now_ms)
            case TimedOut():
                exchange.tell(exchange, exchange.request.answer(408), now_ms)
            case Broken() if exchange.enlarged and exchange.flow.reliable and not exchange.given_up:
                # The peer takes no TCP: better in fragments than not at all (RFC 3261, section 18.1.1).
                exchange.flow = exchange.flow.over("UDP")
                exchange.request = exchange.request.copy()
                self.request(exchange, now_ms)
            case Broken():
                exchange.tell(exchange, exchange.request.answer(503), now_ms)

    def _authenticate(self, exchange: Exchange, response: Response, now_ms: int) -> bool:
        """Answer a challenge; False when the response is none, or the last word."""
        again = answering(self.credentials, exchange, response)
        if again is None:
            return False
        exchange.request, exchange.tries = again, exchange.tries + 1
        self.request(exchange, now_ms)
        return True

    def _server(self, transaction: ClientTransaction | ServerTransaction | None, request: Request, now_ms: int) -> None:
        """Take a new request, or an ACK, which has no transaction of its own."""
        call = self.dialogs.get(key_of_request(request)) if request.recipient.tag else None
        if request.method == "ACK":
            if call is not None:
                call.acknowledged(request, now_ms)
                self.noted(call)
            return
        assert isinstance(transaction, ServerTransaction)
        if request.method == "CANCEL":
            self._canceled(transaction, request, now_ms)
        elif call is not None:
            call.receive(transaction, request, now_ms)
            self.noted(call)
        elif request.method not in ("INVITE", "OPTIONS") or meant_for_a_call(transaction, request):
            self.respond(transaction, request.answer(481, to_tag=self.token()), now_ms)
        elif request.method == "OPTIONS":
            response = request.answer(200, to_tag=self.token())
            self.allow(response)
            response.headers.add("Accept", ", ".join(self.settings.abilities.accept))
            self.respond(transaction, response, now_ms)
        else:
            self._invited(transaction, request, now_ms)

    def _invited(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        # The same request by another way (RFC 3261, section 8.2.2.2).
        if (invited := invitation(request)) in self._inviting:
            self.respond(transaction, request.answer(482, to_tag=self.token()), now_ms)
            return
        try:
            replaced, status = self._replaced(request)
            if status:
                self.respond(transaction, request.answer(status, to_tag=self.token()), now_ms)
                return
            call = IncomingCall(self, transaction, request)
        except WireError as error:
            self.respond(transaction, request.answer(400, f"Bad Request ({error.kind})", self.token()), now_ms)
            return
        call.replaces = replaced
        self._incoming[transaction] = call
        self._inviting.add(invited)
        self.dialogs[call.dialog.key] = call
        self.tell(Incoming(call, replaced))
        call.start(now_ms)
        self.noted(call)

    def _replaced(self, request: Request) -> tuple[Call | None, int]:
        """Return the call an INVITE wants to replace, and the status when that cannot be (RFC 3891, section 3)."""
        if "replaces" not in request.headers:
            return None, 0
        wanted = Replaces.parse(request.headers.one("replaces"))
        call = self.dialogs.get((wanted.call_id, wanted.to_tag, wanted.from_tag))
        if call is None or call.state is CallState.OVER:
            return None, 481
        return call, 486 if wanted.early_only and call.state is CallState.UP else 0

    def _canceled(self, transaction: ServerTransaction, cancel: Request, now_ms: int) -> None:
        invited = self._transactions.canceled(cancel)
        if invited is None:
            self.respond(transaction, cancel.answer(481, to_tag=self.token()), now_ms)
            return
        call = self._incoming.get(invited)
        # The tag the INVITE was answered with, or will be, also when the CANCEL comes too late (section 9.2).
        tag = call.dialog.local_tag if call is not None else invited.to_tag or self.token()
        self.respond(transaction, cancel.answer(200, to_tag=tag), now_ms)
        if call is not None:
            call.canceled(cancel, now_ms)
            self.noted(call)
