"""A Twisted server connection on a real loopback socket, moved by hand: no reactor runs, no time passes by itself."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import fcntl
import select
import socket
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

PATIENCE_S: Final = 60
SIOCOUTQ: Final = 0x5411
"linux/sockios.h: how much of what was written the peer's kernel has not acknowledged."
SIOCOUTQNSD: Final = 0x894B
"linux/sockios.h: how much of what was written has not even been sent, as the peer's window is closed."


class Loopback:
    """One accepted connection; `client` is the caller's end, a plain socket.

    :param factory: builds the server's protocol.
    :param buffer_bytes: of the kernel, on either side; small ones fill quickly.
    :param reactor: given by those whose factory needs it before.
    """

    def __init__(
        self, factory: Any, buffer_bytes: int | None = None, reactor: MemoryReactorClock | None = None
    ) -> None:
        self.reactor = reactor or MemoryReactorClock()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.client = socket.socket()
            if buffer_bytes:
                self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            self.client.connect(listener.getsockname())
            accepted, peer = listener.accept()
        if buffer_bytes:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        self.client.setblocking(False)
        address = IPv4Address("TCP", *peer)
        protocol = factory.buildProtocol(address)
        any_tcp: Any = tcp
        self.server = any_tcp.Server(accepted, protocol, peer, None, 0, self.reactor)
        protocol.makeConnection(self.server)

    def turn(self) -> None:
        """Do what a reactor would in one turn: read, write, and end the connection if either says so."""
        if self.server.disconnected:
            return
        readable, writable, _ = select.select([self.server], [self.server], [], 0)
        why = None
        if readable and self.server in self.reactor.readers:
            why = self.server.doRead()
        if not why and writable and self.server in self.reactor.writers:
            why = self.server.doWrite()
        if why:
            self.server.connectionLost(Failure(why))
        self.reactor.advance(0)

    def send(self, octets: bytes) -> bytes:
        """Let the caller send and the server take it; give back what came in answer."""
        self.client.sendall(octets)
        if octets:
            select.select([self.server], [], [], PATIENCE_S)
        self.turn()
        return self.read()

    def read(self) -> bytes:
        """Let the caller read, and the server write, until nothing more comes."""
        answer = b""
        while True:
            self.turn()
            try:
                octets = self.client.recv(1_000_000)
            except BlockingIOError:
                if self.server.disconnected or not self._waits():
                    # What the kernel has taken it delivers at once, unless it is too busy.
                    if not self._arrives():
                        return answer
                else:
                    select.select([self.client], [], [], 0.02)
                continue
            if not octets:
                return answer
            answer += octets

    def _waits(self) -> bool:
        """Tell whether the server, or the kernel for it, still has something to send."""
        unsent = fcntl.ioctl(self.server, SIOCOUTQNSD, bytes(4))
        return self.server in self.reactor.writers or unsent != bytes(4)

    def _arrives(self) -> bool:
        """Wait until the caller has something to read, or its kernel has acknowledged all; tell which."""
        while not (readable := bool(select.select([self.client], [], [], 0)[0])):
            if self.server.disconnected or fcntl.ioctl(self.server, SIOCOUTQ, bytes(4)) == bytes(4):
                break
            select.select([self.client], [], [], 0.01)
        return readable or bool(select.select([self.client], [], [], 0)[0])

    def close(self) -> None:
        self.client.close()
        if not self.server.disconnected:
            self.server.connectionLost(Failure(ConnectionError()))
