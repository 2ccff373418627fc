"""The pairs of UDP ports that calls borrow: an even one for RTP, the next for RTCP (RFC 3550, section 11)."""

import socket
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

RECEIVE_BUFFER: Final = 1 << 16
"Bytes the kernel keeps for us: more than a second of a call."
EXPEDITED: Final = 46 << 2
"DSCP EF, as the byte the IP header has (RFC 4594)."
REST_MS: Final = 5_000
"What still comes to a port after its call goes nowhere for so long, and not into the next call."
TRIES: Final = 64


class PortPair(msgspec.Struct, frozen=True):
    """Two sockets in use by one call."""

    rtp: socket.socket
    rtcp: socket.socket
    port: int
    "Of RTP."


class NoPorts(Exception):
    """All ports are in use."""


class UdpPorts:
    """Lends port pairs out of a range, the one rested longest first.

    :param host: to bind; `::` is all addresses of both families.
    :param first: 0 lets the system choose.
    :param clock: now, in ms.
    """

    def __init__(self, host: str, first: int, last: int, clock: Callable[[], int]) -> None:
        self._host, self._clock = host, clock
        self._any = not first
        self._free: deque[tuple[int, int]] = deque((port, 0) for port in range(first + first % 2, last, 2) if first)
        "(port, when it may be lent again)."
        self.lent = 0

    def lend(self, peer: str) -> PortPair:
        """Open a pair for sound from and to a peer.

        :raises NoPorts: none is free.
        """
        # What comes from an IPv4 address to a socket of both families seems to come from another one.
        host = "0.0.0.0" if self._host == "::" and ":" not in peer else self._host
        pair = self._open_any(host) if self._any else self._open_next(host)
        self.lent += 1
        return pair

    def take_back(self, pair: PortPair) -> None:
        """Close a pair, and let its ports rest: their packets on the way must not reach the next call."""
        pair.rtp.close()
        pair.rtcp.close()
        self.lent -= 1
        if not self._any:
            self._free.append((pair.port, self._clock() + REST_MS))

    def _open_next(self, host: str) -> PortPair:
        now_ms = self._clock()
        for _ in range(len(self._free)):
            port, rested_ms = self._free[0]
            if rested_ms > now_ms:
                break
            self._free.popleft()
            pair = self._open(host, port)
            if pair is not None:
                return pair
            # Somebody else has it.
            self._free.append((port, now_ms + REST_MS))
        raise NoPorts

    def _open_any(self, host: str) -> PortPair:
        for _ in range(TRIES):
            with _socket(host) as probe:
                probe.bind((host, 0))
                port = probe.getsockname()[1]
            pair = self._open(host, port - port % 2)
            if pair is not None:
                return pair
        raise NoPorts

    def _open(self, host: str, port: int) -> PortPair | None:
        rtp, rtcp = _socket(host), _socket(host)
        try:
            rtp.bind((host, port))
            rtcp.bind((host, port + 1))
        except OSError:
            rtp.close()
            rtcp.close()
            return None
        v6 = ":" in host
        level, option = (socket.IPPROTO_IPV6, socket.IPV6_TCLASS) if v6 else (socket.IPPROTO_IP, socket.IP_TOS)
        rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        for udp in (rtp, rtcp):
            udp.setsockopt(level, option, EXPEDITED)
        return PortPair(rtp, rtcp, port)


def _socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
