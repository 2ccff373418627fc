"""A storm over SIP: one socket of signalling for all calls, one of RTP for each."""

import secrets
import socket
import struct
import time
from array import array
from typing import Final

from voicemedia.callers.numbered import FRAME_BYTES, NumberedReader, numbered_frame
from voicemedia.callers.sip_line import SipWish
from voicemedia.callers.storm import StormPlan, Talker
from voicemedia.callers.storm_call import State
from voicemedia.errors import ConfigError, WireError
from voicemedia.sip_bridge.call_wire import Call, CallState
from voicemedia.sip_bridge.codec_wire import PCMU
from voicemedia.sip_bridge.flow_wire import Answered, Destination, Ended, Event, Flow, MediaChanged, Transmit
from voicemedia.sip_bridge.framing_wire import read_datagram
from voicemedia.sip_bridge.hop_wire import numbered
from voicemedia.sip_bridge.offer_wire import Negotiation, Terms
from voicemedia.sip_bridge.rtp_wire import is_rtcp
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.user_agent_wire import Settings, UserAgent

BUFFER: Final = 4 << 20
HEADER: Final = struct.Struct("!BBHII")
HEADER_BYTES: Final = HEADER.size
MOST_DATAGRAMS: Final = 64
"Of signalling read before the sound is looked after again."
LOOK_S: Final = 0.1
"How often calls are looked after that end."
TAIL_BYTES: Final = 4
"The end of a frame says whose it is."


