"""WebSocket servers without a network: ours and Autobahn's own, fed the same bytes and asked for the same answers."""
# Autobahn and Twisted carry types, but not everywhere.
# mypy: disallow-untyped-calls=False

import struct
from dataclasses import dataclass, field
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from voicemedia.protocols.fast_websocket import (
    FastWebSocketFactory,
    FastWebSocketProtocol,
    WebSocketLimits,
    unmask,
)

LIMIT = 70_000
HANDSHAKE = (
    b"GET /vendor-stream/secret?token=7 HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\nX-Caller: alice\r\n\r\n"
)
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"


@dataclass(frozen=True)
class Frame:
    """A frame as a client may send it, right or wrong."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    reserved: int = 0
    mask: bytes | None = MASK
    length_bytes: int | None = None
    "0, 2 or 8 bytes of extended length; None: as few as will do."

    def __bytes__(self) -> bytes:
        size = len(self.payload)
        wide = self.length_bytes
        if wide is None:
            wide = 0 if size < 126 else 2 if size < 65_536 else 8
        second = {0: size, 2: 126, 8: 127}[wide] | (0x80 if self.mask else 0)
        first = (0x80 if self.fin else 0) | self.reserved << 4 | self.opcode
        extended = {0: b"", 2: struct.pack("!H", size & 0xFFFF), 8: struct.pack("!Q", size)}[wide]
        payload = unmask(self.payload, self.mask) if self.mask else self.payload
        return bytes((first, second)) + extended + (self.mask or b"") + payload


def text(words: str | bytes) -> bytes:
    return bytes(Frame(TEXT, words.encode() if isinstance(words, str) else words))


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    return bytes(Frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason))


def server_frames(octets: bytes) -> list[tuple[int, bytes]]:
    """Take apart what a server sent: opcode and payload of each frame, all of them whole and unmasked."""
    frames = []
    while octets:
        first, size, start = octets[0], octets[1], 2
        assert first & 0xF0 == 0x80
        assert size < 0x80
        if size == 126:
            size, start = struct.unpack("!H", octets[2:4])[0], 4
        elif size == 127:
            size, start = struct.unpack("!Q", octets[2:10])[0], 10
        frames.append((first & 0x0F, octets[start : start + size]))
        octets = octets[start + size :]
    return frames


class Recorder(FastWebSocketProtocol):
    """Ours; writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def opened(self) -> None:
        self.told.append(("opened",))

    def text_received(self, payload: bytes) -> None:
        self.told.append(("text", payload))

    def binary_received(self, payload: bytes) -> None:
        self.told.append(("binary", payload))

    def closed(self, was_clean: bool, code: int | None, reason: str) -> None:
        self.told.append(("closed", was_clean, code, reason))


class StockRecorder(WebSocketServerProtocol):
    """Autobahn's; writes down the same things."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def onOpen(self) -> None:
        self.told.append(("opened",))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.told.append(("binary" if isBinary else "text", payload))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.told.append(("closed", wasClean, code, reason or ""))


class MemoryTransport(StringTransport):
    """As forgiving as a TCP connection towards those who take back what they never registered."""

    def unregisterProducer(self) -> None:
        if self.producer is not None:
            super().unregisterProducer()

    @property
    def aborted(self) -> bool:
        return bool(self.disconnected)


@dataclass
class Served:
    """One server protocol on a transport in memory, its handshake done."""

    protocol: Any
    clock: Clock
    transport: Any = field(default_factory=MemoryTransport)
    path: bytes = b"/vendor-stream/secret?token=7"

    def __post_init__(self) -> None:
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(HANDSHAKE.replace(b"/vendor-stream/secret?token=7", self.path))
        self.response = self.sent()

    def sent(self) -> bytes:
        octets = bytes(self.transport.value())
        self.transport.clear()
        return octets

    def receive(self, *pieces: bytes) -> list[tuple[int, bytes]]:
        """Let bytes arrive, a piece a segment; give back the frames that were answered."""
        for piece in pieces:
            if not self.dropped:
                self.protocol.dataReceived(piece)
        return server_frames(self.sent())

    @property
    def dropped(self) -> bool:
        return bool(self.transport.disconnecting or self.transport.disconnected)

    def lose(self) -> list[tuple[Any, ...]]:
        """Let the connection end; give back all that was told."""
        self.protocol.connectionLost(Failure(ConnectionDone()))
        told: list[tuple[Any, ...]] = self.protocol.told
        return told

    @property
    def messages(self) -> list[tuple[Any, ...]]:
        return [told for told in self.protocol.told if told[0] in ("text", "binary")]


def ours(build: type[FastWebSocketProtocol] = Recorder, limits: WebSocketLimits | None = None) -> Served:
    clock = Clock()
    factory = FastWebSocketFactory(build, clock, limits or WebSocketLimits(max_message_bytes=LIMIT))
    return Served(factory.buildProtocol(None), clock)


def stock() -> Served:
    clock = Clock()
    factory = WebSocketServerFactory(reactor=clock)
    factory.protocol = StockRecorder
    factory.setProtocolOptions(
        failByDrop=False,
        maxFramePayloadSize=LIMIT,
        maxMessagePayloadSize=LIMIT,
        # Its timers would be the global reactor's.
        openHandshakeTimeout=0,
        closeHandshakeTimeout=0,
    )
    return Served(factory.buildProtocol(None), clock)
