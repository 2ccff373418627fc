"""A running session: re-INVITE and UPDATE both ways, the 2xx that is repeated until its ACK, session timers.

(RFC 3261, sections 13.3.1.4 and 14; RFC 3311; RFC 4028; RFC 5407 for what crosses on the wire.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.body_wire import body_of
from voicemedia.sip_bridge.exchange_wire import Exchange
from voicemedia.sip_bridge.flow_wire import MediaChanged, MediaRefused
from voicemedia.sip_bridge.reason_wire import Reason
from voicemedia.sip_bridge.session_timer_wire import SessionTimer, Wake, agree, agreed, ask, too_short
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.transaction_wire import ServerTransaction

if TYPE_CHECKING:
    from voicemedia.sip_bridge.call_wire import Call

SDP: Final = "application/sdp"


class Unacknowledged(msgspec.Struct):
    """A 2xx of ours whose ACK has not come."""

    transaction: ServerTransaction
    response: Response
    offered: bool
    "It holds our offer; the ACK will hold the answer."
    interval_ms: int
    until_ms: int


class Session:
    """The session of one call."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.timer: SessionTimer | None = None
        self.peer_updates = False
        "The peer allows UPDATE."
        self._waiting: Unacknowledged | None = None
        self._asking = self._offering = False
        "A re-INVITE or UPDATE of ours has no final response; it holds an offer."
        self._wanted = False
        "The owner wants a re-offer, which must wait."
        self._acks: dict[int, Request] = {}
        "CSeq -> the ACK we sent, to be sent again when its 2xx comes again."

    # --- time ---

    @property
    def next_due_ms(self) -> int | None:
        """When the session has to be refreshed or given up."""
        return self.timer.next_due_ms if self.timer else None

    def due(self, now_ms: int) -> None:
        """Refresh the session, or end it."""
        match self.timer.due(now_ms) if self.timer else None:
            case Wake.REFRESH:
                self._refresh(now_ms)
            case Wake.EXPIRED:
                self.timer = None
                self.call.lost(Response(status=408, reason="Session Timer Expired"), now_ms)

    def stop(self) -> None:
        """Let nothing more happen."""
        self.timer = self._waiting = None
        self._wanted = False
        if not self._asking and not self._acks:
            # Nothing of ours can be answered any more: the call goes at once, and not when garbage is collected.
            del self.call

    # --- the 2xx of ours ---

    def accept(self, transaction: ServerTransaction, response: Response, offered: bool, now_ms: int) -> None:
        """Send a 2xx to an INVITE, again and again until its ACK comes."""
        timing = self.call.agent.settings.timing
        self._waiting = Unacknowledged(transaction, response, offered, timing.t1, now_ms + timing.patience)
        self.call.respond(transaction, response, now_ms)
        self.call.alarms.set("2xx", now_ms + timing.t1, self._again)

    def _again(self, now_ms: int) -> None:
        waiting = self._waiting
        if waiting is None:
            return
        if now_ms >= waiting.until_ms:
            self._waiting = None
            self.call.never_acknowledged(now_ms)
            return
        self.call.respond(waiting.transaction, waiting.response, now_ms)
        waiting.interval_ms = min(waiting.interval_ms * 2, self.call.agent.settings.timing.t2)
        self.call.alarms.set("2xx", min(now_ms + waiting.interval_ms, waiting.until_ms), self._again)

    def acknowledged(self, ack: Request, now_ms: int) -> bool:
        """Take an ACK; False when it acknowledges nothing that waits."""
        waiting = self._waiting
        if waiting is None or ack.cseq.number != waiting.response.cseq.number:
            return False
        self._waiting = None
        self.call.alarms.clear("2xx")
        if waiting.offered and not self.call.take_answer(ack, now_ms):
            self.call.hang_up(now_ms, Reason("SIP", 488, "No acceptable answer in ACK"))
        return True

    # --- what the peer changes ---

    def invited(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        """Answer a re-INVITE."""
        if self._offering or self._waiting is not None or not self.call.up:
            # Two offers cross, or the ACK of our last 2xx is late: later will do.
            self.call.respond(transaction, request.answer(491), now_ms)
            return
        response = self._change(request, now_ms)
        if response.status >= 300:
            self.call.respond(transaction, response, now_ms)
        else:
            self.accept(transaction, response, not body_of(request, SDP), now_ms)

    def updated(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        """Answer an UPDATE, which may hold an offer or nothing."""
        offers = bool(body_of(request, SDP))
        if offers and (self._offering or (self._waiting and self._waiting.offered)):
            response = request.answer(491)
        elif offers and not self.settled:
            response = request.answer(500)
            response.headers.add("Retry-After", str(int(self.call.agent.chance() * 10)))
        else:
            response = self._change(request, now_ms)
        self.call.respond(transaction, response, now_ms)

    @property
    def unacknowledged(self) -> bool:
        """A 2xx of ours waits for its ACK."""
        return self._waiting is not None

    @property
    def settled(self) -> bool:
        """The first offer has been answered."""
        return self.call.media is not None and self.call.media.agreement is not None

    def _change(self, request: Request, now_ms: int) -> Response:
        """Return the response to a re-INVITE or UPDATE, after changing the session as it wants."""
        terms = self.call.agent.settings.session
        if too_short(request, terms):
            response = request.answer(422)
            response.headers.add("Min-SE", str(terms.min_s))
            return response
        media, body = self.call.media, body_of(request, SDP)
        response = request.answer(200)
        if body and media is not None:
            found = media.answer(body)
            if found is None:
                return request.answer(488)
            response.set_body(SDP, found[0])
            self.call.agent.tell(MediaChanged(self.call, found[1]))
        elif request.method == "INVITE" and media is not None:
            response.set_body(SDP, media.offer(anew=True))
        self.call.dialog.refresh(request)
        if self.call.up:
            self.agree(request, response, now_ms)
        return response

    def agree(self, request: Request, response: Response, now_ms: int) -> None:
        """Settle the session timer of a session we accept."""
        self._learn(request)
        self.timer = agree(request, response, self.call.agent.settings.session, now_ms)

    # --- what we change ---

    def reoffer(self, now_ms: int) -> None:
        """Send our offer as it is now (after a change of `media.direction` or `media.terms`), when its time comes."""
        if self.busy:
            self._wanted = True
            return
        self._wanted = False
        assert self.call.media is not None
        self._ask("INVITE", self.call.media.offer(), now_ms)

    @property
    def busy(self) -> bool:
        """An offer is under way, or the call is not yet up."""
        return self._asking or self._waiting is not None or not self.call.up

    def _refresh(self, now_ms: int) -> None:
        if self.busy:
            # Whatever is under way refreshes the session as well.
            return
        if self.peer_updates:
            self._ask("UPDATE", b"", now_ms)
        else:
            self.reoffer(now_ms)

    def _ask(self, method: str, body: bytes, now_ms: int, at_least_s: int = 0) -> None:
        call = self.call
        request = call.in_dialog(method, SDP, body)
        ask(request, call.agent.settings.session, self.timer, at_least_s)
        self._asking, self._offering = True, bool(body)
        call.send(request, now_ms, self._answered)
        call.agent.noted(call)

    def _answered(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        request, call = exchange.request, self.call
        if response.status < 200:
            return
        if response.status < 300 and self.ack_again(request.cseq.number):
            return
        self._asking = self._offering = False
        if response.status < 300:
            self.call.dialog.refresh(response)
            if request.method == "INVITE":
                self.ack(request)
            self._accepted(request, response, now_ms)
        else:
            if request.body and self.call.media is not None:
                self.call.media.abandon()
                if response.status not in (422, 491):
                    self.call.agent.tell(MediaRefused(self.call, response.status))
            self._refused(request, response, now_ms)
        self.resume(now_ms)
        call.agent.noted(call)

    def _accepted(self, request: Request, response: Response, now_ms: int) -> None:
        if not self.call.up:
            return
        self._learn(response)
        self.timer = agreed(response, now_ms)
        if not request.body or self.call.take_answer(response, now_ms):
            return
        if response.body:
            self.call.hang_up(now_ms, Reason("SIP", 488, "No acceptable answer"))
        elif self.call.media is not None:
            # It must hold an answer; who leaves it out has not changed anything on its side.
            self.call.media.abandon()
            self.call.agent.tell(MediaRefused(self.call, 488))

    def _refused(self, request: Request, response: Response, now_ms: int) -> None:
        """A refused change leaves the session as it was (RFC 3261, section 14.1)."""
        if response.status in (408, 481):
            self.call.lost(response, now_ms)
        elif response.status == 491 and self.call.up:
            self._wanted = True
            self.call.alarms.set("491", now_ms + self._wait_ms(), self.resume)
        elif response.status == 422 and self.call.up:
            at_least_s = response.number("min-se", 0, 2**20)
            if at_least_s and "min-se" not in request.headers:
                body = self.call.media.offer() if request.body and self.call.media else b""
                self._ask(request.method, body, now_ms, at_least_s)
        elif request.method == "UPDATE" and self.call.up:
            # Whatever it has said it allows: the session is refreshed the other way.
            self.peer_updates = False
            self.reoffer(now_ms)

    def _wait_ms(self) -> int:
        """Who made the Call-ID waits 2.1 to 4 s, the other up to 2 s, in steps of 10 ms (section 14.1)."""
        chance = self.call.agent.chance()
        return 2100 + int(chance * 191) * 10 if self.call.dialog.caller else int(chance * 201) * 10

    def resume(self, now_ms: int) -> None:
        """Send the re-offer that had to wait."""
        if self._wanted and not self.busy and "491" not in self.call.alarms:
            self.reoffer(now_ms)

    def ack(self, invite: Request) -> None:
        """Send the ACK of a 2xx: in the dialog, a transaction of its own, with the INVITE's credentials."""
        number = invite.cseq.number
        ack = self.call.dialog.request("ACK", number)
        ack.headers.extend(invite.headers.raw("authorization", "proxy-authorization"))
        self._acks = {number: ack}
        self.call.agent.transmit(ack, self.call.flow, self.call.dialog.next_hop)

    def ack_again(self, number: int) -> bool:
        """Send the ACK again when its 2xx has come again; False when it never was."""
        ack = self._acks.get(number)
        if ack is not None:
            self.call.agent.transmit(ack, self.call.flow, self.call.dialog.next_hop)
        return ack is not None

    def learn(self, response: Response, now_ms: int) -> None:
        """Take what the 2xx of our first INVITE says of timers and methods."""
        self._learn(response)
        self.timer = agreed(response, now_ms)

    def _learn(self, message: Request | Response) -> None:
        try:
            self.peer_updates = "update" in message.headers.tokens("allow") or self.peer_updates
        except WireError:
            return
