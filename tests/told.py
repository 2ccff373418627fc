"""Stands between a leg and its call, and writes down what the call is told."""

from tests.house import House
from voicemedia.interfaces import Goodbye


class Told:
    """What the one call of a house is told."""

    def __init__(self, house: House) -> None:
        (socket,) = house.server._sockets
        leg = socket._leg
        assert leg is not None
        self._house, self.leg, self._call = house, leg, leg.listener
        self.events: list[str] = []
        self.frames: list[tuple[int, bytes, bool]] = []
        "When, what, and whether it was made up."
        leg.listener = self

    def hear(self, pcm: bytes, concealed: bool) -> None:
        self.frames.append((self._house.now_ms, pcm, concealed))
        self.events.append("lost" if concealed else "frame")
        self._call.hear(pcm, concealed)

    def digit(self, key: str) -> None:
        self.events.append(f"key {key}")
        self._call.digit(key)

    def said(self, text: str) -> None:
        self.events.append(f"said {text}")
        self._call.said(text)

    def marked(self, number: int) -> None:
        self.events.append(f"marked {number}")
        self._call.marked(number)

    def gone(self, why: Goodbye) -> None:
        self.events.append(f"gone {why.value}")
        self._call.gone(why)
