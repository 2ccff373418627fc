"""The whole server in one process: the real port's factory, no socket, and no time but the test's."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.websocket_wires import BINARY, CLOSE, PING, PONG, TEXT, Frame, MemoryTransport, server_frames
from voicemedia.config import Config, Grpc, History, Route
from voicemedia.protocols.fast_websocket import tune_garbage_collector
from voicemedia.service import MediaServer

ECHO = Route("/echo", agent="echo", stt="none", tts="none")
TWILIO = Route("/twilio", "twilio", agent="echo", stt="none", tts="none")
MULAW_SILENCE = b"\xff" * 160


class House:
    """A started server."""

    def __init__(self, *routes: Route, **sections: Any) -> None:
        self.reactor = MemoryReactorClock()
        # Their threads serve real ports and files, and know no reactor without a thread pool.
        quiet: dict[str, Any] = {"grpc": Grpc(enabled=False), "history": History(enabled=False)}
        config = Config(routes=routes or (ECHO,), **(quiet | sections))
        self.server = MediaServer(config, self.reactor, self.reactor.seconds)
        self.server.startService()
        call: Any
        for call in self.reactor.getDelayedCalls():
            if call.func is tune_garbage_collector:
                # Meant for a process that is nothing but a server.
                call.cancel()
        self.site = self.reactor.tcpServers[0][1]
        self.peers: list[Peer] = []

    def connect(self, path: str = "/echo", *, peer_ip: str = "127.0.0.1", **headers: str) -> "Peer":
        """Let somebody connect and ask for a WebSocket; `x_name="v"` is a header of the request."""
        peer = Peer(self, path, peer_ip, {name.replace("_", "-"): value for name, value in headers.items()})
        if peer.status == 101:
            self.peers.append(peer)
        return peer

    def call(self, path: str = "/echo", sid: str = "S1", **start: Any) -> "Peer":
        """Let somebody connect and start a stream."""
        peer = self.connect(path)
        peer.start(sid, **start)
        return peer

    def get(self, path: str, *, peer_ip: str = "127.0.0.1", **headers: str) -> tuple[int, Any]:
        """Ask for a page; return its status and its JSON, or its text."""
        peer = Peer(self, path, peer_ip, {**headers, "Upgrade": "", "Connection": "close"})
        body = peer.body
        return peer.status, json.loads(body) if body.startswith(b"{") else body.decode()

    def pass_ms(self, ms: int, step_ms: int = 5) -> None:
        """Let time pass; peers that live answer pings and goodbyes."""
        for _ in range(ms // step_ms):
            self.reactor.advance(step_ms / 1000)
            self.peers = [peer for peer in self.peers if not peer.gone()]
            for peer in self.peers:
                peer.answer()

    @property
    def now_ms(self) -> int:
        return round(self.reactor.seconds() * 1000)

    def counted(self) -> dict[str, float]:
        """Return what /metrics says, by the name as it stands there without the prefix."""
        lines = self.get("/metrics")[1].splitlines()
        pairs = [line.rpartition(" ") for line in lines if line.startswith("voicemedia_")]
        return {name.removeprefix("voicemedia_"): float(value) for name, _, value in pairs}

    def wire_errors(self) -> dict[str, int]:
        """Return how many messages were wrong, by kind, of all carriers."""
        return {kind: count for (_, kind), count in self.server.metrics.wire_errors.items()}

    def ended(self) -> dict[str, int]:
        """Return how many calls ended, by reason; stats and metrics must agree."""
        by_reason = dict(self.server.switchboard.ended_by)
        assert by_reason == dict(self.server.metrics.calls_ended)
        return by_reason


class Peer:
    """The other end of one connection: a carrier, or somebody who pretends to be one."""

    def __init__(self, house: House, path: str, peer_ip: str, headers: Mapping[str, str]) -> None:
        self.house = house
        address = IPv4Address("TCP", peer_ip, 4711)
        transport: Any = MemoryTransport(peerAddress=address)
        self.transport = transport
        channel: Any = house.site.buildProtocol(address)
        self.transport.protocol = channel
        channel.makeConnection(self.transport)
        self.frames: list[tuple[int, bytes]] = []
        "What came in since it was last looked at."
        self.sid = ""
        self._chunk = self._sequence = 0
        self._lost = False
        self.alive = True
        "Whether it answers pings and goodbyes, as any WebSocket does."
        wanted = {
            "Host": "127.0.0.1:8000",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in wanted.items() if value)
        self.raw(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        head, _, rest = bytes(self.transport.value()).partition(b"\r\n\r\n")
        self.transport.clear()
        self.status = int(head.split(b" ")[1])
        lines_back = (line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
        self.headers = {name.lower(): value for name, value in lines_back}
        self.body = rest
        if self.status == 101:
            self.frames = server_frames(rest)

    # --- what it does ---

    def raw(self, octets: bytes) -> None:
        if not (self.transport.disconnecting or self._lost):
            self.transport.protocol.dataReceived(octets)
        if self.transport.disconnecting:
            self.lose()

    def text(self, message: object) -> None:
        """Send a text message: bytes and str as they are, all else as JSON."""
        if isinstance(message, str):
            message = message.encode()
        self.raw(bytes(Frame(TEXT, message if isinstance(message, bytes) else msgspec.json.encode(message))))

    def binary(self, sound: bytes) -> None:
        self.raw(bytes(Frame(BINARY, sound)))

    def event(self, name: str, body: object = None, **fields: Any) -> None:
        """Send an event of the live stream, numbered."""
        self._sequence += 1
        message = {"event": name, "sequenceNumber": str(self._sequence), "streamSid": self.sid, **fields}
        self.text(message if body is None else {**message, name: body})

    def start(self, sid: str = "S1", **start: Any) -> None:
        self.sid, self._chunk = sid, 0
        self.event("start", {"streamSid": sid, "callSid": f"C-{sid}", **start})

    def media(self, sound: bytes = MULAW_SILENCE, *, chunk: int | None = None, **fields: Any) -> None:
        """Send sound; numbered by itself unless a number is given."""
        self._chunk = self._chunk + 1 if chunk is None else chunk
        payload = b64encode(sound).decode()
        self.event("media", {"chunk": str(self._chunk), "payload": payload, **fields})

    def talk(self, ms: int, sound: bytes = MULAW_SILENCE, packet_ms: int = 20) -> None:
        """Send sound in real time."""
        for _ in range(ms // packet_ms):
            self.media(sound)
            self.house.pass_ms(packet_ms)

    def stop(self) -> None:
        self.event("stop", {"reason": "hung up"})

    def lose(self) -> None:
        """Let the connection die without a word, or end after its goodbye."""
        if not self._lost:
            self._lost = True
            self.transport.protocol.connectionLost(Failure(ConnectionLost()))

    def stop_reading(self) -> None:
        self.transport.producer.pauseProducing()

    # --- what it got ---

    def gone(self) -> bool:
        """Whether the server has hung up, or the connection died."""
        if self.transport.disconnecting:
            self.lose()
        return self._lost

    def answer(self) -> None:
        """Answer pings and goodbyes."""
        if not self.alive or not self.transport.value():
            return
        for opcode, payload in self._take():
            if opcode == PING:
                self.raw(bytes(Frame(PONG, payload)))
            elif opcode == CLOSE:
                self.raw(bytes(Frame(CLOSE, payload)))

    def _take(self) -> list[tuple[int, bytes]]:
        octets = bytes(self.transport.value())
        self.transport.clear()
        new = server_frames(octets)
        self.frames += new
        return new

    def look(self) -> list[tuple[int, bytes]]:
        """Return the frames that came since it last looked."""
        self._take()
        frames, self.frames = self.frames, []
        return frames

    def got(self) -> list[dict[str, Any]]:
        """Return the messages that came since it last looked."""
        return [json.loads(payload) for opcode, payload in self.look() if opcode == TEXT]

    def heard(self) -> bytes:
        """Return the sound that came since it last looked."""
        return b"".join(b64decode(message["media"]["payload"]) for message in self.got() if message["event"] == "media")

    def close_code(self) -> int | None:
        """Return the code of the server's close frame, if one came."""
        codes = [int.from_bytes(payload[:2], "big") for opcode, payload in self.look() if opcode == CLOSE]
        return codes[-1] if codes else None
