"""A bad network for packets of others: a relay on UDP between two ends, with a seed.

Kernels that can impair a network by themselves are rare in containers. Whoever sends to the relay's port reaches the
target through one bad network, and the answers come back through another.
"""

from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol

from voicemedia.callers.impair import Impairments, Network

PACKET_MS: Final = 20
UNIMPAIRED: Final = Impairments()


class _End(DatagramProtocol):
    """One socket of the relay: what comes here leaves by the other one, later."""

    def __init__(self, reactor: Any, bad: Impairments) -> None:
        self._reactor, self.network = reactor, Network[bytes](bad, PACKET_MS)
        self.target: tuple[str, int] | None = None
        "Where what leaves by this socket goes."
        self.other: _End
        self._timer: IDelayedCall | None = None
        self.got = 0

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.got += 1
        if self.target is None:
            # The first to send is who the answers are for.
            self.target = addr[0], addr[1]
        self.network.send(datagram, self._now_ms())
        self._carry()

    def _now_ms(self) -> float:
        return float(self._reactor.seconds()) * 1000

    def _carry(self) -> None:
        for datagram in self.network.due(self._now_ms()):
            if self.other.target is not None and self.other.transport is not None:
                self.other.transport.write(datagram, self.other.target)
        self.stop()
        next_ms = self.network.next_ms
        if next_ms is not None:
            self._timer = self._reactor.callLater(max(0.0, next_ms - self._now_ms()) / 1000, self._carry)

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


class UdpRelay:
    """Carries datagrams there and back.

    :param target: where what is sent to `port` goes.
    :param there: what happens on the way there; `back` on the way back.
    :ivar port: where to send to.
    """

    def __init__(
        self, reactor: Any, target: tuple[str, int], there: Impairments, back: Impairments = UNIMPAIRED
    ) -> None:
        self._near, self._far = _End(reactor, there), _End(reactor, back)
        self._near.other, self._far.other = self._far, self._near
        self._far.target = target
        self._ports = [reactor.listenUDP(0, end, interface="127.0.0.1") for end in (self._near, self._far)]
        self.port: int = self._ports[0].getHost().port

    @property
    def carried(self) -> tuple[int, int]:
        """Datagrams that came to be carried there, and back."""
        return self._near.got, self._far.got

    @property
    def lost(self) -> tuple[int, int]:
        """Datagrams swallowed on the way there, and back."""
        return self._near.network.lost, self._far.network.lost

    async def stop(self) -> None:
        """Carry nothing more."""
        self._near.stop()
        self._far.stop()
        for port in self._ports:
            await port.stopListening()
