"""Calls of nonsense, seeded: whatever comes in whatever order, the books balance and nothing is a bug."""

from collections.abc import Callable
from random import Random

import msgspec
import pytest

from tests.house import ECHO, TWILIO, House, Peer
from tests.loudness import LOUD
from voicemedia.config import Limits, Playout, Route
from voicemedia.interfaces import Goodbye

TALK = Route("/talk", agent="tests.faulty_provider", stt="tests.faulty_provider", tts="none")
LAX = msgspec.structs.replace(ECHO, path="/lax", implicit_start=True, binary_audio=True, connected="adaptive")
PATHS = ("/echo", "/twilio", "/talk", "/lax")
FORMATS: tuple[dict[str, object], ...] = (
    {},
    {"encoding": "alaw"},
    {"encoding": "l16", "sampleRate": 16_000},
    {"encoding": "opus"},
    {"sampleRate": 48_000},
)
NUMBERS: tuple[object, ...] = (None, "", "x", -1, 0, 1, 2, 7, 10**6, 2**62, 2**70, 1.5, "3", True, [])
NAMES = ("S1", "S2", "S3", "S4", "S5", "", "S" * 300, "\u2028", None, 5)


class Fuzz:
    """One peer that has lost its mind."""

    def __init__(self, house: House, random: Random) -> None:
        self.house, self.random = house, random
        self.peer: Peer = house.connect(random.choice(PATHS))
        self.acts: tuple[Callable[[], None], ...] = (
            self.start, self.start, self.start, self.sound, self.sound, self.sound, self.sound, self.wrong_media,
            self.stop, self.key, self.mark, self.custom, self.noise, self.binary, self.wait, self.wait,
            self.hang_up, self.vanish, self.stall,
        )  # fmt: skip

    def step(self) -> None:
        if self.peer.gone():
            self.peer = self.house.connect(self.random.choice(PATHS))
        self.random.choice(self.acts)()

    def start(self) -> None:
        sid = self.random.choice(NAMES)
        self.peer.sid = sid if isinstance(sid, str) else ""
        body = {"callSid": self.random.choice(NAMES), "mediaFormat": self.random.choice(FORMATS)}
        self.peer.event("start", body | {"streamSid": sid})

    def sound(self) -> None:
        for _ in range(self.random.randrange(1, 30)):
            self.peer.media(self.random.choice((LOUD, LOUD, LOUD[:7], LOUD * 5)))
            if self.random.random() < 0.5:
                self.house.pass_ms(20, 10)

    def wrong_media(self) -> None:
        number = self.random.choice(NUMBERS)
        self.peer.event("media", {"payload": self.random.choice(("", "/w==", "!", 5)), "chunk": number})
        self.peer.event("media", {"payload": "/w==", "timestamp": number})

    def stop(self) -> None:
        self.peer.stop()

    def key(self) -> None:
        self.peer.event("dtmf", {"digit": self.random.choice(("1", "#", "A", "x", "", 7, None, []))})

    def mark(self) -> None:
        self.peer.event("mark", {"name": self.random.choice((*(f"s{number}" for number in range(9)), *NAMES))})

    def custom(self) -> None:
        self.peer.event(self.random.choice(("", "transfer", "connected", " MEDIA ", "x" * 1_000)))

    def noise(self) -> None:
        self.peer.text(self.random.choice((b"", b"{", b"[]", b"null", b'"media"', b'{"event":[]}')))

    def binary(self) -> None:
        self.peer.binary(self.random.randbytes(self.random.randrange(400)))

    def wait(self) -> None:
        self.house.pass_ms(self.random.choice((20, 500, 3_000)), 20)

    def hang_up(self) -> None:
        self.peer.alive = self.random.random() < 0.5
        for call in self.house.server.switchboard:
            call.leg.hang_up(self.random.choice(list(Goodbye)))

    def vanish(self) -> None:
        self.peer.lose()

    def stall(self) -> None:
        self.peer.stop_reading()


@pytest.mark.parametrize("seed", range(12))
def test_nonsense_leaves_balanced_books(seed: int) -> None:
    random = Random(seed)
    playout = Playout(packet_ms=random.choice((20, 100)), lead_ms=random.choice((0, 200)))
    house = House(ECHO, TWILIO, TALK, LAX, limits=Limits(max_call_s=60, idle_s=20), playout=playout)
    fuzz = Fuzz(house, random)
    for _ in range(150):
        fuzz.step()
    fuzz.peer.lose()
    house.pass_ms(5_000, 50)
    switchboard = house.server.switchboard
    assert switchboard.total >= 3
    assert sum(house.ended().values()) == switchboard.total == house.server.metrics.calls_started
    assert len(switchboard) == sum(switchboard._held.values()) == len(house.server._sockets) == 0
