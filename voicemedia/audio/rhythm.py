"""How long the sound of a peer may stay away before that is a silence, seen from how it comes.

Most send a frame or a packet at a time. A browser's recorder that cuts its pieces by the second sends a second of sound
once in a second: nothing that lies between two such pieces is a silence. Behind a whole utterance, sent when it was
over, nothing comes.
"""

from typing import Final

from voicemedia.interfaces import FRAME_MS

TOGETHER_MS: Final = FRAME_MS // 2
"Frames nearer to one another than this came in one piece."
UTTERANCE_MS: Final = 300
"A shorter piece is no whole utterance."
UNPROVEN_MS: Final = 1_500
"So long the next piece is waited for at most while it is not known whether there will be one."


class Rhythm:
    """The pieces in which the sound of one peer comes."""

    __slots__ = ("_last_ms", "_piece_ms", "_proven_ms", "_unproven_ms")

    def __init__(self) -> None:
        self._last_ms = self._piece_ms = 0
        self._proven_ms = 0
        "The longest piece that was followed by the next one when that could have been spoken."
        self._unproven_ms = UNPROVEN_MS

    def heard(self, now_ms: int) -> None:
        """Take note of a frame."""
        apart_ms, before_ms = now_ms - self._last_ms, self._piece_ms
        self._last_ms = now_ms
        if apart_ms < TOGETHER_MS:
            self._piece_ms += FRAME_MS
            return
        self._piece_ms = FRAME_MS
        if abs(apart_ms - before_ms) <= before_ms // 4:
            self._proven_ms = max(self._proven_ms, before_ms)
        elif before_ms >= UTTERANCE_MS and apart_ms > 2 * before_ms:
            self._unproven_ms = 0

    def overdue_ms(self, now_ms: int) -> int:
        """Tell for how long sound has been due, a piece as long as the last one."""
        piece_ms = min(self._piece_ms, max(FRAME_MS, self._proven_ms, self._unproven_ms))
        return now_ms - self._last_ms - piece_ms + FRAME_MS
