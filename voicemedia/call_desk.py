"""All calls of the house, seen from outside: listed, placed, moved, ended. What `/calls` asks."""

from collections.abc import Callable, Iterator
from typing import Final

from twisted.internet.defer import Deferred

from voicemedia.call import Call
from voicemedia.config import Route, Trunk
from voicemedia.errors import Unable
from voicemedia.interfaces import Goodbye
from voicemedia.protocols.calls_page import Card, Placing, Transferring
from voicemedia.sip_bridge.bridge import Bridge
from voicemedia.sip_bridge.trunk_call import Order, TrunkCall
from voicemedia.sip_bridge.trunk_line import TrunkLine
from voicemedia.sip_service import line_of_trunk
from voicemedia.switchboard import Line, Switchboard
from voicemedia.switching import Switching, switching_of

NO_TRUNK: Final = "no trunk is configured to call out; see [sip] and dial_prefixes of a trunk"


class CallDesk:
    """The switchboard and the trunks, as one.

    :param line_of: makes what a route gives its calls.
    :param has_agent: whether there is an agent of that name.
    """

    def __init__(
        self,
        switchboard: Switchboard,
        bridge: Bridge | None,
        clock: Callable[[], int],
        line_of: Callable[[Route], Line],
        has_agent: Callable[[str], bool],
    ) -> None:
        self._switchboard, self._bridge, self._clock = switchboard, bridge, clock
        self._line_of, self._has_agent = line_of, has_agent
        self._lines: dict[tuple[str, str], Line] = {}

    # --- looking ---

    def cards(self) -> list[Card]:
        """Return all live calls."""
        trunk_calls = list(self._trunk_calls())
        named = {call.card.call_id for call in trunk_calls}
        others = [self._card(call) for call in self._switchboard if call.caller.call_id not in named]
        return [*(call.card.as_json(self._clock()) for call in trunk_calls), *others]

    def card(self, call_id: str) -> Card | None:
        """Return one call, live or over not long ago."""
        for line in self._trunks():
            call = line.calls.find(call_id)
            card = call.card if call is not None else line.calls.cards.get(call_id)
            if card is not None:
                return card.as_json(self._clock())
        live = self._live(call_id)
        return self._card(live) if live is not None else None

    def _card(self, call: Call) -> Card:
        caller, age_s = call.caller, round((self._clock() - call.answered_ms) / 1000, 1)
        return {
            "id": caller.call_id,
            "carrier": caller.carrier,
            "route": caller.route,
            "direction": caller.direction,
            "state": "up",
            "number": caller.number,
            "ours": caller.to,
            "age_s": age_s,
            "duration_s": age_s,
        }

    def _trunks(self) -> list[TrunkLine]:
        return self._bridge.lines if self._bridge is not None else []

    def _trunk_calls(self) -> Iterator[TrunkCall]:
        for line in self._trunks():
            yield from line.calls

    def _trunk_call(self, call_id: str) -> TrunkCall | None:
        return next((call for call in self._trunk_calls() if call.card.call_id == call_id), None)

    def _live(self, call_id: str) -> Call | None:
        return next((call for call in self._switchboard if call.caller.call_id == call_id), None)

    # --- placing ---

    def place(self, wanted: Placing) -> tuple[Card, Deferred[Card]]:
        """Place a call; the Deferred fires when it is answered, or is over.

        :raises Unable: it cannot be placed.
        """
        settled: Deferred[Card] = Deferred()

        def settle(call: TrunkCall) -> None:
            if call.card.state in ("up", "ended") and not settled.called:
                settled.callback(call.card.as_json(self._clock()))

        line = self._choose(wanted)
        answering = self._answering(line.trunk, wanted.agent)
        order = Order(
            wanted.to,
            lambda call: call.begin(self._switchboard.answer(call.leg, answering)),
            settle,
            wanted.caller,
            answering.route.agent,
            wanted.parameters,
            wanted.ring_s,
            wanted.headers,
        )
        return line.calls.place(order).card.as_json(self._clock()), settled

    def _choose(self, wanted: Placing) -> TrunkLine:
        lines = [line for line in self._trunks() if not wanted.trunk or line.trunk.name == wanted.trunk]
        if wanted.trunk and not lines:
            raise Unable(f"there is no trunk {wanted.trunk}", 404)
        refused = Unable(NO_TRUNK, 403)
        for line in lines:
            try:
                line.calls.whom.plan.called(wanted.to)
            except Unable as error:
                refused = error
            else:
                return line
        raise refused

    def _answering(self, trunk: Trunk, agent: str) -> Line:
        """Find who talks on a call out."""
        if agent and not self._has_agent(agent):
            raise Unable(f"there is no agent {agent}", 404)
        key = trunk.name, agent
        if key not in self._lines:
            self._lines[key] = line_of_trunk(trunk, self._line_of, agent)
        return self._lines[key]

    # --- moving and ending ---

    def hang_up(self, call_id: str) -> bool:
        """End a call; False: there is none."""
        call, live = self._trunk_call(call_id), self._live(call_id)
        if call is not None:
            call.hang_up(Goodbye.AGENT_HUNG_UP)
        elif live is not None:
            live.leg.hang_up(Goodbye.AGENT_HUNG_UP)
        return call is not None or live is not None

    def transfer(self, call_id: str, wanted: Transferring) -> Deferred[None]:
        """Hand somebody over."""
        call = self._trunk_call(call_id)
        if not wanted.call:
            return self._any(call_id).transfer(wanted.to) if call is None else call.transfer(wanted.to, wanted.by)
        other = self._trunk_call(wanted.call)
        if call is None or other is None:
            raise Unable("only live calls of trunks can be joined", 404 if other is None else 409)
        return call.join(other, wanted.by)

    def hold(self, call_id: str) -> Deferred[None]:
        """Let somebody wait."""
        return self._any(call_id).hold()

    def resume(self, call_id: str) -> Deferred[None]:
        """Talk to somebody again."""
        return self._any(call_id).resume()

    def press(self, call_id: str, keys: str) -> None:
        """Press keys towards somebody's end."""
        self._any(call_id).press(keys)

    def pause_recording(self, call_id: str, paused: bool) -> None:
        """Leave what is said out of the recording, or no more."""
        tape = self._switchboard.tape(call_id)
        if tape is None:
            raise Unable("this call is not recorded; see [recording]", 409)
        if paused:
            tape.pause()
        else:
            tape.resume()

    def _any(self, call_id: str) -> Switching:
        call, live = self._trunk_call(call_id), self._live(call_id)
        if call is not None:
            return call
        if live is not None:
            return switching_of(live.leg)
        raise Unable("the call is over", 409)
