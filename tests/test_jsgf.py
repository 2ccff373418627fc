"""Grammars are looked over, and words without a pronunciation get one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.agent import diet_grammar
from voicemedia.agent.diet_table import State
from voicemedia.stt.jsgf import JsgfError, words
from voicemedia.stt.spelling import pronounce

HEAD = "#JSGF V1.0;\ngrammar g;\n"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("public <a> = Yes | no {NO};", "no yes"),
        ('public <a> = <b> [please] (one | two)+ ; <b> = /0.5/ set | /2/ "turn on";', "on one please set turn two"),
        ("public <a> = that's | <NULL>; // public <b> = <c>;\n/* ( */", "that's"),
        ("public <a> = stop {a \\} b} | ice-cream*;", "ice-cream stop"),
    ],
)
def test_words_of_a_grammar_are_found(rules: str, expected: str) -> None:
    assert words(HEAD + rules) == set(expected.split())


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("", "does not begin"),
        ("grammar g; public <a> = b;", "does not begin"),
        (HEAD + "<a> = yes;", "no public rule"),
        (HEAD + "public <a> = (yes | no;", "never closed"),
        (HEAD + "public <a> = yes] | no;", "closes nothing"),
        (HEAD + "public <a> = ([yes)];", "closes nothing"),
        (HEAD + "public <a> = yes", "no ;"),
        (HEAD + "public <a> = <b>;", "<b> is used"),
        (HEAD + "public <a> = yes <b> = no;", "no ; before"),
        (HEAD + "public a = yes;", "no rule definition"),
        (HEAD + "import <other.*>; public <a> = yes;", "imports"),
        (HEAD + "public <a> = yes {no;", "cannot be read"),
    ],
)
def test_a_grammar_at_fault_is_refused_with_the_reason(grammar: str, reason: str) -> None:
    with pytest.raises(JsgfError, match=reason):
        words(grammar)


@given(st.text(alphabet='#JSGF V1.0;<ab>=|()[]{}/"\\*+\n', max_size=60))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    for grammar in (text, HEAD + text):
        try:
            words(grammar)
        except JsgfError:
            continue


@pytest.mark.parametrize("state", State)
def test_the_grammars_of_the_agent_diet_are_well_formed(state: State) -> None:
    grammar = diet_grammar.grammar(state)
    assert not grammar or len(words(grammar)) > 5


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("paneer", "P AA N IY R"),
        ("idli", "IH D L IY"),
        ("dosa", "D OW S AH"),
        ("ghee", "G IY"),
        ("rice", "R IH S"),
        ("7", ""),
    ],
)
def test_words_are_read_as_they_are_spelled(word: str, phones: str) -> None:
    assert pronounce(word) == phones
