"""The buffer for people: even sound, the delay the network is worth, holes made up, the time true."""

import math
import random
import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.asterisk_buffer import AsteriskBuffer
from benchmarks.jitter import asterisk, ours, speech
from benchmarks.traces import FAMILIES, make_trace
from voicemedia.audio.coding import Wish, make_decoding, make_encoding
from voicemedia.audio.e_model import mos, r_factor
from voicemedia.audio.g711 import encode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.audio.smoother import Smoother
from voicemedia.audio.target_delay import TargetDelay
from voicemedia.audio.time_scale import NEEDED_MS, find_lag, lengthen, shorten

SPEECH = Path(__file__).parent / "vectors" / "speech" / "joke.wav"
TONE = np.round(8000 * np.sin(2 * np.pi * 200 * np.arange(8000 * 4) / 8000)).astype("<i2").tobytes()


def packets(pcm: bytes = TONE) -> list[bytes]:
    wire = encode_mulaw(pcm)
    return [wire[at : at + 160] for at in range(0, len(wire) - 159, 160)]


def play(smoother: Smoother, arrivals: Iterable[tuple[int, int]], until_ms: int, wire: list[bytes]) -> list[bytes]:
    """Let packets come at their times and pull a frame every 20 ms."""
    waiting, frames = sorted(arrivals), []
    for now_ms in range(0, until_ms, 20):
        while waiting and waiting[0][0] <= now_ms:
            came_ms, number = waiting.pop(0)
            smoother.put(number * 160, 160, wire[number], came_ms)
        frames.append(smoother.pull(now_ms)[0])
    return frames


def steady(count: int, late: dict[int, int] | None = None, lost: Iterable[int] = ()) -> list[tuple[int, int]]:
    gone = set(lost)
    return [(30 + 20 * number + (late or {}).get(number, 0), number) for number in range(count) if number not in gone]


def test_a_calm_network_is_played_with_hardly_a_delay_and_nothing_made_up() -> None:
    smoother = Smoother(make_decoding("PCMU"))
    frames = play(smoother, steady(200), 4000, packets())
    assert {len(frame) for frame in frames} == {320}
    assert smoother.concealed_ms == 0
    assert smoother.delay_ms(4000) < 30, "it begins cautiously and then hurries"
    heard = np.frombuffer(b"".join(frames[30:]), "<i2").astype(np.float64)
    power = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
    hz = np.fft.rfftfreq(len(heard), 1 / 8000)
    assert power[np.abs(hz - 200) < 20].sum() > 0.98 * power.sum(), "no period left out is heard"


def test_a_lost_packet_is_made_up_for_its_length() -> None:
    smoother = Smoother(make_decoding("PCMU"))
    play(smoother, steady(200, lost=(120, 121, 150)), 4000, packets())
    assert smoother.concealed_ms == pytest.approx(60)


def test_when_nothing_comes_the_delay_grows_and_no_word_is_lost() -> None:
    smoother = Smoother(make_decoding("PCMU"))
    stall = {number: 20 * (60 - number) for number in range(50, 60)}
    wire = packets() * 10
    play(smoother, steady(62, late=stall), 1240, wire)
    assert smoother.concealed_ms >= 140 and smoother.late == 0
    grown_ms = smoother.delay_ms(1240)
    assert grown_ms > 150
    smoother = Smoother(make_decoding("PCMU"))
    play(smoother, steady(1900, late=stall), 38_000, wire)
    assert smoother.delay_ms(38_000) < 60, "and shrinks again, when it has been calm for a while"


def test_jitter_is_waited_for() -> None:
    chance = random.Random(1)
    smoother = Smoother(make_decoding("PCMU"))
    arrivals = [(at + chance.randrange(60), number) for at, number in steady(190)]
    play(smoother, arrivals, 3800, packets())
    assert 40 <= smoother.target.target_ms <= 80
    assert smoother.concealed_ms <= 0.03 * 3800


def test_a_pause_of_the_sender_is_no_loss_and_takes_up_what_the_delay_is_off() -> None:
    smoother = Smoother(make_decoding("PCMU"))
    wire = packets()
    for now_ms in range(0, 4000, 20):
        number = now_ms // 20
        if number < 50 or number >= 150:
            if number == 150:
                smoother.pause(50 * 160, 150 * 160)
            smoother.put(number * 160, 160, wire[number], now_ms)
        frame, _ = smoother.pull(now_ms)
        assert len(frame) == 320
    assert smoother.concealed_ms == pytest.approx(0, abs=1)
    assert smoother.delay_ms(4000) < 60


