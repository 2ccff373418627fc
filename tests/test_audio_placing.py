"""Where a caller's frames lie, as the network and the two clocks would have it.

Scenarios are strings: each frame of 20 ms, told by a letter that says when it comes.
"""

from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import pytest

from voicemedia.audio.placing import Placed, Placing, shrink, stretch

RATE_HZ = 8000
FRAME = 160
SECOND = RATE_HZ


def frame(number: int) -> bytes:
    """Make a frame that is like no other."""
    return np.arange(number * 7, number * 7 + FRAME, dtype="<i2").tobytes()


def placed(arrivals: list[float]) -> list[int]:
    """Let frames come; return where each lies, after looking whether it came out whole."""
    placing, found = Placing(RATE_HZ), list[Placed]()
    for number, at in enumerate(arrivals):
        found += placing.put(frame(number), at)
    found += placing.flush()
    positions = [position + at for position, pcm in found for at in range(0, len(pcm) // 2, FRAME)]
    assert b"".join(pcm for _, pcm in found) == b"".join(map(frame, range(len(arrivals))))
    return positions


def evenly(frames: int, start: int = 0) -> list[float]:
    return [float(start + FRAME * number) for number in range(frames)]


def test_frames_lie_where_they_come() -> None:
    assert placed(evenly(200, 1234)) == evenly(200, 1234)


def test_a_late_first_frame_moves_nothing_of_what_follows() -> None:
    arrivals = evenly(200, 4000)
    arrivals[0] += 500
    assert placed(arrivals) == evenly(200, 4000)


@pytest.mark.parametrize("seed", range(5))
def test_jitter_moves_nothing_from_where_the_fastest_of_the_first_second_lies(seed: int) -> None:
    random, ideals = Random(seed), np.array(evenly(1000, 3000))
    # Nothing overtakes anything.
    arrivals = np.maximum.accumulate(ideals + [random.expovariate(1 / 80) for _ in ideals])
    least = round(min((arrivals - ideals)[:50]))
    assert least < 8
    assert placed(list(arrivals)) == evenly(1000, 3000 + least)


def test_what_was_held_up_is_not_moved() -> None:
    stalled = [max(at, 5.0 * SECOND) if at >= 4.1 * SECOND else at for at in evenly(400)]
    assert placed(stalled) == evenly(400)


def test_what_comes_after_a_silence_of_the_carriers_lies_behind_it() -> None:
    arrivals = evenly(100) + evenly(100, 10 * SECOND)
    assert placed(arrivals) == arrivals


def test_a_short_talkspurt_is_placed_when_its_second_is_over() -> None:
    placing = Placing(RATE_HZ)
    assert placing.put(frame(0), 800) == []
    assert placing.due(8000) == []
    assert placing.due(8800) == [(800, frame(0))]
    assert placing.due(9600) == []


def test_a_recording_sent_when_it_was_over_ends_where_it_came() -> None:
    # A question of 5 s that comes in the 12th second, and another of 2 s in the 30th.
    arrivals = [12.0 * SECOND] * 250 + [30.0 * SECOND] * 100
    assert placed(arrivals) == evenly(250, 7 * SECOND + FRAME) + evenly(100, 28 * SECOND + FRAME)


def test_chunks_of_a_second_lie_one_behind_the_other() -> None:
    arrivals = [float(SECOND * (1 + number // 50)) for number in range(500)]
    assert placed(arrivals) == evenly(500, FRAME)


def test_a_file_sent_faster_than_time_begins_no_sooner_than_the_call() -> None:
    arrivals = [number * 16.0 for number in range(3000)]
    assert placed(arrivals) == evenly(3000)


def drifting(ppm: float, minutes: int, added: Callable[[], float]) -> Iterator[tuple[float, float]]:
    """Yield when frames of a clock that is too slow (positive) come, and when they would without a network."""
    now = 0.0
    for number in range(minutes * 3000):
        ideal = 500 + number * FRAME * (1 + ppm / 1e6)
        now = max(now, ideal + added())
        yield now, ideal


def errors(ppm: float, minutes: int, added: Callable[[], float]) -> tuple[list[float], Placing]:
    """Return how far each placed piece was off, from the third minute on."""
    placing, ideals, off = Placing(RATE_HZ), list[float](), list[float]()
    for number, (now, ideal) in enumerate(drifting(ppm, minutes, added)):
        ideals.append(ideal)
        for position, pcm in placing.put(frame(number % 900), now):
            # Frames that were held up come out together.
            first = number + 1 - round(len(pcm) / (2 * FRAME))
            if first > 6000:
                off.append(position - ideals[first])
    return off, placing


@pytest.mark.parametrize("ppm", [-150.0, 37.0, 200.0])
def test_over_an_hour_two_clocks_stay_together_to_the_sample(ppm: float) -> None:
    off, placing = errors(ppm, 60, lambda: 0.0)
    assert max(map(abs, off)) <= 1.5
    assert placing.corrected == pytest.approx(60 * 60 * RATE_HZ * ppm / 1e6, rel=0.01)


@pytest.mark.parametrize("seed", range(2))
def test_behind_a_jittery_network_they_stay_together_to_a_millisecond(seed: int) -> None:
    random = Random(seed)
    off, _ = errors(100, 60, lambda: random.expovariate(1 / 160))
    assert max(map(abs, off[-3000 * 30 :])) <= 8


def test_clocks_that_agree_are_left_alone() -> None:
    random = Random(1)
    _, placing = errors(0, 30, lambda: random.uniform(0, 160))
    assert abs(placing.corrected) <= 2


def test_a_sample_is_left_out_or_said_twice_where_it_is_heard_least() -> None:
    samples = np.array([0, 900, 1800, 2100, 2105, 1500, 300], "<i2")
    assert list(np.frombuffer(shrink(samples.tobytes()), "<i2")) == [0, 900, 1800, 2100, 1500, 300]
    assert list(np.frombuffer(stretch(samples.tobytes()), "<i2")) == [0, 900, 1800, 2100, 2100, 2105, 1500, 300]
