"""Play a stream of packets evenly for a person: a frame every 20 ms, whatever the network does.

Packets are held back until the delay `TargetDelay` finds worth it. Where the delay is to change, sound is made longer
or shorter by pitch periods, at most a quarter of the time; pauses are made longer or shorter as they are. It is made
longer too, while there is some, when the packet behind it will probably come too late. What is not there when its time
has come is made up: when later packets are there it is lost, when none is, the delay grows. Of a packet that comes
while it is being made up, the rest is played.

For recognizers there is the other way, `jitter.JitterBuffer`, which holds back nothing that is in order.
"""

from math import ceil, gcd
from typing import Final

import numpy as np

from voicemedia.audio.coding import Decoding
from voicemedia.audio.target_delay import TargetDelay
from voicemedia.audio.time_scale import ALIKE, LAG_MAX_MS, LIKENESS_MS, NEEDED_MS, find_lag, lengthen, shorten
from voicemedia.errors import WireError
from voicemedia.interfaces import FRAME_MS

SCALE_MS: Final = FRAME_MS / 4
"What may be won or lost by a frame, on average."
LOOK_AHEAD_MS: Final = 60
"With so much sound left, nobody asks yet what comes behind it ..."
LIKELY: Final = 0.05
"... and with less, it is made longer where what comes next is so likely to be too late."
FAR_MS: Final = 80
"Off by more, or before sound is missing, less likeness is good enough."
FAR_ALIKE: Final = 0.6
HELD_MAX: Final = 200
"Packets; more are a peer that sends faster than time."


