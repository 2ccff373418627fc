"""What the legs of all SIP calls share."""

from collections.abc import Callable
from dataclasses import dataclass

from voicemedia import config
from voicemedia.metrics import Metrics
from voicemedia.sip_bridge.dtls_wire import Identity
from voicemedia.sip_bridge.udp_hub import UdpHub
from voicemedia.sip_bridge.udp_ports import PortPair, UdpPorts


@dataclass(frozen=True, slots=True)
class Room:
    """What all legs share."""

    jitter: config.Jitter
    metrics: Metrics
    clock: Callable[[], int]
    hurry: Callable[[Callable[[int], bool]], None]
    "The ticker's: asks in every slot until it hears False."
    hub: UdpHub
    ports: UdpPorts
    number: Callable[[], int]
    "Makes 32 random bits."
    identity: Identity | None = None
    "Ours in DTLS handshakes; None: there are none."
    no_rtp_ms: int = 30_000
    "A peer that sends nothing for so long has vanished; not while the call is held."

    def give_back(self, pair: PortPair) -> None:
        """Read two sockets no more, and close them."""
        self.hub.remove(pair.rtp)
        self.hub.remove(pair.rtcp)
        self.ports.take_back(pair)
