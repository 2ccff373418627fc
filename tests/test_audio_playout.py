"""The playout on a fake clock: each line is a story, `ms: what happens`."""

from hypothesis import given
from hypothesis import strategies as st

from voicemedia.audio.playout import Playout

FRAME = 320


def frame(number: int) -> bytes:
    return number.to_bytes(2, "little") * (FRAME // 2)


def numbers(out: list[bytes | int]) -> str:
    """Write what left: frame numbers, and marks as `m1`."""
    words: list[str] = []
    for item in out:
        if isinstance(item, int):
            words.append(f"m{item}")
        else:
            words += [str(int.from_bytes(item[at : at + 2], "little")) for at in range(0, len(item), FRAME)]
    return " ".join(words)


def put(playout: Playout, first: int, last: int, now_ms: int = 0) -> None:
    for number in range(first, last + 1):
        playout.put(frame(number), now_ms)


def test_speech_leaves_no_further_ahead_than_the_lead() -> None:
    playout = Playout(FRAME, lead_ms=60)
    put(playout, 1, 10)
    assert numbers(playout.due(0)) == "1 2 3 4"
    assert numbers(playout.due(19)) == ""
    assert numbers(playout.due(20)) == "5"


def test_a_late_tick_sends_more_and_stretches_nothing() -> None:
    playout = Playout(FRAME, lead_ms=0)
    put(playout, 1, 10)
    assert numbers(playout.due(0)) == "1"
    assert numbers(playout.due(105)) == "2 3 4 5 6"
    assert numbers(playout.due(120)) == "7"


def test_a_pause_is_not_made_up_for() -> None:
    playout = Playout(FRAME, lead_ms=0)
    put(playout, 1, 1)
    assert numbers(playout.due(0)) == "1"
    put(playout, 2, 4, now_ms=500)
    assert numbers(playout.due(500)) == "2"
    assert numbers(playout.due(520)) == "3"


def test_sound_that_comes_while_the_peer_still_plays_joins_the_talkspurt() -> None:
    playout = Playout(FRAME, lead_ms=100)
    put(playout, 1, 3)
    assert numbers(playout.due(0)) == "1 2 3"
    put(playout, 4, 4, now_ms=50)
    assert numbers(playout.due(50)) == "4"
    assert not playout.played(79)
    assert playout.played(80)


def test_a_mark_leaves_behind_its_sentence_and_pads_the_last_frame() -> None:
    playout = Playout(FRAME, lead_ms=200)
    playout.put(frame(1) + b"\1\0" * 10, 0)
    assert playout.mark() == 1
    put(playout, 3, 3)
    out = playout.due(0)
    assert [len(item) if isinstance(item, bytes) else item for item in out] == [2 * FRAME, 1, FRAME]


def test_marks_prove_what_was_heard() -> None:
    playout = Playout(FRAME, lead_ms=200)
    put(playout, 1, 5)
    number = playout.mark()
    playout.due(0)
    assert playout.heard_frames(40) == 2
    assert playout.marked(number, 130)
    assert playout.floor_heard == 5
    put(playout, 6, 10, now_ms=130)
    playout.due(130)
    assert playout.heard_frames(200) == 7, "the peer plays 30 ms later than we thought, as its mark told"


def test_a_mark_that_comes_back_because_of_clear_is_not_heard() -> None:
    playout = Playout(FRAME, lead_ms=200)
    put(playout, 1, 5)
    number = playout.mark()
    playout.due(0)
    assert playout.clear(45) == 2
    assert not playout.marked(number, 46)
    assert playout.heard_frames(1_000) == 2


def test_a_mark_nobody_asked_for_is_ignored() -> None:
    playout = Playout(FRAME, lead_ms=200)
    assert not playout.marked(7, 0)
    assert not playout.marked(-1, 0)


def test_speech_after_a_clear_begins_at_once() -> None:
    playout = Playout(FRAME, lead_ms=60)
    put(playout, 1, 50)
    playout.due(0)
    playout.clear(10)
    put(playout, 51, 60, now_ms=10)
    assert numbers(playout.due(10)) == "51 52 53 54"


@given(lead_ms=st.sampled_from([0, 60, 200]), pieces=st.lists(st.integers(1, 700), max_size=30))
def test_no_byte_is_lost_or_doubled_whatever_the_pieces(lead_ms: int, pieces: list[int]) -> None:
    playout = Playout(FRAME, lead_ms)
    sent = bytes(index % 251 for index in range(sum(pieces) * 2))
    at, got, now_ms = 0, b"", 0
    for piece in pieces:
        playout.put(sent[at : at + piece * 2], now_ms)
        at += piece * 2
        now_ms += 7
        got += b"".join(item for item in playout.due(now_ms) if isinstance(item, bytes))
    playout.mark()
    got += b"".join(item for item in playout.due(now_ms + 100_000) if isinstance(item, bytes))
    assert got[: len(sent)] == sent
    assert set(got[len(sent) :]) <= {0}
