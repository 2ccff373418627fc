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
from benchmarks.jitter import asterisk, ours
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
    play(smoother, steady(62, late=stall), 1260, wire)
    assert smoother.concealed_ms >= 140 and smoother.late == 0
    grown_ms = smoother.delay_ms(1260)
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


@pytest.mark.parametrize("packet_ms", [10, 15, 20, 30, 40, 60])
def test_packets_of_any_length_are_all_in_time_on_a_calm_network(packet_ms: int) -> None:
    smoother, ticks = Smoother(make_decoding("PCMU")), 8 * packet_ms
    wire, number = encode_mulaw(TONE), 0
    for now_ms in range(0, 4000, 20):
        while number * packet_ms <= now_ms:
            smoother.put(
                number * ticks, ticks, wire[number * ticks :][:ticks].ljust(ticks, b"\xff"), number * packet_ms
            )
            number += 1
        smoother.pull(now_ms)
    assert smoother.concealed_ms == 0
    assert smoother.delay_ms(4000) < 50
    assert abs(smoother.scaled_ms) < 100, "it does not go back and forth"


def test_sound_is_made_longer_while_a_packet_is_late_so_that_nothing_is_made_up() -> None:
    smoother, wire, chance = Smoother(make_decoding("PCMU")), packets() * 5, random.Random(5)
    lates = {number: chance.randrange(40, 80) for number in range(100, 800, 90)}
    arrivals = steady(900, late={**lates, 810: 75})
    play(smoother, [each for each in arrivals if each[1] < 809], 16_220, wire)
    assert smoother.delay_ms(16_220) == 70, "it has learned to wait for most of them"
    made_up_ms, scaled_ms = smoother.concealed_ms, smoother.scaled_ms
    waiting = sorted(each for each in arrivals if each[1] >= 809)
    for now_ms in range(16_220, 16_600, 20):
        while waiting[0][0] <= now_ms:
            came_ms, number = waiting.pop(0)
            smoother.put(number * 160, 160, wire[number], came_ms)
        smoother.pull(now_ms)
    assert smoother.concealed_ms == made_up_ms
    assert smoother.scaled_ms <= scaled_ms - 5, "periods were repeated"


def test_of_a_packet_that_comes_while_it_is_made_up_the_rest_is_played() -> None:
    smoother, wire, chance = Smoother(make_decoding("PCMU")), encode_mulaw(TONE), random.Random(6)
    waiting = sorted((40 * number + chance.randrange(60), number) for number in range(90) if number != 60)
    missing, before_ms = True, 0.0
    for now_ms in range(0, 3600, 20):
        while waiting and waiting[0][0] <= now_ms:
            came_ms, number = waiting.pop(0)
            smoother.put(number * 320, 320, wire[number * 320 :][:320], came_ms)
        before_ms = smoother.concealed_ms if now_ms == 40 * 60 else before_ms
        smoother.pull(now_ms)
        if missing and now_ms > 40 * 60 and smoother.concealed_ms > before_ms:
            smoother.put(60 * 320, 320, wire[60 * 320 :][:320], now_ms)
            missing = False
    assert smoother.late == 1
    assert smoother.concealed_ms - before_ms <= 20, "half of its 40 ms"


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


def test_who_falls_silent_for_good_has_lost_nothing() -> None:
    smoother = Smoother(make_decoding("PCMU"))
    frames = play(smoother, steady(100), 4000, packets())
    assert smoother.concealed_ms == 0
    assert not any(frames[-1])


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


