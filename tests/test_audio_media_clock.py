"""What carriers say of their packets, and what is made of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.audio.media_clock import MediaClock

SIZE = 160

# "chunk/timestamp", either empty; on the right the packet's place in packets of 20 ms.
STREAMS = [
    ("numbers and times", "1/0 2/20 3/40", "0 1 2"),
    ("numbers start anywhere", "70/ 71/ 72/", "0 1 2"),
    ("times start anywhere", "/1234567890 /1234567910 /1234567930", "0 1 2"),
    ("nothing said", "/ / / /", "0 1 2 3"),
    ("one missing by number", "1/ 2/ 4/ 5/", "0 1 3 4"),
    ("three missing by number and time", "1/0 2/20 6/100 7/120", "0 1 5 6"),
    ("one missing by time", "/0 /20 /60 /80", "0 1 3 4"),
    ("times a little off", "/0 /21 /38 /63 /80 /99", "0 1 2 3 4 5"),
    ("a clock that stumbles once", "/0 /20 /40 /49 /80", "0 1 2 3 4"),
    ("swapped by number", "1/0 3/40 2/20 4/60", "0 2 1 3"),
    ("swapped by time", "/0 /20 /60 /40 /80", "0 1 3 2 4"),
    ("twice by number", "1/ 2/ 2/ 3/", "0 1 1 2"),
    ("twice by time", "/0 /20 /20 /40", "0 1 1 2"),
    ("number jumps, time does not: order of arrival", "1/0 2/20 9/40 10/60", "0 1 2 3"),
    ("time jumps, number does not: order of arrival", "1/0 2/20 3/900 4/920", "0 1 2 3"),
    ("time constant, one missing by number", "1/5 2/5 4/5", "0 1 3"),
    ("time garbage, number in order", "1/9 2/3 3/77777 4/-5", "0 1 2 3"),
    ("time constant, no number", "/5 /5 /5 /5", "0 1 2 3"),
    ("number counts something else as well", "1/0 3/20 5/40 7/60 9/80", "0 1 2 3 4"),
    ("number constant", "1/ 1/ 1/ 1/ 1/ 1/ 1/", "0 0 0 0 1 2 3"),
    ("number constant, time good", "1/0 1/20 1/40 1/60 1/80", "0 1 2 3 4"),
    ("jumps more than 5 s", "1/0 2/20 900/17980 901/18000", "0 1 2 3"),
    ("restarts after a while", " ".join(f"{n}/" for n in [*range(1, 31), 1, 2, 3]), " ".join(map(str, range(33)))),
    ("restarts, times go on", "1/0 2/20 3/40 1/60 2/80 3/100", "0 1 2 3 4 5"),
    ("restarts at once: a few look like duplicates", "1/ 2/ 3/ 1/ 2/ 3/ 4/ 5/", "0 1 2 0 1 2 3 4"),
    ("first number a stray", "90/ 1/ 2/ 3/ 4/ 5/", "0 -89 -88 -87 1 2"),
    ("number vanishes", "1/0 2/20 /40 /60", "0 1 2 3"),
    ("number appears", "/0 /20 5/40 6/60 8/100", "0 1 2 3 5"),
]


def places(clock: MediaClock, scenario: str) -> str:
    out = []
    for word in scenario.split():
        chunk, _, timestamp = word.partition("/")
        position = clock.position(SIZE, int(chunk) if chunk else None, int(timestamp) if timestamp else None)
        assert position % SIZE == 0
        out.append(str(position // SIZE))
    return " ".join(out)


@pytest.mark.parametrize(("scenario", "expected"), [row[1:] for row in STREAMS], ids=[row[0] for row in STREAMS])
def test_packets_find_their_place(scenario: str, expected: str) -> None:
    assert places(MediaClock(8000), scenario) == expected


def test_packets_of_mixed_sizes_join_without_a_gap() -> None:
    clock = MediaClock(8000)
    sizes = [160, 160, 800, 800, 80, 160, 0, 160]
    positions = [clock.position(size, number) for number, size in enumerate(sizes)]
    assert positions == [sum(sizes[:number]) for number in range(len(sizes))]


def test_repeated_packet_of_another_size_finds_its_place_again() -> None:
    clock = MediaClock(8000)
    for number, size in enumerate([160, 160, 800, 160]):
        clock.position(size, number)
    assert [clock.position(800, 2), clock.position(160, 1)] == [320, 160]


def test_first_packet_may_be_empty() -> None:
    clock = MediaClock(8000)
    assert [clock.position(0, 1, 0), clock.position(160, 2, 0), clock.position(160, 3, 20)] == [0, 0, 160]


def test_resyncs_are_counted() -> None:
    clock = MediaClock(8000)
    places(clock, "1/0 2/20 900/17980 901/18000")
    assert clock.resyncs == 1


SAYINGS = st.tuples(
    st.integers(0, 1000),
    st.none() | st.integers(0, 20) | st.integers(-(10**18), 10**18),
    st.none() | st.integers(0, 400) | st.integers(-(10**18), 10**18),
)


@given(st.lists(SAYINGS, max_size=40))
def test_nonsense_never_moves_the_clock_by_more_than_a_hole(packets: list[tuple[int, int | None, int | None]]) -> None:
    clock, end = MediaClock(8000), 0
    for samples, chunk, timestamp_ms in packets:
        position = clock.position(samples, chunk, timestamp_ms)
        assert abs(position - end) <= 5 * 8000
        end = max(end, position + samples)


@given(st.data())
def test_any_loss_is_seen_by_numbers_and_times(data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.integers(2, 100), unique=True, min_size=1))
    clock = MediaClock(8000)
    for number in [0, 1, *sorted(kept)]:
        timed = data.draw(st.sampled_from(["chunk", "both"]))
        position = clock.position(SIZE, number, number * 20 if timed == "both" else None)
        assert position == number * SIZE
