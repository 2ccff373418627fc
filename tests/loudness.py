"""Sound that every voice detector takes for speech: noise with a voice's pitch."""

from random import Random
from typing import Final

from voicemedia.audio.g711 import encode_mulaw


def _voiced(samples: int) -> bytes:
    random = Random(7)
    pulses = [12_000 if at % 80 < 6 else 0 for at in range(samples)]
    noisy = [pulse + random.randint(-3_000, 3_000) for pulse in pulses]
    return b"".join(value.to_bytes(2, "little", signed=True) for value in noisy)


LOUD: Final = encode_mulaw(_voiced(160))
"20 ms, mu-law."
