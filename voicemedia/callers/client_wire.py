"""The client's end of a WebSocket (RFC 6455), as little as a load generator needs. Without I/O.

Frames are masked with a mask of zeros, which is legal and leaves the payload as it is: it can be made once and sent
many times.
"""

import base64
import hashlib
import struct
from collections.abc import Mapping
from typing import Final

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
_CONTINUATION: Final = 0x0
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ZERO_MASK: Final = bytes(4)


class HandshakeRefused(Exception):
    """The server answered, but not with a WebSocket."""


def request(host: str, target: str, key: bytes, headers: Mapping[str, str]) -> bytes:
    """Write the request to open a WebSocket.

    :param key: 16 bytes, made up anew for each socket.
    """
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(key).decode()}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def check_response(head: bytes, key: bytes) -> None:
    """Check the server's answer.

    :raises HandshakeRefused: with its status, or with what is wrong.
    """
    status, *lines = head.decode("latin-1").split("\r\n")
    if status.split(" ")[1:2] != ["101"]:
        raise HandshakeRefused(status.partition(" ")[2] or "no answer")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    accept = hashlib.sha1(base64.b64encode(key) + _GUID).digest()
    if fields.get("sec-websocket-accept") != base64.b64encode(accept).decode():
        raise HandshakeRefused("wrong Sec-WebSocket-Accept")


def header(opcode: int, length: int) -> bytes:
    """Write the header of an unfragmented frame; the payload follows as it is."""
    if length < 126:
        return bytes((0x80 | opcode, 0x80 | length)) + _ZERO_MASK
    if length < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 0xFE, length) + _ZERO_MASK
    return struct.pack("!BBQ", 0x80 | opcode, 0xFF, length) + _ZERO_MASK


def frame(opcode: int, payload: bytes) -> bytes:
    """Write a whole frame."""
    return header(opcode, len(payload)) + payload


class FrameReader:
    """Cuts what the server sends into messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._fragments: list[bytes] = []
        self._opcode = 0

    def read(self, received: bytes) -> list[tuple[int, bytes]]:
        """Take bytes from the socket; return whole messages and control frames as (opcode, payload)."""
        stream = self._rest + received if self._rest else received
        messages: list[tuple[int, bytes]] = []
        at = 0
        while True:
            span = _span(stream, at)
            if span is None:
                break
            start, end = span
            first = stream[at]
            payload = stream[start:end]
            at = end
            if first & 0x80 and first & 0x0F:
                messages.append((first & 0x0F, payload))
            else:
                messages += self._fragment(first, payload)
        self._rest = stream[at:]
        return messages

    def _fragment(self, first: int, payload: bytes) -> list[tuple[int, bytes]]:
        if first & 0x0F != _CONTINUATION:
            self._opcode = first & 0x0F
        self._fragments.append(payload)
        if not first & 0x80:
            return []
        whole, self._fragments = b"".join(self._fragments), []
        return [(self._opcode, whole)]


def _span(stream: bytes, at: int) -> tuple[int, int] | None:
    """Find where the payload of the frame at `at` begins and ends; None when it is not all there yet."""
    have = len(stream) - at
    if have < 2:
        return None
    length, head = stream[at + 1] & 0x7F, 2
    if length == 126 and have >= 4:
        length, head = stream[at + 2] << 8 | stream[at + 3], 4
    elif length == 127 and have >= 10:
        length, head = int.from_bytes(stream[at + 2 : at + 10], "big"), 10
    elif length >= 126:
        return None
    return (at + head, at + head + length) if have >= head + length else None
