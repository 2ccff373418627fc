"""What carriers call their codecs: the texts of `mediaFormat`, of SDP and of content types, in one table."""

from typing import Final

from voicemedia.errors import WireError

MULAW_NAMES: Final = ("mulaw", "ulaw", "µlaw", "μlaw", "pcmu", "g711", "g711u", "g711ulaw", "g711mulaw", "basic")
ALAW_NAMES: Final = ("alaw", "pcma", "g711a", "g711alaw")
LINEAR_NAMES: Final = ("l16", "linear", "linear16", "pcm", "lpcm", "pcm16", "pcms16le", "s16le", "signedlinear", "slin")

FORMATS: Final[dict[str, tuple[str, int]]] = {
    "": ("PCMU", 8000),
    **dict.fromkeys(MULAW_NAMES, ("PCMU", 8000)),
    **dict.fromkeys(ALAW_NAMES, ("PCMA", 8000)),
    **dict.fromkeys(LINEAR_NAMES, ("L16", 8000)),
    # Asterisk says the rate in the name: slin16 is 16 kHz, not 16 bit.
    "slin16": ("L16", 16000),
    "slin24": ("L16", 24000),
    "slin48": ("L16", 48000),
}
"Encoding, lower-case, without `audio/`, `x-` and punctuation: codec, and its rate when none is said."

_RATES: Final = {str(rate_hz): rate_hz for rate_hz in (8000, 16000, 24000, 48000)}

_PUNCTUATION: Final = str.maketrans("", "", "-_. ")


def read_format(encoding: str, rate_hz: int = 0, channels: int = 1) -> tuple[str, int]:
    """Return codec (`PCMU`, `PCMA`, `L16`) and rate; mu-law at 8000 Hz where nothing is said.

    :param rate_hz: 0 when not said; then `audio/l16;rate=16000` (RFC 2586) is heeded, or the name decides.
    :raises WireError: `unsupported_encoding`, `unsupported_rate`.
    """
    name, _, parameters = encoding.lower().partition(";")
    known = FORMATS.get(name.strip().removeprefix("audio/").removeprefix("x-").translate(_PUNCTUATION))
    if known is None or channels > 1:
        raise WireError("unsupported_encoding", encoding[:40])
    codec, usual_hz = known
    _, _, said = parameters.replace(" ", "").partition("rate=")
    said = str(rate_hz or said.partition(";")[0] or usual_hz)
    if said not in _RATES:
        raise WireError("unsupported_rate", said[:20])
    return codec, _RATES[said]
