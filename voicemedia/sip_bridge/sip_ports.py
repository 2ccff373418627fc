"""The sockets of SIP signalling: one UDP port, TCP and TLS listeners, and the connections both ways."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger

from voicemedia.config import Sip
from voicemedia.errors import WireError
from voicemedia.sip_bridge.flow_wire import Flow, Transmit
from voicemedia.sip_bridge.framing_wire import PONG, Ping, Stream, read_datagram
from voicemedia.sip_bridge.hop_wire import address_in, plain, reachable, target_of, transport_of
from voicemedia.sip_bridge.rate_wire import RateLimit
from voicemedia.sip_bridge.sip_socket import SipSocket
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.tls import server_context
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.untold import untold

Message = Request | Response
TRIES: Final = 32
CONNECTIONS_LIMIT: Final = 2000
MOST_UNPROVED: Final = 32
CONNECT_S: Final = 8
"Well below the 32 s a transaction waits."
SILENT_S: Final = 3600
"A connection nothing came over for so long is closed."


@dataclass(frozen=True, slots=True)
class Ears:
    """Who listens to what comes in."""

    admitted: Callable[[str], bool]
    "Whether an address may talk to us; nobody else gets an answer."
    take: Callable[[Message, Flow], None]
    unsent: Callable[[Message, Flow], None]
    "A message could not leave."
    refused: Callable[[tuple[str, int], str], None]
    "Nobody takes datagrams where the message with this branch went, as the network says."
    complain: Callable[[str], None]
    "Told the kind of what was thrown away."
    clock: Callable[[], int]
    disconnected: Callable[[Flow], None] = untold
    "A connection is gone."


class SipPorts:
    """Every way in and out for SIP messages.

    :param client_tls: from the host we connect to, how its certificate is judged.
    """

    log = Logger()

    def __init__(
        self, settings: Sip, reactor: Any, ears: Ears, client_tls: Callable[[str], Any] = optionsForClientTLS
    ) -> None:
        self._client_tls = client_tls
        self._settings, self.reactor, self.ears = settings, reactor, ears
        self._rate = RateLimit(settings.messages_per_s)
        self._numbers = count(1)
        self.connections: dict[int, Connection] = {}
        self._udp = SipSocket(reactor, self._received, ears.refused)
        self._listeners: list[Any] = []
        self._port = {"UDP": settings.port, "TCP": settings.port, "TLS": settings.tls_port}
        self._locals: dict[str, str] = {}
        self._came_from = lru_cache(CONNECTIONS_LIMIT)(self.flow)
        self.names: dict[str, str] = {}
        "The name whose certificate a TLS server at an address must show (RFC 5922); none: the address itself."

    @property
    def port(self) -> int:
        """The UDP and TCP port that is in use."""
        return self._port["UDP"]

    @property
    def tls_port(self) -> int:
        """The TLS port that is in use; 0 without a certificate."""
        return self._port["TLS"] if self._settings.certificate else 0

    def open(self) -> None:
        """Begin to listen.

        :raises ConfigError: the certificate cannot be used.
        :raises CannotListenError: a port is taken.
        """
        settings, host = self._settings, self._settings.host
        context = server_context(settings) if settings.certificate else None
        tcp = self._listen_both()
        self._listeners.append(tcp)
        self._port["UDP"] = self._port["TCP"] = tcp.getHost().port
        if context is not None:
            secure = Factory.forProtocol(lambda: Connection(self, "TLS"))
            tls = self.reactor.listenSSL(settings.tls_port, secure, context, interface=host)
            self._listeners.append(tls)
            self._port["TLS"] = tls.getHost().port

    def _listen_both(self) -> Any:
        """Open UDP and TCP on one port; one the system chose for UDP may be taken for TCP."""
        settings, host = self._settings, self._settings.host
        factory = Factory.forProtocol(lambda: Connection(self, "TCP"))
        for left in reversed(range(1 if settings.port else TRIES)):
            port = self._udp.open(host, settings.port)
            try:
                return self.reactor.listenTCP(port, factory, interface=host)
            except CannotListenError:
                self._udp.close()
                if not left:
                    raise
        raise AssertionError("one try at least")

    def close(self) -> Deferred[Any]:
        """Listen no more, and drop every connection."""
        listeners, self._listeners = self._listeners, []
        self._udp.close()
        for connection in tuple(self.connections.values()):
            connection.drop()
        return DeferredList([maybeDeferred(listener.stopListening) for listener in listeners], consumeErrors=True)

    def flow(self, transport: str, peer: tuple[str, int]) -> Flow:
        """Return the way to a peer; over TCP and TLS a connection is opened when something is sent."""
        return Flow(transport, self.local(transport, peer[0]), peer)

    def local(self, transport: str, peer: str) -> str:
        """Return our `host:port` as a peer reaches it."""
        host = self.address(peer)
        return f"[{host}]:{self._port[transport]}" if ":" in host else f"{host}:{self._port[transport]}"

    def address(self, peer: str) -> str:
        """Return our address as a peer reaches it."""
        settings = self._settings
        # Peers of the other family reach us without the NAT.
        for public in settings.public_addresses:
            if (":" in public) == (":" in peer):
                return public
        if settings.host not in ("", "0.0.0.0", "::"):
            return settings.host
        if peer not in self._locals:
            if len(self._locals) > CONNECTIONS_LIMIT:
                self._locals.clear()
            self._locals[peer] = _own_address_towards(peer)
        return self._locals[peer]

    def is_ours(self, uri: Uri, flow: Flow) -> bool:
        """Tell whether an address is our own, as the peer of a flow reaches us."""
        return uri.host.strip("[]") == self.address(flow.peer[0]) and target_of(uri, flow)[1] in self._port.values()

    # --- in ---

    def admits(self, host: str) -> bool:
        """Tell whether anything from there is read; whoever is a stranger learns nothing."""
        if not self.ears.admitted(host):
            self.ears.complain("stranger")
            return False
        if not self._rate.admits(host, self.ears.clock()):
            self.ears.complain("too_many_messages")
            return False
        return True

    def _received(self, datagram: bytes, source: tuple[str, int]) -> None:
        """Take one message that came over UDP."""
        host = source[0]
        if not self.admits(host):
            return
        try:
            message = read_datagram(datagram)
        except WireError as error:
            if error.kind != "empty":
                self.ears.complain(error.kind)
            return
        self.ears.take(message, self._came_from("UDP", source))

    def number(self, connection: "Connection") -> int:
        """Give a connection its number; 0 when there are too many."""
        if len(self.connections) >= CONNECTIONS_LIMIT:
            return 0
        number = next(self._numbers)
        self.connections[number] = connection
        return number

    # --- out ---

    def send(self, transmit: Transmit) -> None:
        """Send a message, to where it leads."""
        message, flow = transmit.message, transmit.flow
        hop = transmit.hop
        target = transmit.address if hop is None else reachable(target_of(hop, flow), flow)
        transport = flow.transport if hop is None else transport_of(hop, flow)
        if transport != "UDP":
            self._send_connected(message, flow.over(transport), target)
        elif address_in(target[0]) is not None:
            self._send_datagram(message, flow, target)
        else:
            self._resolve(message, flow, target)

    def _resolve(self, message: Message, flow: Flow, target: tuple[str, int]) -> None:
        def resolved(host: str) -> None:
            self._send_datagram(message, flow, (host, target[1]))

        found: Deferred[str] = maybeDeferred(self.reactor.resolve, target[0])
        found.addCallbacks(resolved, lambda _failure: self.ears.unsent(message, flow))

    def _send_datagram(self, message: Message, flow: Flow, target: tuple[str, int]) -> None:
        try:
            self._udp.write(message.encode(), target)
        except OSError as error:
            self.log.warn("cannot send to {host}: {error}", host=target[0], error=str(error))
            # In its own turn: the agent that sends is not to be told in the middle of it.
            self.reactor.callLater(0, self.ears.unsent, message, flow)

    def _send_connected(self, message: Message, flow: Flow, target: tuple[str, int]) -> None:
        """Send over the flow's connection, another to the same place, or a new one."""
        connection = self.connections.get(flow.connection) or self._connected(flow.transport, flow.peer)
        connection = connection or self._connected(flow.transport, target)
        if connection is None:
            connection = Connection(self, flow.transport)
            connection.connect(target)
        connection.send(message, flow)

    def _connected(self, transport: str, peer: tuple[str, int]) -> "Connection | None":
        for connection in self.connections.values():
            if connection.transport_name == transport and connection.peer == peer:
                return connection
        return None

    def dial(self, connection: "Connection", target: tuple[str, int]) -> Deferred[Any]:
        """Open a connection."""
        endpoint: Any = HostnameEndpoint(self.reactor, target[0], target[1], timeout=CONNECT_S)
        if connection.transport_name == "TLS":
            endpoint = wrapClientTLS(self._client_tls(self.names.get(target[0], target[0])), endpoint)
        found: Deferred[Any] = endpoint.connect(Factory.forProtocol(lambda: connection))
        return found


