"""The drift of a clock, seen through the delays of a network."""

from collections import deque
from random import Random

import pytest

from voicemedia.audio.skew import ENOUGH, Skew, lower_hull

RATE_HZ = 8000
MINUTE = 60 * RATE_HZ


def seen(ppm: float, minutes: int, random: Random | None = None, mean_ms: float = 0) -> Skew:
    """Show the delays of packets every 20 ms."""
    skew = Skew(RATE_HZ)
    for at in range(0, minutes * MINUTE, 160):
        added = random.expovariate(1 / mean_ms) * 8 if random else 0.0
        skew.add(at + added, 40 + at * ppm / 1e6 + added)
    return skew


@pytest.mark.parametrize("ppm", [-200.0, -3.0, 0.0, 50.0, 200.0])
def test_without_jitter_the_drift_is_known_exactly(ppm: float) -> None:
    skew = seen(ppm, 2)
    assert skew.error == pytest.approx(0, abs=1e-6)
    assert skew.at(2 * MINUTE) == pytest.approx(40 + 2 * MINUTE * ppm / 1e6, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_behind_jitter_of_30_ms_the_drift_of_an_hour_is_known_to_a_few_samples(seed: int) -> None:
    skew = seen(120, 60, Random(seed), 30)
    assert skew.at(60 * MINUTE) == pytest.approx(40 + 60 * MINUTE * 120e-6, abs=4)
    assert skew.error is not None and skew.error < 1


def test_nothing_is_believed_in_the_first_half_minute() -> None:
    skew = Skew(RATE_HZ)
    for second in range(5 * ENOUGH):
        skew.add(second * RATE_HZ, 0)
        assert skew.error is None


def test_a_shorter_way_through_the_network_begins_a_new_line() -> None:
    skew = seen(0, 5)
    for at in range(5 * MINUTE, 5 * MINUTE + 2 * MINUTE // 10, 160):
        skew.add(at, -400)
    assert skew.error is None
    for at in range(5 * MINUTE + 2 * MINUTE // 10, 7 * MINUTE, 160):
        skew.add(at, -400)
    assert skew.at(7 * MINUTE) == pytest.approx(-400)


def test_the_lower_hull_turns_left_only() -> None:
    points = deque([(0.0, 1.0), (1.0, 0.0), (2.0, 3.0), (3.0, 0.5), (4.0, 2.0)])
    assert lower_hull(points) == [(0, 1), (1, 0), (3, 0.5), (4, 2)]
