"""A caller over SIP: our user agent from the other end, with the same script, manners and bad network as the rest."""

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from voicemedia.audio import libopus
from voicemedia.audio.coding import Encoding, Wish, make_encoding
from voicemedia.audio.g711 import decode_mulaw, encode_mulaw
from voicemedia.callers.carrier import CallPlan
from voicemedia.callers.impair import Network
from voicemedia.callers.line import TICK_S, CallFailed, tls_options
from voicemedia.callers.line import Destination as Place
from voicemedia.callers.playback import Playback
from voicemedia.callers.script import Script, Stage, Turn
from voicemedia.callers.sound import SAMPLES_PER_MS, Utterance
from voicemedia.config import Sip
from voicemedia.errors import ConfigError, WireError
from voicemedia.sip_bridge.codec_wire import CODECS, parameters
from voicemedia.sip_bridge.dtls_wire import Identity, is_dtls
from voicemedia.sip_bridge.flow_wire import Answered, Destination, Ended, Event, Flow, MediaChanged, Transmit
from voicemedia.sip_bridge.hop_wire import address_in
from voicemedia.sip_bridge.offer_wire import Agreement, Negotiation, Terms
from voicemedia.sip_bridge.outgoing_wire import OutgoingCall
from voicemedia.sip_bridge.rtp_receiver_wire import RtpReceiver
from voicemedia.sip_bridge.rtp_wire import Packet, is_rtcp, read_rtp
from voicemedia.sip_bridge.security_wire import RTP, Security
from voicemedia.sip_bridge.sip_ports import Ears, Message, SipPorts
from voicemedia.sip_bridge.telephone_event_wire import press
from voicemedia.sip_bridge.tones_wire import key_tone
from voicemedia.sip_bridge.udp_hub import UdpHub
from voicemedia.sip_bridge.udp_ports import UdpPorts
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.sip_bridge.user_agent_wire import UserAgent

SIP_SERVER: Final = "sip:bot@127.0.0.1:5060"
KEY_MS: Final = 160
KEYS_BY: Final = ("rfc4733", "info", "inband")
LINGER_S: Final = 2.0
"How long the answer to our BYE may take."
CURES: Final = {
    403: "the trunk does not allow it; see the server's log",
    408: "no answer: start it with [sip] enabled = true, name another with --to, "
    "or name the caller's address in the `peers` of a trunk",
    488: "the trunk takes none of this sound: see its `codecs` and `srtp`; --srtp sdes goes over TLS only",
    503: "it cannot be reached there, or is full: [sip] enabled = true, for TLS with `certificate` and `private_key`",
}
"What to do about a final status."


@dataclass(frozen=True, slots=True)
class SipWish:
    """Whom to call, and how."""

    to: str
    number: str = "+919800000001"
    codec: str = "PCMU"
    keys_by: str = "rfc4733"
    "`rfc4733`, `info` or `inband`."
    insecure: bool = False
    srtp: str = "never"
    "`never`, `sdes` or `dtls`."
    call_id: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def uri(self) -> Uri:
        """The address, read.

        :raises ConfigError: it is none.
        """
        try:
            uri = Uri.parse(self.to)
        except WireError as error:
            raise ConfigError(f"--to {self.to}: not a SIP address ({error.kind}); try {SIP_SERVER}") from error
        if uri.scheme not in ("sip", "sips"):
            raise ConfigError(f"--to {self.to}: not a SIP address; try {SIP_SERVER}")
        return uri

    @property
    def transport(self) -> str:
        """`UDP`, `TCP` or `TLS`."""
        return "TLS" if self.uri.scheme == "sips" else (self.uri.params.get("transport") or "udp").upper()


