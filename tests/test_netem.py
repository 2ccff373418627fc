"""The bad network is as bad as it says, and always the same."""

from tests.netem import Network, netem

SENT = range(0, 100_000, 20)


def spoiled() -> Network:
    return netem(1, loss=0.1, jitter_ms=40, reorder=0.1, duplicate=0.1)


def test_same_seed_is_the_same_network() -> None:
    assert spoiled().arrivals(SENT) == spoiled().arrivals(SENT)


def test_good_network_changes_nothing() -> None:
    assert [(arrival.at_ms, arrival.number) for arrival in netem(1).arrivals([0, 20, 40])] == [(0, 0), (20, 1), (40, 2)]


def test_loss_and_duplicates_are_as_frequent_as_asked() -> None:
    arrivals = spoiled().arrivals(SENT)
    numbers = {arrival.number for arrival in arrivals}
    assert 0.08 < 1 - len(numbers) / len(SENT) < 0.12
    assert 0.08 < len(arrivals) / len(numbers) - 1 < 0.12


def test_jitter_alone_keeps_the_order() -> None:
    numbers = [arrival.number for arrival in netem(1, jitter_ms=40).arrivals(SENT)]
    assert numbers == sorted(numbers)


def test_reordering_happens_without_jitter_too() -> None:
    numbers = [arrival.number for arrival in netem(1, reorder=0.1).arrivals(SENT)]
    assert numbers != sorted(numbers)
