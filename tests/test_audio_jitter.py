"""The jitter buffer: eager while in order, brief at a hole, true to the time line always."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.netem import Arrival, netem
from voicemedia.audio.jitter import HELD_MAX_MS, NEVER_MS, Delivery, JitterBuffer, Lost

SIZE = 160
"Samples of a packet of 20 ms at 8 kHz; packet n lies at n * 160 and is filled with n."

# "3@40": packet 3 arrives at 40 ms. "@80": only time passes. "-": one packet given up as lost.
STREAMS = [
    ("in order", "1@0 2@20 3@40", "1 2 3"),
    ("starts anywhere", "70@0 71@20", "70 71"),
    ("in a burst", "1@0 2@0 3@0 4@0", "1 2 3 4"),
    ("two swapped", "1@0 3@20 2@30", "1 2 3"),
    ("three turned round", "1@0 4@20 3@25 2@30 5@40", "1 2 3 4 5"),
    ("waits until the deadline", "1@0 3@20 @39", "1"),
    ("lost, given up at the deadline", "1@0 3@20 @40", "1 - 3"),
    ("the next packet ends the wait too", "1@0 3@20 4@40", "1 - 3 4"),
    ("the missing packet at the last moment", "1@0 3@20 2@40", "1 2 3"),
    ("three lost in a row", "1@0 5@20 @40", "1 - - - 5"),
    ("two holes", "1@0 3@20 5@30 @40 @49 @50", "1 - 3 - 5"),
    ("the second hole is filled", "1@0 3@20 5@30 @40 4@45", "1 - 3 4 5"),
    ("late is dropped", "1@0 3@20 @40 2@41 4@60", "1 - 3 4"),
    ("twice", "1@0 1@1 2@20 2@21 3@40", "1 2 3"),
    ("twice while waiting", "1@0 3@20 3@21 2@25", "1 2 3"),
    ("before the first", "2@0 1@1 3@20", "2 3"),
    ("jumps ahead", "7@0 8@20 9000@40 9001@60", "7 8 9000 9001"),
    ("jumps back", "9000@0 7@20 8@40", "9000 7 8"),
    ("one stray number", "7@0 900@20 8@40", "7 900 8"),
    ("jumps while waiting", "7@0 9@20 900@30", "7 - 9 900"),
]


def buffer() -> JitterBuffer:
    return JitterBuffer(8000)


def said(deliveries: list[Delivery]) -> list[str]:
    words: list[str] = []
    for delivery in deliveries:
        if isinstance(delivery, Lost):
            assert delivery.samples % SIZE == 0
            words += ["-"] * (delivery.samples // SIZE)
        else:
            assert len(delivery) == SIZE
            words.append(str(int.from_bytes(delivery[:4], "big")))
    return words


def put(jitter: JitterBuffer, number: int, now_ms: int) -> list[Delivery]:
    return jitter.put(number * SIZE, SIZE, number.to_bytes(4, "big") * (SIZE // 4), now_ms)


def play(jitter: JitterBuffer, scenario: str) -> str:
    out: list[Delivery] = []
    for word in scenario.split():
        number, _, at = word.partition("@")
        out += put(jitter, int(number), int(at)) if number else jitter.due(int(at))
    return " ".join(said(out))


@pytest.mark.parametrize(("scenario", "heard"), [row[1:] for row in STREAMS], ids=[row[0] for row in STREAMS])
def test_packets_come_out_in_order(scenario: str, heard: str) -> None:
    assert play(buffer(), scenario) == heard


def test_everything_is_counted() -> None:
    jitter = buffer()
    # 2 is late, 3 comes twice, 6 after 7, and 900 is no hole.
    play(jitter, "1@0 3@20 3@21 @40 2@41 4@60 5@80 7@100 6@110 900@120")
    counts = (jitter.received, jitter.delivered, jitter.lost_ms, jitter.late)
    assert counts == (9, 7, 20, 1)
    assert (jitter.duplicate, jitter.reordered, jitter.resyncs) == (1, 1, 1)


def test_packet_in_order_is_delivered_as_the_same_object_and_wakes_nobody() -> None:
    jitter, payload = buffer(), bytes(SIZE)
    jitter.put(0, SIZE, payload, 0)
    (out,) = jitter.put(SIZE, SIZE, payload, 20)
    assert out is payload
    assert jitter.next_due_ms == NEVER_MS


def test_next_due_is_when_the_first_hole_is_given_up() -> None:
    jitter = buffer()
    play(jitter, "1@0 3@20 6@25")
    assert jitter.next_due_ms == 40
    jitter.due(40)
    assert jitter.next_due_ms == 45
    jitter.due(45)
    assert jitter.next_due_ms == NEVER_MS


def test_deadline_follows_how_late_packets_come() -> None:
    jitter = buffer()
    play(jitter, "1@0 3@20 @40 2@60")
    assert jitter.deadline_ms == 50, "1.25 times the 40 ms that packet 2 came behind packet 3"
    assert play(jitter, "5@80 @129 @130") == "- 5"


def test_deadline_stays_between_its_limits() -> None:
    jitter = buffer()
    play(jitter, "1@0 3@20 2@21")
    assert jitter.deadline_ms == 20
    play(jitter, "5@60 @80 4@900")
    assert jitter.deadline_ms == 120


def test_one_bad_moment_is_forgotten() -> None:
    jitter = buffer()
    play(jitter, "1@0 3@20 @40 2@400")
    assert jitter.deadline_ms == 120
    play(jitter, "5@31000 4@31005")
    assert jitter.deadline_ms == 20


def test_empty_packet_is_nothing() -> None:
    jitter = buffer()
    assert jitter.put(0, 0, b"", 0) == []
    assert jitter.put(5000, 0, b"", 0) == []
    assert play(jitter, "7@0 8@20") == "7 8"


def test_overlap_with_what_was_heard_is_cut_off() -> None:
    jitter = buffer()
    jitter.put(0, 4, b"abcd", 0)
    assert jitter.put(2, 4, b"cdef", 20) == [b"ef"]
    assert jitter.put(6, 2, b"gh", 40) == [b"gh"]


def test_overlap_with_what_waits_is_cut_off_on_both_sides() -> None:
    jitter = buffer()
    jitter.put(0, 2, b"ab", 0)
    assert jitter.put(4, 2, b"ef", 10) == []
    assert jitter.put(8, 2, b"ij", 11) == []
    assert b"".join(piece for piece in jitter.put(1, 10, b"bcdEFghIJk", 12) if isinstance(piece, bytes)) == (
        b"cdefghijk"
    )


def test_overlap_is_cut_at_whole_samples() -> None:
    jitter = JitterBuffer(8000, sample_bytes=2)
    jitter.put(0, 2, b"AaBb", 0)
    assert jitter.put(1, 2, b"BbCc", 20) == [b"Cc"]


def test_flush_gives_what_waits() -> None:
    jitter = buffer()
    play(jitter, "1@0 3@20 5@21")
    assert said(jitter.flush()) == ["-", "3", "-", "5"]
    assert jitter.flush() == []


def test_held_sound_is_bounded() -> None:
    jitter = buffer()
    put(jitter, 0, 0)
    out: list[Delivery] = []
    count = HELD_MAX_MS // 20
    for number in range(2, 2 + count):
        out += put(jitter, number, 0)
    assert out == []
    out += put(jitter, 2 + count, 0)
    assert said(out)[:2] == ["-", "2"]


def test_crumbs_are_bounded_too() -> None:
    jitter = buffer()
    jitter.put(0, 1, b"x", 0)
    out = [delivery for place in range(600) for delivery in jitter.put(2 * place + 2, 1, b"y", 0)]
    assert out.count(b"y") == 600 - 256


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 5000), st.integers(-(10**6), 10**6)), st.integers(0, 2000), st.integers(0, 50)
        )
    )
)
def test_any_packets_leave_the_time_line_whole(packets: list[tuple[int, int, int]]) -> None:
    jitter, now_ms, heard, known = buffer(), 0, 0, -1
    for position, samples, passed_ms in packets:
        now_ms += passed_ms
        # Every sample carries its own place, so what comes out says where it belongs.
        payload = bytes((position + offset) % 251 for offset in range(samples))
        out = jitter.put(position, samples, payload, now_ms) + jitter.due(now_ms)
        for delivery in out:
            if isinstance(delivery, Lost):
                assert 0 < delivery.samples <= 5 * 8000
                known = (known + delivery.samples) % 251 if known >= 0 else known
            else:
                assert delivery
                assert jitter.resyncs or known < 0 or delivery[0] == known
                known = (delivery[-1] + 1) % 251
                heard += len(delivery)
    assert jitter.next_due_ms == NEVER_MS or jitter.next_due_ms <= now_ms + 120
    assert heard <= sum(samples for _, samples, _ in packets)


@given(st.permutations(range(1, 12)), st.integers(0, 19))
def test_reordering_within_the_deadline_loses_nothing(numbers: list[int], span_ms: int) -> None:
    jitter = buffer()
    out = put(jitter, 0, 0)
    for place, number in enumerate(numbers):
        out += put(jitter, number, place * span_ms // 11)
    assert said(out) == [str(number) for number in range(12)]
    assert (jitter.late, jitter.duplicate, jitter.lost_ms) == (0, 0, 0)


def added_ms(jitter: JitterBuffer, arrivals: list[Arrival], tick_ms: int) -> list[int]:
    """Play a call to the buffer; return how long each packet was held back, sorted."""
    came, added, heard = dict[str, int](), list[int](), list[str]()
    pending = arrivals[::-1]
    for now_ms in range(arrivals[-1].at_ms + 200):
        out: list[Delivery] = []
        while pending and pending[-1].at_ms == now_ms:
            number = pending.pop().number
            came.setdefault(str(number), now_ms)
            out += put(jitter, number, now_ms)
        if now_ms % tick_ms == 7 % tick_ms:
            out += jitter.due(now_ms)
        words = said(out)
        added += [now_ms - came[word] for word in words if word != "-"]
        heard += words
    start = int(heard[0])
    assert all(word in ("-", str(start + place)) for place, word in enumerate(heard)), "in order, without a gap"
    return sorted(added)


# A wake-up at `next_due_ms` keeps to 25 ms; a mere tick every 20 ms adds its own rest at the holes.
@pytest.mark.parametrize(("tick_ms", "p99_ms"), [(1, 25), (20, 40)])
@pytest.mark.parametrize("reorder", [0.0, 0.02, 0.2, 1.0])
@pytest.mark.parametrize("seed", [7, 8, 9])
def test_delay_added_on_a_bad_network_is_short(seed: int, reorder: float, tick_ms: int, p99_ms: int) -> None:
    network = netem(seed, loss=0.02, jitter_ms=40, reorder=reorder, duplicate=0.01)
    arrivals, jitter = network.arrivals(range(0, 120_000, 20)), buffer()
    added = added_ms(jitter, arrivals, tick_ms)
    assert added[len(added) * 99 // 100] <= p99_ms
    assert sum(added) / len(added) < 2.5
    assert jitter.late <= 0.005 * len(arrivals)
