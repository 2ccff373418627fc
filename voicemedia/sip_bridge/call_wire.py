"""A call: what incoming and outgoing ones have in common once there is a dialog (RFC 3261, sections 12 to 15).

The parts with a life of their own are beside it: `reinvite_wire` changes a running session, `transfer_wire` moves
it, `incoming_wire` and `outgoing_wire` bring it up.
"""

from __future__ import annotations

import hashlib
from enum import Enum, auto
from functools import cached_property
from typing import TYPE_CHECKING

from voicemedia.errors import WireError
from voicemedia.sip_bridge.alarms_wire import Alarms, earlier
from voicemedia.sip_bridge.body_wire import body_of
from voicemedia.sip_bridge.caller_wire import NO_SESSION
from voicemedia.sip_bridge.dialog_wire import Dialog
from voicemedia.sip_bridge.dtmf_wire import RELAY, key_in, relay
from voicemedia.sip_bridge.exchange_wire import Exchange, Tell
from voicemedia.sip_bridge.flow_wire import Ended, Flow, KeyPressed, MediaChanged
from voicemedia.sip_bridge.offer_wire import Negotiation
from voicemedia.sip_bridge.reason_wire import CAUSES, NORMAL, Reason, cause_of
from voicemedia.sip_bridge.reinvite_wire import Session
from voicemedia.sip_bridge.sip_wire import Message, Request, Response
from voicemedia.sip_bridge.transaction_wire import ServerTransaction
from voicemedia.sip_bridge.transfer_wire import Transfers

if TYPE_CHECKING:
    from voicemedia.sip_bridge.user_agent_wire import UserAgent

SDP = "application/sdp"
TEMPORARY_FAILURE = 41
"Of Q.850."


class CallState(Enum):
    """How far a call is."""

    STARTING = auto()
    "No final answer yet."
    ANSWERED = auto()
    "We said 200 and wait for the ACK."
    UP = auto()
    OVER = auto()


