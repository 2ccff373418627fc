"""Stories of one turn, `what@ms`: on, off, a final word, `~` an interim, `1k` the only key, `1n` one of several.

`dies` and `back`, `busy` and `done` are what happens to who recognizes it.
"""

import pytest

from voicemedia.interfaces import Transcript
from voicemedia.utterance import Utterance

STORIES = [
    ("words after the endpoint", "on@0 off@900 eggs@950", "950 eggs/"),
    ("a final while the caller still speaks waits for the rest", "on@0 two@500 off@900 eggs@950", "950 two eggs/"),
    ("a final that nobody detected as speech", "eggs@950", "950 eggs/"),
    ("an overdue final, nothing else known", "on@0 off@900 @5899 @5900", "5900 /"),
    ("an overdue final, but an interim", "on@0 ~egg@500 off@900 @5900", "5900 egg/"),
    ("a late final after its guess was taken", "on@0 ~egg@500 off@900 @5900 eggs@6500", "5900 egg/"),
    ("a late final where nothing was known", "on@0 off@900 @5900 eggs@6500", "5900 / 6500 eggs/"),
    ("a final that closes nothing", "on@0 off@900 two+@950 eggs@1000", "1000 two eggs/"),
    ("a final of who had to begin anew", "on@0 ~egg@500 off@900 dies@1000 @5900 back@8000 eggs@8100", "8100 eggs/"),
    ("who begins anew and says nothing", "on@0 ~egg@500 off@900 dies@1000 @5900 back@8000 @10899 @10900", "10900 egg/"),
    ("who does not come back", "on@0 ~egg@500 off@900 dies@1000 @5900 @10899 @10900", "10900 egg/"),
    ("who was back in time", "on@0 ~egg@500 off@900 dies@1000 back@2000 @5899 @5900", "5900 egg/"),
    ("a final of a busy machine", "on@0 ~egg@500 off@900 busy@900 @5900 @10900 eggs@13000", "13000 eggs/"),
    ("a machine that is too busy", "on@0 ~egg@500 off@900 busy@900 @5900 @10900 @15899 @15900", "15900 egg/"),
    (
        "who has decoded all and says nothing",
        "on@0 ~egg@500 off@900 busy@900 @5900 done@6000 @10899 @10900",
        "10900 egg/",
    ),
    ("speech not understood", "on@0 off@900 -@950", "950 /"),
    ("a short noise", "on@0 off@300 -@350 @9000", ""),
    ("a short noise that cut us short", "over@0 off@300 -@350", "350 /"),
    ("the caller goes on before the final", "on@0 off@900 on@920 eggs@950 off@1500 please@1550", "1550 eggs please/"),
    ("one key", "1k@100", "100 /1"),
    ("keys until the hash", "1n@100 2n@300 #n@500", "500 /12#"),
    ("keys until a pause", "1n@100 2n@300 @2299 @2300", "2300 /12"),
    ("words and a key", "on@0 off@900 1n@920 eggs@950 @2920", "2920 eggs/1"),
]


class Ears:
    """Who recognizes."""

    renewing = False
    decoding = False


def tell(utterance: Utterance, what: str, now_ms: int) -> None:
    match what:
        case "":
            pass
        case "on" | "over":
            utterance.onset(now_ms, interrupting=what == "over")
        case "off":
            utterance.endpoint(now_ms, understood_by_somebody=True)
        case _ if len(what) == 2 and what[1] in "kn":
            utterance.digit(what[0], 1 if what[1] == "k" else 0, now_ms)
        case _:
            text, final = what.strip("~-+"), not what.startswith("~")
            utterance.heard(Transcript(text, final=final, closes=not what.endswith("+")), now_ms)


@pytest.mark.parametrize(("name", "story", "turn"), STORIES, ids=[story[0] for story in STORIES])
def test_story(name: str, story: str, turn: str) -> None:
    utterance, turns, ears = Utterance(transcript_wait_ms=5000, key_wait_ms=2000), [], Ears()
    for what, at in (word.split("@") for word in story.split()):
        if what in ("dies", "back"):
            ears.renewing = what == "dies"
        elif what in ("busy", "done"):
            ears.decoding = what == "busy"
        else:
            tell(utterance, what, int(at))
        if utterance.complete(int(at), ears):
            said = utterance.take()
            turns.append(f"{at} {said.text}/{said.keys}")
    assert " ".join(turns) == turn


def test_an_unanswered_turn_comes_in_front_of_the_next() -> None:
    utterance = Utterance(transcript_wait_ms=5000, key_wait_ms=2000)
    utterance.heard(Transcript("two eggs", final=True, confidence=0.5), 0)
    utterance.take()
    utterance.heard(Transcript("and toast", final=True, confidence=0.7), 100)
    utterance.give_back()
    assert utterance.complete(100)
    assert utterance.take().text == "two eggs and toast"


def test_without_a_recognizer_nothing_is_waited_for() -> None:
    utterance = Utterance(transcript_wait_ms=5000, key_wait_ms=2000)
    utterance.onset(0, interrupting=False)
    utterance.endpoint(2_000, understood_by_somebody=False)
    assert not utterance.complete(10_000)


def test_words_that_voice_detection_missed_are_not_timed_from_the_turn_before() -> None:
    utterance = Utterance(transcript_wait_ms=5000, key_wait_ms=2000)
    tell(utterance, "on", 0)
    tell(utterance, "off", 900)
    tell(utterance, "eggs", 950)
    utterance.take()
    tell(utterance, "toast+", 20_000)
    assert utterance.complete(20_000)
    assert utterance.endpoint_ms == 20_000
