"""One dialog takes the place of another while sound and conversation go on.

The peer asks us to call somebody else (REFER, RFC 3515), or somebody else calls us in the place of a call we have
(INVITE with Replaces, RFC 3891). The agent goes on with whoever is there then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from voicemedia.errors import CallRefused, Unable, WireError
from voicemedia.sip_bridge.call_wire import Call, CallState
from voicemedia.sip_bridge.flow_wire import Answered, Destination, Ended, Event, Progress
from voicemedia.sip_bridge.incoming_wire import DECLINED, IncomingCall
from voicemedia.sip_bridge.refer_wire import Transfer

if TYPE_CHECKING:
    from voicemedia.sip_bridge.trunk_call import TrunkCall
    from voicemedia.sip_bridge.trunk_calls import TrunkCalls

BYE_S: Final = 2.0
"How long we wait for the BYE of a peer that has handed us over."


class Succession:
    """The calls of a trunk that are to take the place of others."""

    log = Logger()

    def __init__(self, home: TrunkCalls) -> None:
        self._home = home
        self._coming: dict[Call, TrunkCall] = {}
        "Calls we place because we were asked to, not answered yet."

    # --- the peer wants us to call somebody else ---

    def asked(self, call: TrunkCall, transfer: Transfer) -> None:
        """Take a REFER: whom we may not call is not called."""
        home, now_ms = self._home, self._home.now_ms
        try:
            uri, flow = home.whom.way_to(home.whom.referred(transfer.target, call.sip.flow))
            if call.successor is not None:
                raise Unable("we are being transferred already", 491)
            headers = [("Referred-By", transfer.referred_by)] if transfer.referred_by else []
            if transfer.replaces is not None:
                headers.append(("Replaces", str(transfer.replaces)))
            to = Destination(uri, home.whom.own_address(flow), tuple(headers))
            home.admit()
            successor = home.agent.dial(to, home.media(call.pair, flow), flow, now_ms)
        except (CallRefused, Unable, WireError) as error:
            # What is wrong with an address may be told by the address.
            reason = error.kind if isinstance(error, WireError) else str(error)
            self.log.info("call {call}: a transfer is refused: {reason}", call=call.card.call_id, reason=reason)
            status = error.status if isinstance(error, Unable) and error.status in (403, 491) else DECLINED
            call.sip.transfers.refuse(now_ms, status)
            return
        call.successor = successor
        self._coming[successor] = call
        home.desk.hold(+1)
        call.sip.transfers.accept(now_ms)
        call.later(home.trunk.ring_s, self._unanswered, successor)

    def told(self, event: Event) -> bool:
        """Take an event of a call that is to take the place of another; False when it is none."""
        if isinstance(event, Ended) and self._leaves_early(event):
            return True
        call = self._coming.get(event.call)
        if call is None:
            return False
        now_ms = self._home.now_ms
        match event:
            case Progress(_, response):
                call.sip.transfers.report(response.status, now_ms)
            case Answered():
                self._succeed(call, event.call)
            case Ended():
                self._arrived(event.call)
                call.successor = None
                self._failed(call, event)
        return True

    def _succeed(self, call: TrunkCall, successor: Call) -> None:
        self._arrived(successor)
        call.successor = None
        before, now_ms = call.sip, self._home.now_ms
        before.transfers.report(200, now_ms)
        self._take_place(call, successor)
        # Who has handed us over hangs up; who forgets to is hung up.
        self._home.desk.reactor.callLater(BYE_S, self._home.safely, before, self._dismiss, before)

    def _arrived(self, successor: Call) -> None:
        """Count a call no longer beside the one it was placed for."""
        if self._coming.pop(successor, None) is not None:
            self._home.desk.hold(-1)

    def _dismiss(self, before: Call) -> None:
        if before.state is not CallState.OVER:
            before.hang_up(self._home.now_ms)

    def _leaves_early(self, ended: Ended) -> bool:
        """Take note of a peer that hangs up before the call it asked for is answered (RFC 5589, section 6.1)."""
        call = self._home.live.get(ended.call)
        if call is None or call.successor is None or call.why is not None:
            return False
        successor, call.successor = call.successor, None
        self._arrived(successor)
        self._take_place(call, successor)
        return True

    def abandon(self, call: TrunkCall) -> None:
        """Let nobody come in the place of a call that is over, should they answer in this very moment."""
        successor, call.successor = call.successor, None
        if successor is not None:
            self._arrived(successor)
            successor.hang_up(self._home.now_ms)

    def _unanswered(self, successor: Call) -> None:
        if successor.state is CallState.STARTING:
            successor.hang_up(self._home.now_ms)

    def _failed(self, call: TrunkCall, ended: Ended) -> None:
        call.sip.transfers.report(ended.status, self._home.now_ms)

    # --- somebody calls in the place of another ---

    def replaced(self, call: TrunkCall, sip: IncomingCall) -> None:
        """Answer a call that takes the place of one we have."""
        home = self._home
        sip.answer(home.media(call.pair, sip.flow), home.now_ms)
        if sip.state is not CallState.OVER:
            self._take_place(call, sip)

    def _take_place(self, call: TrunkCall, sip: Call) -> None:
        live = self._home.live
        live.pop(call.sip, None)
        call.sip, live[sip] = sip, call
        agreement = sip.media.agreement if sip.media is not None and sip.up else None
        if agreement is not None:
            call.agreed(agreement)
        call.card.held = False
        call.bring_back()
        self.log.info("call {call}: somebody else is there now", call=call.card.call_id)