PIECES = st.tuples(
    st.sampled_from(["packet", "packet", "packet", "pause"]),
    st.integers(-400, 400),
    st.sampled_from([1, 3, 80, 160, 160, 240, 320, 960]),
    st.sampled_from([0, 5, 20, 20, 60, 3000]),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PCMU", "G722"]), st.lists(PIECES, max_size=80))
def test_packets_and_pauses_may_overlap_and_be_of_any_length(
    codec: str, pieces: list[tuple[str, int, int, int]]
) -> None:
    smoother, now_ms, position = Smoother(make_decoding(codec)), 0, 0
    for kind, off, ticks, passed_ms in pieces:
        if kind == "pause":
            smoother.pause(position + off, position + off + 9 * ticks)
        else:
            smoother.put(position + off, ticks, (bytes(range(1, 97)) * 10)[:ticks], now_ms)
        position += ticks
        for _ in range(passed_ms // 20):
            assert len(smoother.pull(now_ms)[0]) == smoother.rate_hz // 50 * 2
        now_ms += passed_ms
    assert smoother.concealed_ms >= -0.001


def test_a_peer_that_sends_faster_than_time_fills_no_memory() -> None:
    smoother = Smoother(make_decoding("PCMU"))
    for number in range(5_000):
        smoother.put(number * 160, 160, bytes(160), number)
    assert len(smoother._held) <= 201


# --- the parts ---


def test_the_target_follows_what_packets_do() -> None:
    target, chance = TargetDelay(), random.Random(3)
    for number in range(500):
        target.arrived(20 * number, 20, 20 * number + 7)
    assert target.target_ms <= 10
    for number in range(500, 1500):
        target.arrived(20 * number, 20, 20 * number + chance.randrange(100))
    assert 70 <= target.target_ms <= 105
    for number in range(1500, 5000):
        target.arrived(20 * number, 20, 20 * number + 7)
    assert target.target_ms <= 10


def test_packets_held_up_together_count_by_what_the_first_of_them_was_late() -> None:
    held_up, alone, chance = TargetDelay(), TargetDelay(), random.Random(4)
    for number in range(4000):
        # Every four seconds the line stalls for 160 ms; what comes meanwhile comes at its end.
        since = number % 200
        stall_ms = max(0, 160 - 20 * since) if number > 200 else 0
        jitter_ms = chance.randrange(5)
        held_up.arrived(20 * number, 20, 20 * number + max(stall_ms, jitter_ms))
        # The same lateness, but each packet of its own: others overtake it.
        if since < 8 and number > 200:
            continue
        alone.arrived(20 * number, 20, 20 * number + jitter_ms)
        if since % 24 == 8 and number > 200:
            late_ms = 160 - 20 * (since // 24)
            alone.arrived(20 * (number - 1) - 1, 20, 20 * (number - 1) + late_ms)
    assert held_up.target_ms < alone.target_ms


def test_clocks_that_drift_and_ways_that_change_are_no_jitter() -> None:
    target = TargetDelay()
    for number in range(4000):
        way_ms = 90 if number > 1000 else 20
        target.arrived(20 * number, 20, round(20 * number * 1.0005) + way_ms)
    assert target.target_ms <= 10
    target.arrived(10**9, 20, 80_000)
    assert target.fastest_ms == 80_000 - 10**9


def voiced() -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    with wave.open(str(SPEECH)) as file:
        pcm = Resampler(file.getframerate(), 8000).feed(file.readframes(file.getnframes()))
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def test_a_period_left_out_or_repeated_leaves_no_seam() -> None:
    sound, changed = voiced(), 0
    for at in range(400, len(sound) - 400, 400):
        past, piece = sound[at - 120 : at], sound[at : at + 8 * NEEDED_MS]
        loudest = 1.5 * float(np.abs(np.diff(np.concatenate((past, piece)))).max()) + 50
        if lag := find_lag(piece, 8000, 15):
            changed += 1
            shorter = shorten(piece, lag)
            assert len(shorter) == len(piece) - lag
            assert float(np.abs(np.diff(np.concatenate((past, shorter)))).max()) <= loudest
        if lag := find_lag(np.concatenate((past, piece[:120]))[::-1], 8000, 15):
            changed += 1
            longer = lengthen(past, piece, lag)
            assert len(longer) == len(piece) + lag
            assert float(np.abs(np.diff(np.concatenate((past, longer)))).max()) <= loudest
    assert changed > 40


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
    mine, _ = ours(trace)
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
