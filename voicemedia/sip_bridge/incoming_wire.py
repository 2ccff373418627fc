"""A call that comes in: the INVITE until its ACK (RFC 3261, section 13.3; RFC 3262)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.body_wire import body_of
from voicemedia.sip_bridge.call_wire import SDP, Call, CallState
from voicemedia.sip_bridge.caller_wire import session_id
from voicemedia.sip_bridge.dialog_wire import Dialog
from voicemedia.sip_bridge.flow_wire import Answered, Ended, Flow, MediaChanged
from voicemedia.sip_bridge.offer_wire import Negotiation
from voicemedia.sip_bridge.prack_wire import ReliableSender, wants_reliable
from voicemedia.sip_bridge.reason_wire import CAUSES, NORMAL, Reason, cause_of
from voicemedia.sip_bridge.session_timer_wire import too_short
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.transaction_wire import ServerTransaction
from voicemedia.sip_bridge.transactions_wire import ANSWERED
from voicemedia.sip_bridge.uri_wire import Uri

if TYPE_CHECKING:
    from voicemedia.sip_bridge.user_agent_wire import UserAgent

DECLINED: Final = 603


class IncomingCall(Call):
    """Somebody calls us.

    :raises WireError: when the INVITE cannot make a dialog.
    """

    def __init__(self, agent: UserAgent, transaction: ServerTransaction, invite: Request) -> None:
        assert isinstance(transaction.flow, Flow)
        super().__init__(agent, transaction.flow, None)
        self.invite = invite
        self.transaction = transaction
        self.dialog = Dialog.answering(invite, agent.token())
        if self.flow.transport == "TLS" and "sips" in (Uri.parse(invite.uri).scheme, self.dialog.target.scheme):
            self.flow = msgspec.structs.replace(self.flow, sips=True)
        self.peer_session_id = session_id(invite)[0]
        self.replaces: Call | None = None
        self.offer = body_of(invite, SDP)
        self._reliable = wants_reliable(invite)
        self._sender = ReliableSender(1 + int(agent.chance() * 2**30))
        self._interval_ms = 0
        self._give_up_ms = 0
        self._answer = b""
        "Our answer to the offer of the INVITE, made once."
        self._answer_arrived = False
        "It went out reliably and was acknowledged; the 200 needs none."
        self._waiting_for_prack: Response | None = None

    def start(self, now_ms: int) -> None:
        """Refuse at once what cannot become a call, and in the end what has not become one."""
        self.alarms.set("limit", now_ms + self.agent.settings.ring_limit_ms, lambda at_ms: self.refuse(480, at_ms))
        expires_s = self.invite.number("expires", 0)
        if expires_s:
            # The caller waits no longer (RFC 3261, section 13.3.1).
            self.alarms.set("expires", now_ms + expires_s * 1000, lambda at_ms: self.refuse(487, at_ms))
        terms = self.agent.settings.session
        if too_short(self.invite, terms):
            self.refuse(422, now_ms, headers=(("Min-SE", str(terms.min_s)),))

    # --- what the owner can do ---

    def ring(self, now_ms: int, status: int = 180) -> None:
        """Say that it rings (180), is forwarded (181) or queued (182)."""
        if self.state is CallState.STARTING:
            self._provisional(self._response(status), now_ms)

    def progress(self, media: Negotiation, now_ms: int) -> None:
        """Open the sound before the call is answered: 183 with our answer, for greetings that cost nothing."""
        self.media = media
        if self.state is not CallState.STARTING or not self._make_answer(now_ms):
            return
        response = self._response(183)
        response.set_body(SDP, self._answer)
        self._provisional(response, now_ms)

    def answer(self, media: Negotiation, now_ms: int) -> None:
        """Take the call; 488 goes out by itself when nothing in the offer fits."""
        if self.state is not CallState.STARTING:
            return
        self.media = media
        if self.offer and not self._make_answer(now_ms):
            return
        response = self._response(200)
        if not self._answer_arrived:
            response.set_body(SDP, self._answer or media.offer())
        if self._sender.waiting is not None and self._sender.waiting.body:
            # The peer must have our answer before the 200 can do without (RFC 3262, section 3).
            self._waiting_for_prack = response
            return
        self._accept(response, now_ms)

    def refuse(self, status: int, now_ms: int, reason: str = "", headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Do not take the call: 486, 480, 503 with Retry-After, 302 with Contact, 401 with a challenge ..."""
        if self.state is not CallState.STARTING:
            return
        response = self._response(status)
        response.reason = reason or response.reason
        for name, value in headers:
            response.headers.add(name, value)
        self.respond(self.transaction, response, now_ms)
        self.end(Ended(self, False, status, CAUSES.get(status, NORMAL)))
        self.agent.noted(self)

    def hang_up(self, now_ms: int, reason: Reason | None = None) -> None:
        """End the call, or decline it."""
        if self.state is CallState.STARTING:
            self.refuse(500 if self.failed else DECLINED, now_ms)
        else:
            super().hang_up(now_ms, reason)

    def fail(self, now_ms: int) -> None:
        """End the call; an INVITE whose answer has not left is refused."""
        if self.state is CallState.ANSWERED and self.transaction.request is not ANSWERED:
            self.state = CallState.STARTING
        super().fail(now_ms)

    def end(self, ended: Ended, keep: bool = False) -> None:
        """Be over, also for who sends the INVITE by another way."""
        super().end(ended, keep)
        self.agent.ended(self)

    # --- inside ---

    def _response(self, status: int) -> Response:
        return self.invite.answer(status, to_tag=self.dialog.local_tag)

    def _make_answer(self, now_ms: int) -> bool:
        """Make our answer, or refuse the call."""
        if self._answer or self.media is None:
            return bool(self._answer)
        try:
            found = self.media.answer(self.offer) if self.offer else None
        except WireError as error:
            self.refuse(400, now_ms, f"Bad SDP ({error.kind})")
            return False
        if found is None:
            if self.offer:
                self.refuse(488, now_ms)
            return False
        self._answer, agreement = found
        self.agent.tell(MediaChanged(self, agreement))
        return True

    def _provisional(self, response: Response, now_ms: int) -> None:
        if self._sender.waiting is not None:
            # One at a time; what it said is out of date, what it promised is not.
            return
        self.alarms.clear("ring again")
        if self._reliable == "required" or (self._reliable and response.body):
            self._sender.mark(response)
            timing = self.agent.settings.timing
            self._interval_ms = timing.t1
            self._give_up_ms = now_ms + timing.patience
            self.alarms.set("1xx", now_ms + timing.t1, self._provisional_again)
        else:
            again = now_ms + self.agent.settings.ring_again_ms
            self.alarms.set("ring again", again, lambda at_ms: self._provisional(response, at_ms))
        self.respond(self.transaction, response, now_ms)
        self.agent.noted(self)

    def _provisional_again(self, now_ms: int) -> None:
        if self._sender.waiting is None:
            return
        if now_ms >= self._give_up_ms:
            self.refuse(500, now_ms, "No PRACK")
            return
        self.respond(self.transaction, self._sender.waiting, now_ms)
        self._interval_ms *= 2
        self.alarms.set("1xx", min(now_ms + self._interval_ms, self._give_up_ms), self._provisional_again)

    def _receive(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        if request.method == "PRACK":
            self._pracked(transaction, request, now_ms)
        elif request.method == "INVITE" and self.state is CallState.STARTING:
            # A second INVITE while the first has no answer (RFC 3261, section 14.2).
            response = request.answer(500)
            response.headers.add("Retry-After", str(int(self.agent.chance() * 10)))
            self.respond(transaction, response, now_ms)
        else:
            super()._receive(transaction, request, now_ms)

    def _pracked(self, transaction: ServerTransaction, prack: Request, now_ms: int) -> None:
        arrived = self._sender.waiting
        if not self._sender.acknowledged(prack):
            self.respond(transaction, prack.answer(481), now_ms)
            return
        self.alarms.clear("1xx")
        response = prack.answer(200)
        self._answer_arrived = self._answer_arrived or bool(arrived and arrived.body)
        offer = body_of(prack, SDP)
        if offer and self.media is not None:
            found = self.media.answer(offer)
            if found is None:
                response = prack.answer(488)
            else:
                response.set_body(SDP, found[0])
                self.agent.tell(MediaChanged(self, found[1]))
        self.respond(transaction, response, now_ms)
        waiting, self._waiting_for_prack = self._waiting_for_prack, None
        if waiting is not None:
            waiting.body = b""
            waiting.headers.remove("content-type")
            self._accept(waiting, now_ms)

    def _accept(self, response: Response, now_ms: int) -> None:
        self.session.agree(self.invite, response, now_ms)
        self.alarms.clear()
        self.state = CallState.ANSWERED
        self.session.accept(self.transaction, response, not self.offer, now_ms)
        if self.replaces is not None:
            self.replaces.hang_up(now_ms)
        self.agent.noted(self)

    def came_up(self, now_ms: int) -> None:
        """Tell that the ACK is here."""
        self.dialog.confirmed = True
        self.agent.tell(Answered(self))

    def canceled(self, cancel: Request, now_ms: int) -> None:
        """The caller has changed its mind (RFC 3261, section 9.2)."""
        if self.state is CallState.STARTING:
            self.respond(self.transaction, self._response(487), now_ms)
            self.end(Ended(self, True, 487, cause_of(cancel, 487)))

    def _peer_hung_up(self, bye: Request, now_ms: int) -> None:
        """A BYE before our answer ends the INVITE as well (section 15.1.2)."""
        if self.state is CallState.STARTING:
            self.respond(self.transaction, self._response(487), now_ms)
            self.end(Ended(self, True, 487, cause_of(bye, 487)))
        else:
            super()._peer_hung_up(bye, now_ms)
