"""Recordings of calls: a stereo WAV file a call, the caller left and us right, whatever the leg.

A file is whole at every instant: sound is appended first, then the sizes in the head are raised, and a file gets its
name only with a head. What a crash costs is the last second.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia import config
from voicemedia.aside import Aside, OneThread
from voicemedia.audio.stereo import StereoTrack
from voicemedia.audio.wav import HEAD_BYTES, stereo_head
from voicemedia.interfaces import Caller, Goodbye, Leg, Listener

WRITE_MS: Final = 500
BACKLOG: Final = 40
"Pieces that wait for a disk; with more it hangs, and the recording is given up."
MOST_BYTES: Final = (1 << 32) - 1024
"A WAV file can say no more of itself."


class WavFile:
    """A stereo file that grows; every method may take as long as the disk does."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        self._rate_hz, self._size = rate_hz, 0
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unnamed = path.with_suffix(".part")
        self._file = unnamed.open("w+b", buffering=0)
        unnamed.chmod(0o600)
        self._file.write(stereo_head(rate_hz, 0))
        unnamed.rename(path)

    def append(self, both: bytes) -> None:
        """Add sound, both sides interleaved."""
        if self._size + len(both) > MOST_BYTES:
            return
        self._file.seek(HEAD_BYTES + self._size)
        self._file.write(both)
        self._size += len(both)
        self._file.seek(0)
        self._file.write(stereo_head(self._rate_hz, self._size))

    def close(self) -> None:
        """Close it."""
        self._file.close()


class Recording:
    """The recording of one call.

    :ivar path: where it is.
    :ivar paused: silence is written in place of what is said.
    """

    log = Logger()

    def __init__(self, path: Path, caller: Caller, aside: Aside, clock: Callable[[], int]) -> None:
        self.path, self.caller, self._aside, self._clock = path, caller, aside, clock
        self.track = StereoTrack(caller.rate_hz, clock())
        self.paused = False
        self._next_ms = clock() + WRITE_MS
        self._waiting, self._failed = 0, False
        self._file: WavFile | None = None
        self._do(self._open, path, caller.rate_hz)

    def pause(self, paused: bool) -> None:
        """Write silence from now on, or no more: a card number is nobody's business."""
        self.paused = paused
        self.track.hide(paused, self._clock())
        self.log.info(
            "call {call}: recording {state}", call=self.caller.call_id, state="paused" if paused else "goes on"
        )

    def tick(self, now_ms: int) -> None:
        """Let 20 ms pass."""
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + WRITE_MS
            both = self.track.settle(now_ms)
            if both and not self._failed:
                self._do(self._append, both)

    def end(self) -> None:
        """The call is over."""
        both = self.track.finish(self._clock())
        if not self._failed:
            self._do(self._finish, both)
            self.log.info("call {call}: recorded in {path}", call=self.caller.call_id, path=str(self.path))

    # --- on the thread of files ---

    def _open(self, path: Path, rate_hz: int) -> None:
        self._file = WavFile(path, rate_hz)

    def _append(self, both: bytes) -> None:
        if self._file is not None:
            self._file.append(both)

    def _finish(self, both: bytes) -> None:
        if self._file is not None:
            self._file.append(both)
            self._file.close()

    # --- on the reactor ---

    def _do(self, work: Callable[..., None], *args: Any) -> None:
        self._waiting += 1
        if self._waiting > BACKLOG:
            self._give_up("the disk does not keep up")
            return
        done: Deferred[None] = self._aside(work, *args)
        done.addCallbacks(self._done, self._broken)

    def _done(self, _: None) -> None:
        self._waiting -= 1

    def _broken(self, failure: Failure) -> None:
        self._waiting -= 1
        self._give_up(failure.getErrorMessage())

    def _give_up(self, why: str) -> None:
        if not self._failed:
            self._failed = True
            self.log.error("call {call}: no recording any more: {why}", call=self.caller.call_id, why=why)


class RecordedLeg:
    """A leg whose sound is recorded on its way out."""

    def __init__(self, leg: Leg, recording: Recording, clock: Callable[[], int]) -> None:
        self._leg, self._recording, self._clock = leg, recording, clock
        self.lead_ms = leg.lead_ms

    def __repr__(self) -> str:
        return f"{self._leg!r} -> {self._recording.path.name}"

    def __getattr__(self, name: str) -> Any:
        # What only some legs have: a follower, what can be done with the caller.
        return getattr(self._leg, name)

    @property
    def caller(self) -> Caller:
        return self._leg.caller

    @property
    def last_message_ms(self) -> int:
        return self._leg.last_message_ms

    def play(self, pcm: bytes) -> None:
        self._recording.track.played(pcm, self._clock())
        self._leg.play(pcm)

    def mark(self, number: int) -> None:
        self._leg.mark(number)

    def clear(self) -> None:
        self._recording.track.cleared(self._clock())
        self._leg.clear()

    def tick(self, now_ms: int) -> None:
        self._leg.tick(now_ms)
        self._recording.tick(now_ms)

    def hang_up(self, why: Goodbye) -> None:
        self._leg.hang_up(why)

    def totals(self) -> Mapping[str, int]:
        return self._leg.totals()


class RecordedListener:
    """A call that is recorded while it listens."""

    def __init__(self, listener: Listener, recording: Recording, clock: Callable[[], int]) -> None:
        self._listener, self._recording, self._clock = listener, recording, clock
        self.digit, self.said, self.marked = listener.digit, listener.said, listener.marked

    def hear(self, pcm: bytes, concealed: bool) -> None:
        self._recording.track.heard(pcm, self._clock())
        self._listener.hear(pcm, concealed)

    def gone(self, why: Goodbye) -> None:
        self._recording.end()
        self._listener.gone(why)


class Recorder:
    """Makes the recordings of a server."""

    def __init__(self, settings: config.Recording, reactor: Any, clock: Callable[[], int]) -> None:
        self._settings, self._reactor, self._clock = settings, reactor, clock
        self._count = 0
        self._thread = OneThread(reactor, "recordings")
        self.aside: Aside = self._thread

    def start(self) -> None:
        """Be ready, after twistd has daemonized."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left."""
        self._thread.stop()

    def record(self, leg: Leg) -> tuple[Leg, Recording] | None:
        """Record a call that begins; None when its route is not to be recorded."""
        routes = self._settings.routes
        if routes and leg.caller.route not in routes:
            return None
        began = datetime.fromtimestamp(self._reactor.seconds(), UTC)
        name = re.sub(r"[^A-Za-z0-9._-]", "_", leg.caller.call_id)[:80].lstrip(".")
        self._count += 1
        day, time = f"{began:%Y-%m-%d}", f"{began:%H%M%S}"
        # Numbered, since a carrier may name two calls the same.
        path = Path(self._settings.folder) / day / f"{time}-{self._count:06}-{leg.caller.carrier}-{name}.wav"
        recording = Recording(path, leg.caller, self.aside, self._clock)
        return cast(Leg, RecordedLeg(leg, recording, self._clock)), recording

    def listening(self, listener: Listener, recording: Recording) -> RecordedListener:
        """Return what the leg has to tell its sound."""
        return RecordedListener(listener, recording, self._clock)
