from hypothesis import given
from hypothesis import strategies as st

from tests.clouds.marked import WORDS, MarkedEar, frames, silence, speak
from voicemedia.audio.g711 import decode_mulaw, encode_mulaw

TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


@given(text=TEXTS, rate_hz=st.sampled_from([8000, 16000]), piece=st.integers(1, 5000))
def test_what_is_spoken_is_heard_in_pieces_of_any_length(text: str, rate_hz: int, piece: int) -> None:
    ear = MarkedEar(rate_hz)
    pcm = speak(text, rate_hz)
    for at in range(0, len(pcm), piece):
        ear.feed(pcm[at : at + piece])
    assert ear.finish().text == text


@given(text=TEXTS)
def test_a_way_over_mulaw_changes_nothing(text: str) -> None:
    ear = MarkedEar(8000)
    ear.feed(decode_mulaw(encode_mulaw(speak(text))))
    assert ear.finish().text == text


def test_a_word_cut_in_two_is_not_understood() -> None:
    word = list(frames(speak("ban")))
    first, second = MarkedEar(8000), MarkedEar(8000)
    first.feed(b"".join(word[:4]))
    second.feed(b"".join(word[4:]))
    assert first.finish().text == second.finish().text == ""


def test_a_pause_ends_an_utterance() -> None:
    ear = MarkedEar(8000, pause_ms=300)
    heard = ear.feed(speak("ban bar") + silence(400) + speak("bas") + silence(400))
    assert [(each.text, each.final, each.end_ms) for each in heard] == [
        ("ban", False, 180),
        ("ban bar", False, 380),
        ("ban bar", True, 660),
        ("bas", False, 980),
        ("bas", True, 1260),
    ]
