"""Sentences as a language model writes them."""
# ruff: noqa: RUF001

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.agent.sentences import FIRST_CLAUSE, LONGEST, Sentences, spoken

CUTS = [
    ("two", "Good choice. Anything else?", ["Good choice.", "Anything else?"]),
    ("no end", "Anything else", ["Anything else"]),
    ("titles", "Dr. Rao and Mrs. Sen came. Good.", ["Dr. Rao and Mrs. Sen came.", "Good."]),
    ("for example", "Fruit, e.g. a mango, is fine. Yes.", ["Fruit, e.g. a mango, is fine.", "Yes."]),
    ("time of day", "At 8 a.m. you ate.", ["At 8 a.m. you ate."]),
    ("time of day at the end", "You ate at 8 a.m. What else?", ["You ate at 8 a.m.", "What else?"]),
    ("decimals", "It has 3.5 grams. Good.", ["It has 3.5 grams.", "Good."]),
    ("currency", "It cost Rs. 50 today. Fine.", ["It cost Rs. 50 today.", "Fine."]),
    ("initials", "J. K. Rowling wrote it. Yes.", ["J. K. Rowling wrote it.", "Yes."]),
    ("no as an answer", "No. That is fine.", ["No.", "That is fine."]),
    ("number", "Take No. 5 there. Good.", ["Take No. 5 there.", "Good."]),
    ("danda", "नमस्ते। आपने क्या खाया?", ["नमस्ते।", "आपने क्या खाया?"]),
    ("ideographic", "你好。早饭吃了什么？", ["你好。", "早饭吃了什么？"]),
    ("Urdu", "آپ کیسے ہیں؟ شکریہ۔", ["آپ کیسے ہیں؟", "شکریہ۔"]),
    ("quotes", 'He said "Stop!" Then he left.', ['He said "Stop!"', "Then he left."]),
    ("more marks", "Really?! Yes... I think so. Wow!!!", ["Really?!", "Yes...", "I think so.", "Wow!!!"]),
    ("a pause", "Well... maybe two eggs.", ["Well... maybe two eggs."]),
    ("lines", "First\nSecond\n\nThird", ["First", "Second", "Third"]),
    ("a list", "1. Eggs\n2. Toast", ["1. Eggs", "2. Toast"]),
    ("Markdown", "**Great!** I noted:\n- *two* eggs\n# Toast", ["Great!", "I noted:", "two eggs", "Toast"]),
    ("emojis", "Nice! 🥚 Two eggs 👍🏽.", ["Nice!", "Two eggs ."]),
    ("only marks", "... 🎉", []),
    ("a link", "See [our page](https://example.com/a). Bye.", ["See our page.", "Bye."]),
]


@pytest.mark.parametrize(("text", "sentences"), [row[1:] for row in CUTS], ids=[row[0] for row in CUTS])
def test_sentences_are_the_same_for_any_pieces(text: str, sentences: list[str]) -> None:
    for size in (1, 2, 5, len(text)):
        cutter = Sentences(hurry=False)
        got = [sentence for at in range(0, len(text), size) for sentence in cutter.feed(text[at : at + size])]
        assert got + cutter.finish() == sentences


def test_a_sentence_comes_as_soon_as_a_space_follows_it() -> None:
    cutter = Sentences()
    assert cutter.feed("Good choice.") == []
    assert cutter.feed(" ") == ["Good choice."]
    assert cutter.feed("नमस्ते।") == ["नमस्ते।"]


def test_a_long_first_sentence_begins_with_its_first_clause() -> None:
    cutter = Sentences()
    first = "Since you have already had some breakfast,"
    assert len(first) > FIRST_CLAUSE
    assert cutter.feed(first + " we go on with lunch, ") == [first]
    assert cutter.feed("and then there is dinner, which is long. ") == [
        "we go on with lunch, and then there is dinner, which is long."
    ]


def test_numbers_are_no_clauses() -> None:
    assert Sentences().feed("This dish of yours has about 1,200 calories, or ") == [
        "This dish of yours has about 1,200 calories,"
    ]


@given(st.text(st.sampled_from("ab ,.!?\n।*1\u200d🥚"), max_size=600), st.integers(1, 50))
def test_nothing_that_can_be_said_is_lost_or_too_long(text: str, size: int) -> None:
    cutter = Sentences()
    got = [sentence for at in range(0, len(text), size) for sentence in cutter.feed(text[at : at + size])]
    got += cutter.finish()
    assert [char for sentence in got for char in sentence if char in "ab"] == [char for char in text if char in "ab"]
    assert all(len(sentence) <= LONGEST + 2 for sentence in got)


def test_what_a_voice_cannot_say_is_left_out() -> None:
    assert spoken("**Bold** `code` \x07🎉 5 °C & 3 €") == "Bold code 5 C & 3 €"
