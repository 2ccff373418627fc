"""The leg of a SIP call: RTP in, through jitter buffer and concealment, to the call; and back."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from twisted.logger import Logger

from voicemedia.audio.coding import Wish, make_encoding
from voicemedia.audio.frames import frame_bytes
from voicemedia.audio.jitter import NEVER_MS
from voicemedia.errors import WireError
from voicemedia.guards import guarded
from voicemedia.interfaces import FRAME_MS, Caller, Goodbye, Listener
from voicemedia.sip_bridge.codec_wire import Codec, parameters
from voicemedia.sip_bridge.dtls_wire import is_dtls
from voicemedia.sip_bridge.offer_wire import Agreement
from voicemedia.sip_bridge.quality_wire import Quality
from voicemedia.sip_bridge.room import Room
from voicemedia.sip_bridge.rtp_link import RtpLink
from voicemedia.sip_bridge.rtp_receiver_wire import RtpReceiver
from voicemedia.sip_bridge.rtp_sender_wire import RtpSender
from voicemedia.sip_bridge.rtp_wire import COMFORT_NOISE, Packet, is_rtcp, read_rtp
from voicemedia.sip_bridge.run_wire import Run
from voicemedia.sip_bridge.score_wire import score
from voicemedia.sip_bridge.security_wire import RTCP, RTP
from voicemedia.sip_bridge.telephone_event_wire import KeysIn
from voicemedia.sip_bridge.udp_ports import PortPair
from voicemedia.switching import Switching
from voicemedia.taping import Tape

LEAD_MS: Final = FRAME_MS
"One frame, so that a tick a little early finds the frame of its slot; it leaves no sooner for that."
LOOK_MS: Final = 200
"What is counted in seconds, reports and a silent peer, is looked at so often."
NARROW_HZ: Final = 8000
WIDE_HZ: Final = 16_000


class RtpLeg:
    """One call's sound. It hears nothing before `agree` and `begin`.

    :param known: tells whether a host has to do with the call, so that its sound may be believed.
    :param hang_up: says BYE; `gone` follows at once.
    """

    log = Logger()
    paces = True

    __slots__ = (
        "_agreement",
        "_events",
        "_frame_bytes",
        "_hurried",
        "_keys",
        "_late",
        "_link",
        "_listening",
        "_look_ms",
        "_over",
        "_pair",
        "_quality",
        "_receiver",
        "_room",
        "_run",
        "_sender",
        "_shaking",
        "_speaking",
        "_tape",
        "_totals",
        "caller",
        "hang_up",
        "last_message_ms",
        "lead_ms",
        "listener",
        "lose",
        "music",
        "switching",
    )

    def __init__(
        self,
        caller: Caller,
        pair: PortPair,
        room: Room,
        known: Callable[[str], bool],
        hang_up: Callable[[Goodbye], None],
    ) -> None:
        self.caller, self.lead_ms = caller, LEAD_MS
        self.last_message_ms = room.clock()
        self._pair, self._room, self.hang_up = pair, room, hang_up
        self.lose: Callable[[], None] = lambda: hang_up(Goodbye.FAILED)
        "Called while a bug is handled: ends the call."
        self._link = RtpLink(pair, room.metrics, room.identity, known, self._handshake_failed)
        self.listener: Listener | None = None
        self.switching: Switching | None = None
        self._tape: Tape | None = None
        self.music: Callable[[], bytes] | None = None
        "What is heard in place of what is played, a frame each time: the peer waits."
        self._agreement: Agreement | None = None
        self._events: dict[int, int] = {}
        "Payload type of telephone-events -> their clock."
        self._shaking = self._hurried = self._listening = self._speaking = self._over = False
        "Looked after in every slot: a handshake, a hole; in every tick: what is heard, what is sent."
        self._late = self._look_ms = 0
        self._keys = KeysIn()
        self._receiver = RtpReceiver((room.jitter.deadline_min_ms, room.jitter.deadline_max_ms), self._hear)
        self._frame_bytes = frame_bytes(caller.rate_hz)
        self._sender = RtpSender((room.number(), room.number() & 0x7FFF, room.number()))
        self._quality = Quality(self._sender.ssrc, f"voicemedia@{caller.stream_id or 'leg'}")
        self._run: Run | None = None
        self._totals: Mapping[str, int] | None = None
        room.hub.add(pair.rtp, self._take)
        room.hub.add(pair.rtcp, guarded(self._take_rtcp, lambda: self.lose()))

    def __repr__(self) -> str:
        agreed = self._agreement
        return f"rtp {agreed.codec.name if agreed else 'nothing yet'} -> jitter {self._receiver.deadline_ms} ms"

    # --- from the SIP side ---

    def agree(self, agreement: Agreement) -> None:
        """Take what has been agreed on, at first or anew."""
        self._end_run()
        now_ms = self._room.clock()
        before, self._agreement, self._speaking = self._agreement, agreement, not self._over
        self._link.agree(agreement, now_ms)
        if self._link.security.pending and not self._shaking:
            self._shaking = self._shake(now_ms)
            self._room.hurry(self._shake)
        if before is None:
            self._choose_rate(agreement.codec)
        self._receiver.agree(dict(agreement.receive))
        self._events = dict(agreement.receive_dtmf)
        self._quality.extend(self._receiver if agreement.voip_metrics else None)
        if before is None or msgspec.structs.replace(before, sending=agreement.sending) != agreement:
            wish = Wish(self.caller.rate_hz, agreement.ptime_ms, parameters(agreement.fmtp))
            self._sender.agree(agreement.send_type, make_encoding(agreement.codec.name, wish))
            self._sender.agree_keys(agreement.send_dtmf)
            self._quality.sent_hz = agreement.codec.clock_hz
        self._sender.sending = agreement.sending and agreement.address not in ("0.0.0.0", "::")
        # Who comes back from hold gets the whole time anew.
        self.last_message_ms = now_ms

    def _choose_rate(self, codec: Codec) -> None:
        """Take the rate of the first codec for the whole call, whatever is agreed on later."""
        rate_hz = NARROW_HZ if codec.rate_hz == NARROW_HZ else WIDE_HZ
        # Most calls are narrow, as made, and to begin anew is 3 % of what one costs.
        if rate_hz != self.caller.rate_hz:
            self.caller = replace(self.caller, rate_hz=rate_hz)
            self._frame_bytes = frame_bytes(rate_hz)
            self._receiver.begin(rate_hz)

    def _shake(self, now_ms: int) -> bool:
        """Go on with the handshake; say whether it is to be looked after further."""
        try:
            self._shaking = not self._over and self._link.shake(now_ms)
        except Exception:
            self._shaking = False
            self.lose()
        return self._shaking

    def _handshake_failed(self, why: str) -> None:
        self.log.warn("call {call}: no DTLS-SRTP: {why}", call=self.caller.call_id, why=why)
        self._room.metrics.wire_error("sip", "dtls_failed")
        self.hang_up(Goodbye.PEER_BROKE_PROTOCOL)

    def begin(self, listener: Listener) -> None:
        """Talk to this call from now on."""
        self.listener = listener

    def ended(self, why: Goodbye) -> None:
        """The SIP call is over: give out what still waits, give the ports back, say so."""
        if self._over:
            return
        self._over, self._speaking = True, False
        try:
            self._close()
        finally:
            listener, self.listener = self.listener, None
            if listener is not None:
                listener.gone(why)

    def _close(self) -> None:
        try:
            self._room.hub.drain(self._pair.rtp)
            self._end_run()
            self._link.close(self._quality.goodbye(self._sender, self._room.clock()))
        finally:
            self._room.give_back(self._pair)
        self._receiver.end()
        self._count_late()
        self._totals = self.totals()
        self._room.metrics.quality(self.caller.route, self._totals)

    @property
    def tape(self) -> Tape | None:
        """Where the sound of both sides is recorded."""
        return self._tape

    @tape.setter
    def tape(self, tape: Tape) -> None:
        self._tape, self._sender.played = tape, tape.played

    def play_evenly(self, even: bool) -> None:
        """Tell the listener a frame every 20 ms: it is a person, and no recognizer."""
        self._end_run()
        self._receiver.play_evenly(even)
        self._listening = True

    @property
    def backlog(self) -> int:
        """Frames and marks that have not left."""
        return self._sender.backlog

    def press(self, key: str, duration_ms: int = 160) -> bool:
        """Press a key in the sound; False when the peer has agreed to none."""
        return self._sender.press(key, duration_ms)

    # --- from the socket ---

    def _take(self, datagram: bytes, source: tuple[Any, ...], now_ms: int) -> None:
        run = self._run
        try:
            if run is not None and run.expects(datagram) and source == self._link.believed:
                self._go_on(run, self._link.unprotect(datagram), source, now_ms)
            elif is_rtcp(datagram):
                self._read_rtcp(datagram, source, RTP, now_ms)
            elif is_dtls(datagram):
                self._link.take_handshake(datagram, source, RTP)
            else:
                self._receive(read_rtp(self._link.unprotect(datagram)), source, now_ms)
        except WireError as error:
            self._room.metrics.wire_error("sip", error.kind)
        except Exception:
            self.lose()

    def _go_on(self, run: Run, datagram: bytes, source: tuple[Any, ...], now_ms: int) -> None:
        """Take a packet with the header that was expected."""
        if len(datagram) == run.length:
            run.take(now_ms)
            self.last_message_ms = now_ms
            self._receiver.go_on(datagram[12:])
        else:
            self._receive(read_rtp(datagram), source, now_ms)

    def _receive(self, packet: Packet, source: tuple[Any, ...], now_ms: int) -> None:
        self._end_run()
        kind = packet.payload_type
        codec = self._receiver.codecs.get(kind)
        if codec is None and kind not in self._events and kind != COMFORT_NOISE:
            raise WireError("unknown_payload_type")
        if source != self._link.believed:
            self._link.believe(packet, source, now_ms)
        self.last_message_ms = now_ms
        if self.listener is None:
            return
        if codec is not None:
            self._sound(packet, codec, now_ms)
            return
        self._quality.count(packet)
        if kind in self._events:
            self._receiver.passed(packet)
            if key := self._keys.take(packet, self._events[kind], now_ms):
                self.listener.digit(key)
        else:
            self._receiver.comfort_noise(packet, now_ms)
            self._listening = True

    def _sound(self, packet: Packet, codec: Codec, now_ms: int) -> None:
        receiver = self._receiver
        self._quality.take(packet, codec.clock_hz, now_ms)
        receiver.sound(packet, codec, now_ms)
        if ticks := receiver.stride(packet):
            self._run = self._quality.run(packet, ticks)
        if not self._hurried and receiver.next_due_ms != NEVER_MS:
            self._hurried = True
            self._room.hurry(self._look)

    def _end_run(self) -> None:
        """Count what has come in a row, so that anything else may be done with the stream."""
        run, self._run = self._run, None
        if run is not None:
            self._quality.skip(run)
            self._receiver.skip(run.packets, run.ticks)

    def _look(self, now_ms: int) -> bool:
        """Give up holes that are due; say whether one is left."""
        guarded(self._receiver.due, self.lose)(now_ms)
        self._hurried = self._receiver.next_due_ms != NEVER_MS and not self._over
        return self._hurried

    def _hear(self, frame: bytes, concealed: bool) -> None:
        metrics = self._room.metrics
        metrics.frames_in += 1
        metrics.frames_concealed += concealed
        if self._tape is not None:
            self._tape.heard(frame)
        if self.listener is not None:
            self.listener.hear(frame, concealed)

    def _take_rtcp(self, datagram: bytes, source: tuple[Any, ...], now_ms: int) -> None:
        try:
            if is_dtls(datagram):
                self._link.take_handshake(datagram, source, RTCP)
            else:
                self._read_rtcp(datagram, source, RTCP, now_ms)
        except WireError as error:
            self._room.metrics.wire_error("sip", error.kind)

    def _read_rtcp(self, datagram: bytes, source: tuple[Any, ...], port: int, now_ms: int) -> None:
        if self._link.known(source[0]):
            datagram = self._link.security.unprotect(datagram, port, rtcp=True)
            self._quality.take_rtcp(datagram, now_ms)
            if self._receiver.quiet:
                # Who is silent on purpose may be so for long; its reports show that it is there.
                self.last_message_ms = now_ms

    # --- from the call (Leg) ---

    def play(self, pcm: bytes) -> None:
        """Send whole frames, each in its slot; to a peer that hears music they are lost."""
        for at in range(0, len(pcm) if self.music is None else 0, self._frame_bytes):
            if packets := self._sender.play(pcm[at : at + self._frame_bytes]):
                self._link.send(packets)

    def mark(self, number: int) -> None:
        """Ask to be told when everything played so far has left."""
        self._sender.mark(number)

    def clear(self) -> None:
        """Take back what has not left."""
        self._sender.clear()

    def tick(self, now_ms: int) -> None:
        """Let 20 ms pass."""
        self.listen(now_ms)
        self.speak(now_ms)

    def listen(self, now_ms: int) -> None:
        """Hear what is due in these 20 ms."""
        if self._listening and not self._over:
            self._receiver.tick(now_ms)
            self._listening = not self._receiver.idle

    def speak(self, now_ms: int) -> None:
        """Send what these 20 ms have been given."""
        if not self._speaking:
            return
        sender = self._sender
        if self.music is not None:
            self._link.send(sender.play(self.music()))
        if packets := sender.tick(now_ms):
            self._link.send(packets)
        if sender.marks:
            self._tell_marks()
        if now_ms >= self._look_ms:
            self._look_ms = now_ms + LOOK_MS
            self._report(now_ms)
            self._miss(now_ms)

    def _miss(self, now_ms: int) -> None:
        """Give up a peer that has been silent for too long, and may not be."""
        agreement = self._agreement
        if agreement is None or agreement.held or not agreement.receiving:
            self.last_message_ms = now_ms
        elif now_ms - self.last_message_ms > self._room.no_rtp_ms:
            self.hang_up(Goodbye.PEER_VANISHED)

    def _report(self, now_ms: int) -> None:
        if now_ms >= self._quality.due_ms:
            self._end_run()
            self._count_late()
            self._link.send_rtcp(self._quality.due(self._sender, now_ms))

    def _tell_marks(self) -> None:
        marks, self._sender.marks = self._sender.marks, ()
        for number in marks:
            if self.listener is not None:
                self.listener.marked(number)

    def totals(self) -> Mapping[str, int]:
        """Return what came and went."""
        if self._totals is not None:
            return self._totals
        self._end_run()
        return {
            "packets_out": self._sender.packets,
            "frames_out": self._sender.frames,
            **self._receiver.totals(),
            **self._quality.totals(),
            **score(self._receiver.heard(self._room.clock()), self._quality.round_trip_ms),
        }

    # --- out ---

    def _count_late(self) -> None:
        late, self._late = self._late, self._receiver.late
        self._room.metrics.frames_late += self._late - late
