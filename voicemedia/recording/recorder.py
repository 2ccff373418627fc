"""Records calls: one file each, each written once a second, by one thread for all.

Nothing here waits for the disk. While the thread is busy, sound waits in memory, for each call at most
`recording.queue_s` of it; what comes then is lost, counted and said.
"""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia import config
from voicemedia.aside import Aside, OneThread
from voicemedia.interfaces import Caller
from voicemedia.recording.files import Done, Files, remove_old
from voicemedia.recording.tape import Tape

SLOT_S: Final = 0.25
SLOTS: Final = 4
"Every call has one of them: the reactor shall not stop for all calls together."
SWEEP_S: Final = 24 * 3600
STOP_S: Final = 5
"How long the disk may take for the last sound when the server stops."
NAME_LENGTH: Final = 80


class Recorder:
    """The recordings of one server.

    :param keep_days: recordings older than that are deleted; 0: none.
    :param seconds: the clock of all calls.
    """

    log = Logger()

    def __init__(self, options: config.Recording, keep_days: int, reactor: Any, seconds: Callable[[], float]) -> None:
        self._options, self._keep_days = options, keep_days
        self._reactor, self._seconds = reactor, seconds
        self.folder = Path(options.folder).absolute()
        self._thread = OneThread(reactor, "recorder")
        self.aside: Aside = self._thread
        self._files = Files(self.folder, law=options.format == "mulaw", min_free_bytes=options.min_free_mb << 20)
        self._tapes: dict[Tape, int] = {}
        "Tape -> its slot."
        self._slot = 0
        self._flush_timer: IDelayedCall | None = None
        self._sweep_timer: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._seconds_done = self._dropped_s = 0.0
        self.trouble = ""
        "Why sound is lost at the moment; empty: it is not."

    # --- life ---

    def start(self) -> None:
        """Start the thread, after twistd has daemonized."""
        self._thread.start()
        self._flush_timer = self._reactor.callLater(SLOT_S, self._tick)
        self._sweep_timer = self._reactor.callLater(1, self._sweep)

    def stop(self) -> Deferred[None]:
        """Write what is there, and stop the thread."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for timer in (self._flush_timer, self._sweep_timer):
            if timer is not None and timer.active():
                timer.cancel()
        for tape in self._tapes:
            tape.end()
        if self._writing is not None:
            await self._in_time(self._writing)
        if self._tapes:
            await self._in_time(self._flush(list(self._tapes)))
        if self._writing is None:
            self._thread.stop()
        else:
            self.log.error("the disk did not take the end of recordings in {patience_s} s", patience_s=STOP_S)

    async def _in_time(self, writing: Deferred[None]) -> None:
        waiting: Deferred[None] = Deferred()
        writing.addBoth(lambda _: None if waiting.called else waiting.callback(None))
        waiting.addTimeout(STOP_S, self._reactor, onTimeoutCancel=lambda result, _s: None)
        await waiting

    # --- calls ---

    def begin(self, caller: Caller) -> Tape | None:
        """Begin to record a call; None when its route is not recorded."""
        if self._options.routes and caller.route not in self._options.routes:
            return None
        tape = Tape(caller.call_id, self._path(caller), caller.rate_hz, self._seconds, self._options.max_minutes * 60)
        self._tapes[tape] = (self._slot - 1) % SLOTS
        return tape

    def _path(self, caller: Caller) -> Path:
        """Make a file's name of what anybody may have called a call; no two are the same."""
        now = datetime.fromtimestamp(self._reactor.seconds(), UTC)
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", caller.call_id).strip("._")[:NAME_LENGTH] or "call"
        folder, stem = self.folder / f"{now:%Y-%m-%d}", f"{now:%H%M%S.%f}"[:-3] + f"-{caller.carrier}-{name}"
        taken = {tape.path for tape in self._tapes}
        paths = (folder / f"{stem}{suffix}.wav" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
        return next(path for path in paths if path not in taken)

    # --- writing ---

    def _tick(self) -> None:
        self._flush_timer = self._reactor.callLater(SLOT_S, self._tick)
        self._slot = (self._slot + 1) % SLOTS
        for tape, slot in self._tapes.items():
            if slot == self._slot:
                tape.gather(int(self._options.queue_s * tape.rate_hz))
        if self._writing is None:
            if waiting := [tape for tape in self._tapes if tape.waiting]:
                self._flush(waiting)
            elif not self._tapes:
                self.trouble = ""

    def _flush(self, tapes: list[Tape]) -> Deferred[None]:
        """Have written what waits."""
        batch = [tape.work() for tape in tapes]
        for tape in tapes:
            if tape.finished:
                del self._tapes[tape]
        done = self.aside(self._files.write, batch)
        self._writing = written = Deferred[None]()
        done.addCallback(self._written, tapes)
        done.addErrback(self._bug)
        done.addBoth(lambda _done: written.callback(None))
        return written

    def _written(self, results: list[Done], tapes: list[Tape]) -> None:
        self._writing = None
        for tape, result in zip(tapes, results, strict=True):
            tape.done(result)
            if tape.finished:
                self._over(tape)
        self._say({result.trouble for result in results} - {""})

    def _over(self, tape: Tape) -> None:
        self._seconds_done += tape.written / tape.rate_hz
        self._dropped_s += tape.dropped / tape.rate_hz
        self.log.info(
            "call {call}: {recorded_s} s recorded in {file}, {dropped_s} s of sound dropped",
            call=tape.call_id,
            recorded_s=round(tape.written / tape.rate_hz, 1),
            file=str(tape.path),
            dropped_s=round(tape.dropped / tape.rate_hz, 1),
        )

    def _say(self, troubles: set[str]) -> None:
        """Say once that recordings suffer, and once that they do no longer."""
        trouble = "; ".join(sorted(troubles))
        if trouble and trouble != self.trouble:
            self.log.error("sound is not recorded: {trouble}", trouble=trouble)
        elif self.trouble and not trouble:
            self.log.info("sound is recorded again")
        self.trouble = trouble

    def _bug(self, failure: Failure) -> None:
        self._writing = None
        self.log.failure("recordings were not written", failure)

    # --- old ones ---

    def _sweep(self) -> None:
        self._sweep_timer = self._reactor.callLater(SWEEP_S, self._sweep)
        if self._keep_days:
            before_s = self._reactor.seconds() - self._keep_days * 24 * 3600
            self.aside(remove_old, self.folder, before_s).addCallbacks(self._swept, self._not_swept)

    def _swept(self, removed: int) -> None:
        if removed:
            self.log.info("{removed} recordings older than {days} days deleted", removed=removed, days=self._keep_days)

    def _not_swept(self, failure: Failure) -> None:
        failure.trap(OSError)
        self.log.warn("old recordings were not deleted: {reason}", reason=failure.getErrorMessage())

    # --- counts ---

    def read(self) -> dict[str, float]:
        """Return what /metrics tells."""
        return {
            "active": sum(tape.on for tape in self._tapes),
            "seconds": self._seconds_done + sum(tape.written / tape.rate_hz for tape in self._tapes),
            "dropped_seconds": self._dropped_s + sum(tape.dropped / tape.rate_hz for tape in self._tapes),
        }
