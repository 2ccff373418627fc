"""What a listener would say of a call: the E-model's R (ITU-T G.107) and the MOS that goes with it."""

from math import log2
from typing import Final

BEST: Final = 93.2
"R of a call nothing is wrong with, all else at its default."
ROBUSTNESS: Final = 25.1
"Bpl of G.711 with concealment (G.113, appendix I)."
IMPAIRMENT: Final = {"PCMU": 0.0, "PCMA": 0.0, "G722": 0.0, "opus": 0.0}
"Ie of the codecs, none of which a narrowband listener minds."


def r_factor(delay_ms: float, loss: float, burst_ratio: float = 1.0) -> float:
    """Return R, 0 to 93.2.

    :param delay_ms: from mouth to ear.
    :param loss: share of the sound that was lost or came too late.
    :param burst_ratio: how much longer losses are than losses by chance would be.
    """
    percent = 100 * loss
    effective = 95 * percent / (percent / max(1.0, burst_ratio) + ROBUSTNESS)
    return max(0.0, BEST - _delay_impairment(delay_ms) - effective)


def _delay_impairment(delay_ms: float) -> float:
    if delay_ms <= 100:
        return 0.0
    x = log2(delay_ms / 100)
    return 25 * (float((1 + x**6) ** (1 / 6)) - 3 * float((1 + (x / 3) ** 6) ** (1 / 6)) + 2)


def mos(r: float) -> float:
    """Return the mean opinion score of an R, 1 to 4.5 (G.107, annex B)."""
    if r <= 0:
        return 1.0
    return min(4.5, max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6))
