"""Whether a trunk's peer is there: OPTIONS now and then, and slow changes of mind (RFC 3261, section 11)."""

from __future__ import annotations

from dataclasses import dataclass

from voicemedia.sip_bridge.exchange_wire import Exchange
from voicemedia.sip_bridge.flow_wire import Flow
from voicemedia.sip_bridge.sip_wire import Response
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.sip_bridge.user_agent_wire import UserAgent


@dataclass(frozen=True, slots=True)
class Probing:
    """How a peer is probed."""

    every_ms: int = 30_000
    again_ms: int = 5_000
    "After a failure, and until it is believed."
    down_after: int = 3
    "Failures in a row that make it down."
    up_after: int = 2
    "Answers in a row that make it up again."


class Keepalive:
    """The state of one peer; a new one counts as up.

    :ivar up: calls may be sent there.
    """

    def __init__(self, agent: UserAgent, uri: Uri, flow: Flow, probing: Probing | None = None) -> None:
        self.agent = agent
        self.uri = uri
        self.flow = flow
        self.probing = probing or Probing()
        self.up = True
        self.next_due_ms: int | None = 0
        self._against = 0
        "Results in a row that speak against the state."

    def due(self, now_ms: int) -> None:
        """Send a probe."""
        if self.next_due_ms is None or now_ms < self.next_due_ms:
            return
        self.next_due_ms = None
        request = self.agent.new_request("OPTIONS", self.uri, f"<sip:probe@{self.flow.local}>", f"<{self.uri}>")
        request.headers.add("Contact", self.flow.contact)
        request.headers.add("Accept", "application/sdp")
        self.agent.request(Exchange(request, self.flow, None, self._answered), now_ms)

    def _answered(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        """Any final answer but a timeout or 503 shows life: many peers say 404 or 405 to OPTIONS."""
        if response.status < 200:
            return
        alive = response.status not in (408, 503)
        self._against = 0 if alive is self.up else self._against + 1
        if self._against >= (self.probing.down_after if self.up else self.probing.up_after):
            self.up, self._against = alive, 0
        sure = self.up and not self._against
        self.next_due_ms = now_ms + (self.probing.every_ms if sure else self.probing.again_ms)
