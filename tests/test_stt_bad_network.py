"""Real speech through a bad network and the server's own ears: what arrives whole or mended is heard right."""

import importlib.util
import wave
from functools import cache
from pathlib import Path
from typing import Final

import pytest

if importlib.util.find_spec("pocketsphinx") is None:
    pytest.skip("needs the extra `offline` (pocketsphinx)", allow_module_level=True)

from tests.house import MULAW_SILENCE, House
from tests.netem import netem
from tests.told import Told
from voicemedia.agent.diet_grammar import grammar
from voicemedia.agent.diet_table import State
from voicemedia.audio.g711 import encode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.audio.voice import Endpointer, Speech, WebrtcDetector
from voicemedia.stt.pocketsphinx import PREROLL_MS
from voicemedia.stt.pocketsphinx_decoders import Decoders
from voicemedia.stt.pocketsphinx_wire import Setup
from voicemedia.stt.pocketsphinx_worker import Front

ROOT: Final = Path(__file__).parent.parent
SPOKEN: Final = {
    "tests/vectors/speech/two_eggs": "i had two eggs and a slice of toast",
    "tests/vectors/speech/chicken_and_rice": "chicken and rice",
    "examples/breakfast": "i had two eggs and a slice of toast",
    "examples/lunch": "for lunch i had a chicken sandwich and a bowl of tomato soup",
    "examples/done": "that is all",
}
BEFORE_MS: Final = 1000
"Silence, which teaches voice detection the noise floor."


@cache
def packets(name: str, late_ms: int) -> list[bytes]:
    """Give a recording as 20 ms of mu-law each, beginning anywhere in a packet."""
    with wave.open(str(ROOT / f"{name}.wav")) as file:
        assert file.getframerate() == 16000
        spoken = encode_mulaw(Resampler(16000, 8000).feed(file.readframes(file.getnframes())))
    size = len(MULAW_SILENCE)
    line = b"\xff" * (8 * (BEFORE_MS + late_ms)) + spoken + MULAW_SILENCE * 50
    return [line[at : at + size] for at in range(0, len(line) - size + 1, size)]


def heard_by_the_call(name: str, seed: int) -> tuple[list[bytes], int]:
    """Play a recording through a bad network to the server; return the frames of its call, how many made up."""
    house = House()
    peer, sent = house.call(), packets(name, seed * 3 % 20)
    told = Told(house)
    network = netem(seed, loss=0.02, jitter_ms=40, reorder=0.02, duplicate=0.01)
    begin_ms = house.now_ms
    for arrival in network.arrivals(range(0, len(sent) * 20, 20)):
        while house.now_ms < begin_ms + arrival.at_ms:
            house.pass_ms(1, 1)
        peer.media(sent[arrival.number], chunk=arrival.number + 1, timestamp=str(arrival.number * 20))
    house.pass_ms(500)
    return [pcm for _, pcm, _ in told.frames], sum(made_up for _, _, made_up in told.frames)


def utterance(frames: list[bytes]) -> list[bytes]:
    """Cut out what voice detection takes for speech, with what came before the onset."""
    endpointer, begin = Endpointer(WebrtcDetector(8000)), 0
    for number, frame in enumerate(frames):
        speech = endpointer.hear(frame)
        if speech is Speech.STARTED:
            begin = number + 1 - PREROLL_MS // 20
        elif speech is Speech.STOPPED:
            return frames[begin : number + 1]
    raise AssertionError("nobody stopped to speak")


@cache
def decoders() -> Decoders:
    return Decoders(Setup(1, 0, 200, -1.7, {}))


def understood(frames: list[bytes]) -> str:
    """Hear as a child does, 100 ms after 100 ms; empty when the grammar is not believed."""
    front, ears = Front(8000), decoders().take(grammar(State.ASKING))
    assert ears is not None
    front.begin()
    pieces = [front.feed(b"".join(frames[at : at + 5])) for at in range(0, len(frames), 5)]
    for features in (*pieces, front.finish()):
        if features:
            ears.hear(features)
    answer = ears.finish(1)
    decoders().give_back(ears)
    return answer.text if answer is not None else ""


@pytest.mark.parametrize("name", SPOKEN)
def test_a_bad_network_changes_no_word(name: str) -> None:
    made_up = 0
    for seed in range(5):
        frames, mended = heard_by_the_call(name, seed)
        assert understood(utterance(frames)) == SPOKEN[name], f"seed {seed}"
        made_up += mended
    assert made_up > 5


@pytest.mark.parametrize("late_ms", range(0, 20, 4))
def test_where_in_a_packet_a_word_begins_changes_nothing(late_ms: int) -> None:
    for name in ("tests/vectors/speech/two_eggs", "examples/done"):
        house = House()
        peer = house.call()
        told = Told(house)
        for packet in packets(name, late_ms):
            peer.media(packet)
            house.pass_ms(20, 20)
        assert understood(utterance([pcm for _, pcm, _ in told.frames])) == SPOKEN[name]
