"""What a listener would say of one call's sound, out of what was counted (ITU-T G.107)."""

from typing import Final

import msgspec

from voicemedia.audio.e_model import mos, r_factor
from voicemedia.interfaces import FRAME_MS

PACKET_MS: Final = 20
"Sound that is in the packet before it leaves."


class Heard(msgspec.Struct, frozen=True):
    """What was heard of the peer."""

    frames: int
    concealed_ms: float
    holes: int
    "Stretches in a row that had to be made up."
    buffer_ms: float = 0.0
    "How long sound is held back."


class Rating(msgspec.Struct, frozen=True):
    """What a listener would say."""

    delay_ms: float
    "From mouth to ear, as far as it is known."
    r: float
    mos: float
    "Of a conversation, which delay spoils."
    mos_listening: float
    "Of who only listens."


def rate(heard: Heard, round_trip_ms: float | None) -> Rating:
    """Rate what was heard; there must have been something."""
    loss = min(1.0, heard.concealed_ms / (heard.frames * FRAME_MS))
    delay_ms = (round_trip_ms or 0.0) / 2 + PACKET_MS + heard.buffer_ms
    in_a_row = heard.concealed_ms / PACKET_MS / heard.holes if heard.holes else 1.0
    # Losses by chance come 1 / (1 - loss) in a row.
    r, at_once = (r_factor(delay, loss, in_a_row * (1 - loss)) for delay in (delay_ms, 0.0))
    return Rating(delay_ms, r, mos(r), mos(at_once))


def score(heard: Heard, round_trip_ms: float | None) -> dict[str, int]:
    """Return concealed ms, delay, R and a hundred times the MOS; no score when nothing was heard."""
    found = {"concealed_ms": round(heard.concealed_ms)}
    if not heard.frames:
        return found
    rating = rate(heard, round_trip_ms)
    of_100 = {"r": round(rating.r), "mos_hundredths": round(100 * rating.mos)}
    return {**found, "delay_ms": round(rating.delay_ms), **of_100}
