"""All RTP sockets of a server behind one descriptor of the reactor.

A private epoll watches the sockets; the reactor watches that epoll. A wake-up then costs the reactor one event for
any number of calls: 8 us a packet against 14 with a Twisted port per call, at 1000 calls. Each socket is read once
per wake-up, since asking again to be told that nothing is left costs more than being woken again.
"""

import errno
import select
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

Take = Callable[[bytes, tuple[Any, ...], int], None]

DATAGRAM_LIMIT: Final = 2048
"Longer than any packet of a call."
MOST_WAITING: Final = 256
"Datagrams drained of one socket: more than the kernel keeps, were nobody still sending."
AT_ONCE: Final = 256
"Sockets read before the reactor has its turn again."


@implementer(IReadDescriptor)
class UdpHub:
    """Reads every socket that was added, and tells its owner.

    :param clock: now, in ms.
    """

    log = Logger()

    def __init__(self, reactor: Any, clock: Callable[[], int]) -> None:
        self._reactor, self._clock = reactor, clock
        self._epoll: select.epoll | None = None
        self._takes: dict[int, tuple[socket.socket, Take]] = {}

    def add(self, udp: socket.socket, take: Take) -> None:
        """Read a socket; `take` is told every datagram, its source and when it was read."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        self._takes[udp.fileno()] = udp, take
        self._epoll.register(udp.fileno(), select.EPOLLIN)

    def drain(self, udp: socket.socket) -> None:
        """Tell the owner of a socket at once what still waits there, said before a BYE that was read first."""
        _, take = self._takes.get(udp.fileno(), (udp, None))
        if take is None:
            return
        now_ms = self._clock()
        for _ in range(MOST_WAITING):
            try:
                datagram, source = udp.recvfrom(DATAGRAM_LIMIT)
            except OSError as error:
                return self._unreadable(error)
            take(datagram, source, now_ms)

    def remove(self, udp: socket.socket) -> None:
        """Read it no more; before it is closed."""
        if self._takes.pop(udp.fileno(), None) is not None and self._epoll is not None:
            # The epoll stays when nobody is left: between two calls it would be made anew, for 20 us.
            self._epoll.unregister(udp.fileno())

    def stop(self) -> None:
        """Forget everything."""
        if self._epoll is not None:
            self._reactor.removeReader(self)
            self._epoll.close()
        self._epoll = None
        self._takes.clear()

    # --- IReadDescriptor ---

    def fileno(self) -> int:
        """Return the descriptor the reactor watches."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def doRead(self) -> None:
        """Read each socket that has something, once."""
        if self._epoll is None:
            return
        takes, got = self._takes, []
        for number, _ in self._epoll.poll(0, AT_ONCE):
            udp, take = takes[number]
            try:
                got.append((take, udp.recvfrom(DATAGRAM_LIMIT)))
            except OSError as error:
                self._unreadable(error)
        now_ms = self._clock()
        # Read all, then take all: the kernel and we wipe each other's things out of the processor's caches.
        for take, (datagram, source) in got:
            try:
                take(datagram, source, now_ms)
            except Exception:
                self.log.failure("a bug in the reading of RTP")

    def _unreadable(self, error: OSError) -> None:
        # The peer's port is closed, which its owner finds out by its silence; or nothing was there after all.
        if error.errno not in (errno.ECONNREFUSED, errno.EAGAIN, errno.EINTR):
            self.log.warn("cannot read an RTP socket: {error}", error=str(error))

    def connectionLost(self, reason: object) -> None:
        """The reactor has given us up, as it does at its end."""

    def logPrefix(self) -> str:
        """Return the name in Twisted's log."""
        return "rtp"
