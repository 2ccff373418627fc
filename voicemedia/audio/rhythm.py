"""How long the sound of a peer may stay away before that is a silence, seen from how it comes.

Most send a frame or a packet at a time. A browser's recorder that cuts its pieces by the second sends a second of sound
once in a second: nothing that lies between two such pieces is a silence.
"""

from typing import Final

from voicemedia.interfaces import FRAME_MS

TOGETHER_MS: Final = FRAME_MS // 2
"Frames nearer to one another than this came in one piece."
UNPROVEN_MS: Final = 1_500
"A piece that may be the only one, a whole utterance, is waited for no longer."


class Rhythm:
    """The pieces in which the sound of one peer comes."""

    __slots__ = ("_last_ms", "_piece_ms", "_steady")

    def __init__(self) -> None:
        self._last_ms = 0
        self._piece_ms = FRAME_MS
        self._steady = False
        "Whether the piece before the last took as long to come as it sounds."

    def heard(self, now_ms: int) -> None:
        """Take note of a frame."""
        apart_ms = now_ms - self._last_ms
        self._last_ms = now_ms
        if apart_ms < TOGETHER_MS:
            self._piece_ms += FRAME_MS
        else:
            self._steady = abs(apart_ms - self._piece_ms) <= self._piece_ms // 2
            self._piece_ms = FRAME_MS

    def overdue_ms(self, now_ms: int) -> int:
        """Tell for how long sound has been due, a piece as long as the last one."""
        piece_ms = self._piece_ms if self._steady else min(self._piece_ms, UNPROVEN_MS)
        return now_ms - self._last_ms - piece_ms + FRAME_MS
