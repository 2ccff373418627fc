"""A WebSocket to a speech service: Autobahn's client, opened as a Deferred."""
# Autobahn and Twisted carry types, but not everywhere.
# mypy: disallow-untyped-calls=False

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS

from voicemedia.errors import ProviderError
from voicemedia.web.refusal_wire import Refused

OPEN_S: Final = 10
PING_S: Final = 10
END_TCP_S: Final = 1
LONGEST_MESSAGE: Final = 1 << 20
_UPGRADE: Final = re.compile(r"upgrade failed \[(\d{3})")


class ClientProtocol(WebSocketClientProtocol):
    """Autobahn's client, but one that does not wait for ever for a server that said goodbye to end TCP, too.

    RFC 6455, section 7.1.1: the client may end it when the server has not "in a reasonable time period".
    """

    def onCloseFrame(self, code: int, reasonRaw: bytes) -> bool | None:
        failed: bool | None = super().onCloseFrame(code, reasonRaw)
        if not failed and self.serverConnectionDropTimeoutCall is None:
            self.serverConnectionDropTimeoutCall = self.factory.reactor.callLater(END_TCP_S, self._end_tcp)
        return failed

    def _end_tcp(self) -> None:
        self.serverConnectionDropTimeoutCall = None
        self.dropConnection(abort=True)


class Talk(Protocol):
    """What hears the service."""

    def message(self, payload: bytes) -> None:
        """Take one message."""

    def lost(self, reason: str) -> None:
        """The connection is over; said once, and not after `Link.close`."""


class Link:
    """An open WebSocket."""

    def __init__(self, protocol: "_Client") -> None:
        self._protocol = protocol

    def send(self, payload: bytes) -> None:
        """Send one text message; nothing goes out after a close, of which `Talk.lost` tells."""
        if self._protocol.state == self._protocol.STATE_OPEN:
            self._protocol.sendMessage(payload)

    def close(self) -> None:
        """Say goodbye; nothing more is told."""
        self._protocol.talk = None
        self._protocol.sendClose(1000)


class _Client(ClientProtocol):
    """Passes on what Autobahn says."""

    talk: Talk | None = None
    opened: Deferred[Link]

    def onOpen(self) -> None:
        if not self.opened.called:
            self.opened.callback(Link(self))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.talk is not None:
            self.talk.message(payload)

    def onCloseFrame(self, code: int, reasonRaw: bytes) -> bool | None:
        failed = super().onCloseFrame(code, reasonRaw)
        if not failed:
            # TCP may stay for a second; what is sent meanwhile nobody would hear.
            self.onClose(self.wasClean, self.remoteCloseCode, self.remoteCloseReason)
        return failed

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        talk, self.talk = self.talk, None
        if not self.opened.called:
            self.opened.errback(_refused(reason or ""))
        elif talk is not None:
            talk.lost(f"{code}{': ' if reason else ''}{reason or ''}")


def _refused(reason: str) -> ProviderError:
    if match := _UPGRADE.search(reason):
        return Refused(int(match[1]), "", "no WebSocket")
    return ProviderError(f"no WebSocket: {reason}", code="no_websocket")


def open_websocket(reactor: Any, url: str, headers: Mapping[str, str], talk: Talk) -> Deferred[Link]:
    """Open a WebSocket, `ws://` or `wss://`; fails with `ProviderError`. Cancelling drops it."""
    factory = WebSocketClientFactory(url, headers=dict(headers), reactor=reactor)
    factory.setProtocolOptions(
        openHandshakeTimeout=OPEN_S,
        autoPingInterval=PING_S,
        autoPingTimeout=PING_S,
        maxFramePayloadSize=LONGEST_MESSAGE,
        maxMessagePayloadSize=LONGEST_MESSAGE,
        tcpNoDelay=True,
    )
    return Deferred.fromCoroutine(_open(reactor, url, factory, talk))


async def _open(reactor: Any, url: str, factory: Any, talk: Talk) -> Link:
    opened: Deferred[Link] = Deferred()

    def build() -> _Client:
        client = _Client()
        client.talk, client.opened = talk, opened
        return client

    factory.protocol = build
    try:
        client = await _endpoint(reactor, url).connect(factory)
    except CancelledError:
        raise
    except Exception as error:
        # Refused, unreachable, unknown name, no TLS: many classes, one meaning.
        raise ProviderError(f"cannot connect: {error}", code="no_connection") from error
    try:
        return await opened
    except CancelledError:
        client.talk = None
        client.transport.abortConnection()
        raise


def _endpoint(reactor: Any, url: str) -> Any:
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "wss"
    endpoint = HostnameEndpoint(reactor, host, parts.port or (443 if secure else 80), timeout=OPEN_S)
    return wrapClientTLS(optionsForClientTLS(host), endpoint) if secure else endpoint
