"""Both sides of a call on one time line."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from voicemedia.audio.stereo import LEFT, RIGHT, Piece, Stereo

RATE_HZ = 8000


def tone(samples: int, level: int = 100) -> bytes:
    return np.full(samples, level, "<i2").tobytes()


def drawn(pieces: list[Piece], samples: int) -> "np.ndarray[tuple[int, int], np.dtype[np.int16]]":
    """Draw pieces on a time line, in their order."""
    sheet = np.zeros((2, samples), "<i2")
    for piece in pieces:
        end = piece.position + piece.samples
        sheet[piece.side, piece.position : end] = 0 if piece.pcm is None else np.frombuffer(piece.pcm, "<i2")
    return sheet


def talk(stereo: Stereo, start_s: float, end_s: float, level: int = 100) -> None:
    """Let the caller talk in real time."""
    for number in range(round((end_s - start_s) * 50)):
        stereo.heard(tone(160, level), start_s + number * 0.02)


def test_both_sides_lie_where_they_sound() -> None:
    stereo = Stereo(RATE_HZ)
    talk(stereo, 0.5, 2)
    stereo.played(tone(800), 1.25)
    pieces, samples = stereo.finish(2.5)
    assert samples == 2.5 * RATE_HZ
    sheet = drawn(pieces, samples)
    assert list(np.flatnonzero(sheet[LEFT])) == list(range(4000, 16000))
    assert list(np.flatnonzero(sheet[RIGHT])) == list(range(10000, 10800))


def test_frames_one_behind_the_other_become_one_piece() -> None:
    stereo = Stereo(RATE_HZ)
    for number in range(50):
        stereo.played(tone(160), number * 0.02)
    assert stereo.take(1) == [Piece(RIGHT, 0, 8000, tone(8000))]
    assert stereo.take(1) == []


def test_what_was_cut_is_silence_and_what_is_said_then_follows() -> None:
    stereo = Stereo(RATE_HZ)
    stereo.played(tone(16000), 0)
    before = stereo.take(0.5)
    stereo.cut(1.0005)
    stereo.played(tone(160, 7), 1.5)
    pieces, samples = stereo.finish(2)
    ours = drawn(before + pieces, samples)[RIGHT]
    assert list(np.flatnonzero(ours == 100)) == list(range(8004))
    assert list(np.flatnonzero(ours == 7)) == list(range(12000, 12160))


def test_cutting_what_was_heard_already_cuts_nothing() -> None:
    stereo = Stereo(RATE_HZ)
    stereo.played(tone(160), 0)
    stereo.cut(5)
    stereo.played(tone(160), 0.02)
    assert stereo.take(1) == [Piece(RIGHT, 0, 320, tone(320))]


def test_nothing_said_in_a_pause_is_kept_however_late_it_comes() -> None:
    stereo = Stereo(RATE_HZ)
    stereo.played(tone(4 * RATE_HZ), 0)
    talk(stereo, 0, 1.5)
    stereo.pause(1.5)
    was_paused = stereo.paused
    talk(stereo, 1.5, 2)
    # Held up by the network until the pause was over: said in it all the same.
    for _ in range(25):
        stereo.heard(tone(160, 66), 2.55)
    stereo.resume(2.5)
    went_on = not stereo.paused
    talk(stereo, 2.56, 4)
    assert was_paused and went_on
    pieces, samples = stereo.finish(4)
    sheet = drawn(pieces, samples)
    assert not sheet[:, 12000:20000].any()
    assert 66 not in sheet[LEFT]
    assert sheet[LEFT, :12000].all() and sheet[LEFT, 20800:31000].all()
    # What was to sound in the pause is gone to its end.
    assert sheet[RIGHT, :12000].all() and not sheet[RIGHT, 12000:24000].any()


def test_sound_that_comes_over_the_edges_of_a_pause_is_cut_at_them() -> None:
    stereo = Stereo(RATE_HZ)
    stereo.pause(0.1)
    stereo.resume(0.2)
    stereo.pause(0.3)
    stereo.resume(0.4)
    stereo.played(tone(4000), 0)
    assert [(piece.position, piece.samples) for piece in stereo.take(1)] == [(0, 800), (1600, 800), (3200, 800)]


def test_many_pauses_are_remembered_in_bounded_memory() -> None:
    stereo = Stereo(RATE_HZ)
    for number in range(3000):
        stereo.pause(number)
        stereo.pause(number)
        stereo.resume(number + 0.5)
        stereo.resume(number + 0.6)
    assert len(stereo._pauses) <= 1001
    stereo.played(tone(RATE_HZ), 2999)
    assert [(piece.position, piece.samples) for piece in stereo.take(3000)] == [(2999 * RATE_HZ + 4000, 4000)]


def test_what_we_had_sent_in_advance_is_not_recorded_when_the_caller_hangs_up() -> None:
    stereo = Stereo(RATE_HZ)
    stereo.played(tone(RATE_HZ), 0)
    assert stereo.finish(0.25)[1] == 2000


def test_what_the_caller_had_sent_in_advance_is_recorded() -> None:
    stereo = Stereo(RATE_HZ)
    for _ in range(100):
        stereo.heard(tone(160), 0.1)
    pieces, samples = stereo.finish(0.2)
    assert samples == 2 * RATE_HZ
    assert sum(piece.samples for piece in pieces) == 2 * RATE_HZ


def test_the_sound_of_a_stall_that_comes_all_at_once_behind_it_lies_where_it_was_said() -> None:
    stereo, pieces = Stereo(RATE_HZ), list[Piece]()
    talk(stereo, 0, 1, 1)
    for tenth in range(10, 60):
        pieces += stereo.take(tenth / 10)
    for _ in range(250):
        stereo.heard(tone(160, 2), 5.98)
    talk(stereo, 6, 7, 3)
    rest, samples = stereo.finish(7)
    left = drawn(pieces + rest, samples)[LEFT]
    assert list(np.flatnonzero(np.diff(left))) == [7999, 47_999]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 700), st.sampled_from("hhhhppctxr")), max_size=80))
def test_whatever_happens_sound_lies_on_no_sound_and_nothing_said_in_a_pause_is_kept(
    steps: list[tuple[int, str]],
) -> None:
    stereo, now_s, pieces, pauses = Stereo(RATE_HZ), 0.0, list[Piece](), list[list[float]]()
    acts = {
        "h": lambda: stereo.heard(tone(160), now_s),
        "p": lambda: stereo.played(tone(480), now_s),
        "c": lambda: stereo.cut(now_s),
        "t": lambda: pieces.extend(stereo.take(now_s)),
        "x": lambda: stereo.pause(now_s),
        "r": lambda: stereo.resume(now_s),
    }
    for wait_ms, act in steps:
        now_s += wait_ms / 1000
        was_paused = stereo.paused
        acts[act]()
        if stereo.paused and not was_paused:
            pauses.append([now_s, 1e9])
        elif was_paused and not stereo.paused:
            pauses[-1][1] = now_s
    rest, samples = stereo.finish(now_s)
    sheet = np.zeros((2, samples + 100_000), "<i2")
    for piece in pieces + rest:
        assert piece.position >= 0 and piece.samples > 0
        there = sheet[piece.side, piece.position : piece.position + piece.samples]
        assert piece.pcm is None or not there.any()
        there[:] = piece.pcm is not None
    for start_s, end_s in pauses:
        assert not sheet[:, round(start_s * RATE_HZ) : round(min(end_s, 1e5) * RATE_HZ)].any()
    assert sheet[LEFT].sum() <= 160 * sum(act == "h" for _, act in steps)
