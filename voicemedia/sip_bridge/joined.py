"""Two legs whose people talk with each other; nobody of ours listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from voicemedia.audio.frames import Framer
from voicemedia.audio.resample import Resampler
from voicemedia.errors import Unable
from voicemedia.interfaces import Goodbye
from voicemedia.sip_bridge.rtp_leg import RtpLeg

if TYPE_CHECKING:
    from voicemedia.sip_bridge.trunk_call import TrunkCall

MOST_FRAMES: Final = 10
"Sound that waits to be sent, in frames: more is a clock that runs away, or a burst after a pause."


class Passage:
    """Sound from one leg to another, at the rate of the other, without a pile before its door."""

    def __init__(self, comes: RtpLeg, goes: RtpLeg) -> None:
        self._goes = goes
        self._resampler = Resampler(comes.caller.rate_hz, goes.caller.rate_hz)
        self._framer = Framer(goes.caller.rate_hz)

    def feed(self, pcm: bytes) -> None:
        """Take a frame of the one, play what makes whole frames of the other."""
        for frame in self._framer.feed(self._resampler.feed(pcm)):
            if self._goes.backlog <= MOST_FRAMES:
                self._goes.play(frame)


class Side:
    """Hears one person for the other."""

    def __init__(self, joined: Joined, hears: TrunkCall, speaks: TrunkCall) -> None:
        self._joined, self._hears, self._speaks = joined, hears, speaks
        self._passage = Passage(hears.leg, speaks.leg)

    def hear(self, pcm: bytes, concealed: bool) -> None:
        """Say it on the other side."""
        self._passage.feed(pcm)

    def digit(self, key: str) -> None:
        """Press it on the other side; one that takes none hears none."""
        try:
            self._speaks.press(key)
        except Unable:
            self._joined.log.info("call {call}: a key could not be passed on", call=self._speaks.card.call_id)

    def said(self, text: str) -> None:
        """Nobody types on a telephone."""

    def marked(self, number: int) -> None:
        """Nothing was marked."""

    def gone(self, why: Goodbye) -> None:
        """Hang up on the other, too."""
        self._joined.part(self._speaks, why)


class Joined:
    """Two calls joined; the end of one is the end of both."""

    log = Logger()

    def __init__(self, one: TrunkCall, other: TrunkCall) -> None:
        self._calls = (one, other)
        self._parted = False
        self._desk = one.home.desk
        self._until_ms = one.home.now_ms + self._desk.max_call_s * 1000
        one.take_over(Side(self, one, other))
        other.take_over(Side(self, other, one))
        # Only now: whoever they were joined with before has just been told, and has parted from them.
        one.card.joined, other.card.joined = other.card.call_id, one.card.call_id
        for call in self._calls:
            call.leg.play_evenly(True)
        self._desk.join(self)
        self.log.info("calls {one} and {other} are joined", one=one.card.call_id, other=other.card.call_id)

    def tick(self, now_ms: int) -> None:
        """Let both hear, then both say what they have heard; a bug in it ends both, and nothing else."""
        try:
            for call in self._calls:
                call.leg.listen(now_ms)
            for call in self._calls:
                call.leg.speak(now_ms)
        except Exception:
            one, other = self._calls
            self.log.failure("calls {one} and {other}: lost to a bug", one=one.card.call_id, other=other.card.call_id)
            for call in self._calls:
                call.hang_up(Goodbye.FAILED)

    def sweep(self, now_ms: int) -> None:
        """End what has lasted too long."""
        if now_ms >= self._until_ms:
            for call in self._calls:
                call.hang_up(Goodbye.TOO_LONG)

    def part(self, left: TrunkCall, why: Goodbye) -> None:
        """One has gone, or has been taken over by somebody else: the other is left, and hung up."""
        if self._parted:
            return
        self._parted = True
        self._desk.leave(self)
        for call in self._calls:
            call.card.joined = ""
            call.leg.play_evenly(False)
        left.hang_up(Goodbye.AGENT_HUNG_UP if why is Goodbye.CALLER_HUNG_UP else why)
