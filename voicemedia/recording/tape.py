"""One call's recording, as its leg and its speaker see it."""

from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger

from voicemedia.audio.stereo import Piece, Stereo
from voicemedia.recording.files import Done, Work


class Tape:
    """Takes sound in, gives out what is to be written (`taping.Tape`).

    A bug in here ends the recording, never the call.

    :param seconds: the clock the call lives by.
    :param most_s: the longest recording.
    """

    log = Logger()

    def __init__(self, call_id: str, path: Path, rate_hz: int, seconds: Callable[[], float], most_s: float) -> None:
        self.call_id, self.path, self.rate_hz = call_id, path, rate_hz
        self._seconds, self._most_s = seconds, most_s
        # A whole millisecond, as what senders go by.
        self._began_ms = int(seconds() * 1000)
        self._stereo = Stereo(rate_hz)
        self._pieces: list[Piece] = []
        self._held = 0
        self._samples = 0
        self.on, self._finished = True, False
        self.waiting = False
        "Whether there is something to write, and be it silence."
        self.trouble = ""
        "Why the disk takes nothing, at the moment."
        self.written = 0
        "Samples in the file."
        self.dropped = 0
        "Samples of either side that are not in it."

    # --- what it is told ---
    #
    # Whatever goes wrong in here ends the recording and not the call: hence each `except` of any exception.

    def heard(self, pcm: bytes) -> None:
        """Take the next frame of the caller."""
        if self.on:
            try:
                self._stereo.heard(pcm, self._now_s())
            except Exception:
                self._bug()

    def played(self, pcm: bytes, at_ms: int | None = None) -> None:
        """Take sound of ours."""
        if self.on:
            try:
                self._stereo.played(pcm, self._now_s() if at_ms is None else (at_ms - self._began_ms) / 1000)
            except Exception:
                self._bug()

    def cut(self) -> None:
        """Take back what was to sound from now on."""
        if self.on:
            try:
                self._stereo.cut(self._now_s())
            except Exception:
                self._bug()

    def pause(self) -> None:
        """Record silence from now on."""
        if self.on and not self.paused:
            self._stereo.pause(self._now_s())
            self.log.info("call {call}: the recording is paused", call=self.call_id)

    def resume(self) -> None:
        """Record sound again."""
        if self.on and self.paused:
            self._stereo.resume(self._now_s())
            self.log.info("call {call}: the recording goes on", call=self.call_id)

    @property
    def paused(self) -> bool:
        """Whether silence is recorded."""
        return self._stereo.paused

    def end(self) -> None:
        """The call is over; what is said from now on is not recorded."""
        if self.on:
            self.on, self.waiting = False, True
            try:
                pieces, samples = self._stereo.finish(self._now_s())
                self._samples = min(samples, int(self._most_s * self.rate_hz))
                self._hold(pieces)
            except Exception:
                self._bug()

    # --- what is to be written ---

    def gather(self, most: int) -> None:
        """Take over what has come; if more than `most` samples wait for the disk already, it is lost."""
        if not self.on:
            return
        now_s = self._now_s()
        if now_s >= self._most_s:
            self.end()
            self.log.info("call {call}: the recording has reached its longest time", call=self.call_id)
            return
        self.waiting = True
        pieces = self._stereo.take(now_s)
        self._samples = int(now_s * self.rate_hz)
        if self._held > most:
            self.dropped += _sound(pieces)
        else:
            self._hold(pieces)

    def work(self) -> Work:
        """Give out what is to be written."""
        pieces, self._pieces, self._held, self.waiting = self._pieces, [], 0, False
        self._finished = not self.on
        return Work(self.path, self.rate_hz, pieces, self._samples, self._finished)

    def done(self, done: Done) -> None:
        """Take what became of it."""
        self.written = done.samples
        self.dropped += done.dropped
        self.trouble = done.trouble

    @property
    def finished(self) -> bool:
        """Whether all has been given out."""
        return self._finished

    def _hold(self, pieces: list[Piece]) -> None:
        self._pieces += pieces
        self._held += _sound(pieces)

    def _now_s(self) -> float:
        return self._seconds() - self._began_ms / 1000

    def _bug(self) -> None:
        self.on, self.waiting = False, True
        self.log.failure("call {call}: the recording is lost to a bug", call=self.call_id)


def _sound(pieces: list[Piece]) -> int:
    return sum(piece.samples for piece in pieces if piece.pcm is not None)