@pytest.mark.parametrize("codec", ["G722", "opus"])
def test_other_codecs_are_smoothed_too(codec: str) -> None:
    encoding, smoother = make_encoding(codec, Wish(16000)), Smoother(make_decoding(codec))
    chance = random.Random(2)
    at = np.arange(16000 * 3)
    pcm = np.round(6000 * np.sin(2 * np.pi * 300 * at / 16000)).astype("<i2").tobytes()
    position, sent = 0, []
    for number in range(150):
        for payload, ticks in encoding.feed(pcm[640 * number : 640 * number + 640]):
            if chance.random() > 0.03:
                sent.append((20 * number + chance.randrange(40), position, ticks, payload))
            position += ticks
    frames = []
    sent.sort()
    for now_ms in range(0, 3000, 20):
        while sent and sent[0][0] <= now_ms:
            came_ms, place, ticks, payload = sent.pop(0)
            smoother.put(place, ticks, payload, came_ms)
        frames.append(smoother.pull(now_ms)[0])
    assert {len(frame) for frame in frames} == {640}
    heard = np.frombuffer(b"".join(frames[20:]), "<i2").astype(np.float64)
    power = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))) ** 2
    hz = np.fft.rfftfreq(len(heard), 1 / 16000)
    assert power[np.abs(hz - 300) < 40].sum() > 0.9 * power.sum()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 180)), max_size=150))
def test_whatever_comes_a_frame_is_played_every_20_ms(arrivals: list[tuple[int, int]]) -> None:
    smoother = Smoother(make_decoding("PCMU"))
    frames = play(smoother, arrivals, 3600, packets())
    assert {len(frame) for frame in frames} == {320}
    assert smoother.received == len(arrivals)


def test_a_peer_that_sends_faster_than_time_fills_no_memory() -> None:
    smoother = Smoother(make_decoding("PCMU"))
    for number in range(5_000):
        smoother.put(number * 160, 160, bytes(160), number)
    assert len(smoother._held) <= 201


# --- the parts ---


def test_the_target_follows_what_packets_do() -> None:
    target, chance = TargetDelay(), random.Random(3)
    for number in range(500):
        target.arrived(20 * number, 20 * number + 7)
    assert target.target_ms <= 10
    for number in range(500, 1500):
        target.arrived(20 * number, 20 * number + chance.randrange(100))
    assert 70 <= target.target_ms <= 105
    for number in range(1500, 5000):
        target.arrived(20 * number, 20 * number + 7)
    assert target.target_ms <= 10


def test_clocks_that_drift_and_ways_that_change_are_no_jitter() -> None:
    target = TargetDelay()
    for number in range(4000):
        way_ms = 90 if number > 1000 else 20
        target.arrived(20 * number, round(20 * number * 1.0005) + way_ms)
    assert target.target_ms <= 10
    target.arrived(10**9, 80_000)
    assert target.fastest_ms == 80_000 - 10**9


def voiced() -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    with wave.open(str(SPEECH)) as file:
        pcm = Resampler(file.getframerate(), 8000).feed(file.readframes(file.getnframes()))
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def test_a_period_left_out_or_repeated_leaves_no_seam() -> None:
    sound = voiced()
    steps = np.abs(np.diff(sound))
    changed = 0
    for at in range(0, len(sound) - 400, 400):
        piece = sound[at : at + 8 * NEEDED_MS]
        lag = find_lag(piece, 8000, 15)
        if not lag:
            continue
        changed += 1
        loudest = 1.5 * float(np.abs(np.diff(piece)).max()) + 50
        for other, length in ((shorten(piece, lag), len(piece) - lag), (lengthen(piece, lag), len(piece) + lag)):
            assert len(other) == length
            assert float(np.abs(np.diff(other)).max()) <= loudest
    assert changed > 20 and steps.max() > 0


def test_noise_like_nothing_before_is_left_alone() -> None:
    noise = np.random.Generator(np.random.PCG64(5)).standard_normal(400) * 3000
    assert find_lag(noise, 8000, 15) == 0
    assert find_lag(noise / 1000, 8000, 15) == 120, "what is too soft to be heard is taken as it is"
    assert find_lag(noise, 8000, 4) == 0


@pytest.mark.parametrize(
    ("delay_ms", "loss", "r"), [(0, 0, 93.2), (100, 0, 93.2), (200, 0, 90), (400, 0, 69), (50, 0.02, 86)]
)
def test_the_e_model_says_what_its_tables_say(delay_ms: float, loss: float, r: float) -> None:
    assert r_factor(delay_ms, loss) == pytest.approx(r, abs=1.5)


def test_scores_are_those_of_g_107() -> None:
    assert mos(93.2) == pytest.approx(4.41, abs=0.01)
    assert mos(50) == pytest.approx(2.58, abs=0.01)
    assert (mos(-5), mos(0)) == (1.0, 1.0)
    assert r_factor(50, 0.05, burst_ratio=3) < r_factor(50, 0.05)


# --- against Asterisk's, on short traces ---


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_on_every_network_it_is_nearly_as_good_as_asterisks_and_quicker(family: object) -> None:
    trace = make_trace(family, 7, 40)  # type: ignore[arg-type]
    mine, _ = ours(trace, speech())
    theirs = asterisk(trace)
    assert mine.r > theirs.r - 2.5
    assert mine.delay_ms < theirs.delay_ms + 15


def test_asterisks_model_holds_the_span_of_delays_and_forty_more() -> None:
    buffer, chance = AsteriskBuffer(), random.Random(1)
    for number in range(1000):
        at_ms = 20 * number + chance.uniform(0, 50)
        buffer.run(at_ms)
        buffer.put(20 * number, at_ms)
    assert math.isclose(buffer.current_ms, 90, abs_tol=20)
