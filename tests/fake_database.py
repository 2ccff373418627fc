"""A database in memory that counts transactions, and is away when the test says so."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed

from voicemedia.history.databases import Away, Refused, Row, Statement
from voicemedia.history.schema import MIGRATIONS


class FakeDatabase:
    """Keeps what is written; `hold` makes writes wait for `release`."""

    name = "fake"

    def __init__(self) -> None:
        self.away = ""
        self.poison = ""
        "A text no statement may contain."
        self.hold = False
        self.written: list[list[Statement]] = []
        self.erased: list[Row] = []
        self.opened = 0
        self._held: list[tuple[Sequence[Statement], Deferred[None]]] = []

    def open(self) -> Deferred[None]:
        self.opened += 1
        return fail(Away(self.away)) if self.away else succeed(None)

    def write(self, statements: Sequence[Statement]) -> Deferred[None]:
        if self.away:
            return fail(Away(self.away))
        if self.poison and any(self.poison in values for _, values in statements):
            return fail(Refused("poison"))
        if self.hold and any("messages" in sql for sql, _ in statements):
            done: Deferred[None] = Deferred()
            self._held.append((statements, done))
            return done
        self.written.append(list(statements))
        return succeed(None)

    def release(self, *, committed: bool = True, heard: bool = True) -> None:
        """End the write that waits: done or not, and told or not."""
        self.hold = False
        statements, done = self._held.pop()
        if committed:
            self.written.append(list(statements))
        done.callback(None) if heard else done.errback(Away("the connection broke"))

    def read(self, statement: Statement) -> Deferred[list[Row]]:
        if self.away:
            return fail(Away(self.away))
        return succeed(self.erased if "erased" in statement[0] else [(len(MIGRATIONS),)])

    def close(self) -> Deferred[None]:
        for _, done in self._held:
            done.errback(Away("closed"))
        self._held.clear()
        return succeed(None)

    def texts(self) -> list[str]:
        """Return the words of all messages written, in order."""
        return [
            str(values[6 - 1])
            for statements in self.written
            for sql, values in statements
            if sql.startswith("INSERT INTO messages")
        ]
