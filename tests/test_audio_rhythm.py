import pytest

from voicemedia.audio.rhythm import UNPROVEN_MS, Rhythm

LIVE = tuple((at_ms, 20) for at_ms in range(0, 1000, 20))


def sent(*pieces: tuple[int, int]) -> Rhythm:
    """Let pieces come, each at its time and with so many ms of sound."""
    rhythm = Rhythm()
    for at_ms, long_ms in pieces:
        for number in range(long_ms // 20):
            # Even a busy machine takes the frames of a piece one soon after the other.
            rhythm.heard(at_ms + number // 20)
    return rhythm


def test_of_frames_the_next_is_due_at_once() -> None:
    assert sent(*LIVE).overdue_ms(1780) == 800


@pytest.mark.parametrize("long_ms", [240, 1000, 5000])
def test_of_a_recorder_the_next_piece_is_due_when_it_has_been_spoken(long_ms: int) -> None:
    recorder = sent((long_ms, long_ms), (2 * long_ms, long_ms), (3 * long_ms, long_ms))
    assert abs(recorder.overdue_ms(4 * long_ms)) <= 40
    assert abs(recorder.overdue_ms(4 * long_ms + 800) - 800) <= 40


def test_the_first_piece_may_be_followed_by_another() -> None:
    assert abs(sent((5000, 1000)).overdue_ms(6000)) <= 40
    assert abs(sent((5000, 8000)).overdue_ms(5000 + UNPROVEN_MS + 800) - 800) <= 40


def test_whole_utterances_are_waited_for_once_only() -> None:
    assert abs(sent((5000, 3000), (15_000, 3000)).overdue_ms(15_800) - 800) <= 40


def test_a_recorder_that_has_paused_is_known_again() -> None:
    recorder = sent((1000, 1000), (2000, 1000), (9000, 1000))
    assert abs(recorder.overdue_ms(10_000)) <= 40


def test_what_the_network_has_held_up_changes_nothing_for_long() -> None:
    after = ((at_ms, 20) for at_ms in range(1520, 2000, 20))
    assert sent(*LIVE, (1500, 500), *after).overdue_ms(2780) == 800
