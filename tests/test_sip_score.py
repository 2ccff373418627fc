"""The score of a call."""

import pytest

from voicemedia.sip_bridge.score_wire import Heard, score


def test_a_clean_call_has_the_best_score_there_is() -> None:
    assert score(Heard(500, 0, 0), 30) == {"concealed_ms": 0, "delay_ms": 35, "r": 93, "mos_hundredths": 441}


def test_nobody_scores_a_call_that_was_not_heard() -> None:
    assert score(Heard(0, 0, 0), None) == {"concealed_ms": 0}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (Heard(500, 100, 5), Heard(500, 500, 25)),
        (Heard(500, 500, 25), Heard(500, 500, 5)),
        (Heard(500, 100, 5, buffer_ms=60), Heard(500, 100, 5, buffer_ms=300)),
    ],
)
def test_more_loss_losses_in_a_row_and_delay_are_worse(better: Heard, worse: Heard) -> None:
    assert score(better, 20)["r"] > score(worse, 20)["r"]
