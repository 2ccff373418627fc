"""Posts to a web service: connections kept alive, everything limited in time and size, answers whole or as they come.

treq's own timeout ends with the headers of the answer; ours covers the body, and closes the connection.
"""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
    _HTTP11ClientFactory,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from voicemedia.errors import ProviderError
from voicemedia.web.refusal_wire import read_refusal

LONGEST_ANSWER: Final = 1 << 20
LONGEST_STREAM: Final = 1 << 25
CONNECT_S: Final = 5.0
IDLE_S: Final = 60.0
"Connections unused for this long are closed."


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form."""

    field: str
    filename: str
    content_type: str
    octets: bytes


def form_of(boundary: str, fields: list[tuple[str, str]], upload: Upload) -> bytes:
    """Write a form with one file at its end (RFC 7578)."""
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    texts = "".join(f'{part}{name}"\r\n\r\n{value}\r\n' for name, value in fields)
    head = f'{part}{upload.field}"; filename="{upload.filename}"\r\nContent-Type: {upload.content_type}\r\n\r\n'
    return b"".join((texts.encode(), head.encode(), upload.octets, f"\r\n--{boundary}--\r\n".encode()))


@implementer(IBodyProducer)
class _Whole:
    """A request body sent at once. treq's own producers log an error when a request is cancelled under them."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.length = len(octets)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It has all been said."""

    def resumeProducing(self) -> None:
        """There is nothing more."""

    def stopProducing(self) -> None:
        """There is nothing to stop."""


@dataclass(slots=True)
class _Request:
    """What is posted, perhaps twice."""

    url: str
    headers: dict[str, str]
    octets: bytes
    take: Callable[[bytes], None] | None = None
    "Takes the body of a good answer as it comes; None: it is collected."
    given_up: bool = False


class _QuietFactory(_HTTP11ClientFactory):
    """Opens connections without two lines of log for each."""

    noisy = False


class Poster:
    """The connections to one service.

    :param timeout_s: for a request and its whole answer.
    :param connections: kept alive when unused; more may be open at the same time.
    """

    def __init__(self, reactor: Any, timeout_s: float, connections: int = 16) -> None:
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._pool = HTTPConnectionPool(reactor)
        self._pool._factory = _QuietFactory
        self._pool.maxPersistentPerHost = connections
        self._pool.cachedConnectionTimeout = IDLE_S  # type: ignore[assignment]
        self._client: Any = HTTPClient(Agent(reactor, pool=self._pool, connectTimeout=CONNECT_S))

    def close(self) -> Deferred[None]:
        """Close the connections that wait for use; fires when they are closed."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed

    def post(
        self, url: str, headers: Mapping[str, str], fields: list[tuple[str, str]], upload: Upload
    ) -> Deferred[bytes]:
        """Post a form with a file; return the body of a 2xx answer. Cancelling closes the connection.

        Fails with `Refused` for any other status, and with `ProviderError` when there is no whole answer in time.
        """
        boundary = uuid4().hex
        content_type = f"multipart/form-data; boundary={boundary}"
        request = _Request(url, {**headers, "Content-Type": content_type}, form_of(boundary, fields, upload))
        return self._ask(request).addTimeout(self._timeout_s, self._reactor).addErrback(self._explain)

    def stream(
        self, url: str, headers: Mapping[str, str], body: object, take: Callable[[bytes], None]
    ) -> Deferred[None]:
        """Post JSON; hand on the body of a 2xx answer as it comes. Cancelling closes the connection at once.

        The time limit is for the wait from one piece to the next. Fails as `post` does, and with what `take` raises.
        """
        request = _Request(url, {**headers, "Content-Type": "application/json"}, msgspec.json.encode(body))
        late = False

        def arrive(piece: bytes) -> None:
            if patience.active():
                patience.reset(self._timeout_s)
            if not request.given_up:
                take(piece)

        def give_up() -> None:
            nonlocal late
            late = True
            asked.cancel()

        def finish(outcome: Any) -> Any:
            if patience.active():
                patience.cancel()
            if late and isinstance(outcome, Failure) and outcome.check(CancelledError):
                raise ProviderError(f"no answer in {self._timeout_s:g} s")
            return None if not isinstance(outcome, Failure) else outcome

        request.take = arrive
        patience = self._reactor.callLater(self._timeout_s, give_up)
        asked = self._ask(request)
        return asked.addBoth(finish).addErrback(self._explain)

    def _ask(self, request: _Request) -> Deferred[bytes]:
        """Post once or twice; what comes of it after it was cancelled is nobody's concern."""
        asked = Deferred.fromCoroutine(self._post(request))

        def give_up(_posted: Deferred[bytes]) -> None:
            request.given_up = True
            asked.cancel()

        def tell(outcome: Any) -> None:
            # A request cancelled while it is sent ends in one of several ways, or only later.
            if not request.given_up:
                posted.callback(outcome)

        posted: Deferred[bytes] = Deferred(give_up)
        asked.addBoth(tell)
        return posted

    async def _post(self, request: "_Request") -> bytes:
        try:
            return await self._post_once(request)
        except (ResponseNeverReceived, RequestTransmissionFailed) as failed:
            if request.given_up or not all(reason.check(ConnectionClosed) for reason in failed.reasons):
                raise
        # A connection the server closed just as we used it again costs one try, not the request.
        return await self._post_once(request)

    async def _post_once(self, request: "_Request") -> bytes:
        response = await self._client.post(
            request.url,
            headers=request.headers,
            data=_Whole(request.octets),
            unbuffered=True,
            allow_redirects=False,
            reactor=self._reactor,
        )
        good = 200 <= response.code < 300
        body = await read_body(response, request.take if good else None)
        if good:
            return body
        lines = {
            name.decode().lower(): values[-1].decode("latin-1") for name, values in response.headers.getAllRawHeaders()
        }
        raise read_refusal(response.code, lines, body)

    def _explain(self, failure: Failure) -> Failure:
        """Say in one sentence why there is no answer."""
        if failure.check(ProviderError, CancelledError):
            return failure
        if failure.check(TimeoutError):
            raise ProviderError(f"no answer in {self._timeout_s:g} s")
        if failure.check(ConnectError, DNSLookupError):
            raise ProviderError(f"cannot connect: {failure.getErrorMessage()}")
        if failure.check(ConnectionClosed, ResponseFailed, RequestTransmissionFailed, ResponseNeverReceived):
            raise ProviderError(f"connection lost: {_reasons(failure.value)}")
        return failure


def _reasons(error: Any) -> str:
    inner = getattr(error, "reasons", ())
    return "; ".join(reason.getErrorMessage() for reason in inner) or str(error)


def read_body(response: Any, take: Callable[[bytes], None] | None = None) -> Deferred[bytes]:
    """Read a response of limited size; cancelling closes its connection.

    :param take: is given the pieces as they come, up to `LONGEST_STREAM`; without, they are joined, up to
        `LONGEST_ANSWER`. What it raises ends the reading.
    """
    body = _Body(take)
    response.deliverBody(body)
    return body.done


class _Body(Protocol):
    """One response body, collected or handed on."""

    def __init__(self, take: Callable[[bytes], None] | None) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._drop())
        self._pieces: list[bytes] = []
        self._take = take or self._pieces.append
        self._longest = LONGEST_STREAM if take else LONGEST_ANSWER
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        self._size += len(data)
        try:
            if self._size > self._longest:
                raise ProviderError(f"an answer of more than {self._longest} bytes")
            self._take(data)
        except Exception:
            self._drop()
            self.done.errback()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(reason)

    def _drop(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()