class SipCall:
    """The sound of one caller, without I/O: what the script says as RTP, what comes as playback."""

    def __init__(self, plan: CallPlan) -> None:
        self._packet_ms = plan.packet_ms
        self._network: Network[bytes] = Network(plan.impairments, plan.packet_ms)
        self.script = Script(list(plan.lines), plan.manners, packet_ms=plan.packet_ms)
        self.playback = Playback()
        self.faults: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.keys: list[str] = []
        "Keys to be sent as INFO."
        self.keys_by = "rfc4733"
        self.agreement: Agreement | None = None
        self._encoding: Encoding | None = None
        self._ear = RtpReceiver((20, 120), self._hear)
        self._now_ms = 0.0
        self.over = False
        self.packets_sent = 0
        self._ssrc, self._sequence = secrets.randbits(32), secrets.randbits(15)
        self._timestamp = secrets.randbits(31)
        self._turns_over: list[Turn] = []

    @property
    def done(self) -> bool:
        """Everything has been said and answered, or waited for long enough."""
        return self.script.stage is Stage.DONE

    @property
    def packets_lost(self) -> int:
        """Packets the bad network has swallowed."""
        return self._network.lost

    def receive(self, datagram: bytes, now_ms: float) -> None:
        """Take a packet of the server's."""
        try:
            packet = read_rtp(datagram)
        except WireError as error:
            self.faults[error.kind] += 1
            return
        self.received["rtp"] += 1
        self._now_ms = now_ms
        codec = self._ear.codecs.get(packet.payload_type)
        try:
            if codec is not None:
                self._ear.sound(packet, codec, int(now_ms))
        except WireError as error:
            self.faults[error.kind] += 1

    def _hear(self, frame: bytes, _concealed: bool) -> None:
        first_ms = self.playback.play(encode_mulaw(frame), self._now_ms)
        self.script.hear(first_ms, self.playback.last_audible_ms, self._now_ms)

    def agree(self, agreement: Agreement) -> None:
        """Take what has been agreed on."""
        self.agreement = agreement
        self._ear.agree(dict(agreement.receive))
        # What the script says is telephone sound, and so is what it keeps.
        wish = Wish(SAMPLES_PER_MS * 1000, self._packet_ms, parameters(agreement.fmtp))
        self._encoding = make_encoding(agreement.codec.name, wish)

    def due(self, now_ms: float) -> list[bytes]:
        """Let time pass; return the packets to send now."""
        agreement = self.agreement
        if self.over or agreement is None:
            return []
        self._now_ms = now_ms
        self._ear.due(int(now_ms))
        turn = self.script.due(now_ms)
        if turn is not None:
            self._turns_over.append(turn)
        for key in self.script.keys_due(now_ms):
            if self.keys_by == "inband":
                tone = encode_mulaw(key_tone(key, KEY_MS, SAMPLES_PER_MS * 1000))
                self.script.mouth.say(Utterance(key, tone, 0.0, KEY_MS), now_ms)
            elif self.keys_by == "rfc4733" and agreement.send_dtmf:
                self._press(key, agreement.send_dtmf, now_ms)
            else:
                self.keys.append(key)
        while (self.packets_sent + 1) * self._packet_ms <= now_ms:
            self._speak(agreement, now_ms)
        return self._network.due(now_ms)

    def _speak(self, agreement: Agreement, now_ms: float) -> None:
        ulaw = self.script.mouth.take(self._packet_ms * SAMPLES_PER_MS)
        self._network.scene(self.script.mouth.begun)
        assert self._encoding is not None
        for payload, ticks in self._encoding.feed(decode_mulaw(ulaw)):
            self._send(agreement.send_type, self._timestamp, payload, not self.packets_sent, now_ms)
            self._timestamp = (self._timestamp + ticks) % 2**32
        self.packets_sent += 1

    def _press(self, key: str, kind: tuple[int, int], now_ms: float) -> None:
        for packet in press(key, *kind, duration_ms=KEY_MS):
            self._send(kind[0], (self._timestamp + packet.timestamp) % 2**32, packet.payload, packet.marker, now_ms)

    def _send(self, kind: int, timestamp: int, payload: bytes, marker: bool, now_ms: float) -> None:
        packet = Packet(kind, self._sequence, timestamp, self._ssrc, payload, marker)
        self._sequence = (self._sequence + 1) % 65536
        self._network.send(packet.encode(), now_ms)

    def take_turns_over(self) -> list[Turn]:
        """Return the turns that have ended since the last time."""
        turns, self._turns_over = self._turns_over, []
        return turns

    def lost_connection(self, now_ms: float) -> None:
        """Take note that the call is over."""
        self.over = True
        turn = self.script.give_up(now_ms)
        if turn is not None:
            self._turns_over.append(turn)


