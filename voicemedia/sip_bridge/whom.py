"""Whom a trunk calls, as whom, and by which way."""

from collections.abc import Callable
from dataclasses import dataclass

from voicemedia.config import Trunk
from voicemedia.errors import Unable
from voicemedia.sip_bridge.dial_plan_wire import FORBIDDEN, Called, DialPlan
from voicemedia.sip_bridge.flow_wire import Flow
from voicemedia.sip_bridge.uri_wire import Uri


@dataclass(frozen=True, slots=True)
class Ways:
    """How a trunk reaches its peers."""

    knows: Callable[[str], bool]
    "Whether an address is the trunk's."
    to: Callable[[Called], tuple[str, Flow]]
    "The address and the way to somebody; raises `Unable`."
    leads: Callable[[Uri], bool]
    "Whether an address is that of a trunk, this or another, so that a peer may be asked to call there."
    ours: Callable[[Uri, Flow], bool]
    "Whether an address is our own, as the peer of a flow reaches us."
    elsewhere: Callable[[Flow, int], Flow | None]
    "Another way, when one has failed; not before so many seconds is that one worth a try."
    host: Callable[[Flow], str]
    "The host part of addresses there."
    wake: Callable[[], None]
    "Sends what the user agent has to say."


class Whom:
    """The numbers and addresses of one trunk.

    :ivar plan: whom it may call.
    """

    def __init__(self, trunk: Trunk, ways: Ways) -> None:
        self._trunk, self._ways = trunk, ways
        self.plan = DialPlan(trunk.dial_prefixes, trunk.emergency, trunk.rewrite_called)
        self.rewrite_caller = DialPlan((), emergency=False, rewrites=trunk.rewrite_caller).rewrite

    def way_to(self, called: Called) -> tuple[str, Flow]:
        """Return address and way.

        :raises Unable: there is none.
        """
        return self._ways.to(called)

    def own_address(self, flow: Flow, ours: str = "") -> str:
        """Return who calls, as the From of a call of ours has it."""
        return f"<sip:{ours or self.ours('')}@{self._ways.host(flow)}>"

    def ours(self, wanted: str) -> str:
        """Choose whom we call as.

        :raises Unable: it is none of our numbers.
        """
        trunk = self._trunk
        known = trunk.callers or ((trunk.user,) if trunk.user else ("voicemedia",))
        if wanted and wanted not in known:
            raise Unable("the trunk may not call as this number; see callers", 403)
        return wanted or known[0]

    def address_of(self, called: Called, flow: Flow) -> Uri:
        """Return somebody's address as a peer would call it.

        :raises Unable: it is neither a trunk's nor our own.
        """
        uri = called.uri
        if uri is not None and not self._ways.leads(uri) and not self._ways.ours(uri, flow):
            raise Unable("that address is none of a trunk's", FORBIDDEN)
        return called.uri or Uri.parse(f"sip:{called.user}@{self._ways.host(flow)}")

    def referred(self, target: Uri, flow: Flow) -> Called:
        """Read whom the peer of a flow wants us to call: at our own address it is a number for the trunk.

        :raises Unable: the trunk may not call there.
        """
        called = self.plan.called(str(target))
        at_ours = called.uri is not None and self._ways.ours(called.uri, flow)
        return Called(called.number) if at_ours else called
