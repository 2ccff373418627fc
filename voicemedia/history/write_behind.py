"""From the reactor to the database without ever waiting: what is put is spooled soon, and written when that goes.

Two things go on by themselves. Every `SPOOL_S` what was put is appended to the spool; now and then the files of the
spool are written to the database one by one, in order, each in a transaction of its own, and dropped once it is there.
"""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.aside import Aside
from voicemedia.history.cures import with_cure
from voicemedia.history.databases import Away, Database, Refused, Statement, migrate
from voicemedia.history.forgetting import forgotten
from voicemedia.history.recordings import undeleted
from voicemedia.history.records import Answered, AnyRecord, from_line, to_line
from voicemedia.history.spool import Spool, SpoolFull, whole_lines

SPOOL_S: Final = 0.2
"How long a record waits in memory: what a crash can lose, with the time of one fsync."
WRITE_S: Final = 1.0
"Of rest after records were written, unless somebody waits: each time is a transaction and seven hops between threads."
MAX_PENDING: Final = 20_000
"Records in memory while the disk does not take them; what comes then is lost."
MAX_UNDELETED: Final = 10_000
RETRY_S: Final = (0.5, 1.0, 2.0, 5.0)
"Waits before a database that is away is tried again; the last one from then on."


class WriteBehind:
    """The way of all records into one database."""

    log = Logger()

    def __init__(self, database: Database, spool: Spool, reactor: IReactorTime, aside: Aside) -> None:
        self._database, self._spool, self._reactor, self._aside = database, spool, reactor, aside
        self._spool_trouble = self._database_trouble = self._recordings_trouble = ""
        self.lost = 0
        "Records nothing could keep."
        self.refused = 0
        "Records the database does not take; they are kept in the spool's file `refused`."
        self._pending: list[bytes] = []
        self._lost_before = 0
        "Records lost in earlier outages."
        self._undeleted: list[str] = []
        "Recordings of erased sessions that could not be deleted."
        self._put = self._spooled = self._written = 0
        "Records so far; what comes from an earlier life of the spool is not counted."
        self.stopped = False
        self._appending = self._writing = self._is_open = False
        self._tries = 0
        self._append_timer: IDelayedCall | None = None
        self._write_timer: IDelayedCall | None = None
        self._next_write_s = 0.0
        self._retry_timer: IDelayedCall | None = None
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._ends: list[Deferred[None]] = []

    # --- what others ask ---

    def start(self) -> Deferred[None]:
        """Open the spool and write what an earlier life left in it; fires when the spool takes records.

        :raises OSError: the spool cannot be opened.
        """
        return self._aside(self._spool.open).addCallback(lambda _: self._write_soon())

    def put(self, record: AnyRecord) -> None:
        """Have a record written."""
        if len(self._pending) >= MAX_PENDING:
            self._lose()
            return
        self._pending.append(to_line(record))
        self._put += 1
        if self._append_timer is None and not self._appending:
            self._append_timer = self._reactor.callLater(SPOOL_S, self._append)

    def _lose(self) -> None:
        if self.lost == self._lost_before:
            self.log.error("history is lost from now on, as {count} records wait in memory", count=MAX_PENDING)
        self.lost += 1

    @property
    def trouble(self) -> str:
        """Why records do not reach the database, or recordings are not deleted; empty: all is well."""
        return self._spool_trouble or self._database_trouble or self._recordings_trouble

    @property
    def waiting_bytes(self) -> int:
        """Tell how much is not yet in the database."""
        return self._spool.waiting_bytes

    def read(self) -> dict[str, int]:
        """Return how the writing goes; what an earlier life of the spool left is in `spooled_bytes` alone."""
        return {
            "written": self._written,
            "lost": self.lost,
            "refused": self.refused,
            "pending": len(self._pending),
            "spooled_bytes": self.waiting_bytes,
            "spool_limit_bytes": self._spool.max_bytes,
        }

    def settled(self) -> Deferred[None]:
        """Fire when everything put so far is in the database.

        :raises Away: it is not, and will not be soon.
        """
        if self._written == self._put:
            return succeed(None)
        if self._retry_timer is not None or self.stopped:
            return fail(Away(self.trouble))
        settled: Deferred[None] = Deferred()
        self._waiting.append((self._put, settled))
        self._append()
        if not self._appending:
            self._write_soon()
        return settled

    async def stop(self, patience_s: float) -> None:
        """Spool what is in memory; write what the database takes in time, and leave the rest to the next start."""
        await self._spool_all()
        if self._retry_timer is not None:
            self._retry_timer.cancel()
            self._retry_timer = None
            self._write_soon()
        settled = self.settled()
        settled.addTimeout(patience_s, self._reactor)
        await settled.addErrback(lambda _: None)
        self.stopped = True
        for timer in (self._append_timer, self._write_timer, self._retry_timer):
            if timer is not None and timer.active():
                timer.cancel()
        await self._database.close()
        while self._writing or self._appending:
            await self._next_end()
        if self._put > self._written:
            self.log.warn("{count} records wait in the spool for the next start", count=self._put - self._written)
        await self._aside(self._spool.close)

    async def _spool_all(self) -> None:
        """Append until nothing is in memory, or the disk takes nothing."""
        while self._pending:
            before, ended = len(self._pending), self._next_end()
            self._append()
            await ended
            if len(self._pending) == before and not self._appending:
                break

    def _next_end(self) -> Deferred[None]:
        """Fire when an append or a round of writing has ended."""
        ended: Deferred[None] = Deferred()
        self._ends.append(ended)
        return ended

    # --- into the spool ---

    def _append(self) -> None:
        if self._append_timer is not None and self._append_timer.active():
            self._append_timer.cancel()
        self._append_timer = None
        if self._appending or not self._pending:
            return
        self._appending = True
        batch = len(self._pending)
        done = self._aside(self._spool.append, b"".join(self._pending))
        done.addCallbacks(self._appended, self._not_appended, callbackArgs=(batch,))
        done.addErrback(self._bug)

    def _appended(self, _done: None, batch: int) -> None:
        self._appending, self._spool_trouble = False, ""
        if self.lost > self._lost_before:
            self.log.error("history is kept again; {count} records were lost", count=self.lost - self._lost_before)
            self._lost_before = self.lost
        del self._pending[:batch]
        self._spooled += batch
        if self._pending and not self.stopped:
            # Somebody may wait for these already.
            self._append() if self._waiting else self._append_later(SPOOL_S)
        if not self.stopped:
            self._write_soon()
        self._one_ended()

    def _not_appended(self, failure: Failure) -> None:
        failure.trap(OSError, SpoolFull)
        self._appending = False
        trouble = f"the spool takes nothing: {with_cure(failure.value)}"
        if trouble != self._spool_trouble:
            self._spool_trouble = trouble
            self.log.error("history waits in memory: {trouble}", trouble=trouble)
        self._fail_waiting()
        if not self.stopped:
            self._append_later(1.0)
        self._one_ended()

    def _append_later(self, wait_s: float) -> None:
        self._append_timer = self._reactor.callLater(wait_s, self._append)

    # --- out of the spool ---

    def _write_soon(self) -> None:
        """Write at once after a rest, or when somebody waits; else at the end of the rest."""
        if self._writing or self._retry_timer is not None:
            return
        wait_s = 0 if self._waiting else self._next_write_s - self._reactor.seconds()
        if wait_s <= 0:
            self._write_now()
        elif self._write_timer is None:
            self._write_timer = self._reactor.callLater(wait_s, self._write_now)

    def _write_now(self) -> None:
        if self._write_timer is not None and self._write_timer.active():
            self._write_timer.cancel()
        self._write_timer = None
        self._writing = True
        Deferred.fromCoroutine(self._write()).addErrback(self._bug)

    async def _write(self) -> None:
        """Write all files of the spool; try again later when the database is away."""
        try:
            if not self._is_open:
                await self._database.open()
                await migrate(self._database)
                self._is_open = True
                self.log.info("history is written to {database}", database=self._database.name)
            await self._write_files()
        except (Away, OSError) as error:
            # A server that comes back may have been set up anew.
            self._is_open = False
            self._troubled(with_cure(error))
            self._fail_waiting()
            if not self.stopped:
                self._retry_timer = self._reactor.callLater(RETRY_S[min(self._tries, 3)], self._retry)
            self._tries += 1
        finally:
            self._writing = False
            self._one_ended()

    async def _write_files(self) -> None:
        while True:
            spooled = self._spooled
            octets = await self._aside(self._spool.oldest)
            if octets is not None:
                await self._write_file(whole_lines(octets))
                await self._aside(self._spool.drop)
                self._next_write_s = self._reactor.seconds() + WRITE_S
                continue
            self._caught_up(spooled)
            if self._spooled == spooled:
                return

    def _caught_up(self, spooled: int) -> None:
        self._written, self._tries, self._database_trouble = spooled, 0, ""
        self._tell_waiting()

    async def _write_file(self, lines: Sequence[bytes]) -> None:
        """Write the records of one file, one by one if not all are taken."""
        records = [record for line in lines if (record := await self._record(line)) is not None]
        erased = await self._erased()
        await self._write_records([record for record in records if record.at_ms > erased.get(record.session, -1)])
        # Who erased a session in this very moment did not see what was being written of it.
        erased = await self._erased()
        await self._delete(_recordings([each for each in records if each.at_ms <= erased.get(each.session, -1)]))
        late = [(session, erased[session]) for session in {each.session for each in records} if session in erased]
        if late:
            await self._database.write([statement for each in late for statement in forgotten(*each)])

    async def _delete(self, unwanted: Sequence[str]) -> None:
        """Delete recordings; those that cannot be are tried again with the next file, and hold up nothing."""
        if not unwanted and not self._undeleted:
            return
        left = await self._aside(undeleted, [*self._undeleted, *unwanted])
        self._undeleted = list(left)[:MAX_UNDELETED]
        trouble = next(
            (f"recordings of erased sessions cannot be deleted: {with_cure(error)}" for error in left.values()), ""
        )
        if trouble and not self._recordings_trouble:
            self.log.error("{count} {trouble}", count=len(left), trouble=trouble)
        self._recordings_trouble = trouble

    async def _write_records(self, wanted: Sequence[AnyRecord]) -> None:
        try:
            await self._database.write(statements_of(wanted))
        except Refused:
            for record in wanted:
                try:
                    await self._database.write(statements_of([record]))
                except Refused as error:
                    await self._refuse(to_line(record)[:-1], str(error))

    async def _erased(self) -> dict[str, int]:
        """Read until when the records of erased sessions are unwanted."""
        rows = await self._database.read(("SELECT session_id, at_ms FROM erased", ()))
        return {str(session): int(at_ms or 0) for session, at_ms in rows}

    async def _record(self, line: bytes) -> AnyRecord | None:
        try:
            return from_line(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            await self._refuse(line, str(error))
            return None

    async def _refuse(self, line: bytes, reason: str) -> None:
        self.refused += 1
        self.log.error("a record of history is not taken: {reason}", reason=reason)
        await self._aside(self._spool.refuse, line)

    def _retry(self) -> None:
        self._retry_timer = None
        self._write_soon()

    # --- who waits ---

    def _tell_waiting(self) -> None:
        ready = [deferred for count, deferred in self._waiting if count <= self._written]
        self._waiting = [entry for entry in self._waiting if entry[0] > self._written]
        for deferred in ready:
            _call(deferred, None)

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for _, deferred in waiting:
            _call(deferred, Failure(Away(self.trouble)))

    def _one_ended(self) -> None:
        ends, self._ends = self._ends, []
        for deferred in ends:
            deferred.callback(None)

    def _troubled(self, trouble: str) -> None:
        if trouble != self._database_trouble:
            self._database_trouble = trouble
            self.log.error("history is kept in the spool: {trouble}", trouble=trouble)

    def _bug(self, failure: Failure) -> None:
        self.log.failure("history stands still", failure)
        self._troubled("a bug; there is a failure in the log")
        self._fail_waiting()


def statements_of(records: Sequence[AnyRecord]) -> list[Statement]:
    """Make one transaction of records, new sessions first things first."""
    return [statement for record in records for statement in record.statements()]


def _recordings(records: Sequence[AnyRecord]) -> list[str]:
    return [record.recording for record in records if isinstance(record, Answered) and record.recording]


def _call(deferred: Deferred[None], result: Any) -> None:
    """Tell somebody who may have stopped waiting."""
    if not deferred.called:
        deferred.callback(result)
