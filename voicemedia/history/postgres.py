"""PostgreSQL through txpostgres; the one module that knows its pitfalls, and psycopg2's.

One connection, one transaction at a time, each sent whole. Whatever goes wrong, the connection is thrown away and
the next call makes another: neither the stock pool nor its detector is needed, and no half-done poll is ever reused.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from txpostgres import txpostgres

from voicemedia.history.databases import Away, Refused, Row, Statement

T = TypeVar("T")

PATIENCE_S: Final = 10
"How long connecting and one transaction may take each; a frozen server says nothing at all."
LATER: Final = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.InternalError)
"What may work another time: the server is gone, going, starting, full, read-only or out of disk."


class _Connection(txpostgres.Connection):  # type: ignore[misc]
    """A connection that the reactor watches only while a query is under way.

    txpostgres watches idle ones too, for NOTIFY. libpq closes the socket of a dead connection in the middle of the
    next `execute`, while the reactor still knows its number; a file that gets the number then confuses epoll for good.
    """

    def rest(self) -> None:
        """Be watched no more until a query."""
        self.reactor.removeReader(self)

    def cursorFinished(self, cursor: Any) -> None:
        self._cursors.remove(cursor)

    def is_alive(self) -> bool:
        """Tell whether an idle connection is still there, as far as is known."""
        if self._connection.closed:
            return False
        try:
            self._connection.poll()
        except psycopg2.Error:
            return False
        return not self._connection.closed

    def drop(self) -> None:
        """Close it whatever it is doing; what waits for it fails."""
        if self._connection is None:
            return
        # txpostgres forgets to unregister a cursor that polls; its number may be the next connection's.
        for cursor in set(self._cursors):
            self.reactor.removeReader(cursor)
            self.reactor.removeWriter(cursor)
        self.close()


class Postgres:
    """The database a DSN names.

    :param threads: where the host name is resolved: libpq would do it on the reactor's thread.
    """

    def __init__(self, dsn: str, reactor: Any, patience_s: float = PATIENCE_S) -> None:
        # An error of the DSN would show the password.
        try:
            self._parameters: dict[str, str] = parse_dsn(dsn)
        except psycopg2.ProgrammingError:
            self._parameters = {}
        self.name = f"PostgreSQL database {self._parameters.get('dbname', 'of no name')}"
        self._parameters = {"client_encoding": "UTF8", "application_name": "voicemedia", **self._parameters}
        self._reactor, self._patience_s = reactor, patience_s
        self._lock = DeferredLock()
        self._connection: _Connection | None = None

    def open(self) -> Deferred[None]:
        """Connect."""
        return self._alone(self._nothing)

    async def _nothing(self, _connection: _Connection) -> None:
        """Do nothing: the connection is there."""

    def write(self, statements: Sequence[Statement]) -> Deferred[None]:
        """Carry out all statements in one transaction, in one round trip."""

        async def work(connection: _Connection) -> None:
            cursor = connection.cursor()
            sql = [cursor.mogrify(_dialect(sql), values or None) for sql, values in statements]
            try:
                await cursor.execute(b";\n".join([b"BEGIN", *sql, b"COMMIT"]))
            except LATER:
                raise
            except psycopg2.Error:
                await connection.cursor().execute("ROLLBACK")
                raise

        return self._alone(work)

    def read(self, statement: Statement) -> Deferred[list[Row]]:
        """Carry out one query."""

        async def work(connection: _Connection) -> list[Row]:
            cursor = connection.cursor()
            sql, values = statement
            await cursor.execute(_dialect(sql), values or None)
            rows: list[Row] = cursor.fetchall()
            return rows

        return self._alone(work)

    def close(self) -> Deferred[None]:
        """Disconnect."""
        self._drop()
        return succeed(None)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()

    # --- one at a time ---

    def _alone(self, work: Callable[[_Connection], Awaitable[T]]) -> Deferred[T]:
        def begin() -> Deferred[T]:
            return Deferred.fromCoroutine(self._do(work))

        # Who stops waiting must not cancel the query: libpq would connect anew for that, and wait for the server.
        uncancelled: Deferred[T] = Deferred()
        self._lock.run(begin).addCallbacks(uncancelled.callback, uncancelled.errback)
        return uncancelled

    async def _do(self, work: Callable[[_Connection], Awaitable[T]]) -> T:
        try:
            connection = await self._connected()
            return await self._in_time(connection, work(connection))
        except (psycopg2.DataError, psycopg2.IntegrityError, psycopg2.ProgrammingError, ValueError) as error:
            raise Refused(_first_line(error)) from None
        except Away:
            self._drop()
            raise
        except Exception as error:
            # Of psycopg2, txpostgres, or the reactor's word for a closed connection: after all of them it is unusable.
            self._drop()
            raise Away(f"{self.name}: {_first_line(error)}") from None

    async def _connected(self) -> _Connection:
        connection = self._connection
        if connection is not None and connection.is_alive():
            return connection
        self._drop()
        address = await self._address()
        self._connection = connection = _Connection(self._reactor)
        await self._in_time(connection, connection.connect(make_dsn(**self._parameters, **address)))
        connection.rest()
        return connection

    async def _address(self) -> dict[str, str]:
        """Resolve a host name off the reactor's thread; nothing for an address or the folder of a socket."""
        host = self._parameters.get("host", "")
        if not host or host.startswith(("/", "@")) or "," in host or "hostaddr" in self._parameters:
            return {}
        try:
            ipaddress.ip_address(host)
            return {}
        except ValueError:
            found = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), _resolve, host)
            return {"hostaddr": found}

    async def _in_time(self, connection: _Connection, work: Awaitable[T]) -> T:
        """Wait for `work`, no longer than `patience_s`: then the connection is closed, and that fails the work."""
        timer = self._reactor.callLater(self._patience_s, connection.drop)
        try:
            return await work
        finally:
            if timer.active():
                timer.cancel()


def _resolve(host: str) -> str:
    return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])


def _dialect(sql: str) -> str:
    return sql.replace("?", "%s")


def _first_line(error: BaseException) -> str:
    lines = str(error.value if isinstance(error, Failure) else error).splitlines()
    return lines[0] if lines else type(error).__name__
