"""The UDP socket of SIP signalling, which also tells when a datagram reached nobody.

Linux keeps what ICMP says of our datagrams in a queue of the socket (`IP_RECVERR`). While something is in it the socket
counts as broken, and a reactor would drop it: so it is behind an epoll of its own, as those of RTP are.
"""

import errno
import select
import socket
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from voicemedia.sip_bridge.hop_wire import plain
from voicemedia.sip_bridge.icmp_wire import branch_quoted, unreachable

Address = tuple[str, int]

IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25
"Of linux/in.h and linux/in6.h; Python has no names for them."
MARKED: Final = 24 << 2
"DSCP CS3 of signalling, as the byte the IP header has (RFC 4594)."
FULL: Final = (errno.EAGAIN, errno.ENOBUFS)
"""A queue on the way out is full; of that of the network card only sockets with `IP_RECVERR` are told. The datagram is
lost like any on its way: whoever waits for an answer sends it again."""
BUFFER: Final = 4 << 20
LONGEST: Final = 65_536
BYTES_AT_ONCE: Final = 8192
"Read before everybody else has a turn: a dozen messages. 256 KiB of a flood are a tenth of a second without sound."
ERRORS_AT_ONCE: Final = 64
QUOTE: Final = 1024
NOTES: Final = 512


@implementer(IReadDescriptor)
class SipSocket:
    """Reads and writes datagrams.

    :param take: told each datagram and its source.
    :param refused: told where a datagram went that reached nobody, and the branch of its message.
    """

    log = Logger()

    def __init__(self, reactor: Any, take: Callable[[bytes, Address], None], refused: Callable[[Address, str], None]):
        self._reactor, self._take, self._refused = reactor, take, refused
        self._socket: socket.socket | None = None
        self._epoll: select.epoll | None = None
        self._of_both = False
        "The socket is of IPv6, and to it addresses of IPv4 are mapped ones."

    def open(self, host: str, port: int) -> int:
        """Begin to read; return the port, which the system chooses for 0.

        :raises CannotListenError: it is taken.
        """
        self._of_both = ":" in host
        udp = socket.socket(socket.AF_INET6 if self._of_both else socket.AF_INET, socket.SOCK_DGRAM)
        udp.setblocking(False)
        try:
            udp.bind((host, port))
        except OSError as error:
            udp.close()
            raise CannotListenError(host, port, error) from error  # type: ignore[no-untyped-call]
        _prepare(udp)
        self._socket, self._epoll = udp, select.epoll()
        self._epoll.register(udp.fileno(), select.EPOLLIN)
        self._reactor.addReader(self)
        chosen: int = udp.getsockname()[1]
        return chosen

    def close(self) -> None:
        """Read no more."""
        if self._socket is not None and self._epoll is not None:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._socket.close()
            self._socket = self._epoll = None

    def write(self, datagram: bytes, target: Address) -> None:
        """Send a datagram to an address, which must not be a name.

        :raises OSError: it cannot leave.
        """
        if self._socket is None:
            return
        if self._of_both and ":" not in target[0]:
            target = f"::ffff:{target[0]}", target[1]
        try:
            _send(self._socket, datagram, target)
        except OSError:
            # The kernel tells what became of an earlier datagram to whoever sends next: this one did not even leave.
            self._read_errors(self._socket)
            _send(self._socket, datagram, target)

    # --- IReadDescriptor ---

    def fileno(self) -> int:
        """Return the descriptor the reactor watches."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def doRead(self) -> None:
        """Read what is there; when it is no datagram it is an error."""
        read = 0
        while read < BYTES_AT_ONCE and self._socket is not None:
            try:
                datagram, source = self._socket.recvfrom(LONGEST)
            except OSError:
                if not read:
                    self._read_errors(self._socket)
                return
            read += len(datagram) or 1
            try:
                self._take(datagram, (plain(source[0]), source[1]))
            except Exception:
                # Whatever it is, the port of all trunks goes on reading.
                self.log.failure("a bug in the reading of SIP")
            # To read on would raise an exception where nothing is left: five times what it takes to ask.
            if self._epoll is None or not self._epoll.poll(0, 1):
                return

    def _read_errors(self, udp: socket.socket) -> None:
        for _ in range(ERRORS_AT_ONCE):
            try:
                quote, notes, _, target = udp.recvmsg(QUOTE, NOTES, socket.MSG_ERRQUEUE)
            except OSError:
                return
            branch = branch_quoted(quote)
            if branch and any(unreachable(note) for *_, note in notes):
                # In its own turn: who is sending now is not to be told in the middle of it.
                self._reactor.callLater(0, self._refused, (plain(target[0]), target[1]), branch)

    def connectionLost(self, reason: object) -> None:
        """The reactor has given us up, as it does at its end."""

    def logPrefix(self) -> str:
        """Return the name in Twisted's log."""
        return "sip"


def _send(udp: socket.socket, datagram: bytes, target: Address) -> None:
    try:
        udp.sendto(datagram, target)
    except OSError as error:
        if error.errno not in FULL:
            raise


def _prepare(udp: socket.socket) -> None:
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    # A socket of IPv6 may serve both.
    udp.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    udp.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, MARKED)
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, MARKED)
