"""What was heard of a sentence that was cut: by the synthesizer's own times, or guessed from its length."""

import pytest

from voicemedia.reply import Sentence

TEXT = "Two eggs and toast."
HEARD = [(0, ""), (17, ""), (18, "Two"), (30, "Two"), (42, "Two eggs"), (49, "Two eggs and"), (60, TEXT)]


def sentence(start: int = 0, end: int | None = 60) -> Sentence:
    made = Sentence(TEXT, interruptible=True)
    made.start, made.end = start, end
    return made


@pytest.mark.parametrize(("position", "heard"), HEARD)
def test_told_times_decide_which_words_were_heard(position: int, heard: str) -> None:
    cut = sentence()
    # A long pause stands between the first and the second word.
    for at, ms in ((0, 0), (4, 600), (9, 880), (13, 1000)):
        cut.word(at, ms)
    assert cut.heard(position) == heard


@pytest.mark.parametrize(
    ("position", "heard"), [(0, ""), (7, ""), (8, "Two"), (25, "Two eggs"), (60, TEXT), (99, TEXT)]
)
def test_without_times_the_length_of_the_words_decides(position: int, heard: str) -> None:
    assert sentence().heard(position) == heard


def test_a_sentence_that_was_cut_before_its_sound_was_complete_is_guessed_from_its_text() -> None:
    assert sentence(end=None).heard(25) == "Two eggs"


def test_positions_count_from_where_the_sentence_begins() -> None:
    assert sentence(start=100, end=160).heard(125) == "Two eggs"
    assert sentence(start=100, end=160).heard(100) == ""
