"""One clock for all calls."""

import itertools
from collections.abc import Callable

import pytest
from twisted.internet.task import Clock

from voicemedia.ticker import Ticker


class Ticked:
    """Writes down when it was told of the time; does at the first tick what the test wants."""

    def __init__(self, act: Callable[[], None] = lambda: None) -> None:
        self.ticks: list[int] = []
        self.sweeps: list[int] = []
        self._act = act

    def tick(self, now_ms: int) -> None:
        self.ticks.append(now_ms)
        act, self._act = self._act, lambda: None
        act()

    def sweep(self, now_ms: int) -> None:
        self.sweeps.append(now_ms)


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.late: list[float] = []
        self.ticker = Ticker(self.clock, self.late.append, self.clock.seconds)

    def pass_ms(self, ms: int, step_ms: int = 1) -> None:
        for _ in range(ms // step_ms):
            self.clock.advance(step_ms / 1000)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def spaces(times: list[int]) -> set[int]:
    return {after - before for before, after in itertools.pairwise(times)}


def test_everybody_is_ticked_each_20_ms_and_swept_each_second(bench: Bench) -> None:
    all_of_them = [Ticked() for _ in range(5)]
    for ticked in all_of_them:
        bench.ticker.join(ticked)
    bench.pass_ms(3_000)
    for ticked in all_of_them:
        assert len(ticked.ticks) == pytest.approx(150, abs=1)
        assert spaces(ticked.ticks) <= {19, 20, 21}
        assert len(ticked.sweeps) == 3
        assert spaces(ticked.sweeps) <= {999, 1_000, 1_001}


def test_calls_are_spread_over_four_slots(bench: Bench) -> None:
    four = [Ticked() for _ in range(4)]
    for ticked in four:
        bench.ticker.join(ticked)
    bench.pass_ms(20)
    assert len({ticked.ticks[0] for ticked in four}) == 4


def test_nothing_is_scheduled_while_nobody_is_there(bench: Bench) -> None:
    ticked = Ticked()
    assert bench.clock.getDelayedCalls() == []
    bench.ticker.join(ticked)
    bench.pass_ms(100)
    bench.ticker.leave(ticked)
    bench.pass_ms(10)
    assert bench.clock.getDelayedCalls() == []
    bench.ticker.join(ticked)
    bench.pass_ms(40)
    assert len(ticked.ticks) == 7


def test_it_sleeps_through_slots_nobody_is_in(bench: Bench) -> None:
    bench.ticker.join(Ticked())
    bench.pass_ms(1_000)
    assert len(bench.late) == pytest.approx(50, abs=1)
    assert max(bench.late) <= 1


@pytest.mark.parametrize("asleep_ms", range(21))
def test_who_comes_while_it_sleeps_waits_no_longer_and_lets_nobody_else_wait(bench: Bench, asleep_ms: int) -> None:
    first, second, asked = Ticked(), Ticked(), list[int]()
    bench.ticker.join(first)
    bench.pass_ms(100 + asleep_ms)
    came_ms = bench.ticker.now_ms()
    bench.ticker.join(second)

    def look(now_ms: int) -> bool:
        asked.append(now_ms)
        return len(asked) < 8

    bench.ticker.hurry(look)
    bench.pass_ms(2_000)
    assert asked[0] - came_ms <= 6
    assert spaces(asked) <= {4, 5, 6}
    assert second.ticks[0] - came_ms <= 21
    for ticked in (first, second):
        assert spaces(ticked.ticks) <= {19, 20, 21}
        assert ticked.sweeps
        assert spaces(ticked.sweeps) <= {999, 1_000, 1_001}


@pytest.mark.parametrize("left", range(4))
def test_a_slot_that_empties_while_it_is_waited_for_holds_nobody_up(bench: Bench, left: int) -> None:
    four = [Ticked() for _ in range(4)]
    for ticked in four:
        bench.ticker.join(ticked)
    bench.pass_ms(103)
    bench.ticker.leave(four[left])
    bench.pass_ms(1_000)
    assert not spaces(four[left].ticks) - {19, 20, 21}
    for ticked in four[:left] + four[left + 1 :]:
        assert len(ticked.ticks) == pytest.approx(55, abs=1)
        assert spaces(ticked.ticks) <= {19, 20, 21}


def test_a_stall_is_not_made_up_for_by_a_burst(bench: Bench) -> None:
    ticked = Ticked()
    bench.ticker.join(ticked)
    bench.pass_ms(100)
    before = len(ticked.ticks)
    bench.clock.advance(1.0)
    assert len(ticked.ticks) <= before + 2
    assert max(bench.late) == pytest.approx(1_000, abs=6)
    bench.pass_ms(1_000)
    assert len(ticked.ticks) == pytest.approx(before + 52, abs=2)


@pytest.mark.parametrize("stall_ms", [7, 12, 20, 33, 51, 104, 999])
def test_a_stall_leaves_everybody_at_his_place_in_the_20_ms(bench: Bench, stall_ms: int) -> None:
    four = [Ticked() for _ in range(4)]
    for ticked in four:
        bench.ticker.join(ticked)
    bench.pass_ms(100)
    places = [ticked.ticks[-1] % 20 for ticked in four]
    bench.clock.advance(stall_ms / 1000)
    bench.pass_ms(100)
    for ticked, place in zip(four, places, strict=True):
        assert min((ticked.ticks[-1] - place) % 20, (place - ticked.ticks[-1]) % 20) <= 1


@pytest.mark.parametrize("step_ms", [30, 50, 100, 200, 500])
def test_everybody_is_swept_each_second_by_a_reactor_that_stalls_all_the_time(bench: Bench, step_ms: int) -> None:
    four = [Ticked() for _ in range(4)]
    for ticked in four:
        bench.ticker.join(ticked)
    bench.pass_ms(30_000, step_ms)
    for ticked in four:
        assert len(ticked.sweeps) == pytest.approx(30, abs=1)


def test_who_joins_in_a_tick_does_not_make_the_clock_run_twice(bench: Bench) -> None:
    second = Ticked()
    first = Ticked(lambda: bench.ticker.join(second))
    bench.ticker.join(first)
    bench.pass_ms(1_000)
    assert len(bench.clock.getDelayedCalls()) == 1
    assert len(first.ticks) == pytest.approx(50, abs=1)
    assert len(second.ticks) == pytest.approx(49, abs=2)


def test_who_leaves_in_a_tick_is_not_ticked_again(bench: Bench) -> None:
    ticked = Ticked(lambda: bench.ticker.leave(ticked))
    bench.ticker.join(ticked)
    bench.pass_ms(100)
    assert len(ticked.ticks) == 1


def test_a_bug_in_one_does_not_stop_the_clock_of_the_others(bench: Bench) -> None:
    def bug() -> None:
        raise LookupError

    bench.ticker.join(Ticked(bug))
    other = Ticked()
    bench.ticker.join(other)
    with pytest.raises(LookupError):
        bench.pass_ms(100)
    bench.pass_ms(100)
    assert len(other.ticks) == pytest.approx(5, abs=1)


def test_who_is_in_a_hurry_is_asked_every_5_ms_until_it_has_what_it_wants(bench: Bench) -> None:
    asked: list[int] = []

    def look(now_ms: int) -> bool:
        asked.append(now_ms)
        return len(asked) < 4

    bench.ticker.hurry(look)
    bench.pass_ms(100)
    assert len(asked) == 4
    assert spaces(asked) <= {4, 5, 6}
    assert bench.clock.getDelayedCalls() == []


def test_after_the_stop_nobody_is_ticked_even_when_it_came_within_a_tick(bench: Bench) -> None:
    ticked = Ticked(bench.ticker.stop)
    bench.ticker.join(ticked)
    bench.ticker.hurry(lambda _now_ms: True)
    bench.pass_ms(100)
    assert len(ticked.ticks) == 1
    assert bench.clock.getDelayedCalls() == []
