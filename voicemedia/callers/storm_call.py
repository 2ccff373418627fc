"""One call of a storm: a non-blocking socket, its packets and the numbers that came back."""

import base64
import os
import socket
from array import array
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from voicemedia.callers.client_wire import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    HandshakeRefused,
    check_response,
    frame,
    header,
    request,
)
from voicemedia.callers.dialect import Dialect, new_identity
from voicemedia.callers.numbered import FRAME_BYTES, NumberedReader, numbered_frame

MOST_UNSENT: Final = 1 << 20
"Bytes the server may leave unread before the call counts as failed."
NEVER_READ: Final = "the server stopped reading"

State = Literal["dialing", "talking", "hanging up", "closed"]


class _Media(msgspec.Struct):
    payload: bytes
    "Base64 on the wire."


class _Mark(msgspec.Struct):
    name: str


class _Answer(msgspec.Struct):
    event: str
    media: _Media | None = None
    mark: _Mark | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class PacketPress:
    """Makes packets for all calls: the first part once a number, the last part once a call."""

    def __init__(self, carrier: Callable[..., Dialect], packet_ms: int) -> None:
        if packet_ms % 20:
            raise ValueError("packets of a storm are multiples of 20 ms")
        self._sample = carrier(new_identity())
        self._packet_ms = packet_ms
        self.frames = packet_ms // 20
        self._firsts: list[bytes] = []
        # The call's number stands in the last 4 bytes; base64 can be cut at multiples of 3.
        self._cut = (self.frames * FRAME_BYTES - 4) // 3 * 3

    def first(self, packet: int, last_length: int) -> bytes:
        """Return header and text of a packet up to where the call's own part begins."""
        while len(self._firsts) <= packet:
            text = self._split(self._sample, len(self._firsts), call=0)[0]
            self._firsts.append(header(TEXT, len(text) + last_length) + text)
        return self._firsts[packet]

    def last(self, dialect: Dialect, call: int) -> bytes:
        """Return the part of every packet that is the call's own."""
        return self._split(dialect, 0, call)[1]

    def _split(self, dialect: Dialect, packet: int, call: int) -> tuple[bytes, bytes]:
        first = packet * self.frames
        sound = b"".join(numbered_frame(number) for number in range(first, first + self.frames - 1))
        sound += numbered_frame(first + self.frames - 1, call)
        # Media take the odd sequence numbers from 3 on; the even ones are left for marks.
        text = dialect.media(packet * 2 + 3, packet + 1, packet * self._packet_ms, sound)
        at = text.index(base64.b64encode(sound).decode()) + self._cut // 3 * 4
        return text[:at].encode(), text[at:].encode()


class StormCall:
    """Speaks numbered frames and listens for them."""

    def __init__(self, number: int, dialect: Dialect, press: PacketPress) -> None:
        self.number = number
        self._dialect = dialect
        self._press = press
        self._last = press.last(dialect, number)
        self._key = os.urandom(16)
        self._socket: socket.socket | None = None
        self._head = b""
        self._unsent = b""
        self._frames = FrameReader()
        self._sent_at = array("d")
        self._back = bytearray()
        self.fd = -1
        self.watched = True
        "The poll tells when the socket takes bytes."
        self.state: State = "dialing"
        self.answered = False
        self.failure = ""
        self.reader = NumberedReader(number)
        self.round_trips_ms = array("d")
        self.frames_back = 0
        self.duplicated = 0

    @property
    def frames_sent(self) -> int:
        return len(self._back)

    @property
    def stalled(self) -> bool:
        return bool(self._unsent)

    def dial(self, address: tuple[int, tuple[str, int]], host: str, target: str, headers: Mapping[str, str]) -> bool:
        """Begin to connect; False when that failed at once."""
        family, where = address
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self.fd = self._socket.fileno()
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.connect(where)
        except BlockingIOError:
            # The usual case: the poll tells when it is connected.
            pass
        except OSError as error:
            self.fail(f"connect: {error.strerror}")
            return False
        self._unsent = request(host, target, self._key, headers)
        return True

    def speak(self, now: float) -> None:
        """Send the next packet."""
        packet = len(self._sent_at)
        self._sent_at.append(now)
        self._back += bytes(self._press.frames)
        self._send(self._press.first(packet, len(self._last)) + self._last)

    def receive(self, now: float) -> None:
        """Take what the socket has for us."""
        assert self._socket is not None
        try:
            received = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(f"{'connect' if self.state == 'dialing' else 'connection lost'}: {error.strerror}")
            return
        if not received:
            self._closed("connection closed without a close frame")
            return
        if self.state == "dialing":
            received = self._handshake(received)
        for opcode, payload in self._frames.read(received):
            self._message(opcode, payload, now)

    def flush(self) -> None:
        """Send what the socket did not take before."""
        if self._unsent:
            unsent, self._unsent = self._unsent, b""
            self._send(unsent)

    def hang_up(self) -> None:
        """Say goodbye; the server closes."""
        self._send_text(self._dialect.stop(len(self._sent_at) * 2 + 3))
        self._send(frame(CLOSE, (1000).to_bytes(2, "big")))
        if self.state == "talking":
            self.state = "hanging up"

    def fail(self, reason: str) -> None:
        """End the call before its time."""
        self.failure = self.failure or reason
        self.state = "closed"

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _closed(self, how: str) -> None:
        if self.state == "hanging up":
            self.state = "closed"
        else:
            self.fail(how)

    def _handshake(self, received: bytes) -> bytes:
        """Read the answer to the handshake, begin to talk; return what follows it."""
        head, end, rest = (self._head + received).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return b""
        try:
            check_response(head, self._key)
        except HandshakeRefused as refused:
            self.fail(f"handshake: {refused}")
            return b""
        self.state = "talking"
        self.answered = True
        self._send_text(self._dialect.connected())
        self._send_text(self._dialect.start(1))
        return rest

    def _message(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == TEXT:
            self._heard(payload, now)
        elif opcode == PING:
            self._send(frame(PONG, payload))
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if payload else 1005
            self._closed(f"closed by the server ({code})")

    def _heard(self, text: bytes, now: float) -> None:
        try:
            answer = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.reader.damaged += 1
            return
        if answer.media is not None:
            for number in self.reader.read(answer.media.payload):
                self._count(number, now)
        elif answer.mark is not None:
            # What comes back from an echo is never far ahead of its playing.
            self._send_text(self._dialect.mark(len(self._sent_at) * 2 + 2, answer.mark.name))

    def _count(self, number: int, now: float) -> None:
        if number >= len(self._back):
            self.reader.damaged += 1
        elif self._back[number]:
            self.duplicated += 1
        else:
            self._back[number] = 1
            self.frames_back += 1
            self.round_trips_ms.append((now - self._sent_at[number // self._press.frames]) * 1000)

    def _send_text(self, text: str) -> None:
        self._send(frame(TEXT, text.encode()))

    def _send(self, octets: bytes) -> None:
        if self._unsent:
            self._unsent += octets
            if len(self._unsent) > MOST_UNSENT:
                self.fail(NEVER_READ)
            return
        assert self._socket is not None
        try:
            sent = self._socket.send(octets)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.fail(f"{'connect' if self.state == 'dialing' else 'connection lost'}: {error.strerror}")
            return
        if sent < len(octets):
            self._unsent = octets[sent:]
