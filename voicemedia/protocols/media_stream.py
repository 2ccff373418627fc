"""Carriers that speak JSON media streams (Smartflo, Twilio): the socket, and the leg of each stream on it.

No decision is made here: bytes go to the session (`*_wire`), its events to the jitter buffer or the call, and what
the call plays comes back the same way. What the peer does wrong ends here: counted by its kind, logged once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from voicemedia import config
from voicemedia.audio.conceal import Concealer
from voicemedia.audio.frames import Framer, frame_bytes
from voicemedia.audio.g711 import CODECS
from voicemedia.audio.jitter import NEVER_MS, Delivery, JitterBuffer, Lost
from voicemedia.audio.media_clock import MediaClock
from voicemedia.errors import WireError
from voicemedia.interfaces import FRAME_MS, Caller, Goodbye, Leg, Listener
from voicemedia.metrics import Metrics
from voicemedia.protocols.fast_websocket import FastWebSocketProtocol
from voicemedia.protocols.media_stream_session_wire import CONNECTED, Dialect, MediaStreamSession, StreamWriter
from voicemedia.protocols.media_stream_wire import Custom, Dtmf, Event, Mark, Media, Start, Stop
from voicemedia.taping import Tape

GOODBYE_CODE: Final = 1000
ADAPTIVE_S: Final = 0.25
'How long a peer may be silent before `connected = "adaptive"` takes it for one that waits.'
STREAMLESS_MS: Final = 60_000
"How long a socket may be open without a stream."
AHEAD_MS: Final = 60_000
"Sound may come faster than it was spoken, as from a file, but only so far ahead: the rest would fill memory."
MARK_PREFIX: Final = "s"


@dataclass(frozen=True, slots=True)
class Carrier:
    """What all sockets of one route share."""

    route: config.Route
    dialect: Dialect
    playout: config.Playout
    jitter: config.Jitter
    metrics: Metrics
    reactor: IReactorTime
    clock: Callable[[], int]
    answer: Callable[[Leg], Listener]
    "The switchboard's: makes a call of a leg."
    hurry: Callable[[Callable[[int], bool]], None]
    "The ticker's: asks in every slot until it hears False."
    hold: Callable[[int], None]
    "Told +1 for a socket that is there and -1 for one that is gone."
    custom: Callable[[Custom, Leg | None, Callable[[WireError], None]], None]
    "Takes events the dialect does not know, and whom to tell what is wrong with them."
    sockets: dict["MediaStreamSocket", None]
    "Those that are open."


class MediaStreamLeg:
    """One stream: the way to one caller and back."""

    def __init__(self, socket: "MediaStreamSocket", start: Start, writer: StreamWriter, carrier: Carrier) -> None:
        self.caller = Caller(
            call_id=start.call_id or start.stream_id,
            carrier=carrier.dialect.carrier,
            rate_hz=start.rate_hz,
            route=carrier.route.path,
            stream_id=start.stream_id,
            number=start.number,
            to=start.to,
            direction=start.direction,
            parameters=start.parameters,
        )
        self.lead_ms = carrier.playout.lead_ms
        self.last_message_ms = self._began_ms = carrier.clock()
        self._socket, self._writer, self._metrics = socket, writer, carrier.metrics
        codec = CODECS[start.codec]
        self._decode, self._encode, self._sample_bytes = codec.decode, codec.encode, codec.sample_bytes
        self._clock = MediaClock(start.rate_hz)
        self._jitter = JitterBuffer(
            start.rate_hz, codec.sample_bytes, carrier.jitter.deadline_min_ms, carrier.jitter.deadline_max_ms
        )
        self._concealer = Concealer(start.rate_hz)
        self._framer = Framer(start.rate_hz)
        self._frame_bytes = frame_bytes(start.rate_hz)
        self._packet_bytes = self._frame_bytes * (carrier.playout.packet_ms // FRAME_MS)
        self._packet = b""
        self._packet_due_ms = 0
        self._hurry, self._hurried = carrier.hurry, False
        self.listener: Listener
        "The call; set by the socket as soon as it is made."
        self.tape: Tape | None = None
        self.frames_in = self.frames_out = self.concealed = self.dropped = self._late = self._lost = 0

    def __repr__(self) -> str:
        return f"{self.caller.carrier} -> jitter {self._jitter.deadline_ms} ms"

    # --- from the socket ---

    def media(self, media: Media, now_ms: int) -> None:
        """Take a packet of the caller's sound.

        :raises WireError: `media_too_fast`: the caller cannot have said all that yet.
        """
        if self.frames_in * FRAME_MS - (now_ms - self._began_ms) > AHEAD_MS:
            raise WireError("media_too_fast")
        payload = media.payload
        samples = len(payload) // self._sample_bytes
        position = self._clock.position(
            samples,
            media.chunk if media.chunk >= 0 else None,
            media.timestamp_ms if media.timestamp_ms >= 0 else None,
        )
        for delivery in self._jitter.put(position, samples, payload, now_ms):
            self._deliver(delivery)
        if self._jitter.next_due_ms != NEVER_MS and not self._hurried:
            # 20 ms between two looks at a hole would double the wait for what lies behind it.
            self._hurried = True
            self._hurry(self._look)

    def _look(self, now_ms: int) -> bool:
        """Give up holes that are due; say whether one is left."""
        try:
            for delivery in self._jitter.due(now_ms):
                self._deliver(delivery)
        except Exception:  # the ticker calls, for all streams in turn: a bug in this one ends this one
            self._socket.report_bug()
        self._hurried = self._jitter.next_due_ms != NEVER_MS
        return self._hurried

    def ended(self) -> None:
        """Give out what still waits behind a hole, to the last sample: the stream is over."""
        for delivery in self._jitter.flush():
            self._deliver(delivery)
        if rest := self._framer.flush():
            self._hear(rest, concealed=False)
        self._count_late()

    def _count_late(self) -> None:
        late = self._jitter.late
        if late != self._late:
            self._metrics.frames_late += late - self._late
            self._late = late

    def _deliver(self, delivery: Delivery) -> None:
        if isinstance(delivery, Lost):
            self._lost += delivery.samples  # what waits behind it comes next, and helps to make it up
            return
        pcm = self._decode(delivery)
        if self._lost:
            made_up, self._lost = self._concealer.conceal(self._lost, pcm), 0
            for frame in self._framer.feed(made_up):
                self._hear(frame, concealed=True)
        for frame in self._framer.feed(self._concealer.good(pcm)):
            self._hear(frame, concealed=False)

    def _hear(self, frame: bytes, *, concealed: bool) -> None:
        self.frames_in += 1
        self._metrics.frames_in += 1
        if concealed:
            self.concealed += 1
            self._metrics.frames_concealed += 1
        if self.tape is not None:
            self.tape.heard(frame)
        self.listener.hear(frame, concealed)

    # --- from the call (Leg) ---

    def play(self, pcm: bytes) -> None:
        """Send whole frames; what a peer that does not read would get too late is dropped."""
        if self._packet_bytes > self._frame_bytes:
            self._gather(pcm)
        else:
            self._send(pcm)

    def mark(self, number: int) -> None:
        """Ask to be told when everything played so far has been heard."""
        self._flush()
        self._socket.send_text(self._writer.mark(f"{MARK_PREFIX}{number}"))

    def clear(self) -> None:
        """Take back what the carrier has not yet played."""
        self._packet = b""
        self._socket.send_text(self._writer.clear())

    def tick(self, now_ms: int) -> None:
        """Let time pass for a packet that is being gathered; holes are looked at in every slot."""
        self._count_late()
        if self._packet and now_ms >= self._packet_due_ms:
            self._flush()

    def hang_up(self, why: Goodbye) -> None:
        """Close the socket: these carriers have no message for it."""
        self._flush()
        self._socket.hang_up(why)

    def totals(self) -> Mapping[str, int]:
        """Return what came and went."""
        jitter = self._jitter
        return {
            "packets_in": jitter.received,
            "frames_in": self.frames_in,
            "frames_out": self.frames_out,
            "frames_concealed": self.concealed,
            "frames_dropped": self.dropped,
            "late": jitter.late,
            "duplicate": jitter.duplicate,
            "reordered": jitter.reordered,
        }

    # --- packets longer than a frame ---

    def _gather(self, pcm: bytes) -> None:
        if not self._packet:
            self._packet_due_ms = self._socket.carrier.clock() + self._socket.carrier.playout.packet_ms
        self._packet += pcm
        whole = len(self._packet) - len(self._packet) % self._packet_bytes
        if whole:
            self._send(self._packet[:whole])
            self._packet = self._packet[whole:]

    def _flush(self) -> None:
        packet, self._packet = self._packet, b""
        if packet:
            self._send(packet)

    def _send(self, pcm: bytes) -> None:
        frames = len(pcm) // self._frame_bytes
        if self._socket.writable:
            self._socket.send_text(self._writer.media(self._encode(pcm)))
            self.frames_out += frames
            self._metrics.frames_out += frames
        else:
            self.dropped += frames
            self._metrics.frames_dropped += frames


class MediaStreamSocket(FastWebSocketProtocol):
    """One carrier's socket, with one stream after the other on it."""

    log = Logger()

    def __init__(self, carrier: Carrier) -> None:
        super().__init__()
        self.carrier = carrier
        route = carrier.route
        self._session = MediaStreamSession(
            carrier.dialect, implicit_start=route.implicit_start, binary_audio=route.binary_audio
        )
        self._leg: MediaStreamLeg | None = None
        self._why: Goodbye | None = None
        "Why we hung up; None while we did not."
        self._streams = 0
        self._streamless_ms = carrier.clock()
        "Since when there is no stream, while there is none."
        self._spoken = False
        self._greeting: IDelayedCall | None = None
        self._complained: set[str] = set()
        self.is_gone: Deferred[None] = Deferred()
        "Fires when the connection is closed."

    # --- FastWebSocketProtocol ---

    def connectionMade(self) -> None:
        self.carrier.hold(+1)
        self.carrier.sockets[self] = None
        super().connectionMade()

    def connectionLost(self, reason: object = None) -> None:
        # First, so that nothing that goes wrong at the end of a call can keep its place.
        self.carrier.hold(-1)
        self.carrier.sockets.pop(self, None)
        try:
            super().connectionLost(reason)  # type: ignore[arg-type]
        finally:
            self.is_gone.callback(None)

    def opened(self) -> None:
        """Greet those who wait for it."""
        self._streamless_ms = self.carrier.clock()
        if self.carrier.dialect.carrier != "smartflo":
            return
        if self.carrier.route.connected == "immediate":
            self.send_text(CONNECTED)
        elif self.carrier.route.connected == "adaptive":
            self._greeting = self.carrier.reactor.callLater(ADAPTIVE_S, self._greet_the_silent)

    def text_received(self, payload: bytes) -> None:
        """Take one message of the carrier."""
        self._receive(self._session.receive, payload)

    def binary_received(self, payload: bytes) -> None:
        """Take sound in a binary message, where the route allows it."""
        self._receive(self._session.receive_binary, payload)

    def closed(self, was_clean: bool, code: int | None, reason: str) -> None:
        """The socket is gone, and with it the stream."""
        if self._greeting is not None and self._greeting.active():
            self._greeting.cancel()
        if self._why is None and self.failedByMe:
            self.carrier.metrics.wire_error(self.carrier.dialect.carrier, f"websocket_{self.localCloseCode}")
            self._why = Goodbye.PEER_BROKE_PROTOCOL
        self._end(self._why or (Goodbye.CALLER_HUNG_UP if was_clean else Goodbye.PEER_VANISHED))

    def fail(self, code: int, reason: str) -> None:
        """Close because of a bug of ours; what the peer does wrong comes another way."""
        self._why = self._why or Goodbye.FAILED
        super().fail(code, reason)

    # --- for the legs and the service ---

    def hang_up(self, why: Goodbye) -> None:
        """Say goodbye; `gone` follows when the socket is closed."""
        if self._why is None:
            self._why = why
            self.say_close(GOODBYE_CODE, why.value)

    def sweep(self, now_ms: int) -> None:
        """Close a socket that is open for nothing."""
        if self._why is None and self._leg is None and now_ms - self._streamless_ms > STREAMLESS_MS:
            if not self._streams:
                self._complain(WireError("no_start"))
            self.hang_up(Goodbye.IDLE)

    # --- inside ---

    def _receive(self, read: Callable[[bytes], tuple[Event, ...]], payload: bytes) -> None:
        self._spoken = True
        if self._why is not None:
            return
        now_ms = self.carrier.clock()
        if self._leg is not None:
            self._leg.last_message_ms = now_ms
        try:
            for event in read(payload):
                self._take(event, now_ms)
        except WireError as error:
            self._complain(error)

    def _take(self, event: Event, now_ms: int) -> None:
        leg = self._leg
        # First, because nearly all are.
        if isinstance(event, Media) and leg is not None:
            leg.media(event, now_ms)
        else:
            self._take_rare(event, leg)

    def _take_rare(self, event: Event, leg: MediaStreamLeg | None) -> None:
        match event:
            case Start():
                self._start(event)
            case Custom():
                self.carrier.custom(event, leg, self._complain)
            case Dtmf() if leg is not None:
                leg.listener.digit(event.digit)
            case Mark() if leg is not None:
                self._marked(event, leg)
            case Stop():
                self._end(Goodbye.REPLACED if event.replaced else Goodbye.CALLER_HUNG_UP)

    def _start(self, start: Start) -> None:
        self._streams += 1
        writer = self._session.writer
        assert writer is not None, "a session that says Start has a writer"
        leg = MediaStreamLeg(self, start, writer, self.carrier)
        leg.listener = self.carrier.answer(leg)
        self._leg = leg

    def _marked(self, mark: Mark, leg: MediaStreamLeg) -> None:
        number = mark.name.removeprefix(MARK_PREFIX)
        if number.isdecimal():
            leg.listener.marked(int(number))

    def _end(self, why: Goodbye) -> None:
        leg, self._leg = self._leg, None
        self._streamless_ms = self.carrier.clock()
        if leg is not None:
            try:
                leg.ended()
            finally:
                leg.listener.gone(why)

    def _greet_the_silent(self) -> None:
        if not self._spoken:
            self.send_text(CONNECTED)

    def _complain(self, error: WireError) -> None:
        self.carrier.metrics.wire_error(self.carrier.dialect.carrier, error.kind)
        if error.kind not in self._complained:
            self._complained.add(error.kind)
            self.log.warn(
                "{carrier} sent something wrong on {call}: {kind}; it is counted from now on",
                carrier=self.carrier.dialect.carrier,
                call=self._leg.caller.call_id if self._leg else "no call",
                kind=error.kind,
                pii_detail=str(error),
            )