class SipStormCall:
    """Sends numbered frames as RTP and listens for them."""

    def __init__(self, number: int, host: str, packet_ms: int) -> None:
        self.number = number
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((host, 0))
        self.fd = self._socket.fileno()
        self.port = int(self._socket.getsockname()[1])
        self.target: tuple[str, int] | None = None
        self.sip: Call | None = None
        self.state: State = "dialing"
        self.answered = self.watched = self.stalled = False
        self.failure = ""
        self.reader = NumberedReader(number)
        self.round_trips_ms = array("d")
        self.frames_back = self.duplicated = 0
        self._frames = packet_ms // 20
        self._tail = numbered_frame(0, number)[-TAIL_BYTES:]
        self._ssrc, self._sequence, self._timestamp = secrets.randbits(32), secrets.randbits(15), secrets.randbits(31)
        self._sent_at = array("d")
        self._back = bytearray()
        self._hang_up = False

    @property
    def frames_sent(self) -> int:
        """Return how many frames it has sent."""
        return len(self._back)

    @property
    def wants_to_hang_up(self) -> bool:
        """Tell whether the BYE is still to be sent."""
        return self._hang_up and self.state == "hanging up"

    def speak(self, now: float) -> None:
        """Send the next packet."""
        if self.target is None:
            return
        first = len(self._back)
        self._sent_at.append(now)
        self._back += bytes(self._frames)
        frames = (numbered_frame(first + at)[:-TAIL_BYTES] + self._tail for at in range(self._frames))
        marker = 0x80 if not first else 0
        head = HEADER.pack(0x80, marker, self._sequence, self._timestamp, self._ssrc)
        self._sequence = (self._sequence + 1) % 65536
        self._timestamp = (self._timestamp + FRAME_BYTES * self._frames) % 2**32
        try:
            self._socket.sendto(head + b"".join(frames), self.target)
        except OSError:
            # As good as lost on the way; the report will say so.
            return

    def receive(self, now: float) -> None:
        """Take one packet: the poll tells again when there is another."""
        try:
            packet = self._socket.recv(2048)
        except OSError:
            return
        if len(packet) <= HEADER_BYTES or packet[1] & 0x7F or is_rtcp(packet):
            return
        for number in self.reader.read(packet[HEADER_BYTES:]):
            self._count(number, now)

    def _count(self, number: int, now: float) -> None:
        if number >= len(self._back):
            self.reader.damaged += 1
        elif self._back[number]:
            self.duplicated += 1
        else:
            self._back[number] = 1
            self.frames_back += 1
            self.round_trips_ms.append((now - self._sent_at[number // self._frames]) * 1000)

    def flush(self) -> None:
        """Nothing waits."""

    def hang_up(self) -> None:
        """Let the ground say BYE."""
        if self.state == "talking":
            self.state, self._hang_up = "hanging up", True

    def fail(self, reason: str) -> None:
        """End the call before its time."""
        self.failure = self.failure or reason
        self.state, self._hang_up = "closed", True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SipGround:
    """The signalling of all calls.

    :raises ConfigError: the address is of no use.
    """

    def __init__(self, plan: StormPlan) -> None:
        wish = SipWish(plan.url)
        if wish.transport != "UDP":
            raise ConfigError(f"--to {plan.url}: a storm goes over UDP")
        if plan.packet_ms > 40:
            raise ConfigError(f"--packet-ms {plan.packet_ms}: RTP packets of a storm have 20 or 40 ms")
        self._plan = plan
        self._peer = _resolve(wish.uri.host.strip("[]"), wish.uri.port or 5060)
        family = socket.AF_INET6 if ":" in self._peer[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._socket.setblocking(False)
        self._socket.bind((_own_address(family, self._peer), 0))
        self._host, port = self._socket.getsockname()[:2]
        self.fds: tuple[int, ...] = (self._socket.fileno(),)
        local = f"[{self._host}]:{port}" if ":" in self._host else f"{self._host}:{port}"
        self._flow = Flow("UDP", local, self._peer)
        settings = Settings(session=SessionTerms(0))
        self._agent = UserAgent(lambda: secrets.token_hex(8), lambda: secrets.randbits(32) / 2**32, settings)
        self._calls: dict[Call, SipStormCall] = {}
        self._changed: list[Talker] = []
        self._look_at = 0.0

    @property
    def _now_ms(self) -> int:
        return int(time.monotonic() * 1000)

    # --- what the storm asks ---

    def dial(self, number: int) -> Talker:
        """Send an INVITE."""
        call = SipStormCall(number, self._host, self._plan.packet_ms)
        terms = Terms(self._host, call.port, (PCMU,), self._plan.packet_ms, dtmf=False)
        media = Negotiation(terms, secrets.randbits(31), secrets.token_bytes)
        to = Destination(self._plan.url, f"<sip:storm{number}@{self._flow.local}>")
        try:
            call.sip = self._agent.dial(to, media, self._flow, self._now_ms)
        except WireError as error:
            raise ConfigError(f"--to {self._plan.url}: cannot be called ({error.kind})") from error
        self._calls[call.sip] = call
        self._flush()
        return call

    def serve(self, now: float) -> None:
        """Take what came, let time pass, hang up those that want to."""
        for _ in range(MOST_DATAGRAMS):
            try:
                datagram = self._socket.recv(65536)
            except OSError:
                break
            self._take(datagram)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            for sip, call in tuple(self._calls.items()):
                self._look(sip, call)
        due_ms = self._agent.next_due_ms
        if due_ms is not None and due_ms <= self._now_ms:
            self._agent.due(self._now_ms)
        self._flush()

    def _take(self, datagram: bytes) -> None:
        try:
            message = read_datagram(datagram)
        except WireError:
            return
        self._agent.receive(message, self._flow, self._now_ms)
        self._flush()

    def _look(self, sip: Call, call: SipStormCall) -> None:
        if call.wants_to_hang_up and sip.state is not CallState.OVER:
            sip.hang_up(self._now_ms)
        elif call.state == "closed":
            del self._calls[sip]
            sip.hang_up(self._now_ms)
        elif call.state == "hanging up" and sip.dialog.key not in self._agent.dialogs:
            # The BYE has been answered.
            del self._calls[sip]
            call.state = "closed"
            self._changed.append(call)

    def changed(self) -> list[Talker]:
        """Return the calls that came up or ended."""
        changed, self._changed = self._changed, []
        return changed

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    # --- what the user agent says ---

    def _flush(self) -> None:
        while outputs := self._agent.outputs():
            for output in outputs:
                if isinstance(output, Transmit):
                    # All calls are with one peer, wherever its Contact says it is.
                    self._send(output.message.encode())
                else:
                    self._told(output)

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, self._peer)
        except OSError:
            # It comes again.
            return

    def _told(self, event: Event) -> None:
        call = self._calls.get(event.call)
        if call is None:
            return
        match event:
            case MediaChanged(_, agreement):
                call.target = numbered(agreement, self._peer[0]).address, agreement.port
            case Answered() if call.state == "dialing":
                call.state, call.answered = "talking", True
                self._changed.append(call)
            case Ended() if call.state != "hanging up":
                why = "the server hung up" if event.answered else f"not answered: status {event.status}"
                call.fail(why)
                self._changed.append(call)


def _resolve(host: str, port: int) -> tuple[str, int]:
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0][4]
    except socket.gaierror as error:
        raise ConfigError(f"--to: no such host {host}") from error
    return str(address[0]), int(address[1])


def _own_address(family: int, peer: tuple[str, int]) -> str:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(peer)
        return str(probe.getsockname()[0])
