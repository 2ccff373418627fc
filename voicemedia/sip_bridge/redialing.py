"""A call that cannot be placed by one server of a trunk is placed by the next (RFC 3263, section 4.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
from twisted.logger import Logger

from voicemedia.errors import Unable, WireError
from voicemedia.sip_bridge.call_wire import Call, CallState
from voicemedia.sip_bridge.flow_wire import Destination, Ended, Flow
from voicemedia.sip_bridge.outgoing_wire import OutgoingCall
from voicemedia.sip_bridge.sip_wire import Response

if TYPE_CHECKING:
    from voicemedia.sip_bridge.trunk_call import TrunkCall
    from voicemedia.sip_bridge.trunk_calls import TrunkCalls

NO_WORD_S: Final = 4.0
"A server that says nothing at all to an INVITE for so long is given up, when there is another; a 100 is a word."
MOVED: Final = frozenset({300, 301, 302, 305})
MOST_REDIRECTIONS: Final = 3
NOBODY: Final = 600
"From here on a failure says that nobody anywhere will take the call."
FAILED: Final = frozenset({408, 503})
"What says that a server does not serve; 408 is also ours for one that never answered."


class Redialing:
    """The calls out of a trunk that have not been answered.

    :param elsewhere: another way, when one has failed.
    """

    log = Logger()

    def __init__(self, home: TrunkCalls, elsewhere: Callable[[Flow, int], Flow | None]) -> None:
        self._home, self._elsewhere = home, elsewhere

    def watch(self, call: TrunkCall, to: Destination) -> None:
        """Look after a call that has just been placed."""
        call.destination = to
        sip = call.sip
        call.later(NO_WORD_S, self._silent, call, sip)

    def _silent(self, call: TrunkCall, sip: Call) -> None:
        if call.sip is not sip or sip.state is not CallState.STARTING or call.why is not None:
            return
        if isinstance(sip, OutgoingCall) and not sip.noticed and self._again(call, 0):
            # Should it have been heard after all, it is canceled.
            sip.hang_up(self._home.now_ms)

    def ended(self, call: TrunkCall, ended: Ended) -> bool:
        """Place a call anew that failed by fault of the server, or was sent on; False: it is over."""
        waiting = call.order is not None and call.card.answered_ms is None and call.why is None
        if waiting and ended.response is not None and ended.status in MOVED:
            return self._follow(call, ended.response)
        if not waiting or ended.status >= NOBODY:
            return False
        if ended.status in FAILED and call.card.state != "early":
            retry_after_s = ended.response.number("retry-after", 0, 86_400) if ended.response is not None else 0
            if self._again(call, retry_after_s):
                return True
        return self._choose(call)

    def _follow(self, call: TrunkCall, response: Response) -> bool:
        """Call whom a redirection names, one after the other, the best first (RFC 3261, section 8.1.3.4)."""
        if call.redirections >= MOST_REDIRECTIONS:
            return False
        call.redirections += 1
        try:
            contacts = sorted(response.contacts, key=lambda contact: -contact.weight)
        except WireError as error:
            self._not_sent_on(call, error.kind)
        else:
            call.choices[:0] = [contact.uri for contact in contacts]
        return self._choose(call)

    def _choose(self, call: TrunkCall) -> bool:
        """Place a call to the next the trunk may call."""
        home, to = self._home, call.destination
        while call.choices and to is not None:
            try:
                uri, flow = home.whom.way_to(home.whom.plan.called(str(call.choices.pop(0))))
            except Unable as error:
                self._not_sent_on(call, str(error))
            else:
                return self._place(call, msgspec.structs.replace(to, uri=uri), flow)
        return False

    def _not_sent_on(self, call: TrunkCall, reason: str) -> None:
        self.log.info("call {call}: not sent on: {reason}", call=call.card.call_id, reason=reason)

    def _again(self, call: TrunkCall, retry_after_s: int) -> bool:
        flow = self._elsewhere(call.sip.flow, retry_after_s)
        return flow is not None and call.destination is not None and self._place(call, call.destination, flow)

    def _place(self, call: TrunkCall, to: Destination, flow: Flow) -> bool:
        home, before = self._home, call.sip
        try:
            sip = home.agent.dial(to, home.media(call.pair, flow), flow, home.now_ms)
        except WireError:
            return False
        self.log.info("call {call}: placed again by {host}", call=call.card.call_id, host=flow.peer[0])
        home.live.pop(before, None)
        call.sip, home.live[sip] = sip, call
        self.watch(call, to)
        home.wake()
        return True
