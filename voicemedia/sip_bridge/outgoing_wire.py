"""A call that goes out: the INVITE, its forks, its CANCEL (RFC 3261, sections 9 and 13.2; RFC 3262; RFC 6228)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voicemedia.errors import WireError
from voicemedia.sip_bridge.body_wire import body_of
from voicemedia.sip_bridge.call_wire import SDP, Call, CallState
from voicemedia.sip_bridge.caller_wire import session_id
from voicemedia.sip_bridge.dialog_wire import Dialog
from voicemedia.sip_bridge.exchange_wire import Exchange
from voicemedia.sip_bridge.flow_wire import Answered, Destination, Ended, Flow, MediaChanged, Progress
from voicemedia.sip_bridge.offer_wire import Agreement, Negotiation
from voicemedia.sip_bridge.prack_wire import ReliableReceiver
from voicemedia.sip_bridge.reason_wire import Reason, cause_of
from voicemedia.sip_bridge.session_timer_wire import ask
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.transaction_wire import ServerTransaction, cancel_of
from voicemedia.sip_bridge.uri_wire import Uri

if TYPE_CHECKING:
    from voicemedia.sip_bridge.user_agent_wire import UserAgent


@dataclass(slots=True)
class Fork:
    """One of those our INVITE has reached; there may be several behind a proxy."""

    dialog: Dialog
    media: Negotiation
    "Our offer, with this one's answer when it has come."
    receiver: ReliableReceiver = field(default_factory=ReliableReceiver)
    agreement: Agreement | None = None


class OutgoingCall(Call):
    """We call somebody."""

    def __init__(self, agent: UserAgent, flow: Flow, media: Negotiation) -> None:
        super().__init__(agent, flow, media)
        self._offered = media
        self._exchange: Exchange | None = None
        self._forks: dict[str, Fork] = {}
        "By tag."
        self._surplus: dict[str, Request] = {}
        "Tag -> the ACK for a second phone that was picked up; it is hung up at once."
        self._heard: Request | None = None
        "The INVITE that has got a provisional response: only now may it be canceled."
        self._canceling = False

    def start(self, to: Destination, now_ms: int) -> None:
        """Send the INVITE."""
        uri = Uri.parse(to.uri)
        invite = self.agent.new_request("INVITE", uri, to.caller, f"<{uri.bare()}>")
        if to.call_id:
            invite.headers.replace("call-id", to.call_id)
        for name, value in to.headers:
            invite.headers.add(name, value)
        invite.headers.add("Contact", self.flow.contact)
        self.agent.allow(invite)
        self.identify(invite)
        ask(invite, self.agent.settings.session)
        invite.set_body(SDP, self._offered.offer())
        self.dialog = Dialog(
            invite.call_id,
            invite.headers.one("from"),
            invite.headers.one("to"),
            invite.sender.tag or "",
            "",
            uri.bare(),
            caller=True,
        )
        self._exchange = Exchange(invite, self.flow, None, self._answered, call=self)
        self.agent.request(self._exchange, now_ms)

    @property
    def noticed(self) -> bool:
        """Whether anybody has answered anything to the INVITE as it was last sent."""
        return self._exchange is not None and self._heard is self._exchange.request

    def hang_up(self, now_ms: int, reason: Reason | None = None) -> None:
        """End the call: CANCEL it while it rings."""
        if self.state is not CallState.STARTING:
            super().hang_up(now_ms, reason)
        elif not self._canceling:
            assert self._exchange is not None
            self._canceling = self._exchange.given_up = True
            if self._heard is self._exchange.request:
                self._cancel(now_ms)

    def _cancel(self, now_ms: int) -> None:
        assert self._exchange is not None
        self.agent.cancel(self._exchange, cancel_of(self._exchange.request), now_ms)
        # Who answers neither the CANCEL nor the INVITE is gone (section 9.1).
        patience_ms = self.agent.settings.timing.patience
        self.alarms.set("cancel", now_ms + patience_ms, lambda _: self._failed(None, 487))
        self.agent.noted(self)

    def fail(self, now_ms: int) -> None:
        """End the call; whoever still answers it is hung up."""
        starting = self.state is CallState.STARTING
        super().fail(now_ms)
        if starting:
            self._failed(None, 500)

    # --- responses ---

    def _answered(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        try:
            if response.status < 200:
                self._provisional(exchange, response, now_ms)
            elif response.status < 300:
                self._success(exchange, response, now_ms)
            elif self.state is CallState.STARTING and not self._longer_session(exchange, response, now_ms):
                self._failed(response, response.status)
        except WireError:
            # A response that makes no dialog (no Contact, a broken Record-Route): nothing can be done with it.
            if response.status >= 200 and self.state is CallState.STARTING:
                self._failed(response, 500)
        self.agent.noted(self)

    def _provisional(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        first, self._heard = self._heard is not exchange.request, exchange.request
        if self._canceling and first:
            self._cancel(now_ms)
        if response.status == 100 or self.state is not CallState.STARTING:
            return
        fork = self._fork(exchange, response)
        if fork is None:
            self.agent.tell(Progress(self, response))
            return
        if "100rel" in response.headers.tokens("require") and not self._acknowledge(fork, response, now_ms):
            return
        body = body_of(response, SDP)
        if body and fork.agreement is None:
            fork.agreement = fork.media.accept(body)
        self.agent.tell(Progress(self, response, fork.agreement if body else None))

    def _fork(self, exchange: Exchange, response: Response) -> Fork | None:
        """Return the early dialog of a provisional response, None when it opens none."""
        tag = response.recipient.tag
        if tag is None:
            return None
        if tag not in self._forks:
            if "contact" not in response.headers:
                return None
            fork = Fork(Dialog.calling(exchange.request, response), self._offered.forked())
            self._forks[tag] = fork
            self.agent.dialogs[fork.dialog.key] = self
            if len(self._forks) == 1:
                self.dialog, self.media = fork.dialog, fork.media
        return self._forks[tag]

    def _acknowledge(self, fork: Fork, response: Response, now_ms: int) -> bool:
        """Send the PRACK of a reliable response; False when it has been seen or came too early."""
        rack = fork.receiver.take(response)
        if rack is None:
            return False
        prack = fork.dialog.request("PRACK")
        prack.headers.add("RAck", str(rack))
        self.send(prack, now_ms, dialog=fork.dialog)
        return True

    def _longer_session(self, exchange: Exchange, response: Response, now_ms: int) -> bool:
        """Try again with a longer session when that was all that was wrong (RFC 4028, section 7.3)."""
        at_least_s = response.number("min-se", 0, 2**20)
        if response.status != 422 or not at_least_s or "min-se" in exchange.request.headers or self._canceling:
            return False
        old = exchange.request
        again = old.copy()
        again.headers.remove("session-expires")
        again.headers.replace("cseq", f"{old.cseq.number + 1} INVITE")
        ask(again, self.agent.settings.session, at_least_s=at_least_s)
        exchange.request = again
        self.agent.request(exchange, now_ms)
        return True

    def _success(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        tag = response.recipient.tag or ""
        if self.state is not CallState.STARTING:
            if tag != self.dialog.remote_tag or not self.session.ack_again(exchange.request.cseq.number):
                self._too_many(exchange, response, now_ms)
            return
        fork = self._forks.get(tag) or Fork(Dialog.calling(exchange.request, response), self._offered.forked())
        self._choose(fork, response)
        self.session.ack(exchange.request)
        self.session.learn(response, now_ms)
        self.state = CallState.UP
        # A preview in a 18x is said again in the 2xx; only a 2xx without one relies on it.
        if body_of(response, SDP):
            self.media = self._offered.forked()
            taken = self.take_answer(response, now_ms)
        else:
            # An UPDATE may have changed since what the answer in a 18x has settled (RFC 3311, section 5.1).
            agreement = fork.media.agreement
            taken = agreement is not None
            if agreement is not None:
                self.agent.tell(MediaChanged(self, agreement))
        self.agent.tell(Answered(self))
        if self._canceling or not taken:
            reason = None if taken else Reason("SIP", 488, "No acceptable answer")
            self.hang_up(now_ms, reason)
        self.session.resume(now_ms)

    def receive(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        """Take a request of the peer; while it rings, of any of the peers."""
        fork = self._forks.get(request.sender.tag or "")
        if fork is not None:
            self.dialog, self.media = fork.dialog, fork.media
        super().receive(transaction, request, now_ms)

    def _peer_hung_up(self, bye: Request, now_ms: int) -> None:
        if self.state is CallState.STARTING:
            self._failed(None, 487)
        else:
            super()._peer_hung_up(bye, now_ms)

    def _choose(self, fork: Fork, response: Response) -> None:
        """Make one fork the call; the others' early dialogs are no more."""
        for other in self._forks.values():
            self.agent.dialogs.pop(other.dialog.key, None)
        self._forks.clear()
        self.alarms.clear()
        fork.dialog.confirm(response)
        self.peer_session_id = session_id(response)[0]
        self.dialog, self.media = fork.dialog, fork.media
        self.agent.dialogs[self.dialog.key] = self

    def _too_many(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        """A second phone was picked up: ACK, and hang up (RFC 3261, section 13.2.2.4)."""
        tag = response.recipient.tag or ""
        dialog = Dialog.calling(exchange.request, response)
        if tag not in self._surplus:
            self._surplus[tag] = dialog.request("ACK", exchange.request.cseq.number)
            self.agent.transmit(self._surplus[tag], self.flow, dialog.next_hop)
            self.send(dialog.request("BYE"), now_ms, dialog=dialog)
        else:
            self.agent.transmit(self._surplus[tag], self.flow, dialog.next_hop)

    def _failed(self, response: Response | None, status: int) -> None:
        for fork in self._forks.values():
            self.agent.dialogs.pop(fork.dialog.key, None)
        cause = cause_of(response or Response(), status)
        self.end(Ended(self, not self._canceling, status, cause, response=response))
