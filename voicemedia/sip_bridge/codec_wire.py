"""Codecs as an m= line names them: payload types, rtpmap and fmtp (RFC 3551, RFC 7587, RFC 4733)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import natural
from voicemedia.sip_bridge.sdp_wire import Line, Media


@dataclass(frozen=True, slots=True)
class Codec:
    """A way to write sound, without a payload type."""

    name: str
    "As in the rtpmap: `PCMU`, `G722`, `opus`."
    clock_hz: int
    "The clock of the RTP timestamp."
    rate_hz: int
    "The rate of the sound."
    channels: int = 1
    payload_type: int = 0
    "The static number, or the dynamic one our offers use."
    fmtp: str = ""


PCMU: Final = Codec("PCMU", 8000, 8000, payload_type=0)
PCMA: Final = Codec("PCMA", 8000, 8000, payload_type=8)
# The clock of G.722 is 8000 by an old mistake that became the standard (RFC 3551, section 4.5.2).
G722: Final = Codec("G722", 8000, 16000, payload_type=9)
OPUS: Final = Codec("opus", 48000, 48000, channels=2, payload_type=107, fmtp="useinbandfec=1")

CODECS: Final[Mapping[str, Codec]] = {codec.name.lower(): codec for codec in (PCMU, PCMA, G722, OPUS)}
"All we can carry; G.729 is not among them for its license."

DTMF_TYPES: Final[Mapping[int, int]] = {8000: 101, 48000: 102}
"Clock -> the payload type our offers give to telephone-event."

EVENT_CLOCKS: Final = (8000, 16_000, 32_000, 48_000)
"Of telephone-event that are taken: a press is counted in them, however odd they are beside the codec."

_STATIC: Final = {codec.payload_type: codec for codec in (PCMU, PCMA, G722)}


@dataclass(frozen=True, slots=True)
class Payloads:
    """What the numbers of one m= line mean."""

    sound: tuple[tuple[int, Codec], ...]
    "(payload type, codec), in the sender's order of preference; only codecs we know."
    dtmf: Mapping[int, int]
    "Clock -> payload type of telephone-event."
    fmtp: Mapping[int, str]
    "Payload type -> what its sender wants to receive."

    @classmethod
    def of(cls, media: Media) -> "Payloads":
        """Read the formats of an m= line; numbers and codecs we do not know are left out."""
        return cls._read(media.formats, tuple(media.attributes("rtpmap")), tuple(media.attributes("fmtp")))

    @classmethod
    @lru_cache(maxsize=256)
    def _read(cls, formats: tuple[str, ...], rtpmaps: tuple[str, ...], fmtps: tuple[str, ...]) -> "Payloads":
        """Read these lines; one trunk sends the same in every call: 12 us less."""
        names = dict(_rtpmap(value) for value in rtpmaps)
        sound: list[tuple[int, Codec]] = []
        dtmf: dict[int, int] = {}
        for text in formats:
            number = _number(text)
            name, clock_hz, channels = names.get(number, ("", 0, 1))
            if name == "telephone-event":
                dtmf.setdefault(clock_hz, number)
            codec = CODECS.get(name) if name else _STATIC.get(number)
            if codec and (not name or (clock_hz, channels) == (codec.clock_hz, codec.channels)):
                sound.append((number, codec))
        fmtp = {_number(number): rest for number, _, rest in (value.partition(" ") for value in fmtps)}
        return cls(tuple(sound), dtmf, fmtp)

    def best(self, wanted: Iterable[Codec]) -> tuple[int, Codec] | None:
        """Return the first of `wanted` that is here, with its number."""
        return next(((number, codec) for ours in wanted for number, codec in self.sound if codec is ours), None)

    def first(self, wanted: Iterable[Codec]) -> tuple[int, Codec] | None:
        """Return the sender's first that is among `wanted`."""
        known = tuple(wanted)
        return next(((number, codec) for number, codec in self.sound if codec in known), None)

    def dtmf_for(self, codec: Codec) -> tuple[int, int] | None:
        """Return (payload type, clock) of the telephone-event to use beside a codec.

        Its clock should be the codec's (RFC 4733, section 2.1); 8000 is what everybody has; some have but 16000 beside
        G.722, whose clock is 8000.
        """
        clocks = (codec.clock_hz, 8000, *(clock for clock in self.dtmf if clock in EVENT_CLOCKS))
        return next(((self.dtmf[clock], clock) for clock in clocks if clock in self.dtmf), None)


def lines_for(sound: Iterable[tuple[int, Codec]], dtmf: Iterable[tuple[int, int]]) -> list[Line]:
    """Return rtpmap and fmtp lines for codecs and for telephone-events (payload type, clock)."""
    lines: list[Line] = []
    for number, codec in sound:
        channels = f"/{codec.channels}" if codec.channels > 1 else ""
        lines.append(("a", f"rtpmap:{number} {codec.name}/{codec.clock_hz}{channels}"))
        if codec.fmtp:
            lines.append(("a", f"fmtp:{number} {codec.fmtp}"))
    for number, clock_hz in dtmf:
        lines += [("a", f"rtpmap:{number} telephone-event/{clock_hz}"), ("a", f"fmtp:{number} 0-15")]
    return lines


def parameters(fmtp: str) -> dict[str, str]:
    """Read `useinbandfec=1; maxaveragebitrate=20000`."""
    pairs = (each.partition("=") for each in fmtp.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}


def packet_ms(media: Media, default_ms: int = 20) -> int:
    """Return how many ms of sound to put in a packet: theirs if it is 10 to 40, never more than their maximum."""
    wanted, most = _milliseconds(media, "ptime"), _milliseconds(media, "maxptime")
    chosen = wanted if wanted in (10, 20, 30, 40) else default_ms
    if most and chosen > most:
        chosen = max((ms for ms in (10, 20, 30, 40) if ms <= most), default=10)
    return chosen


def _milliseconds(media: Media, name: str) -> int:
    text = (media.attribute(name) or "").partition(".")[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _number(text: str) -> int:
    try:
        return natural(text, 128)
    except WireError:
        return -1


def _rtpmap(value: str) -> tuple[int, tuple[str, int, int]]:
    """Read `111 opus/48000/2` as (111, ("opus", 48000, 2)); (-1, ...) when it makes no sense."""
    number, _, rest = value.partition(" ")
    name, _, rates = rest.strip().partition("/")
    clock, _, channels = rates.partition("/")
    try:
        return natural(number, 128), (name.lower(), natural(clock), natural(channels or "1", 256))
    except WireError:
        return -1, ("", 0, 1)