class Connection(Protocol):
    """One TCP or TLS connection, whoever opened it."""

    def __init__(self, ports: SipPorts, transport_name: str) -> None:
        self._ports, self.transport_name = ports, transport_name
        self.peer: tuple[str, int] = ("", 0)
        self._stream = Stream()
        self._flow: Flow | None = None
        self._waiting: list[tuple[Message, Flow]] = []
        self._unproved: list[tuple[Message, Flow]] = []
        "Written before anything came back."
        self._heard = False
        self._number = 0
        self._idle: Any = None

    def connect(self, target: tuple[str, int]) -> None:
        """Open it."""
        self.peer = target
        self._number = self._ports.number(self)
        dialed: Deferred[Any] = maybeDeferred(self._ports.dial, self, target)
        # In its own turn: what is to be sent over it waits here only then.
        dialed.addErrback(lambda _failure: self._ports.reactor.callLater(0, self._gone))

    def send(self, message: Message, flow: Flow) -> None:
        """Send a message, as soon as the connection stands."""
        if self._flow is None:
            self._waiting.append((message, flow))
        elif self.transport is not None:
            self._write(message, flow)

    def _write(self, message: Message, flow: Flow) -> None:
        assert self.transport is not None
        self.transport.write(message.encode())
        if not self._heard and len(self._unproved) < MOST_UNPROVED:
            self._unproved.append((message, flow))

    def drop(self) -> None:
        """Close it."""
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionMade(self) -> None:
        assert self.transport is not None
        ports, peer = self._ports, self.transport.getPeer()
        # Who was reached by a name is known by its address.
        source: tuple[str, int] = (plain(peer.host), peer.port)  # type: ignore[attr-defined]
        if not self._number:
            self.peer = source
            self._number = ports.number(self) if ports.admits(source[0]) else 0
            if not self._number:
                self.transport.abortConnection()  # type: ignore[attr-defined]
                return
        self.transport.setTcpNoDelay(True)  # type: ignore[attr-defined]
        self._flow = Flow(self.transport_name, ports.local(self.transport_name, source[0]), source, self._number)
        waiting, self._waiting = self._waiting, []
        for message, flow in waiting:
            self._write(message, flow)
        self._idle = ports.reactor.callLater(SILENT_S, self.drop)

    def dataReceived(self, data: bytes) -> None:
        """Take what came."""
        flow, ports = self._flow, self._ports
        if flow is None or self.transport is None:
            return
        self._idle.reset(SILENT_S)
        self._heard = True
        self._unproved.clear()
        for item in self._stream.feed(data):
            if isinstance(item, Ping):
                self.transport.write(PONG)
            elif ports.admits(flow.peer[0]):
                ports.ears.take(item, flow)
        if self._stream.broken:
            ports.ears.complain(self._stream.broken)
            self.drop()

    def connectionLost(self, reason: object = None) -> None:
        """It is gone; who waits for a response finds out by the time."""
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self._gone()

    def _gone(self) -> None:
        self._ports.connections.pop(self._number, None)
        # A TLS server whose certificate is refused takes what is written, and is gone.
        lost, self._waiting, self._unproved = [*self._unproved, *self._waiting], [], []
        for message, flow in lost:
            self._ports.ears.unsent(message, flow)
        if self._flow is not None:
            self._ports.ears.disconnected(self._flow)


def _own_address_towards(peer: str) -> str:
    """Ask the system which of our addresses a packet to a peer would carry; nothing is sent."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
        except OSError:
            return "::1" if family == socket.AF_INET6 else "127.0.0.1"
        return str(probe.getsockname()[0])
