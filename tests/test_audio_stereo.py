"""Both sides on one time line, to the sample."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from voicemedia.audio.stereo import StereoTrack

FRAME = 160


def count_up(frames: int, start: int = 1) -> list[bytes]:
    """Make frames of samples that count, so that each is known again."""
    numbers = (np.arange(frames * FRAME) + start).astype("<i2")
    return [numbers[at : at + FRAME].tobytes() for at in range(0, len(numbers), FRAME)]


def sides(both: bytes) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    samples = np.frombuffer(both, "<i2").reshape(-1, 2)
    return samples[:, 0], samples[:, 1]


def test_an_echo_comes_right_as_much_later_as_it_was_heard_whatever_the_jitter() -> None:
    chance, track, out = random.Random(1), StereoTrack(8000, 0), b""
    frames = count_up(180)
    arrivals = sorted((20 * number + 20 + chance.randrange(35), number) for number in range(180))
    came = 0
    for now_ms in range(0, 3700):
        while came < len(arrivals) and sorted(at for at, _ in arrivals)[came] <= now_ms:
            track.heard(frames[came], now_ms)
            came += 1
        if now_ms % 20 == 0 and now_ms >= 120 and now_ms // 20 - 6 < 170:
            track.played(frames[now_ms // 20 - 6], now_ms)
        if now_ms % 500 == 0:
            out += track.settle(now_ms)
    left, right = sides(out + track.finish(3700))
    begins, echoes = int(np.argmax(left == 1)), int(np.argmax(right == 1))
    assert (left[begins : begins + 180 * FRAME] == np.arange(1, 180 * FRAME + 1, dtype=np.int16)).all()
    assert (right[echoes : echoes + 170 * FRAME] == np.arange(1, 170 * FRAME + 1, dtype=np.int16)).all()
    assert begins <= 8 * 35 and abs(echoes - 8 * 120) <= 8 * 40


def test_what_was_taken_back_before_it_was_heard_is_not_there() -> None:
    track = StereoTrack(8000, 0)
    for number in range(10):
        track.heard(bytes(320), 20 * number + 20)
    for frame in count_up(50):
        track.played(frame, 200)
    track.cleared(500)
    for number in range(10, 60):
        track.heard(bytes(320), 20 * number + 20)
    _, right = sides(track.settle(1200) + track.finish(1200))
    assert (right[1600:4000] == np.arange(1, 2401)).all()
    assert not right[4000:].any()


def test_speech_of_ours_after_a_silence_begins_when_it_is_heard() -> None:
    track = StereoTrack(8000, 0)
    for number in range(100):
        track.heard(bytes(320), 20 * number + 20)
        if number in (10, 50):
            track.played(b"\1\0" * 160, 20 * number + 20)
    _, right = sides(track.finish(2000))
    assert np.flatnonzero(np.diff(right.astype(int))).tolist() == [1759, 1919, 8159, 8319]


def test_a_caller_whose_sound_stays_away_is_silent_and_holds_nothing_up() -> None:
    track, out = StereoTrack(8000, 0), b""
    for number in range(50):
        track.heard(b"\1\0" * 160, 20 * number + 20)
    for now_ms in range(1000, 11_000, 100):
        track.played(b"\2\0" * 800, now_ms)
        out += track.settle(now_ms)
        assert len(track._left) <= 2 * 8000 * 2.2
    left, right = sides(out)
    assert len(left) >= 8000 * 8.5
    assert not left[8000:].any() and (right[8100:] == 2).all()


def test_the_sound_of_a_silence_that_comes_all_at_once_behind_it_is_not_put_in_twice() -> None:
    track, out = StereoTrack(8000, 0), b""
    for number in range(50):
        track.heard(b"\1\0" * 160, 20 * number + 20)
    for now_ms in range(1000, 6000, 100):
        out += track.settle(now_ms)
    for _ in range(250):
        track.heard(bytes(320), 6000)
    for number in range(50):
        track.heard(b"\3\0" * 160, 6020 + 20 * number)
    left, _ = sides(out + track.finish(7000))
    assert abs(int(np.argmax(left == 3)) - 48_000) <= 8 * 80
    assert abs(len(left) - 56_000) <= 8 * 80


def test_clocks_that_drift_apart_keep_both_sides_together() -> None:
    track, out = StereoTrack(8000, 0), b""
    for number in range(30_000):
        now_ms = round(20 * number * 1.0005) + 20
        track.heard(number.to_bytes(2, "little") * 160, now_ms)
        if number % 100 < 50:
            track.played(b"\1\0" * 160, now_ms)
        if number % 25 == 0:
            out += track.settle(now_ms)
    left, right = sides(out)
    begins = np.flatnonzero(np.diff((right != 0).astype(int)) == 1) + 1
    assert all(abs(int(at) - 16_000 * round(int(at) / 16_000)) <= 8 * 45 for at in begins[5:])
    assert len(left) <= 30_000 * 160


def test_what_is_hidden_is_silent_on_both_sides_and_keeps_its_time() -> None:
    track = StereoTrack(8000, 0)
    for number in range(100):
        now_ms = 20 * number + 20
        if number == 25:
            track.hide(True, now_ms - 20)
        if number == 75:
            track.hide(False, now_ms - 20)
            track.hide(False, now_ms - 20)
        track.heard(b"\1\0" * 160, now_ms)
        track.played(b"\2\0" * 160, now_ms)
    left, right = sides(track.settle(2000))
    assert left[:4000].all() and not left[4000:12_000].any() and left[12_000:].all()
    assert not right[4000:12_000].any() and right[12_000:].all()


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from("hhhppcsx")), max_size=80))
def test_whatever_happens_time_passes_once_and_both_sides_are_as_long(steps: list[tuple[int, str]]) -> None:
    track, now_ms, out = StereoTrack(8000, 0), 0, b""
    for wait_ms, act in steps:
        now_ms += wait_ms
        match act:
            case "h":
                track.heard(b"\1\0" * 160, now_ms)
            case "p":
                track.played(b"\2\0" * 480, now_ms)
            case "c":
                track.cleared(now_ms)
            case "x":
                track.hide(wait_ms % 2 == 0, now_ms)
            case _:
                out += track.settle(now_ms)
    out += track.finish(now_ms)
    assert len(out) % 4 == 0 and track.settled == len(out) // 4
    heard = sum(act == "h" for _, act in steps)
    assert len(out) // 4 <= now_ms * 8 + heard * 160 + 480
