"""What comes as RTP: packets into frames of 20 ms at the rate of the call, gapless and in order.

Packets are put in order as payloads and decoded in that order, since most codecs remember what came before. A payload
type may change from one packet to the next; where the clock of the timestamps changes with it, a new time line begins
behind what has come.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from voicemedia.audio.coding import Decoding, make_decoding
from voicemedia.audio.comfort_noise import ComfortNoise
from voicemedia.audio.frames import Framer, frame_bytes
from voicemedia.audio.g711 import CODECS
from voicemedia.audio.jitter import RESYNC_MS, Delivery, JitterBuffer, Lost
from voicemedia.audio.resample import Resampler
from voicemedia.audio.smoother import Smoother
from voicemedia.errors import WireError
from voicemedia.interfaces import FRAME_MS
from voicemedia.sip_bridge.burst_wire import Bursts
from voicemedia.sip_bridge.codec_wire import PCMA, PCMU, Codec
from voicemedia.sip_bridge.rtp_wire import Packet, Timeline
from voicemedia.sip_bridge.score_wire import Heard
from voicemedia.untold import untold

WELL_KNOWN: Final = {0: PCMU, 8: PCMA}
"Numbers everybody means the same by, whatever was agreed on (RFC 3551, table 4)."
NOISE_BEHIND_MS: Final = 60
"Noise is made up so long after its time, because speech that begins again may be under way."

Counts = tuple[int, int, int, int, int]


class RtpReceiver:
    """One incoming stream.

    :param deadlines_ms: shortest and longest wait for a packet out of order.
    :param hear: told each frame, and whether it is made up.
    :ivar idle: ticks are of no use just now.
    :ivar codecs: what payload types mean; others are no sound.
    """

    __slots__ = (
        "_codec",
        "_concealing",
        "_deadlines_ms",
        "_decoding",
        "_even",
        "_frame_bytes",
        "_framed",
        "_framer",
        "_hear",
        "_jitter",
        "_noise",
        "_past",
        "_quiet",
        "_resampler",
        "_smoother",
        "_streams",
        "_timeline",
        "bursts",
        "codecs",
        "concealed",
        "concealed_ms",
        "damaged",
        "frames",
        "holes",
        "idle",
        "rate_hz",
    )

    def __init__(self, deadlines_ms: tuple[int, int], hear: Callable[[bytes, bool], None]) -> None:
        self._deadlines_ms, self._hear = deadlines_ms, hear
        self.codecs: Mapping[int, Codec] = WELL_KNOWN
        self._streams: dict[str, Decoding] = {}
        self._past: Counts = (0, 0, 0, 0, 0)
        self._even = False
        self._smoother: Smoother | None = None
        self.damaged = self.frames = self.concealed = self.holes = 0
        self.concealed_ms, self.bursts = 0.0, Bursts()
        self._concealing = False
        self._framed = False
        "Each packet told to `go_on` is a frame, and its sound simply the next."
        self.begin(8000)

    def begin(self, rate_hz: int) -> None:
        """Give out sound of this rate from now on."""
        self.rate_hz = rate_hz
        self._framer, self._frame_bytes = Framer(rate_hz), frame_bytes(rate_hz)
        self._noise = ComfortNoise(rate_hz)
        self._quiet: tuple[int, int] | None = None
        "Where on the time line the peer fell silent, and when it said so."
        self._use(PCMU)

    def agree(self, codecs: Mapping[int, Codec]) -> None:
        """Take packets with these payload types."""
        self.codecs = {**WELL_KNOWN, **codecs}

    def play_evenly(self, even: bool) -> None:
        """Give out a frame in each tick, for a person, rather than everything at once, for a recognizer."""
        self.flush()
        self._even = even
        self._count_past()
        self._start_over()

    def _use(self, codec: Codec) -> None:
        """Decode this codec from now on."""
        if codec.name not in self._streams:
            self._streams[codec.name] = make_decoding(codec.name)
        decoding, before = self._streams[codec.name], getattr(self, "_decoding", None)
        self._codec, self._decoding = codec, decoding
        same = before is not None and (before.clock_hz, before.tick_bytes) == (decoding.clock_hz, decoding.tick_bytes)
        if not same or self._even:
            if before is not None:
                self._count_past()
            self._start_over()
        changes = decoding.rate_hz != self.rate_hz
        self._resampler = Resampler(decoding.rate_hz, self.rate_hz) if changes else None

    def _start_over(self) -> None:
        """Begin a new time line behind what has come."""
        decoding = self._decoding
        self._timeline = Timeline(decoding.clock_hz * RESYNC_MS // 1000)
        self._jitter = JitterBuffer(decoding.clock_hz, decoding.tick_bytes, *self._deadlines_ms)
        self._smoother = Smoother(decoding) if self._even else None
        self._quiet, self.idle = None, not self._even

    # --- what comes ---

    def sound(self, packet: Packet, codec: Codec, now_ms: int) -> None:
        """Take a packet of sound.

        :raises WireError: it is damaged.
        """
        payload = packet.payload
        if codec is not self._codec:
            if not payload:
                return
            self.flush()
            self._use(codec)
        ticks = self._decoding.ticks(payload)
        if not ticks:
            if payload:
                raise WireError("bad_payload", self._codec.name)
            return
        position, pause = self._timeline.place(packet, ticks)
        if self._smoother is not None:
            self._smoother.pause(position - pause, position)
            self._smoother.put(position, ticks, payload, now_ms)
            return
        if pause:
            # The sender suppressed silence: nothing is missing, and nothing is to be waited for.
            self._pause(position - pause, position, now_ms)
        self._quiet, self.idle = None, True
        self._deliver(self._jitter.put(position, ticks, payload, now_ms))

    def stride(self, packet: Packet) -> int:
        """Return the ticks to the packet behind the last one, if that may then be told to `go_on`; else 0."""
        width = self._decoding.tick_bytes
        if not width or self._smoother is not None:
            return 0
        end, ticks = self._timeline.end(packet), len(packet.payload) // width
        if end is None or not self._jitter.expects(end):
            return 0
        self._framed = (
            ticks * 1000 == FRAME_MS * self._decoding.clock_hz
            and self._resampler is None
            and not (self._concealing or self._framer.pending)
        )
        return ticks

    def go_on(self, payload: bytes) -> None:
        """Take the sound of the packet a `stride` behind the last one; it is counted later, by `skip`."""
        pcm = self._decoding.decode(payload)
        if self._framed:
            hear = self._hear
            hear(pcm, False)
        else:
            self._frames(pcm, False)

    def skip(self, packets: int, ticks: int) -> None:
        """Count packets that were told to `go_on`."""
        if self._framed:
            self.frames += packets
        self._timeline.skip(packets, packets * ticks)
        self._jitter.skip(packets, packets * ticks)

    def comfort_noise(self, packet: Packet, now_ms: int) -> None:
        """Take a description of the silence that begins."""
        position, pause = self._timeline.place(packet, 0)
        if self._smoother is not None:
            self._smoother.pause(position - pause, position)
            return
        if pause:
            self._pause(position - pause, position, now_ms)
        self._noise.describe(packet.payload)
        self._quiet, self.idle = (position, now_ms), False

    @property
    def quiet(self) -> bool:
        """Whether the peer has said that it is silent on purpose."""
        return self._quiet is not None

    def passed(self, packet: Packet) -> None:
        """Take note of a packet without sound, such as a key."""
        self._timeline.passed(packet)

    def _pause(self, start: int, end: int, now_ms: int) -> None:
        if self._jitter.waiting:
            law = CODECS.get(self._codec.name)
            if law is not None:
                self._deliver(self._jitter.put(start, end - start, law.silence * (end - start), now_ms))
            return
        lost, silent = self._jitter.pause(start, end)
        if lost:
            self._deliver((Lost(lost),))
        self._frames(self._noise.make(silent * self.rate_hz // self._decoding.clock_hz), False)

    # --- time ---

    @property
    def next_due_ms(self) -> int:
        """When `due` has something to give up; `jitter.NEVER_MS` while nothing waits."""
        return self._jitter.next_due_ms

    @property
    def deadline_ms(self) -> int:
        """How long a hole is waited for."""
        return self._jitter.deadline_ms

    def due(self, now_ms: int) -> None:
        """Give up the holes that are due."""
        if self._jitter.next_due_ms <= now_ms:
            self._deliver(self._jitter.due(now_ms))

    def tick(self, now_ms: int) -> None:
        """Let 20 ms pass: play a frame, or go on with the noise of a silent peer."""
        if (smoother := self._smoother) is not None:
            before_ms = smoother.concealed_ms
            pcm, concealed = smoother.pull(now_ms)
            self.concealed_ms += smoother.concealed_ms - before_ms
            self._frames(pcm, concealed)
            return
        if self._quiet is None or self._jitter.waiting:
            return
        position, since_ms = self._quiet
        passed_ms = now_ms - since_ms - NOISE_BEHIND_MS
        if passed_ms > 0:
            self._pause(position, position + passed_ms * self._decoding.clock_hz // 1000, now_ms)

    def flush(self) -> None:
        """Give out what still waits, with its holes."""
        self._deliver(self._jitter.flush())

    def end(self) -> None:
        """The stream is over: give out everything."""
        self.flush()
        if rest := self._framer.flush():
            self._hear(rest, False)
        self._hear = untold

    # --- out ---

    def _deliver(self, deliveries: Iterable[Delivery]) -> None:
        decoding = self._decoding
        hole = 0
        for delivery in deliveries:
            if isinstance(delivery, Lost):
                hole += delivery.samples
                continue
            if hole:
                self._conceal(decoding.hole(hole, delivery))
                hole = 0
            try:
                self._frames(decoding.decode(delivery), False)
            except WireError:
                self.damaged += 1
                hole = decoding.ticks(delivery)
        if hole:
            self._conceal(decoding.hole(hole, None))

    def _conceal(self, pcm: bytes) -> None:
        self.concealed_ms += len(pcm) * 500 / self._decoding.rate_hz
        self._frames(pcm, True)

    def _frames(self, pcm: bytes, concealed: bool) -> None:
        if self._resampler is not None and pcm:
            pcm = self._resampler.feed(pcm)
        self.holes += concealed and not self._concealing
        self._concealing = concealed
        for frame in self._framer.feed(pcm):
            self.frames += 1
            if concealed:
                self.concealed += 1
                self.bursts.lost(self.frames)
            self._hear(frame, concealed)

    # --- counts ---

    @property
    def late(self) -> int:
        """Packets that came after they had been given up."""
        return self._past[1] + (self._jitter.late if self._smoother is None else self._smoother.late)

    def counts(self) -> Counts:
        """Return packets received, late, duplicate, reordered, and ms given up as lost."""
        return tuple(map(sum, zip(self._past, self._now(), strict=True)))  # type: ignore[return-value]

    @property
    def deadline_most_ms(self) -> int:
        """The longest a hole is ever waited for."""
        return self._deadlines_ms[1]

    def totals(self) -> dict[str, int]:
        """Return what came, for the record of the call."""
        received, late, duplicate, reordered, _ = self.counts()
        return {
            "packets_in": received,
            "frames_in": self.frames,
            "frames_concealed": self.concealed,
            "late": late,
            "duplicate": duplicate,
            "reordered": reordered,
        }

    def heard(self, now_ms: int) -> Heard:
        """Return what the quality of the call is made from."""
        buffer_ms = self._smoother.delay_ms(now_ms) if self._smoother is not None else 0.0
        return Heard(self.frames, self.concealed_ms, self.holes, max(0.0, buffer_ms))

    def _now(self) -> Counts:
        if self._smoother is not None:
            smooth = self._smoother
            return smooth.received, smooth.late, smooth.duplicate, smooth.reordered, round(smooth.concealed_ms)
        jitter = self._jitter
        return jitter.received, jitter.late, jitter.duplicate, jitter.reordered, jitter.lost_ms

    def _count_past(self) -> None:
        self._past = self.counts()
