"""Load for RTP servers: many streams of G.711 from one socket, evenly spread over 20 ms, and what comes back."""

import socket
import struct
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from pylibsrtp import Session

from voicemedia.sip_bridge.rtp_wire import is_rtcp

FRAME_S: Final = 0.02
CLOCK_HZ: Final = 8000
SLICES: Final = 20
"Milliseconds among which the streams are spread."
_HEADER: Final = struct.Struct("!BBHII")
_SEEN: Final = struct.Struct("!II")
SILENCE: Final = b"\xd5" * 160


@dataclass(slots=True)
class Echo:
    """What came back."""

    sent: int = 0
    received: int = 0
    arrivals: dict[int, "array[float]"] = field(default_factory=dict)
    "Of each source: when its packets came, less their place on its own clock."

    def late_ms(self, share: float) -> float:
        """Return how late packets came against the earliest of their stream, at a quantile."""
        late = sorted(1000 * (each - min(times)) for times in self.arrivals.values() for each in times)
        return late[ceil(share * len(late)) - 1] if late else float("nan")


class Load:
    """Streams to so many ports.

    :param ports: where each stream goes, on loopback.
    :param protection: makes packets of SRTP.
    """

    def __init__(self, ports: Sequence[int], protection: Session | None = None) -> None:
        self._ports, self._protection = list(ports), protection
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, 1 << 24)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._sequence = 0
        self._slices = [list(enumerate(self._ports))[at::SLICES] for at in range(SLICES)]
        self.echo = Echo()

    def point(self, ports: Sequence[int]) -> None:
        """Send to these from now on."""
        self._ports[:] = ports
        self._slices = [list(enumerate(self._ports))[at::SLICES] for at in range(SLICES)]

    def run(self, seconds: float) -> Echo:
        """Send and receive for a while; return what came back meanwhile."""
        self.echo = echo = Echo()
        due = time.perf_counter()
        for _ in range(int(seconds / FRAME_S)):
            for streams in self._slices:
                self._send(streams)
                due += FRAME_S / SLICES
                self._receive(echo)
                while (left := due - time.perf_counter()) > 0:
                    time.sleep(min(left, 0.0005))
                    self._receive(echo)
            self._sequence += 1
        return echo

    def _send(self, streams: Sequence[tuple[int, int]]) -> None:
        sequence, send = self._sequence & 0xFFFF, self._socket.sendto
        timestamp, protection = self._sequence * 160 & 0xFFFFFFFF, self._protection
        for number, port in streams:
            packet = _HEADER.pack(0x80, 8, sequence, timestamp, number + 1) + SILENCE
            send(packet if protection is None else protection.protect(packet), ("127.0.0.1", port))
        self.echo.sent += len(streams)

    def _receive(self, echo: Echo) -> None:
        receive, seen, arrivals, now = self._socket.recv, _SEEN.unpack_from, echo.arrivals, time.perf_counter()
        try:
            while True:
                datagram = receive(2048)
                if is_rtcp(datagram):
                    continue
                timestamp, ssrc = seen(datagram, 4)
                echo.received += 1
                times = arrivals.get(ssrc)
                if times is None:
                    arrivals[ssrc] = times = array("d", (float(timestamp), now))
                    continue
                # The first entry is the time of the first packet, until the end.
                times.append(now - ((timestamp - int(times[0])) & 0xFFFFFFFF) / CLOCK_HZ)
        except BlockingIOError:
            return

    def settle(self) -> Echo:
        """Return what came back, its bookkeeping taken out."""
        for times in self.echo.arrivals.values():
            del times[0]
        return self.echo

    def close(self) -> None:
        """Send no more."""
        self._socket.close()
