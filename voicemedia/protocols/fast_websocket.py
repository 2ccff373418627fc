"""The carriers' WebSocket, fast: every speed trick of the house lives in this file, each with its gain.

The one idea: nearly all that arrives is a whole, unfragmented, masked text or binary frame in one read, and nearly
all that leaves is one small frame to a peer that reads. These two are done here in few steps. Everything else
(handshake, fragments, halves of frames, control frames, violations, timeouts) is Autobahn's, unchanged.

Gains are CPU time per call-second (50 frames in, 50 out), each after those before it, from 2.1 ms with Autobahn as it
comes to under 0.85 with all; `benchmarks/websocket_echo.py` measures them, docs/decisions/0002-websocket-fast-path.md
has the table and what was not taken.
"""
# Autobahn and Twisted carry types, but not everywhere.
# mypy: disallow-untyped-calls=False

import gc
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.util import encode_truncate
from twisted.internet import tcp
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from voicemedia.protocols.answers import error_response

WHOLE_TEXT: Final = 0x81
WHOLE_BINARY: Final = 0x82
"First byte of an unfragmented frame without reserved bits (RFC 6455, section 5.2)."
MASKED: Final = 0x80

INTERNAL_ERROR: Final = 1011

UNSENT_BYTES: Final = 16_384
"What the kernel may hold unsent for one peer; about a second of media events."

_PENDING_UNKNOWN: Final = 1
"Something may wait in the transport: only Twisted's word that its buffer is empty ends this."


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """What one peer may cost."""

    max_message_bytes: int = 65_536
    "Of one message, and of one frame; a longer one is answered with 1009."
    open_s: float = 10
    "For the handshake."
    close_s: float = 3
    "For the answer to our close frame, and again for the last bytes to leave."
    ping_s: float = 20
    "Between pings; 0: none."
    pong_s: float = 20
    "For the answer to a ping; any message of the peer counts as one."
    high_water_bytes: int = 32_768
    "What may wait for a slow peer before `writable` is False."
    max_waiting_bytes: int = 1_048_576
    "What may wait for a peer that reads nothing before it is dropped."


def unmask(payload: bytes, mask: bytes) -> bytes:
    """Apply the 4-byte mask to a payload (RFC 6455, section 5.3)."""
    # As one long integer: 0.7 us for a media event, where Autobahn's NVX object takes 2.2 and numpy 1.1 (0.07 ms a
    # call-second over NVX). An extension in C would take 0.07 us; that gain of 0.03 ms was not worth a dependency.
    size = len(payload)
    key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")


def whole_frame(first: int, payload: bytes) -> bytes:
    """Wrap a payload into one unmasked frame."""
    # Gain 0.27 ms, with one write in `_write`, over Autobahn's sendMessage, sendFrame and sendData.
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def _is_utf8(payload: bytes) -> bool:
    # Media events are ASCII, which takes 30 ns to tell: validating costs nothing, so it is never left out.
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


