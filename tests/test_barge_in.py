"""Barge-in by real speech over a real voice, on the media clock: how soon we fall silent, and what the agent is told
was heard. The same numbers on any machine, however busy."""

import audioop
import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import numpy as np
import pytest

from tests.espeak_in_memory import MISSING, spoken
from tests.house import House, Peer
from voicemedia.callers.playback import Playback
from voicemedia.callers.sound import Utterance, load_utterance
from voicemedia.config import Route

SPEECH = [
    *sorted((Path(__file__).parent / "vectors" / "speech").glob("*.wav")),
    *sorted((Path(__file__).parent.parent / "examples").glob("*.wav")),
]
TEXTS = (
    "Good morning. This is your food diary. What did you have for breakfast?",
    "Sorry, I did not understand. You can say, for example, two eggs and a slice of toast, or a bowl of rice.",
    "For lunch you had a chicken sandwich, three boiled eggs, two slices of toast and a glass of orange juice.",
)
OFFSETS_MS = range(0, 20, 4)
"How the caller's first sound lies between two packets: a frame is 20 ms."

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "installed")


def onset_ms(utterance: Utterance) -> float:
    """Find the first 5 ms within 20 dB of the loudest: a voice, not the breath or the tube's noise before it."""
    samples = np.frombuffer(audioop.ulaw2lin(utterance.ulaw, 2), "<i2").astype(float)
    levels = np.sqrt((samples[: len(samples) // 40 * 40].reshape(-1, 40) ** 2).mean(axis=1))
    return float(np.flatnonzero(levels > levels.max() / 10)[0]) * 5


def house_that_says(text: str) -> House:
    return House(
        Route("/talk", agent="talker", stt="none", tts="voice"),
        agents={"talker": {"provider": "repeat", "greeting": text}},
        tts={"voice": {"provider": "tests.espeak_in_memory"}},
    )


class Caller:
    """A caller whose carrier plays what it is sent in real time, and sends marks back when they have been played.

    :param way_ms: how long sound takes from us to the carrier's buffer, and marks as long back.
    """

    def __init__(self, house: House, sid: str, way_ms: int = 0) -> None:
        self._house, self._way_ms = house, way_ms
        self._playback = Playback()
        self._coming: list[tuple[float, dict[str, object]]] = []
        self._back: list[tuple[float, str]] = []
        self._began_ms: float | None = None
        "When the first of our sound came."
        self.peer: Peer = house.call("/talk", sid)
        self.cleared_ms: float | None = None
        "When `clear` was sent to us."
        self.heard_ms = 0.0
        "How much the caller had heard when it took effect."

    def say(self, ulaw: bytes) -> None:
        """Speak in real time, 20 ms a packet, until we fall silent."""
        for at in range(0, len(ulaw), 160):
            self._house.pass_ms(20)
            self.peer.media(ulaw[at : at + 160].ljust(160, b"\xff"))
            self._listen()
            if self.cleared_ms is not None:
                return

    def listen_ms(self, ms: int) -> None:
        self.say(b"\xff" * (ms * 8))

    def _listen(self) -> None:
        now_ms = self._house.now_ms
        self._coming += [(now_ms + self._way_ms, message) for message in self.peer.got()]
        while self._coming and self._coming[0][0] <= now_ms:
            self._take(*self._coming.pop(0))
        self._back += [(now_ms + self._way_ms, name) for name in self._playback.due(now_ms)]
        while self._back and self._back[0][0] <= now_ms:
            self.peer.event("mark", {"name": self._back.pop(0)[1]})

    def _take(self, at_ms: float, message: dict[str, object]) -> None:
        match message:
            case {"event": "media", "media": {"payload": str(payload)}}:
                self._began_ms = at_ms if self._began_ms is None else self._began_ms
                self._playback.play(b64decode(payload), at_ms)
            case {"event": "mark", "mark": {"name": str(name)}}:
                self._playback.mark(name, at_ms)
            case {"event": "clear"} if self._began_ms is not None:
                self.cleared_ms, self.heard_ms = at_ms - self._way_ms, at_ms - self._began_ms


def onsets() -> Iterator[float]:
    """Interrupt with every recording we have, shifted against the packets; yield how long `clear` took."""
    house = house_that_says(TEXTS[1])
    for number, path in enumerate(SPEECH):
        utterance = load_utterance(path)
        for offset_ms in OFFSETS_MS:
            caller = Caller(house, f"S{number}-{offset_ms}")
            caller.listen_ms(1000)
            began_ms = house.now_ms + offset_ms + onset_ms(utterance)
            caller.say(b"\xff" * (8 * offset_ms) + utterance.ulaw)
            assert caller.cleared_ms is not None, path.name
            yield caller.cleared_ms - began_ms
            caller.peer.stop()


def test_clear_comes_within_150_ms_of_the_first_sound_of_19_in_20_callers() -> None:
    took_ms = list(onsets())
    assert len(took_ms) == len(SPEECH) * len(OFFSETS_MS)
    assert quantiles(took_ms, n=20)[-1] < 150, sorted(took_ms)


def words_begun(text: str, ms: float) -> int:
    """Count the words of which something had sounded `ms` after the start, as the voice itself places them."""
    ends = [at for at, begins_ms in spoken(text).words if begins_ms < ms]
    return len(text[: max(ends, default=-1) + 1].split())


@pytest.mark.parametrize("way_ms", [0, 60])
@pytest.mark.parametrize("text", TEXTS)
def test_what_the_agent_is_told_was_heard_is_right_within_one_word(text: str, way_ms: int) -> None:
    interruption = load_utterance(SPEECH[0]).ulaw
    house = house_that_says(text)
    for after_ms in range(200, 3600, 370):
        caller = Caller(house, f"S{after_ms}", way_ms)
        caller.listen_ms(after_ms)
        caller.say(interruption)
        caller.peer.stop()
        (turn,) = json.loads(house.get(f"/calls/C-S{after_ms}/turns")[1])
        assert turn["interrupted"]
        assert text.startswith(turn["heard_text"])
        assert abs(len(turn["heard_text"].split()) - words_begun(text, caller.heard_ms)) <= 1, turn
