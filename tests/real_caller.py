"""A carrier's caller on a real socket, without any library, for tests against a real server."""

import json
import socket
import struct
from base64 import b64encode
from collections.abc import Iterator

from tests.house import MULAW_SILENCE
from tests.test_start import PATIENCE_S
from tests.websocket_wires import CLOSE, PING, PONG, TEXT, Frame, server_frames

SID = {"streamSid": "S1"}
START = {"event": "start", **SID, "start": {**SID, "callSid": "C-S1"}}
PAYLOAD = b64encode(MULAW_SILENCE).decode()
MEDIA = {"event": "media", **SID, "media": {"payload": PAYLOAD}}


class Wire:
    """A caller with a real socket, without any library."""

    def __init__(self, port: int, path: str = "/echo") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            more = self.socket.recv(65_536)
            assert more
            head += more
        assert head.startswith(b"HTTP/1.1 101 ")
        self._rest = head.partition(b"\r\n\r\n")[2]

    def send(self, *messages: object) -> None:
        for message in messages:
            payload = message.encode() if isinstance(message, str) else json.dumps(message).encode()
            self.socket.sendall(bytes(Frame(TEXT, payload)))

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield what comes, until the server closes."""
        while True:
            while len(self._rest) >= 2 and len(self._rest) >= (size := self._size()):
                frame, self._rest = self._rest[:size], self._rest[size:]
                yield from server_frames(frame)
            try:
                more = self.socket.recv(65_536)
            except ConnectionResetError:
                more = b""
            if not more:
                return
            self._rest += more

    def _size(self) -> int:
        size = self._rest[1]
        if size < 126:
            return 2 + size
        if size == 126:
            return 4 + int.from_bytes(self._rest[2:4].ljust(2, b"\xff"), "big")
        return 10 + int.from_bytes(self._rest[2:10].ljust(8, b"\xff"), "big")

    def echo(self) -> None:
        """Say something, and wait until it has come back."""
        before = self.count
        self.send({**MEDIA, "media": {"payload": PAYLOAD, "chunk": before + 1}})
        for opcode, payload in self.frames():
            if opcode == PING:
                self.socket.sendall(bytes(Frame(PONG, payload)))
            elif opcode == TEXT and json.loads(payload)["event"] == "media":
                self.count += 1
                return
        raise AssertionError("the server hung up")

    count = 0

    def close_code(self) -> int | None:
        """Wait for the end; return the code of the server's goodbye."""
        for opcode, payload in self.frames():
            if opcode == CLOSE:
                self.socket.sendall(bytes(Frame(CLOSE, payload)))
                return int(struct.unpack("!H", payload[:2])[0])
        return None

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.socket.close()
