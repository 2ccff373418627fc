"""Browsers in memory: a house with a route for them, and pages that talk to it."""

from base64 import b64decode
from typing import Any

from tests.house import House, Peer
from tests.scripted_talk import LOUD
from tests.websocket_wires import BINARY, CLOSE, TEXT
from voicemedia.audio.wav import read_wav
from voicemedia.config import Route, Voice

SCRIPTED = "tests.scripted_talk"
ROUTE = Route("/audio-stream", "browser", agent="repeat", stt=SCRIPTED, tts=SCRIPTED)
VOICE = Voice(detector="energy", hangover_ms=300, ignore_first_ms=0)
GREETING = "Hello. Say something, and I will repeat it."
FRAME = LOUD * 160
SILENT = bytes(640)


class Page:
    """One socket of a browser."""

    def __init__(self, house: House, query: str = "sessionId=S1", **headers: str) -> None:
        self.house = house
        self.peer: Peer = house.connect(f"/audio-stream?{query}", **headers)
        self.sound = b""
        "From binary messages."
        self.close: tuple[int, str] | None = None

    def got(self, kind: str = "") -> list[Any]:
        """Return the messages that came since it last looked, or the bodies of those of one kind."""
        import json

        messages = []
        for opcode, payload in self.peer.look():
            if opcode == BINARY:
                self.sound += payload
            elif opcode == CLOSE:
                self.close = (int.from_bytes(payload[:2], "big"), payload[2:].decode())
            elif opcode == TEXT:
                messages.append(json.loads(payload))
        return [message["data"] for message in messages if message["type"] == kind] if kind else messages

    def say(self, ms: int, frame: bytes = FRAME) -> None:
        """Speak in real time."""
        for _ in range(ms // 20):
            self.peer.binary(frame)
            self.house.pass_ms(20)

    def send(self, kind: str, **fields: object) -> None:
        self.peer.text({"type": kind, **fields})

    def leave(self) -> None:
        self.peer.lose()


def make_house(route: Route = ROUTE, **sections: Any) -> House:
    return House(route, **{"voice": VOICE, **sections})


def spoken(message: dict[str, Any]) -> bytes:
    """Return the samples of an `audio` message."""
    rate_hz, pcm = read_wav(b64decode(message["audio"]))
    assert rate_hz == 16_000
    assert message["duration"] == len(pcm) // 32
    return pcm
