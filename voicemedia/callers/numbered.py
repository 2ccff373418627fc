"""Sound with a number in every 20 ms, so that an echo tells what became of each frame.

All bytes are quiet mu-law codes (below -48 dB) that decode and encode back to themselves; 0x7F, the negative zero,
does not and is not used. A frame is found again however the server cuts the stream:

    4 bytes sync | 6 nibbles number | 2 nibbles check | 144 bytes filler | 4 nibbles call

A nibble is the low half of a byte 0xF0 to 0xFF; the sync's bytes are of the other sign and occur nowhere else.
"""

from typing import Final

from voicemedia.callers.sound import SAMPLES_PER_MS

FRAME_BYTES: Final = 20 * SAMPLES_PER_MS
NO_CALL: Final = 0xFFFF
"In frames that do not say whose they are: all but the last of a packet."

SYNC: Final = b"\x70\x71\x72\x73"
FILLER: Final = bytes(0xF0 | number * 7 % 16 for number in range(144))
_FILLER_AT: Final = 12
_CALL_AT: Final = _FILLER_AT + len(FILLER)

_HEX = b"0123456789abcdef"
_TO_CODES: Final = bytes.maketrans(_HEX, bytes(range(0xF0, 0x100)))
_TO_HEX: Final = bytes(_HEX[code & 0x0F] if code >= 0xF0 else ord("!") for code in range(256))


def numbered_frame(number: int, call: int = NO_CALL) -> bytes:
    """Make 20 ms of mu-law that say which frame of which call they are."""
    digits = f"{number:06x}{_check(number):02x}".encode()
    return SYNC + digits.translate(_TO_CODES) + FILLER + f"{call:04x}".encode().translate(_TO_CODES)


def _check(number: int) -> int:
    return (number * 131 + 89 >> 3) % 256


class NumberedReader:
    """Finds the frames of one call in the stream that comes back."""

    def __init__(self, call: int) -> None:
        self._call = call
        self._rest = b""
        self.damaged = 0
        "Frames of which something was altered."
        self.foreign = 0
        "Frames of another call."
        self.other_bytes = 0
        "Sound that belongs to no frame: concealment, silence between."

    def read(self, ulaw: bytes) -> list[int]:
        """Take the next piece of the stream; return the numbers of the frames completed by it."""
        stream = self._rest + ulaw if self._rest else ulaw
        numbers = []
        at = 0
        while len(stream) - at >= FRAME_BYTES:
            if not stream.startswith(SYNC, at):
                at = self._skip(stream, at)
                continue
            number = self._number(stream[at : at + FRAME_BYTES])
            if number is None:
                # Go on behind the sync: the next frame may begin before this one should have ended.
                self.other_bytes += len(SYNC)
                at += len(SYNC)
                continue
            if number >= 0:
                numbers.append(number)
            at += FRAME_BYTES
        self._rest = stream[at:]
        return numbers

    def _skip(self, stream: bytes, at: int) -> int:
        found = stream.find(SYNC, at)
        # The first bytes of a sync may stand at the very end.
        found = found if found >= 0 else len(stream) - len(SYNC) + 1
        self.other_bytes += found - at
        return found

    def _number(self, frame: bytes) -> int | None:
        """Read one frame; None: damaged, -1: whole, but another call's."""
        try:
            number = int(frame[4:10].translate(_TO_HEX), 16)
            check = int(frame[10:12].translate(_TO_HEX), 16)
            call = int(frame[_CALL_AT:].translate(_TO_HEX), 16)
        except ValueError:
            check, number, call = -1, 0, 0
        if check != _check(number) or frame[_FILLER_AT:_CALL_AT] != FILLER:
            self.damaged += 1
            return None
        if call not in (self._call, NO_CALL):
            self.foreign += 1
            return -1
        return number
