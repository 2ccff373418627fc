"""What is left of a sentence whose voice broke off. Free of I/O and clocks."""

import re
from collections.abc import Callable
from typing import Final

CHARACTERS_PER_S: Final = 15
"How fast speech goes, where the voice does not tell when words begin."


class Saying:
    """One sentence said by one voice after the other.

    The word during which a voice broke off is said again by the next one; what stands before it is not.
    """

    def __init__(self, text: str, rate_hz: int, put: Callable[[bytes], None], word: Callable[[int, int], None]) -> None:
        self.rest = text
        "What the next voice has to say."
        self.rate_hz = rate_hz
        self._put, self._word = put, word
        self._octets = 0
        self._said_characters = 0
        "Of the text before `rest`."
        self._turn = 0
        self._began_ms = 0
        self._words: list[tuple[int, int]] = []

    @property
    def given_ms(self) -> int:
        """The sound given so far, by all voices."""
        return self._octets // 2 * 1000 // self.rate_hz

    def turn(self) -> tuple[Callable[[bytes], None], Callable[[int, int], None]]:
        """Give the next voice its `put` and `word`; those of the one before are dead from now on."""
        self._turn += 1
        number = self._turn
        self._began_ms, self._words = self.given_ms, []

        def put(pcm: bytes) -> None:
            if number == self._turn:
                self._octets += len(pcm)
                self._put(pcm)

        def word(at: int, ms: int) -> None:
            if number == self._turn:
                self._words.append((at, ms))
                self._word(self._said_characters + at, self._began_ms + ms)

        return put, word

    def go_on(self) -> bool:
        """The voice has broken off: leave out what it said; return whether anything is left."""
        at = self._broken_off_at(self.given_ms - self._began_ms)
        self._turn += 1
        self._said_characters += at
        self.rest = self.rest[at:]
        return bool(self.rest.strip())

    def _broken_off_at(self, said_ms: int) -> int:
        """Find where in `rest` the word that was cut begins."""
        if said_ms <= 0:
            return 0
        starts = [match.start() for match in re.finditer(r"\S+", self.rest)]
        ends = [*starts[1:], len(self.rest)]
        begun = [(at, ms) for at, ms in self._words if ms < said_ms]
        if not begun:
            reached = said_ms * CHARACTERS_PER_S // 1000
            return next((start for start, end in zip(starts, ends, strict=True) if end > reached), len(self.rest))
        at, ms = max(begun)
        # Where words are told, the next one has not begun.
        start, end = next((pair for pair in zip(starts, ends, strict=True) if pair[1] > at), (0, 0))
        return end if (end - start) * 1000 / CHARACTERS_PER_S <= said_ms - ms else start