class Smoother:
    """One stream, evenly.

    :ivar playing: it has been waited for long enough at the beginning.
    :ivar concealed_ms: sound made up for packets that were lost or too late. What is made up while nothing comes counts
        when something comes: it may be a pause.
    :ivar scaled_ms: sound left out (negative: said twice) to change the delay.
    """

    def __init__(self, decoding: Decoding) -> None:
        self._decoding, self.rate_hz = decoding, decoding.rate_hz
        self._ticks_per_ms = decoding.clock_hz / 1000
        self._per_tick = decoding.rate_hz / decoding.clock_hz
        self.target = TargetDelay()
        self._held: dict[int, tuple[int, bytes | None]] = {}
        "Position -> (ticks, payload); no payload: a pause."
        self._next: int | None = None
        "Position behind the last sound decoded."
        self._past = np.zeros(self.rate_hz * LAG_MAX_MS // 1000)
        "The last that was played."
        self._sound = np.zeros(0)
        "Decoded, not yet played."
        self._step_ms = FRAME_MS
        "Delays that differ by less come to the same: packets are of some length, and frames are too."
        self._credit_ms = 0.0
        self._expanded = 0
        "Samples made up since the buffer ran dry, that no position has been given to yet."
        self._made_up = False
        "Whether any of the frame that is pulled was."
        self.playing = False
        self._latest = -1
        self.received = self.late = self.duplicate = self.reordered = 0
        self.concealed_ms = self.scaled_ms = 0.0

    # --- in ---

    def put(self, position: int, ticks: int, payload: bytes, now_ms: int) -> None:
        """Take a packet."""
        self.received += 1
        self.reordered += position < self._latest
        self._latest = max(self._latest, position)
        lasts_ms = ticks / self._ticks_per_ms
        self._step_ms = gcd(int(lasts_ms), FRAME_MS)
        self.target.arrived(position / self._ticks_per_ms, lasts_ms, now_ms)
        self._hold(position, ticks, payload)

    def pause(self, start: int, end: int) -> None:
        """Take note that the sender is silent on purpose between two positions."""
        if end > start:
            self._hold(start, end - start, None)

    def _hold(self, position: int, ticks: int, payload: bytes | None) -> None:
        if self._next is None:
            self._next = position
        if position in self._held:
            self.duplicate += payload is not None
        elif position < self._next:
            self.late += payload is not None
            self._hold_rest(position + ticks - self._next, payload)
        else:
            self._held[position] = ticks, payload
            if len(self._held) > HELD_MAX:
                self._next = min(self._held)
                self._sound = np.zeros(0)
                self._held.pop(self._next)

    def _hold_rest(self, ticks: int, payload: bytes | None) -> None:
        """Hold what is not past yet of something late."""
        assert self._next is not None
        if ticks > 0 and self._next not in self._held:
            width = self._decoding.tick_bytes
            self._held[self._next] = ticks, payload[-ticks * width :] if payload and width else payload

    # --- out ---

    def delay_ms(self, now_ms: int) -> float:
        """Return how much later than it could have been the next sound is played."""
        if self._next is None:
            return 0.0
        begins_ms = self._next / self._ticks_per_ms - len(self._sound) * 1000 / self.rate_hz
        return now_ms - begins_ms - self.target.fastest_ms

    def pull(self, now_ms: int) -> tuple[bytes, bool]:
        """Return the next 20 ms, and whether any of it was made up."""
        needed = self.rate_hz * FRAME_MS // 1000
        if not self._begun(now_ms):
            return bytes(2 * needed), False
        self._made_up = False
        self._scale(now_ms)
        while len(self._sound) < needed:
            self._more(needed - len(self._sound), now_ms)
        frame, self._sound = self._sound[:needed], self._sound[needed:]
        self._past = frame[-len(self._past) :]
        pcm = np.clip(np.rint(frame), -32768, 32767).astype("<i2").tobytes()
        return pcm, self._made_up

    def _begun(self, now_ms: int) -> bool:
        """Tell whether it has been waited for long enough, at the beginning."""
        if not self.playing and self._held:
            self.playing = self.delay_ms(now_ms) + FRAME_MS > self.target.target_ms
        return self.playing

    def _more(self, samples: int, now_ms: int) -> None:
        """Add to the sound: a packet, a piece of a hole or a pause, or what covers that nothing has come."""
        assert self._next is not None
        first = self._first()
        if first is None:
            samples = self._whole(samples)
            self._expanded += samples
            self._make_up(samples, None)
            return
        if first > self._next:
            self._hole(first, samples)
            return
        ticks, payload = self._held.pop(self._next)
        if payload is None:
            self._silence(ticks, samples, now_ms)
            return
        self._next += ticks
        self._count(self._expanded)
        self._expanded = 0
        try:
            self._append(self._decoding.decode(payload)[-2 * int(ticks * self._per_tick) :])
        except WireError:
            self._count(self._make_up(int(ticks * self._per_tick), None))

    def _first(self) -> int | None:
        """Return where the first that is held begins, once what is past has been cut off."""
        assert self._next is not None
        while self._held:
            first = min(self._held)
            if first >= self._next:
                return first
            ticks, payload = self._held.pop(first)
            self._hold_rest(first + ticks - self._next, payload)
        return None

    def _hole(self, first: int, samples: int) -> None:
        """Make up a piece of what is missing before the first packet held, less what has been made up already."""
        assert self._next is not None
        missing = first - self._next
        covered = min(missing, int(self._expanded / self._per_tick))
        self._next += covered
        self._expanded -= int(covered * self._per_tick)
        self._count(int(covered * self._per_tick))
        missing -= covered
        wanted = min(missing, ceil(self._whole(samples) / self._per_tick))
        if wanted:
            self._next += wanted
            behind = self._held[first][1] if wanted == missing else None
            self._count(self._make_up(int(wanted * self._per_tick), behind))

    def _whole(self, samples: int) -> int:
        """Round up to what the codec can make up."""
        step = 1 if self._decoding.tick_bytes else self.rate_hz // 100
        return -(-samples // step) * step

    def _silence(self, ticks: int, samples: int, now_ms: int) -> None:
        """Play a piece of a pause; as much of it goes, or comes on top, as the delay is off its target."""
        assert self._next is not None
        covered = min(ticks, int(self._expanded / self._per_tick))
        # What was made up while nobody spoke was not missing.
        self._count(self._expanded - int(covered * self._per_tick))
        self._expanded = 0
        left = ticks - covered
        off_ms = self._off_ms(now_ms) - covered / self._ticks_per_ms
        dropped = min(left, max(0, int(off_ms * self._ticks_per_ms)))
        played = min(left - dropped, int(samples / self._per_tick) or 1)
        self._next += covered + dropped + played
        self.scaled_ms += dropped / self._ticks_per_ms
        self._sound = np.concatenate((self._sound, np.zeros(int(played * self._per_tick))))
        if rest := left - dropped - played:
            self._held[self._next] = rest, None

    def _make_up(self, samples: int, following: bytes | None) -> int:
        """Add what replaces missing sound; return how many samples that is."""
        self._made_up = True
        # A codec that makes up in steps of its own may fall short.
        pcm = self._decoding.hole(int(samples / self._per_tick), following) or bytes(2 * samples)
        self._append(pcm)
        return len(pcm) // 2

    def _count(self, samples: int) -> None:
        self.concealed_ms += samples * 1000 / self.rate_hz

    def _append(self, pcm: bytes) -> None:
        self._sound = np.concatenate((self._sound, np.frombuffer(pcm, "<i2")))

    # --- the time scale ---

    def _scale(self, now_ms: int) -> None:
        """Leave out or repeat a pitch period, when the delay is off or will be, and there is one."""
        self._credit_ms = min(self._credit_ms + SCALE_MS, LAG_MAX_MS)
        off_ms, dry = self._off_ms(now_ms), self._runs_dry(now_ms)
        alike = FAR_ALIKE if dry or abs(off_ms) > FAR_MS else ALIKE
        if dry or off_ms < 0:
            self._lengthen(alike, now_ms)
        elif off_ms > 0:
            self._shorten(off_ms, alike, now_ms)

    def _shorten(self, most_ms: float, alike: float, now_ms: int) -> None:
        if self._gather(NEEDED_MS, now_ms):
            lag = find_lag(self._sound, self.rate_hz, min(self._credit_ms, most_ms), alike)
            if lag:
                self._sound = shorten(self._sound, lag)
                self._scaled(lag)

    def _lengthen(self, alike: float, now_ms: int) -> None:
        if self._gather(LIKENESS_MS, now_ms):
            seam = np.concatenate((self._past, self._sound[: self.rate_hz * LIKENESS_MS // 1000]))
            # Turned round: the sound to come is to be like what was before it.
            lag = find_lag(seam[::-1], self.rate_hz, self._credit_ms, alike)
            if lag:
                self._sound = lengthen(self._past, self._sound, lag)
                self._scaled(-lag)

    def _gather(self, ms: int, now_ms: int) -> bool:
        """Decode until there is so much sound; tell whether there is."""
        assert self._next is not None
        needed = self.rate_hz * ms // 1000
        while len(self._sound) < needed and self._next in self._held and self._held[self._next][1] is not None:
            self._more(1, now_ms)
        return len(self._sound) >= needed

    def _scaled(self, samples: int) -> None:
        lag_ms = samples * 1000 / self.rate_hz
        self._credit_ms -= abs(lag_ms)
        self.scaled_ms += lag_ms

    def _runs_dry(self, now_ms: int) -> bool:
        """Tell whether the first packet missing is late, and likely to be so still when its time has come."""
        assert self._next is not None
        missing, left_ms = self._next, len(self._sound) * 1000 / self.rate_hz
        while missing in self._held:
            ticks, payload = self._held[missing]
            if payload is None or left_ms >= LOOK_AHEAD_MS:
                return False
            missing += ticks
            left_ms += ticks / self._ticks_per_ms
        late_ms = now_ms - missing / self._ticks_per_ms - self.target.fastest_ms
        return self.target.still_missing(late_ms + left_ms // FRAME_MS * FRAME_MS, late_ms) >= LIKELY

    def _off_ms(self, now_ms: int) -> float:
        """Return how much more sound there is than has to be, or less (negative).

        Frames are pulled on one grid and packets come on another: a packet is first missed when the sound before it
        is less than a frame. So there are only some delays to choose from; between two of them, every packet has to
        be there as soon as with the shorter.
        """
        assert self._next is not None
        held_ms = len(self._sound) * 1000 / self.rate_hz
        # Of packets that are no whole frames, some have to be there by so much sooner than others.
        sooner_ms = FRAME_MS - self._step_ms
        empty_ms = now_ms - self._next / self._ticks_per_ms - self.target.fastest_ms - sooner_ms
        self.target.grid = empty_ms, self._step_ms
        return held_ms - self._step_ms * round((self.target.target_ms - empty_ms) / self._step_ms)
