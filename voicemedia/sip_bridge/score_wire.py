"""What a listener would say of one call's sound, out of what was counted (ITU-T G.107)."""

from dataclasses import dataclass
from typing import Final

from voicemedia.audio.e_model import mos, r_factor
from voicemedia.interfaces import FRAME_MS

PACKET_MS: Final = 20
"Sound that is in the packet before it leaves."


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of the peer."""

    frames: int
    concealed_ms: float
    holes: int
    "Stretches in a row that had to be made up."
    buffer_ms: float = 0.0
    "How long sound is held back."


def score(heard: Heard, round_trip_ms: float | None) -> dict[str, int]:
    """Return concealed ms, delay, R and a hundred times the MOS; no score when nothing was heard."""
    found = {"concealed_ms": round(heard.concealed_ms)}
    if not heard.frames:
        return found
    loss = min(1.0, heard.concealed_ms / (heard.frames * FRAME_MS))
    delay_ms = (round_trip_ms or 0.0) / 2 + PACKET_MS + heard.buffer_ms
    in_a_row = heard.concealed_ms / PACKET_MS / heard.holes if heard.holes else 1.0
    # Losses by chance come 1 / (1 - loss) in a row.
    r = r_factor(delay_ms, loss, in_a_row * (1 - loss))
    return {**found, "delay_ms": round(delay_ms), "r": round(r), "mos_hundredths": round(100 * mos(r))}