class Call:
    """One call. The owner is told of everything by the events in `flow_wire`.

    :ivar media: what is negotiated; of a call out, read it anew after `Answered` (each phone of a fork has its own).
    """

    dialog: Dialog

    def __init__(self, agent: UserAgent, flow: Flow, media: Negotiation | None) -> None:
        self.agent = agent
        self.flow = flow
        self.media = media
        self.state = CallState.STARTING
        self.alarms = Alarms()
        self.session = Session(self)
        self.session_id = hashlib.blake2b(agent.token().encode(), digest_size=16).hexdigest()
        self.peer_session_id = NO_SESSION
        self.failed = False
        "A bug of ours was met in it."
        self._goodbye: Reason | None = None
        "We hang up as soon as the ACK is here."

    @cached_property
    def transfers(self) -> Transfers:
        """What it has to do with transfers; few calls have."""
        return Transfers(self)

    @property
    def up(self) -> bool:
        """Both sides know that the call is answered."""
        return self.state is CallState.UP

    # --- time ---

    @property
    def next_due_ms(self) -> int | None:
        """When `due` has something to do."""
        return earlier(self.alarms.next_due_ms, self.session.next_due_ms)

    def due(self, now_ms: int) -> None:
        """Let time pass."""
        self.alarms.due(now_ms)
        self.session.due(now_ms)

    # --- what the owner can do ---

    def hang_up(self, now_ms: int, reason: Reason | None = None) -> None:
        """End the call in whatever way its state asks for."""
        reason = reason or Reason("Q.850", NORMAL, "Normal call clearing")
        if self.state is CallState.UP:
            self._say_bye(now_ms, reason)
        elif self.state is CallState.ANSWERED:
            # The callee may not say BYE before the ACK (RFC 3261, section 15).
            self._goodbye = reason
        self.agent.noted(self)

    def fail(self, now_ms: int) -> None:
        """End the call because of a bug of ours, with as little as it takes."""
        again, self.failed = self.failed, True
        reason = Reason("Q.850", TEMPORARY_FAILURE, "Temporary failure")
        try:
            if "transfers" in vars(self):
                self.transfers.refuse(now_ms, 500)
            if self.state is CallState.ANSWERED and (again or not self.session.unacknowledged):
                self._say_bye(now_ms, reason)
            else:
                self.hang_up(now_ms, reason)
        except Exception:
            # Not even that can be said; the first bug is in the log. Nothing of the call is to be left.
            self.end(Ended(self, False, 500, TEMPORARY_FAILURE, answered=self.up))
            self.agent.dialogs.pop(self.dialog.key, None)

    def send_key(self, key: str, now_ms: int, duration_ms: int = 160) -> None:
        """Send a key as an INFO, for trunks that want it so."""
        self.send(self.in_dialog("INFO", RELAY, relay(key, duration_ms)), now_ms)

    # --- requests of the peer inside the dialog ---

    def receive(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        """Take a request of the peer."""
        if self.state is CallState.OVER:
            self.respond(transaction, request.answer(481), now_ms)
        elif not self.dialog.in_order(request):
            self.respond(transaction, request.answer(500, "CSeq Out Of Order"), now_ms)
        else:
            try:
                self._receive(transaction, request, now_ms)
            except WireError as error:
                self.respond(transaction, request.answer(400, f"Bad Request ({error.kind})"), now_ms)

    def _receive(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        match request.method:
            case "BYE":
                self.respond(transaction, request.answer(200), now_ms)
                self._peer_hung_up(request, now_ms)
            case "INVITE":
                self.session.invited(transaction, request, now_ms)
            case "UPDATE":
                self.session.updated(transaction, request, now_ms)
            case "REFER":
                self.transfers.asked(transaction, request, now_ms)
            case "NOTIFY":
                self.transfers.notified(transaction, request, now_ms)
            case "INFO":
                self._informed(transaction, request, now_ms)
            case "OPTIONS":
                response = request.answer(200)
                self.agent.allow(response)
                self.respond(transaction, response, now_ms)
            case _:
                self.respond(transaction, request.answer(481), now_ms)

    def _informed(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        if "info-package" in request.headers:
            # We have announced none (RFC 6086, section 4.2.2).
            self.respond(transaction, request.answer(469), now_ms)
            return
        key = key_in(request)
        self.respond(transaction, request.answer(200 if key or not request.body else 415), now_ms)
        if key is not None:
            self.agent.tell(KeyPressed(self, key))

    def _peer_hung_up(self, bye: Request, now_ms: int) -> None:
        self.end(Ended(self, True, 200, cause_of(bye), answered=True))

    def acknowledged(self, ack: Request, now_ms: int) -> None:
        """Take an ACK of a 2xx of ours."""
        if not self.session.acknowledged(ack, now_ms):
            return
        if self.state is CallState.ANSWERED:
            self.state = CallState.UP
            self.came_up(now_ms)
        if self._goodbye is not None and self.state is CallState.UP:
            self._say_bye(now_ms, self._goodbye)
        self.session.resume(now_ms)

    def came_up(self, now_ms: int) -> None:
        """Be told that the call is up."""

    # --- building blocks ---

    def in_dialog(self, method: str, content_type: str = "", body: bytes = b"") -> Request:
        """Make the next request of the dialog."""
        request = self.dialog.request(method)
        if method in ("INVITE", "UPDATE", "REFER"):
            request.headers.add("Contact", self.flow.contact)
            self.agent.allow(request)
        request.set_body(content_type, body)
        self.identify(request)
        return request

    def identify(self, message: Request | Response) -> None:
        """Name the call for those who follow it through many boxes (RFC 7989)."""
        message.headers.add("Session-ID", f"{self.session_id};remote={self.peer_session_id}")

    def send(self, request: Request, now_ms: int, tell: Tell | None = None, dialog: Dialog | None = None) -> None:
        """Send a request of the dialog (or of another that our INVITE has made)."""
        dialog = dialog or self.dialog
        exchange = Exchange(request, self.flow, dialog.next_hop, tell or self._answered_otherwise, dialog, self)
        self.agent.request(exchange, now_ms)

    def _answered_otherwise(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        """Nobody waits for this response, but one thing is to be learned from it: that there is no call."""
        if response.status == 481 and exchange.request.method != "BYE":
            self.lost(response, now_ms)

    def never_acknowledged(self, now_ms: int) -> None:
        """No ACK has come in all the time the RFC gives it (RFC 3261, section 13.3.1.4)."""
        self._say_bye(now_ms, Reason("SIP", 408, "No ACK"), by_peer=True, status=408)

    def lost(self, response: Response, now_ms: int) -> None:
        """The peer does not know the call, or does not answer: end it (RFC 3261, section 12.2.1.2)."""
        if self.state is CallState.UP:
            reason = Reason("SIP", response.status, response.reason)
            self._say_bye(now_ms, reason, by_peer=True, status=response.status)

    def respond(self, transaction: ServerTransaction, response: Response, now_ms: int) -> None:
        """Send a response in the dialog."""
        method = transaction.request.method
        if response.status < 300 and method in ("INVITE", "UPDATE") and "contact" not in response.headers:
            response.headers.add("Contact", self.flow.contact)
            self.agent.allow(response)
        if "session-id" not in response.headers:
            self.identify(response)
        self.agent.respond(transaction, response, now_ms)

    def take_answer(self, message: Message, now_ms: int) -> bool:
        """Take the answer to our offer out of a message; False when there is none that fits."""
        try:
            body = body_of(message, SDP)
            agreement = self.media.accept(body) if self.media and body else None
        except WireError:
            agreement = None
        if agreement is None:
            return False
        self.agent.tell(MediaChanged(self, agreement))
        return True

    def _say_bye(self, now_ms: int, reason: Reason, *, by_peer: bool = False, status: int = 200) -> None:
        bye = self.in_dialog("BYE")
        bye.headers.add("Reason", str(reason))
        cause = reason.cause if reason.protocol == "Q.850" else CAUSES.get(reason.cause, NORMAL)
        self.end(Ended(self, by_peer, status, cause, answered=self.up), keep=True)
        self.send(bye, now_ms, self._bye_answered)

    def _bye_answered(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        if response.status >= 200:
            self.agent.dialogs.pop(self.dialog.key, None)

    def end(self, ended: Ended, keep: bool = False) -> None:
        """Be over; `keep` the dialog for what still crosses on the wire."""
        if self.state is CallState.OVER:
            return
        self.state = CallState.OVER
        self.alarms.clear()
        self.session.stop()
        if not keep:
            self.agent.dialogs.pop(self.dialog.key, None)
        self.agent.tell(ended)
