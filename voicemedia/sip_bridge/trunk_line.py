"""One trunk at work: its user agent, its messages and time, its server, registration and probes."""

import ipaddress
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from voicemedia.config import Network, Trunk, networks
from voicemedia.errors import Unable
from voicemedia.interfaces import Goodbye
from voicemedia.sip_bridge.desk import Desk
from voicemedia.sip_bridge.dial_plan_wire import FORBIDDEN, Called
from voicemedia.sip_bridge.digest_wire import Credentials
from voicemedia.sip_bridge.flow_wire import Flow, Transmit
from voicemedia.sip_bridge.keepalive_wire import Keepalive, Probing
from voicemedia.sip_bridge.register_wire import Account, Registration, Standing
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.sip_ports import Message, SipPorts
from voicemedia.sip_bridge.trunk_calls import TrunkCalls, Ways
from voicemedia.sip_bridge.uri_wire import Uri, split_host
from voicemedia.sip_bridge.user_agent_wire import Settings, UserAgent

RESOLVE_AGAIN_S: Final = 30
"A server whose name is not found is asked for again after this."


class TrunkLine:
    """One trunk."""

    log = Logger()

    def __init__(self, trunk: Trunk, ports: SipPorts, desk: Desk) -> None:
        self.trunk, self._ports, self._desk = trunk, ports, desk
        self._clock = desk.room.clock
        self.peers: tuple[Network, ...] = networks(trunk.peers)
        self.server: tuple[str, int] | None = None
        "Address of the server, once its name is resolved."
        settings = Settings(session=SessionTerms(trunk.session_s))
        self.agent = UserAgent(lambda: desk.random(12).hex(), lambda: int.from_bytes(desk.random(4)) / 2**32, settings)
        if desk.secret is not None:
            self.agent.credentials = Credentials(trunk.user, desk.secret.reveal(), lambda: desk.random(8).hex())
        self.calls = TrunkCalls(trunk, ports, desk, self.agent, Ways(self.knows, self._to, self._host, self.flush))
        self._timer: Any = None
        self._timer_ms: int | None = None
        self._resolving: Any = None
        self.registration: Registration | None = None
        self.keepalive: Keepalive | None = None
        self._stopped = False

    def knows(self, host: str) -> bool:
        """Tell whether an address is this trunk's."""
        if self.server is not None and self.server[0] == host:
            return True
        address = _address(host)
        return address is not None and any(address in network for network in self.peers)

    def _host(self, flow: Flow) -> str:
        """Return the host part of addresses over there."""
        if self.trunk.server:
            return self.trunk.server
        host, port = flow.peer
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _to(self, called: Called) -> tuple[str, Flow]:
        """Return the address and the way to somebody: by our server, or to a peer that was named.

        :raises Unable: there is no way, or the trunk is down.
        """
        given, transport = called.uri, self.trunk.transport
        if given is None or given.hostport == self.trunk.server:
            if self.server is None:
                raise Unable("the trunk has no server to call by" if not self.trunk.server else self.trouble, 503)
            if self.trouble:
                raise Unable(self.trouble, 503)
            peer, host = self.server, self.trunk.server
        else:
            peer, host = (given.host.strip("[]"), given.port or (5061 if transport == "tls" else 5060)), given.hostport
            if not self.knows(peer[0]):
                raise Unable("that address is none of the trunk's", FORBIDDEN)
        named = "" if transport == "udp" else f";transport={transport}"
        return f"sip:{called.user}@{host}{named}", self._ports.flow(transport.upper(), peer)

    # --- life ---

    def start(self) -> None:
        """Find the server, register with it and probe it."""
        if self.trunk.server:
            host, port = split_host(self.trunk.server)
            found: Deferred[str] = maybeDeferred(self._desk.reactor.resolve, host.strip("[]"))
            default = 5061 if self.trunk.transport == "tls" else 5060
            found.addCallbacks(self._found, self._not_found, callbackArgs=(port or default,))

    def _not_found(self, _failure: object) -> None:
        if not self._stopped:
            self.log.error("trunk {trunk}: {server} is not found", trunk=self.trunk.name, server=self.trunk.server)
            self._resolving = self._desk.reactor.callLater(RESOLVE_AGAIN_S, self.start)

    def _found(self, host: str, port: int) -> None:
        if self._stopped:
            return
        trunk, now_ms = self.trunk, self._clock()
        self.server = host, port
        flow = self._ports.flow(trunk.transport.upper(), self.server)
        uri = Uri.parse(f"sip:{trunk.server}")
        if trunk.register:
            account = Account(uri, f"<sip:{trunk.user}@{trunk.server}>", trunk.user, trunk.expires_s)
            self.registration = Registration(self.agent, account, flow)
            self.registration.start(now_ms)
        if trunk.probe_s:
            self.keepalive = Keepalive(self.agent, uri, flow, Probing(trunk.probe_s * 1000))
        self.flush()

    def unregister(self) -> None:
        """Tell the registrar that we are gone."""
        if self.registration is not None:
            self.registration.stop(self._clock())
        self.keepalive = None
        self.flush()

    def hang_up(self) -> None:
        """End what calls are left."""
        for call in self.calls:
            call.hang_up(Goodbye.DRAINED)
        self.flush()

    def stop(self) -> None:
        """Do nothing more."""
        self._stopped = True
        for timer in (self._timer, self._resolving):
            if timer is not None and timer.active():
                timer.cancel()

    @property
    def trouble(self) -> str:
        """Say why it cannot serve; empty when it can."""
        if self.trunk.server and self.server is None:
            return f"{self.trunk.server} is not found"
        if self.registration is not None and self.registration.standing is not Standing.IN:
            return f"not registered with {self.trunk.server} (last answer {self.registration.status or 'none'})"
        if self.keepalive is not None and not self.keepalive.up:
            return f"{self.trunk.server} does not answer OPTIONS"
        return ""

    # --- messages and time ---

    def receive(self, message: Message, flow: Flow) -> None:
        """Take a message of this trunk's peer."""
        self.agent.receive(message, flow, self._clock())
        self.flush()

    def unsent(self, message: Message) -> None:
        """Take note that a message could not leave."""
        self.agent.unsent(message, self._clock())
        self.flush()

    def flush(self) -> None:
        """Send and do what the user agent wants, and wake when it next has something to do."""
        while outputs := self.agent.outputs():
            for output in outputs:
                if isinstance(output, Transmit):
                    self._ports.send(output)
                else:
                    self.calls.told(output)
        self._arm()

    def _arm(self) -> None:
        parts = (self.agent, self.registration, self.keepalive)
        due = [part.next_due_ms for part in parts if part is not None and part.next_due_ms is not None]
        next_ms = min(due, default=None)
        if next_ms == self._timer_ms or self._stopped:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer_ms = next_ms
        if next_ms is not None:
            delay_ms = max(0, next_ms - self._clock())
            self._timer = self._desk.reactor.callLater(delay_ms / 1000, self._due)

    def _due(self) -> None:
        self._timer_ms = None
        now_ms = self._clock()
        for part in (self.agent, self.registration, self.keepalive):
            if part is not None:
                part.due(now_ms)
        self.flush()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
