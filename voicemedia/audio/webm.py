"""WebM as MediaRecorder writes it (EBML, RFC 8794; Matroska, RFC 9559): bytes in as they come, whole packets out.

A live stream has segments and clusters of unknown size, so containers are entered and never left: what matters is
the order of the leaves. Everything but tracks and blocks is skipped without being kept.
"""

from collections.abc import Iterator
from typing import Final

from voicemedia.errors import WireError

EBML: Final = 0x1A45DFA3
MAGIC: Final = EBML.to_bytes(4, "big")
SEGMENT, CLUSTER, BLOCK_GROUP = 0x18538067, 0x1F43B675, 0xA0
CONTAINERS: Final = (SEGMENT, CLUSTER, BLOCK_GROUP)
"Those that are entered."
TRACKS, TRACK_ENTRY, TRACK_NUMBER, CODEC_ID, CODEC_PRIVATE = 0x1654AE6B, 0xAE, 0xD7, 0x86, 0x63A2
SIMPLE_BLOCK, BLOCK = 0xA3, 0xA1
OPUS: Final = b"A_OPUS"
MAX_PENDING: Final = 200_000
"An element we need whole may be so long; MediaRecorder's are some hundred bytes."
LONGEST_BLOCK: Final = 8_000
BLOCK_FOLLOWERS: Final = (b"\xa3", b"\xa0", b"\x1f", b"\x1c")
"First bytes of what comes after a block: blocks, clusters, cues."
UNKNOWN: Final = -1
"Size of an element that ends where the next one of its level begins."
XIPH, FIXED, EBML_LACING = 1, 2, 3
"Ways to put several frames into one block (RFC 9559, section 10.3)."


class WebmReader:
    """One stream; after a `WireError` it wants a new beginning.

    :param max_pending: bytes kept of an element that is not complete.
    """

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._max_pending = max_pending
        self._pending = b""
        self._skip = 0
        self._began = False
        self._track = 0
        self._lost = False
        self.codec_private = b""
        "OpusHead (RFC 7845, section 5.1), known before the first packet comes."

    def feed(self, octets: bytes) -> list[bytes]:
        """Take bytes in pieces of any length; return the Opus packets that are now whole.

        :raises WireError: `bad_webm`, `unsupported_codec` or `webm_too_long`.
        """
        octets = self._pending + octets if self._pending else octets
        packets: list[bytes] = []
        if self._lost:
            octets = self._find_block(octets)
        at = self._pass_by(octets, 0)
        while (head := _head(octets, at)) is not None:
            name, size, start = head
            if self._is_wanted(name, size):
                if start + size > len(octets):
                    break
                packets += self._take(name, octets[start : start + size])
                at = start + size
            else:
                # Into a container, or past what is of no use.
                self._skip = 0 if name in CONTAINERS else size
                at = self._pass_by(octets, start)
        if not self._lost:
            self._pending = octets[at:]
        return packets

    def lose(self) -> None:
        """Go on in the middle of the stream: some of it is missing, perhaps half of an element."""
        self._lost, self._pending, self._skip = self._track != 0, b"", 0

    @property
    def without_block(self) -> bytes:
        """What came since `lose` and has no block in it, as it came; empty once one was found."""
        return self._pending if self._lost else b""

    def _find_block(self, octets: bytes) -> bytes:
        """Return what begins with the first whole block; nothing while there is none."""
        at = octets.find(SIMPLE_BLOCK)
        while at >= 0 and not self._is_block(octets, at):
            at = octets.find(SIMPLE_BLOCK, at + 1)
        self._lost = at < 0
        # What lies further back than a block can be long holds none.
        self._pending = octets[-LONGEST_BLOCK:] if self._lost else b""
        return b"" if self._lost else octets[at:]

    def _is_block(self, octets: bytes, at: int) -> bool:
        """Tell whether a whole block of our track is here, and behind it what may follow one."""
        if octets[at + 1 : at + 2] in (b"", b"\0") or (head := _head(octets, at)) is None:
            return False
        _, size, start = head
        ours = octets[start : start + 1] == bytes([0x80 | self._track])
        return 4 < size <= LONGEST_BLOCK and ours and octets[start + size : start + size + 1] in BLOCK_FOLLOWERS

    def _pass_by(self, octets: bytes, at: int) -> int:
        step = min(self._skip, len(octets) - at)
        self._skip -= step
        return at + step

    def _is_wanted(self, name: int, size: int) -> bool:
        """Tell whether an element has to be there whole; refuse what cannot be."""
        if not self._began and name != EBML:
            raise WireError("bad_webm", "a WebM stream begins with 1A 45 DF A3")
        if name in CONTAINERS:
            return False
        if size == UNKNOWN:
            raise WireError("bad_webm", f"element {name:X} has no size")
        wanted = name in (EBML, TRACKS, SIMPLE_BLOCK, BLOCK)
        if wanted and size > self._max_pending:
            raise WireError("webm_too_long", f"an element of {size} bytes")
        return wanted

    def _take(self, name: int, body: bytes) -> list[bytes]:
        if name == EBML:
            # A recorder that starts anew begins a new stream in the middle of the old one.
            self._began, self._track = True, 0
        elif name == TRACKS:
            self._track, self.codec_private = _opus_track(body)
        else:
            if not self._track:
                raise WireError("bad_webm", "a block before any track")
            track, start = _number(body, 0)
            if track == self._track:
                return _frames(body, start)
        return []


