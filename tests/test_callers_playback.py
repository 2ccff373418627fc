"""The carrier's playback buffer and the bad network, on a clock of the test's own."""

import itertools

import pytest

from voicemedia.callers.impair import Impairments, Network
from voicemedia.callers.playback import Playback

LOUD = b"\x80"
SILENT = b"\xff"

# "play20@5": 20 ms of sound come at 5 ms; "mark:a@5", "clear@5"; "@5": ask what is due at 5 ms. Then the marks that
# were returned, with their times.
STORIES = [
    ("a mark with nothing queued returns at once", "mark:a@5 @5", "a@5"),
    ("a mark waits for the sound before it", "play20@0 mark:a@0 @19 @20", "a@20"),
    ("sound queues up behind sound", "play20@0 play20@1 mark:a@2 @39 @40", "a@40"),
    ("a pause between sounds is time that passes", "play20@0 play20@50 mark:a@50 @69 @70", "a@70"),
    ("marks keep their places", "play20@0 mark:a@0 play20@0 mark:b@0 @25 @40", "a@25 b@40"),
    ("clear returns all pending marks at once", "play200@0 mark:a@0 mark:b@0 clear@30 @400", "a@30 b@30"),
    ("a mark after clear does not wait for what was cleared", "play200@0 clear@30 mark:a@31 @31", "a@31"),
    ("clear with nothing queued is harmless", "clear@3 play20@5 mark:a@5 @25", "a@25"),
]


@pytest.mark.parametrize(("story", "returned"), [row[1:] for row in STORIES], ids=[row[0] for row in STORIES])
def test_marks_return_when_their_sound_has_been_played(story: str, returned: str) -> None:
    playback = Playback()
    names = []
    for step in story.split():
        what, _, at = step.partition("@")
        now_ms = float(at)
        if what.startswith("play"):
            playback.play(LOUD * 8 * int(what[4:]), now_ms)
        elif what.startswith("mark:"):
            playback.mark(what[5:], now_ms)
        elif what == "clear":
            names += [f"{name}@{at}" for name in playback.clear(now_ms)]
        names += [f"{name}@{at}" for name in (playback.due(now_ms) if not what else [])]
    assert " ".join(names) == returned


def test_the_first_audible_sample_is_heard_after_what_is_queued() -> None:
    playback = Playback()
    assert playback.play(SILENT * 160, 10) is None
    assert playback.play(SILENT * 80 + LOUD * 80, 12) == 40.0
    assert playback.last_audible_ms == 50.0
    assert playback.end_ms == 50.0


def test_the_recording_is_what_was_played_when_it_was_played() -> None:
    playback = Playback()
    playback.play(LOUD * 80, 10)
    playback.play(LOUD * 800, 30)
    playback.clear(40)
    assert playback.heard(50) == SILENT * 80 + LOUD * 80 + SILENT * 80 + LOUD * 80 + SILENT * 80
    assert playback.last_audible_ms == 40.0


def test_sound_still_queued_at_the_end_was_not_heard() -> None:
    playback = Playback()
    playback.play(LOUD * 800, 0)
    assert playback.heard(30) == LOUD * 240


def sent(impairments: Impairments, count: int = 1000) -> list[int]:
    """Send a packet each 20 ms; return their numbers in the order they arrive."""
    network = Network[str](impairments, 20)
    arrived = []
    for number in range(count):
        network.send(str(number), number * 20)
        arrived += network.due(number * 20)
    arrived += network.due(1e9)
    assert network.empty
    return [int(number) for number in arrived]


def test_a_good_network_changes_nothing() -> None:
    assert sent(Impairments()) == list(range(1000))


def test_loss_takes_its_share() -> None:
    assert 955 <= len(sent(Impairments(loss=0.03))) <= 985


def test_jitter_delays_but_keeps_the_order() -> None:
    assert sent(Impairments(jitter_ms=80)) == list(range(1000))
    networks = [Network[str](Impairments(jitter_ms=80, seed=seed), 20) for seed in range(100)]
    for network in networks:
        network.send("packet", 0)
    early = sum(len(network.due(40)) for network in networks)
    late = sum(len(network.due(80)) for network in networks)
    assert early + late == 100
    assert 35 <= early <= 65


def test_reordered_packets_are_overtaken_by_the_next() -> None:
    arrived = sent(Impairments(reorder=0.05))
    late = [a for a, b in itertools.pairwise(arrived) if a > b]
    assert sorted(arrived) == list(range(1000))
    assert 30 <= len(late) <= 70


def test_duplicates_come_twice() -> None:
    arrived = sent(Impairments(duplicate=0.05))
    assert 1030 <= len(arrived) <= 1070
    assert set(arrived) == set(range(1000))


def test_the_same_seed_means_the_same_fate() -> None:
    bad = Impairments(0.02, 40, 0.02, 0.02, seed=7)
    assert sent(bad) == sent(bad)
    assert sent(bad) != sent(Impairments(0.02, 40, 0.02, 0.02, seed=8))
