"""Ogg with Opus in it (RFC 3533, RFC 7845), as Firefox records: bytes in as they come, whole packets out."""

from typing import Final

from voicemedia.errors import WireError

MAGIC: Final = b"OggS"
PAGE_HEAD: Final = 27
CONTINUED, BEGINS = 1, 2
"Flags of a page: it goes on with a packet of the one before; it is the first of its stream."
MAX_PACKET: Final = 61_440
"An Opus packet of 120 ms takes no more, whatever its channels (RFC 6716, section 3.4)."


class OggReader:
    """One stream; after a `WireError` it wants a new beginning."""

    def __init__(self) -> None:
        self._pending = b""
        self._packet = b""
        self._serial: bytes | None = None
        self._heads = 0
        self.codec_private = b""
        "OpusHead (RFC 7845, section 5.1), known before the first packet comes."

    def feed(self, octets: bytes) -> list[bytes]:
        """Take bytes in pieces of any length; return the Opus packets that are now whole.

        :raises WireError: `bad_ogg` or `unsupported_codec`.
        """
        octets = self._pending + octets if self._pending else octets
        packets: list[bytes] = []
        at = 0
        while (end := _page_end(octets, at)) and end <= len(octets):
            packets += self._page(octets[at:end])
            at = end
        self._pending = octets[at:]
        return packets

    def _page(self, page: bytes) -> list[bytes]:
        flags, serial = page[5], page[14:18]
        if flags & BEGINS:
            # A recorder that starts anew begins a new stream.
            self._serial, self._heads, self._packet = serial, 0, b""
        if serial != self._serial:
            return []
        if not flags & CONTINUED:
            self._packet = b""
        packets = []
        at = PAGE_HEAD + page[26]
        for lace in page[PAGE_HEAD:at]:
            self._packet += page[at : at + lace]
            at += lace
            if len(self._packet) > MAX_PACKET:
                raise WireError("bad_ogg", "a packet longer than Opus has any")
            if lace < 255:
                packets.append(self._packet)
                self._packet = b""
        return [packet for packet in packets if packet and not self._is_head(packet)]

    def _is_head(self, packet: bytes) -> bool:
        """Take the two packets that are no sound: OpusHead and OpusTags."""
        self._heads += 1
        if self._heads == 1:
            if not packet.startswith(b"OpusHead"):
                raise WireError("unsupported_codec", "the Ogg stream is not Opus; record with audio/ogg;codecs=opus")
            self.codec_private = packet
        return self._heads <= 2


def begins(octets: bytes) -> bool:
    """Tell whether a page at the beginning of these bytes is the first of a stream."""
    return octets[:4] == MAGIC and octets[5:6] != b"" and bool(octets[5] & BEGINS)


def _page_end(octets: bytes, at: int) -> int:
    """Tell where the page that begins at `at` ends; 0 while its head is not whole."""
    magic = octets[at : at + 4]
    if magic != MAGIC[: len(magic)]:
        raise WireError("bad_ogg", "a page that does not begin with OggS")
    if at + PAGE_HEAD > len(octets):
        return 0
    start = at + PAGE_HEAD + octets[at + 26]
    return start + sum(octets[at + PAGE_HEAD : start]) if start <= len(octets) else 0
