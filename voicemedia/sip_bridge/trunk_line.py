"""One trunk at work: its user agent with messages and time, its server, its calls."""

import ipaddress
from functools import lru_cache
from typing import Any, Final

from voicemedia.config import Network, Trunk, networks
from voicemedia.errors import Unable
from voicemedia.interfaces import Goodbye
from voicemedia.sip_bridge.alarms_wire import earlier
from voicemedia.sip_bridge.desk import Desk
from voicemedia.sip_bridge.dial_plan_wire import FORBIDDEN, Called
from voicemedia.sip_bridge.dialog_wire import key_of_own
from voicemedia.sip_bridge.digest_wire import Credentials
from voicemedia.sip_bridge.flow_wire import Flow, Output, Transmit
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.sip_ports import Message, SipPorts
from voicemedia.sip_bridge.transaction_wire import Timing
from voicemedia.sip_bridge.trunk_calls import TrunkCalls
from voicemedia.sip_bridge.trunk_server import TrunkServer
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.sip_bridge.user_agent_wire import REFUSALS, Settings, UserAgent
from voicemedia.sip_bridge.whom import Ways

TOGETHER_MS: Final = 250
HOSTS_LIMIT: Final = 1024
"Addresses of which is remembered whether they are a peer's."


class TrunkLine:
    """One trunk."""

    def __init__(self, trunk: Trunk, ports: SipPorts, desk: Desk) -> None:
        self.trunk, self._ports, self._desk = trunk, ports, desk
        self._clock = desk.room.clock
        self.peers: tuple[Network, ...] = networks(trunk.peers)
        # Asked twice for each message; to read an address costs 15 us.
        self._is_peer = lru_cache(HOSTS_LIMIT)(self._look_up)
        settings = Settings(timing=Timing(together=TOGETHER_MS), session=SessionTerms(trunk.session_s))
        token, chance = lambda: desk.random(12).hex(), lambda: int.from_bytes(desk.random(4)) / 2**32
        self.agent = UserAgent(token, chance, settings, lambda call: self.calls.lose(call))
        if desk.secret is not None:
            self.agent.credentials = Credentials(trunk.user, desk.secret.reveal(), lambda: desk.random(8).hex())
        self.server = TrunkServer(trunk, ports, desk, self.agent, self.flush)
        ways = Ways(self.knows, self._to, self._leads, ports.is_ours, self.server.elsewhere, self._host, self.flush)
        self.calls = TrunkCalls(trunk, ports, desk, self.agent, ways)
        self._timer: Any = None
        self._timer_ms: int | None = None
        self._stopped = False

    def knows(self, host: str) -> bool:
        """Tell whether an address is this trunk's."""
        if self.server.knows(host):
            return True
        return self._is_peer(host)

    def _look_up(self, host: str) -> bool:
        address = _address(host)
        return address is not None and any(address in network for network in self.peers)

    def _host(self, flow: Flow) -> str:
        """Return the host part of addresses over there."""
        if self.trunk.server:
            return self.trunk.server
        host, port = flow.peer
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _leads(self, uri: Uri) -> bool:
        """Tell whether an address is a trunk's: its server by name, or one of its peers."""
        host, ports = uri.host.strip("[]"), self._ports
        return uri.hostport == self.trunk.server or host in ports.names.values() or ports.ears.admitted(host)

    def _to(self, called: Called) -> tuple[str, Flow]:
        """Return the address and the way to somebody: by our server, or to a peer that was named.

        :raises Unable: there is no way, or the trunk is down.
        """
        given, transport = called.uri, self.trunk.transport
        if given is None or given.hostport == self.trunk.server:
            flow, host = self.server.flow(), self.trunk.server
        else:
            port, address = given.port or (5061 if transport == "tls" else 5060), given.host.strip("[]")
            if not self.knows(address):
                raise Unable("that address is none of the trunk's", FORBIDDEN)
            flow, host = self._ports.flow(transport.upper(), (address, port)), given.hostport
        named = "" if transport == "udp" else f";transport={transport}"
        return f"sip:{called.user}@{host}{named}", flow

    # --- life ---

    def start(self) -> None:
        """Find the server, register with it and probe it."""
        self.server.start()

    def unregister(self) -> None:
        """Tell the registrar that we are gone."""
        self.server.unregister()
        self.flush()

    def hang_up(self) -> None:
        """End what calls are left."""
        for call in self.calls:
            call.hang_up(Goodbye.DRAINED)
        self.flush()

    def stop(self) -> None:
        """Do nothing more."""
        self._stopped = True
        self.server.stop()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    @property
    def trouble(self) -> str:
        """Say why it cannot serve; empty when it can."""
        return self.server.trouble

    # --- messages and time ---

    def receive(self, message: Message, flow: Flow) -> None:
        """Take a message of this trunk's peer."""
        self.agent.receive(message, flow, self._clock())
        self.flush()

    def unsent(self, message: Message) -> None:
        """Take note that a message could not leave."""
        self.agent.unsent(message, self._clock())
        self.flush()

    def disconnected(self, flow: Flow) -> None:
        """Take note that a connection is gone."""
        self.agent.disconnected(flow, self._clock())
        self.server.disconnected(flow)
        self.flush()

    def refused(self, peer: tuple[str, int], branch: str) -> None:
        """Take note that the network says that a message of ours reached nobody."""
        # Where another server waits, nobody waits for this one.
        self.agent.refused(peer, branch, self._clock(), 1 if self.server.another(peer) else REFUSALS)
        self.flush()

    def flush(self) -> None:
        """Send and do what the user agent wants, and wake when it next has something to do."""
        while outputs := self.agent.outputs():
            for output in outputs:
                self._follow(output)
        try:
            self.server.look()
        finally:
            self._arm()

    def _follow(self, output: Output) -> None:
        try:
            if isinstance(output, Transmit):
                self._ports.send(output)
            else:
                self.calls.told(output)
        except Exception:
            own = self.agent.dialogs.get(key_of_own(output.message)) if isinstance(output, Transmit) else output.call
            self.agent.give_up(own, self._clock())

    def _arm(self) -> None:
        next_ms = earlier(self.agent.next_due_ms, self.server.next_due_ms)
        # A timer that is too early finds nothing to do and is set anew: much cheaper than moving it with each message.
        if next_ms is None or self._stopped or (self._timer_ms is not None and self._timer_ms <= next_ms):
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer_ms = next_ms
        delay_ms = max(0, next_ms - self._clock())
        self._timer = self._desk.reactor.callLater(delay_ms / 1000, self._due)

    def _due(self) -> None:
        self._timer_ms = None
        now_ms = self._clock()
        try:
            self.agent.due(now_ms)
            self.server.due(now_ms)
        finally:
            # Whatever became of one thing, the time of the others goes on.
            self.flush()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
