"""The telephone line of a simulated caller: Autobahn's WebSocket client around a `CarrierCall`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from autobahn.twisted.websocket import WebSocketClientFactory
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from voicemedia.callers.script import Turn
from voicemedia.errors import VoicemediaError
from voicemedia.web.websocket_client import ClientProtocol

TICK_S: Final = 0.005
LINGER_S: Final = 2.0
"How long the server may take to close the socket after `stop`."


class CallFailed(VoicemediaError):
    """The call did not come about; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to call."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    insecure: bool = False
    "Take any certificate."

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "wss" else 80)

    @property
    def encrypted(self) -> bool:
        return urlsplit(self.url).scheme == "wss"


class SocketCall(Protocol):
    """One caller's messages, without the socket."""

    over: bool

    def open(self) -> None:
        """The socket has just opened."""

    def receive(self, text: bytes, now_ms: float) -> None:
        """Take a text message."""

    def receive_binary(self, octets: bytes, now_ms: float) -> None:
        """Take a binary one."""

    def due(self, now_ms: float) -> Sequence[str | bytes]:
        """Return what to send now; bytes as binary messages."""

    def take_turns_over(self) -> list[Turn]:
        """Return the turns that have ended since the last time."""

    def hang_up(self) -> None:
        """End the call."""

    def lost_connection(self, now_ms: float) -> None:
        """The socket has closed."""


class CarrierLine(ClientProtocol):
    """One socket of a carrier: drives the call by the clock, passes messages on."""

    def __init__(self, reactor: Any, call: "SocketCall", turn_over: Callable[[Turn], None]) -> None:
        super().__init__()
        self._reactor = reactor
        self._call = call
        self._turn_over = turn_over
        self._clock = LoopingCall(self._tick)
        self._clock.clock = reactor
        self._opened_at = 0.0
        self._opened = False
        self.ended: Deferred[str] = Deferred()
        "Fires with the reason when the socket has closed; fails with `CallFailed` when it never opened."

    @property
    def now_ms(self) -> float:
        """Time since the socket opened."""
        return (float(self._reactor.seconds()) - self._opened_at) * 1000

    def hang_up(self) -> None:
        self._call.hang_up()

    def onOpen(self) -> None:
        self._opened = True
        self._opened_at = self._reactor.seconds()
        self._call.open()
        self._clock.start(TICK_S).addErrback(self._broken)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if isBinary:
            self._call.receive_binary(payload, self.now_ms)
        else:
            self._call.receive(payload, self.now_ms)
        self._tick()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self._clock.running:
            self._clock.stop()
        if self.ended.called:
            return
        if not self._opened:
            cure = " (--insecure takes any certificate)" if "certificate" in str(reason) else ""
            self.ended.errback(CallFailed(f"{self.factory.url} did not take the call: {reason or code}{cure}"))
            return
        by_us = self._call.over
        self._call.lost_connection(self.now_ms)
        self._report()
        said = f": {reason}" if reason else ""
        self.ended.callback("the caller hung up" if by_us else f"the server hung up (close code {code}{said})")

    def _tick(self) -> None:
        if self.state != self.STATE_OPEN:
            # A close frame has come; `onClose` follows when TCP is down.
            return
        for message in self._call.due(self.now_ms):
            payload = message if isinstance(message, bytes) else message.encode()
            self.sendMessage(payload, payload is message)  # type: ignore[no-untyped-call]
        self._report()
        if self._call.over and self._clock.running:
            self._clock.stop()
            self.sendClose(1000)

    def _report(self) -> None:
        for turn in self._call.take_turns_over():
            self._turn_over(turn)

    def _broken(self, failure: Failure) -> None:
        """End the call with our own bug rather than hang."""
        self.ended.errback(failure)
        self.dropConnection(abort=True)


def dial(reactor: Any, to: Destination, line: CarrierLine) -> Deferred[CarrierLine]:
    """Connect a line; fires when TCP (and TLS) is up, fails with `CallFailed`."""
    headers = dict(to.headers) or None
    factory: Any = WebSocketClientFactory(to.url, headers=headers, reactor=reactor)  # type: ignore[no-untyped-call]
    factory.protocol = lambda: line
    factory.setProtocolOptions(openHandshakeTimeout=10, closeHandshakeTimeout=LINGER_S, tcpNoDelay=True)
    endpoint: Any = HostnameEndpoint(reactor, to.host, to.port)
    if to.encrypted:
        endpoint = wrapClientTLS(tls_options(to), endpoint)
    return Deferred.fromCoroutine(_connect(endpoint, factory, to))


async def _connect(endpoint: Any, factory: Any, to: Destination) -> CarrierLine:
    try:
        line: CarrierLine = await endpoint.connect(factory)
    except (ConnectError, DNSLookupError) as error:
        raise CallFailed(
            f"no server at {to.url} ({error}): start it with `make run`, or name one with --url"
        ) from error
    return line


@implementer(IOpenSSLClientConnectionCreator)
class _TrustsAnyone:
    """For a server with a certificate of its own making."""

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(CertificateOptions(verify=False).getContext(), None)


def tls_options(to: Destination) -> IOpenSSLClientConnectionCreator:
    """Say which certificates to trust."""
    return _TrustsAnyone() if to.insecure else optionsForClientTLS(to.host)