@implementer(IPushProducer)
class FastWebSocketProtocol(WebSocketServerProtocol):
    """One peer's WebSocket; subclasses override `opened`, `text_received`, `binary_received` and `closed`.

    Of the request, Autobahn keeps `http_request_uri`, `http_request_path`, `http_request_params` (query),
    `http_headers` (lower-case names) and `peer` (`tcp4:127.0.0.1:4711`).
    """

    events = Logger()

    writable: bool = True
    "False while the peer does not read: what is late by then should be dropped, not sent."
    buffered_bytes: int = _PENDING_UNKNOWN
    "At most this much waits in the process for the peer to read (over TLS: counted from when it stopped)."

    transport: Any
    data: bytes
    current_frame: Any
    inside_message: bool
    autoPingTimeoutCall: Any
    "Autobahn's, said here for the type checker."

    _socket: socket.socket | None = None
    _late_ping: bytes | None = None
    _is_open: bool = False
    _abort: IDelayedCall | None = None

    # --- for subclasses ---

    def opened(self) -> None:
        """Take note that the handshake is done."""

    def text_received(self, payload: bytes) -> None:
        """Take a whole text message; it is valid UTF-8."""

    def binary_received(self, payload: bytes) -> None:
        """Take a whole binary message."""

    def closed(self, was_clean: bool, code: int | None, reason: str) -> None:
        """Take note that an opened connection is over; said exactly once, last.

        :param code: the peer's close code; None when it gave none, 1006 when it vanished.
        """

    def send_text(self, payload: bytes) -> None:
        """Send one text message (UTF-8)."""
        if self.state == self.STATE_OPEN:
            self._write(whole_frame(WHOLE_TEXT, payload))

    def send_binary(self, payload: bytes) -> None:
        """Send one binary message."""
        if self.state == self.STATE_OPEN:
            self._write(whole_frame(WHOLE_BINARY, payload))

    def say_close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; `closed` follows within `close_s` whatever the peer does.

        :param reason: cut to 123 bytes.
        """
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=encode_truncate(reason, 123), isReply=False)

    def fail(self, code: int, reason: str) -> None:
        """Say why, and hear nothing more of what the peer sends but its answer (RFC 6455, section 7.1.7)."""
        self.failedByMe = True
        self.say_close(code, reason)

    # --- receiving ---

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the transport: whole frames directly, all else through Autobahn."""
        # Gain 0.7 ms: no steps for header, payload and end, no event fired, no debug text built for each read.
        if (
            self.state == self.STATE_OPEN
            and not self.data
            and self.current_frame is None
            and not self.inside_message
            # While a pong is awaited Autobahn has to see that the peer is alive.
            and self.autoPingTimeoutCall is None
        ):
            data = self._whole_frames(data)
        if data:
            self.data += data
            self.consumeData()

    def _whole_frames(self, data: bytes) -> bytes:
        """Deliver the whole frames at the beginning; give back the rest."""
        at, end = 0, len(data)
        while end - at >= 8 and self.state == self.STATE_OPEN:
            first, size = data[at], data[at + 1] - MASKED
            start = at + 6
            if size >= 126:
                # Lengths of 64 bits are rare; 16 bits that were not needed are a violation.
                short, size = size == 126, data[at + 2] << 8 | data[at + 3]
                size, start = (size if short and size >= 126 else -1), at + 8
            stop = start + size
            if (first != WHOLE_TEXT and first != WHOLE_BINARY) or not 0 <= size <= self._fast_limit or stop > end:
                break
            payload = unmask(data[start:stop], data[start - 4 : start])
            if first == WHOLE_TEXT and not _is_utf8(payload):
                break
            self.onMessage(payload, first == WHOLE_BINARY)
            at = stop
        return data[at:] if at else data

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        try:
            if isBinary:
                self.binary_received(payload)
            else:
                self.text_received(payload)
        except Exception:
            # Ours: let out, it would end in Autobahn, which drops the socket without a word to the peer.
            self.report_bug()

    def onMessageFrameData(self, payload: bytes) -> None:
        # Empty fragments without end would otherwise fill Autobahn's list of pieces.
        if payload:
            super().onMessageFrameData(payload)

    def report_bug(self) -> None:
        """Log the exception that is being handled, and close."""
        self.events.failure("bug on the WebSocket of {peer}", peer=self.peer)
        self.fail(INTERNAL_ERROR, "internal error")

    # --- sending ---

    def _write(self, octets: bytes) -> None:
        """Give octets to the kernel at once if nothing waits before them, else to the transport."""
        # Gain 0.2 ms: the poller is neither armed nor asked nor disarmed for a frame the kernel takes anyway.
        if self._socket is not None and not self.buffered_bytes:
            try:
                sent = self._socket.send(octets)
            except OSError:
                # Full, or broken: Twisted will meet the same error and knows what to do.
                sent = 0
            if sent == len(octets):
                return
            octets = octets[sent:]
        if self._socket is not None or not self.writable:
            self._count_waiting(len(octets))
        self.transport.write(octets)

    def _count_waiting(self, size: int) -> None:
        self.buffered_bytes += size
        limits: WebSocketLimits = self.factory.limits
        if self.buffered_bytes > limits.high_water_bytes:
            self.writable = False
        if self.buffered_bytes > limits.max_waiting_bytes and self.state != self.STATE_CLOSED:
            self.wasNotCleanReason = "peer does not read"
            self.dropConnection(abort=True)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Send what Autobahn has to say (handshake, pongs, close) the same way, so that order is kept."""
        self._write(data)

    def onPing(self, payload: bytes) -> None:
        if self.writable:
            super().onPing(payload)
        else:
            # Only the latest ping needs an answer (RFC 6455, section 5.5.3); a flood must not pile up.
            self._late_ping = payload

    def resumeProducing(self) -> None:
        """Twisted: the buffer is empty."""
        self.buffered_bytes = 0
        self.writable = True
        if self._late_ping is not None:
            payload, self._late_ping = self._late_ping, None
            self.sendPong(payload)

    def pauseProducing(self) -> None:
        """Twisted (over TLS): the buffer is full."""
        self.writable = False

    def stopProducing(self) -> None:
        """Twisted: the connection is lost."""
        self.writable = False

    # --- beginning and end ---

    def sendHttpErrorResponse(
        self, code: int, reason: str, responseHeaders: Iterable[tuple[str, str]] | None = None
    ) -> None:
        """Refuse a handshake with JSON, as every page of the port does."""
        self.sendData(error_response(code, reason, responseHeaders or ()))

    def connectionMade(self) -> None:
        super().connectionMade()
        self._fast_limit = min(65_535, self.factory.limits.max_message_bytes)
        transport = self.transport
        # twisted.web's channel is still registered; it has nothing more to produce.
        transport.unregisterProducer()
        plain = isinstance(transport, tcp.Connection) and not transport.TLS
        if plain:
            self._socket = transport.getHandle()
            # Autobahn's option does not reach the socket: it is asked before the options are copied.
            transport.setTcpNoDelay(True)
            # The kernel would hold minutes of stale sound for a peer that stalls; now it holds about a second.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        # As a "pull" producer we are told each time the buffer is empty, which is what sending early has to know.
        # TLS would poll a pull producer, and has no use for early sending.
        transport.registerProducer(self, not plain)
        self.buffered_bytes = _PENDING_UNKNOWN if plain else 0

    def onOpen(self) -> None:
        self._is_open = True
        try:
            self.opened()
        except Exception:
            # As above.
            self.report_bug()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self._is_open:
            self._is_open = False
            self.closed(wasClean, code, reason or "")

    def dropConnection(self, abort: bool = False) -> None:
        """Close TCP; after a proper goodbye without a reset, and in any case within `close_s`."""
        if self.state == self.STATE_CLOSED:
            return
        super().dropConnection(abort and not self.wasClean)
        self._abort = self.factory.reactor.callLater(self.factory.limits.close_s, self.transport.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._abort is not None and self._abort.active():
            self._abort.cancel()
        self._socket = None
        super().connectionLost(reason)
        # Autobahn has fired it with ourselves: a cycle that waits for the garbage collector, which seldom comes.
        self.is_closed.addCallback(_nothing)


def _nothing(_self: object) -> None:
    """Take the place of what a Deferred holds."""


class _ReactorTimer:
    """What Autobahn asks for its timeouts: exact, on the reactor it was given."""

    def __init__(self, reactor: Any) -> None:
        self.call_later = reactor.callLater


class FastWebSocketFactory(WebSocketServerFactory):
    """Builds the protocols of one path, with Autobahn configured for a server on the open network."""

    def __init__(
        self, protocol: Callable[[], FastWebSocketProtocol], reactor: Any, limits: WebSocketLimits | None = None
    ) -> None:
        super().__init__(reactor=reactor, server="voicemedia")
        self.protocol = protocol  # type: ignore[assignment]
        # Autobahn's own timer cuts to whole seconds, so that a timeout of N s comes after N-1 to N.
        self._batched_timer = _ReactorTimer(reactor)
        self.limits = limits or WebSocketLimits()
        self.setProtocolOptions(
            webStatus=False,
            # Say why before hanging up.
            failByDrop=False,
            maxFramePayloadSize=self.limits.max_message_bytes,
            maxMessagePayloadSize=self.limits.max_message_bytes,
            openHandshakeTimeout=self.limits.open_s,
            closeHandshakeTimeout=self.limits.close_s,
            autoPingInterval=self.limits.ping_s,
            autoPingTimeout=self.limits.pong_s,
            # Telephone sound does not compress, and the attempt costs more than all the rest.
            perMessageCompressionAccept=lambda offers: None,
        )


def install_lean_poll(reactor: Any) -> bool:
    """Let an epoll reactor call its descriptors without a logging context for each event; False for others.

    Exceptions stay where they are met: `_doReadOrWrite` logs them and drops that one connection.
    """
    # Gain 0.13 ms. The instance is changed, as `twist` has installed its reactor before we are imported.
    if type(reactor) is not EPollReactor:
        return False
    poll, selectables, read_or_write = reactor._poller.poll, reactor._selectables, reactor._doReadOrWrite

    def lean_poll(timeout: float | None) -> None:
        for descriptor, event in poll(-1 if timeout is None else timeout, len(selectables)):
            selectable = selectables.get(descriptor)
            if selectable is not None:
                read_or_write(selectable, descriptor, event)

    vars(reactor).update(doPoll=lean_poll, doIteration=lean_poll)
    return True


def tune_garbage_collector() -> None:
    """Keep what the start has built out of every later collection, and collect less often."""
    # No gain to be told from noise in an echo; a server with many calls has more for the collector to walk through.
    # With 100 SIP calls a second a collection of 50,000 holds the reactor up for 16 ms; of 10,000 for 4, and a call
    # costs 5 us more.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 100, 20)