def _number(octets: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable length (RFC 8794, section 4) that is there; return it and where it ends."""
    if at >= len(octets) or not octets[at]:
        raise WireError("bad_webm", "a number that is none")
    length = 9 - octets[at].bit_length()
    if at + length > len(octets):
        raise WireError("bad_webm", "a number that is cut off")
    value = int.from_bytes(octets[at : at + length], "big") & ((1 << 7 * length) - 1)
    return value, at + length


def _head(octets: bytes, at: int) -> tuple[int, int, int] | None:
    """Read the head of an element: name, size, and where its body begins; None while it is not whole."""
    if at >= len(octets):
        return None
    name_length = 9 - octets[at].bit_length()
    if name_length > 4:
        raise WireError("bad_webm", "an element without a name")
    size_at = at + name_length
    if size_at >= len(octets):
        return None
    size_length = 9 - octets[size_at].bit_length()
    if size_length > 8:
        raise WireError("bad_webm", "an element without a size")
    start = size_at + size_length
    if start > len(octets):
        return None
    name = int.from_bytes(octets[at:size_at], "big")
    size, _ = _number(octets, size_at)
    return name, UNKNOWN if size == (1 << 7 * size_length) - 1 else size, start


def _elements(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Read the elements of a whole container."""
    at = 0
    while (head := _head(body, at)) is not None:
        name, size, start = head
        if size == UNKNOWN or start + size > len(body):
            raise WireError("bad_webm", f"element {name:X} is longer than what it is in")
        yield name, body[start : start + size]
        at = start + size


def _opus_track(tracks: bytes) -> tuple[int, bytes]:
    """Find the first Opus track: its number and its codec's head."""
    codecs = []
    for name, entry in _elements(tracks):
        if name != TRACK_ENTRY:
            continue
        fields = dict(_elements(entry))
        codecs.append(fields.get(CODEC_ID, b"").rstrip(b"\0"))
        if codecs[-1] == OPUS:
            number = int.from_bytes(fields.get(TRACK_NUMBER, b"\1"), "big")
            return number or 1, fields.get(CODEC_PRIVATE, b"")
    found = b", ".join(codecs).decode("ascii", "replace") or "no track"
    raise WireError("unsupported_codec", f"the WebM stream has {found[:80]}; record with audio/webm;codecs=opus")


def _frames(block: bytes, start: int) -> list[bytes]:
    """Take a block's frames apart."""
    # Two bytes of time, one of flags.
    if start + 3 > len(block):
        raise WireError("bad_webm", "a block without a head")
    lacing = block[start + 2] >> 1 & 3
    at = start + 3
    if not lacing:
        return [block[at:]] if at < len(block) else []
    if at >= len(block):
        raise WireError("bad_webm", "lacing without a count")
    count, at = block[at] + 1, at + 1
    if lacing == FIXED:
        sizes = [(len(block) - at) // count] * (count - 1)
    elif lacing == XIPH:
        sizes, at = _xiph_sizes(block, at, count)
    else:
        sizes, at = _ebml_sizes(block, at, count)
    last = len(block) - at - sum(sizes)
    if last < 0 or min(sizes, default=0) < 0:
        raise WireError("bad_webm", "lacing longer than its block")
    frames = []
    for size in [*sizes, last]:
        frames.append(block[at : at + size])
        at += size
    return [frame for frame in frames if frame]


def _xiph_sizes(block: bytes, at: int, count: int) -> tuple[list[int], int]:
    sizes = []
    for _ in range(count - 1):
        size = 0
        while at < len(block) and block[at] == 255:
            size, at = size + 255, at + 1
        if at >= len(block):
            raise WireError("bad_webm", "lacing that is cut off")
        sizes.append(size + block[at])
        at += 1
    return sizes, at


def _ebml_sizes(block: bytes, at: int, count: int) -> tuple[list[int], int]:
    sizes: list[int] = []
    for _ in range(count - 1):
        value, end = _number(block, at)
        # All but the first are differences, as numbers around the middle of their range.
        middle = (1 << (7 * (end - at) - 1)) - 1
        sizes.append(sizes[-1] + value - middle if sizes else value)
        at = end
    return sizes, at
