"""The server of a trunk: found by its name, registered with, probed; another takes the place of one that fails."""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.config import Trunk
from voicemedia.errors import Unable
from voicemedia.sip_bridge.desk import Desk
from voicemedia.sip_bridge.finder import Finder
from voicemedia.sip_bridge.flow_wire import Flow
from voicemedia.sip_bridge.keepalive_wire import Keepalive, Probing
from voicemedia.sip_bridge.register_wire import Account, Registration, Standing
from voicemedia.sip_bridge.servers_wire import Address, Servers
from voicemedia.sip_bridge.sip_ports import SipPorts
from voicemedia.sip_bridge.uri_wire import Uri, split_host
from voicemedia.sip_bridge.user_agent_wire import UserAgent

FIND_AGAIN_S: Final = 30
"A server whose name is not found is asked for again after this; so are servers that have all failed."


class TrunkServer:
    """What a trunk has to do with its server; nothing at all when it has none.

    :param wake: sends what the user agent has to say.
    :ivar address: the server that is used now; None: none is known.
    """

    log = Logger()

    def __init__(self, trunk: Trunk, ports: SipPorts, desk: Desk, agent: UserAgent, wake: Callable[[], None]) -> None:
        self._trunk, self._ports, self._desk, self._agent, self._wake = trunk, ports, desk, agent, wake
        self._finder = Finder(desk.reactor, desk.dns_server, agent.chance)
        self._servers: Servers | None = None
        self.address: Address | None = None
        self.registration: Registration | None = None
        self.keepalive: Keepalive | None = None
        self._again: Any = None
        self._stopped = False

    # --- life ---

    def start(self) -> None:
        """Find it, register with it, probe it."""
        if not self._trunk.server:
            return
        host, port = split_host(self._trunk.server)
        found = Deferred.fromCoroutine(self._finder.find(host.strip("[]"), port, self._trunk.transport))
        found.addCallbacks(self._found, self._bug)

    def _bug(self, failure: Failure) -> None:
        self.log.failure("trunk {trunk}: looking for its server met a bug", failure, trunk=self._trunk.name)
        self._found([])

    def _found(self, addresses: list[Address]) -> None:
        if self._stopped:
            return
        if not addresses:
            self.log.error("trunk {trunk}: {server} is not found", trunk=self._trunk.name, server=self._trunk.server)
            self._find_again()
            return
        for address, _ in addresses:
            self._ports.names[address] = split_host(self._trunk.server)[0]
        if self._servers is None or self._servers.addresses != tuple(dict.fromkeys(addresses)):
            self._servers = Servers(addresses)
            self._use(self._servers.best(self._desk.room.clock()))
            self._wake()

    def _find_again(self) -> None:
        if self._again is None or not self._again.active():
            self._again = self._desk.reactor.callLater(FIND_AGAIN_S, self.start)

    def _use(self, address: Address) -> None:
        """Go on with a server: register with it and probe it."""
        trunk = self._trunk
        self.address = address
        flow = self._ports.flow(trunk.transport.upper(), address)
        uri = Uri.parse(f"sip:{trunk.server}")
        if trunk.register:
            account = Account(uri, f"<sip:{trunk.user}@{trunk.server}>", trunk.user, trunk.expires_s)
            self.registration = Registration(self._agent, account, flow)
            self.registration.start(self._desk.room.clock())
        if trunk.probe_s:
            self.keepalive = Keepalive(self._agent, uri, flow, Probing(trunk.probe_s * 1000))

    def unregister(self) -> None:
        """Tell the registrar that we are gone."""
        if self.registration is not None:
            self.registration.stop(self._desk.room.clock())
        self.keepalive = None

    def disconnected(self, flow: Flow) -> None:
        """Take note that a connection is gone."""
        if self.registration is not None and flow.peer == self.address:
            self.registration.disconnected(self._desk.room.clock())

    def stop(self) -> None:
        """Do nothing more."""
        self._stopped = True
        if self._again is not None and self._again.active():
            self._again.cancel()

    # --- time ---

    @property
    def next_due_ms(self) -> int | None:
        """When `due` has something to do."""
        parts = (self.registration, self.keepalive)
        return min((each.next_due_ms for each in parts if each and each.next_due_ms is not None), default=None)

    def due(self, now_ms: int) -> None:
        """Refresh and probe."""
        for part in (self.registration, self.keepalive):
            if part is not None:
                part.due(now_ms)

    def look(self) -> None:
        """Go to another server when this one takes no registration, or does not answer."""
        registration, keepalive = self.registration, self.keepalive
        failed = registration is not None and registration.standing is Standing.FAILED
        down = keepalive is not None and not keepalive.up
        if (failed or down) and self.address is not None and not self._stopped:
            self._leave(self.address, 0)

    def _leave(self, address: Address, retry_after_s: int) -> Address | None:
        """Take note that a server has failed; return the one to use instead, if there is one."""
        assert self._servers is not None
        other = self._servers.failed(address, self._desk.room.clock(), retry_after_s * 1000)
        if other is None:
            self._find_again()
        elif address == self.address:
            self.log.warn(
                "trunk {trunk}: {one} does not serve, {other} does now",
                trunk=self._trunk.name,
                one=f"{address[0]}:{address[1]}",
                other=f"{other[0]}:{other[1]}",
            )
            self._use(other)
            self._wake()
        return other

    # --- the way there ---

    def knows(self, host: str) -> bool:
        """Tell whether an address is one of the server's."""
        return self._servers is not None and any(address == host for address, _ in self._servers.addresses)

    @property
    def trouble(self) -> str:
        """Say why it cannot serve; empty when it can."""
        trunk = self._trunk
        if trunk.server and self.address is None:
            return f"{trunk.server} is not found"
        if self.registration is not None and self.registration.standing is not Standing.IN:
            return f"not registered with {trunk.server} (last answer {self.registration.status or 'none'})"
        if self.keepalive is not None and not self.keepalive.up:
            return f"{trunk.server} does not answer OPTIONS"
        return ""

    def flow(self) -> Flow:
        """Return the way for a call.

        :raises Unable: there is none.
        """
        if self.address is None or self._servers is None:
            raise Unable(self.trouble or "the trunk has no server to call by", 503)
        if self.trouble:
            raise Unable(self.trouble, 503)
        # Who is registered calls by where it is; others by the best there is.
        address = self.address if self.registration else self._servers.best(self._desk.room.clock())
        return self._ports.flow(self._trunk.transport.upper(), address)

    def another(self, address: Address) -> bool:
        """Tell whether there is a server to take the place of one that fails."""
        servers = self._servers
        return servers is not None and address in servers.addresses and servers.other(address, self._desk.room.clock())

    def elsewhere(self, flow: Flow, retry_after_s: int = 0) -> Flow | None:
        """Return another way for a call whose first has failed; None: there is none."""
        if self._servers is None or flow.peer not in self._servers.addresses:
            return None
        other = self._leave(flow.peer, retry_after_s)
        return None if other is None else self._ports.flow(flow.transport, other)