class SipLine:
    """The sockets of one caller: signalling, sound, and the clock."""

    def __init__(self, reactor: Any, call: SipCall, wish: SipWish, turn_over: Callable[[Turn], None]) -> None:
        self._reactor, self._call, self._wish, self._turn_over = reactor, call, wish, turn_over
        call.keys_by = wish.keys_by
        self._agent = UserAgent(lambda: secrets.token_hex(8), lambda: secrets.randbits(32) / 2**32)
        ears = Ears(lambda _: True, self._take, self._unsent, self._refused, self._complain, lambda: int(self._wall_ms))
        self._ports = SipPorts(Sip(port=0), reactor, ears, self._judge)
        self._hub = UdpHub(reactor, lambda: int(self._wall_ms))
        self._rtp = UdpPorts("127.0.0.1", 0, 0, lambda: int(self._wall_ms))
        self._pair: Any = None
        self._sip_call: OutgoingCall | None = None
        self._clock = LoopingCall(self._tick)
        self._clock.clock = reactor
        self._opened_at = 0.0
        self._hung_up = self._answered = False
        self._identity = Identity.make() if wish.srtp == "dtls" else None
        self._security = Security(self._identity)
        self.ended: Deferred[str] = Deferred()
        "Fires with the reason when the call is over; fails with `CallFailed` when it was never answered."

    @property
    def _wall_ms(self) -> float:
        return float(self._reactor.seconds()) * 1000

    @property
    def now_ms(self) -> float:
        """Time since the call was answered."""
        return self._wall_ms - self._opened_at * 1000 if self._opened_at else 0.0

    # --- life ---

    async def dial(self) -> None:
        """Call; returns once the INVITE has left.

        :raises ConfigError: the address is none, or there is no library of the codec.
        """
        wish, uri = self._wish, self._wish.uri
        if wish.codec == "opus" and (lack := libopus.missing()):
            raise ConfigError(f"--codec opus: {lack}")
        self._ports.open()
        self._pair = self._rtp.lend(uri.host)
        self._hub.add(self._pair.rtp, self._heard)
        host = await self._reactor.resolve(uri.host.strip("[]"))
        peer = host, uri.port or (5061 if wish.transport == "TLS" else 5060)
        terms = Terms(
            self._ports.address(host),
            self._pair.port,
            (CODECS[wish.codec.lower()],),
            srtp=wish.srtp,
            fingerprint=self._identity.fingerprint if self._identity else None,
        )
        media = Negotiation(terms, secrets.randbits(31), secrets.token_bytes)
        flow = self._ports.flow(wish.transport, peer)
        caller = f"<sip:{wish.number}@{flow.local}>"
        to = Destination(wish.to, caller, call_id=wish.call_id)
        try:
            self._sip_call = self._agent.dial(to, media, flow, int(self._wall_ms))
        except WireError as error:
            raise ConfigError(f"--to {wish.to}: cannot be called ({error.kind}); try {SIP_SERVER}") from error
        self._clock.start(TICK_S).addErrback(self._broken)

    def hang_up(self) -> None:
        """Say BYE."""
        if self._sip_call is not None and not self._hung_up:
            self._hung_up = True
            self._sip_call.hang_up(int(self._wall_ms))
            self._flush()

    def _broken(self, failure: Failure) -> None:
        """End the call with our own bug rather than hang."""
        if not self.ended.called:
            self.ended.errback(failure)

    def _judge(self, host: str) -> Any:
        return tls_options(Place(f"wss://{host}", insecure=self._wish.insecure))

    # --- what comes ---

    def _heard(self, datagram: bytes, source: tuple[Any, ...], _wall_ms: int) -> None:
        try:
            if is_dtls(datagram):
                for answer in self._security.receive(datagram, RTP):
                    self._pair.rtp.sendto(answer, source)
            elif self._opened_at and not is_rtcp(datagram):
                self._call.receive(self._security.unprotect(datagram), self.now_ms)
        except WireError as error:
            self._complain(error.kind)

    def _take(self, message: Message, flow: Flow) -> None:
        self._agent.receive(message, flow, int(self._wall_ms))
        self._flush()

    def _unsent(self, message: Message, flow: Flow) -> None:
        self._agent.unsent(message, int(self._wall_ms))
        self._flush()

    def _refused(self, peer: tuple[str, int], branch: str) -> None:
        self._agent.refused(peer, branch, int(self._wall_ms))
        self._flush()

    def _complain(self, kind: str) -> None:
        self._call.faults[kind] += 1

    def _tick(self) -> None:
        due_ms = self._agent.next_due_ms
        if due_ms is not None and due_ms <= self._wall_ms:
            self._agent.due(int(self._wall_ms))
        agreement, sip_call = self._call.agreement, self._sip_call
        if agreement is not None and self._security.required:
            self._secure(agreement)
        if self._opened_at and agreement is not None and sip_call is not None:
            for packet in self._call.due(self.now_ms):
                self._send(self._security.protect(packet), agreement)
            while self._call.keys:
                sip_call.send_key(self._call.keys.pop(0), int(self._wall_ms), KEY_MS)
        self._flush()
        self._report()

    def _send(self, packet: bytes | None, agreement: Agreement) -> None:
        if packet is not None:
            self._pair.rtp.sendto(packet, (agreement.address, agreement.port))

    def _secure(self, agreement: Agreement) -> None:
        """Go on with the handshake, if there is one."""
        for port, datagram in self._security.due(int(self._wall_ms)):
            if port == RTP:
                self._send(datagram, agreement)
        self._open()
        if self._security.failed and not self._hung_up:
            self._call.faults[f"DTLS: {self._security.failed}"] += 1
            self.hang_up()

    def _report(self) -> None:
        for turn in self._call.take_turns_over():
            self._turn_over(turn)

    def _flush(self) -> None:
        while outputs := self._agent.outputs():
            for output in outputs:
                if isinstance(output, Transmit):
                    self._ports.send(output)
                else:
                    self._told(output)

    def _told(self, event: Event) -> None:
        match event:
            case MediaChanged(_, agreement):
                self._agreed(agreement)
            case Answered():
                self._answered = True
                self._open()
            case Ended() if not self.ended.called:
                self._over(event)

    def _agreed(self, agreement: Agreement) -> None:
        """Take what has been agreed on; a name is looked up first, as a socket would stop all else to do so."""
        if address_in(agreement.address) is None:
            found: Deferred[str] = maybeDeferred(self._reactor.resolve, agreement.address)
            found.addCallback(lambda host: self._agreed(msgspec.structs.replace(agreement, address=host)))
            found.addErrback(lambda _failure: self._nowhere(agreement.address))
            return
        self._call.agree(agreement)
        self._security.agree(agreement, int(self._wall_ms))

    def _nowhere(self, name: str) -> None:
        self._call.faults[f"the server wants sound at {name}, which is not found"] += 1
        self.hang_up()

    def _open(self) -> None:
        """Begin to talk: the call is answered, and there are keys if there have to be."""
        if self._answered and not self._opened_at and not self._security.pending:
            self._opened_at = float(self._reactor.seconds())

    def _over(self, ended: Ended) -> None:
        now_ms = self.now_ms
        self._call.lost_connection(now_ms)
        self._report()
        # What we said last has yet to be answered; then everything is closed.
        self._reactor.callLater(LINGER_S if ended.by_peer else 0.3, self._close, ended)

    def _close(self, ended: Ended) -> None:
        if self._clock.running:
            self._clock.stop()
        self._hub.stop()
        self._rtp.take_back(self._pair)
        self._ports.close().addBoth(lambda _: self._finish(ended))

    def _finish(self, ended: Ended) -> None:
        if self._opened_at:
            self.ended.callback("the server hung up" if ended.by_peer else "the caller hung up")
            return
        cure = CURES.get(ended.status, "see its log")
        self.ended.errback(CallFailed(f"{self._wish.to} did not take the call: status {ended.status}; {cure}"))
