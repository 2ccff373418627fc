"""Decide which words are certain: those that two successive hypotheses begin with.

A recognizer of whole windows is asked again and again about a window that grows. Its newest words change, its
older ones settle; a word both of the last two answers have in the same place is settled and is never said again.
When the window moves on, it starts a little before the end of the last settled word, and what is heard there for
the second time is left out: by its time when the server gives exact times, else by its text.
"""

from collections.abc import Sequence
from typing import Final

from voicemedia.stt.words import HeardWord

LONGEST_ECHO: Final = 5
"Words at the start of a window that are compared with the last settled ones."


def keys_of(words: Sequence[HeardWord]) -> list[str]:
    """Give what is compared of each word."""
    return [word.key for word in words]


class Agreement:
    """The words of one utterance, settled and guessed."""

    def __init__(self) -> None:
        self.guess: list[HeardWord] = []
        "The rest of the last hypothesis, which may still change."
        self.settled_to_ms = 0
        "Where the last settled word ends."
        self._settled: list[HeardWord] = []
        self._since_cut: list[HeardWord] = []
        "Settled words that the window still holds."

    def hear(self, words: Sequence[HeardWord]) -> list[HeardWord]:
        """Take the next hypothesis; return the words that are now settled."""
        fresh = self._not_settled(words)
        agreed = 0
        while agreed < min(len(fresh), len(self.guess)) and fresh[agreed].key == self.guess[agreed].key:
            agreed += 1
        self.guess = fresh[agreed:]
        return self._settle(fresh[:agreed])

    def finish(self, words: Sequence[HeardWord]) -> list[HeardWord]:
        """Take the last hypothesis about this sound; return all its words not yet settled."""
        self.guess = []
        return self._settle(self._not_settled(words))

    def cut_ms(self) -> int | None:
        """Tell up to where all sound is settled and may be dropped; None: nowhere."""
        return next((word.end_ms for word in reversed(self._since_cut) if word.exact), None)

    def cut(self, at_ms: int) -> None:
        """The window now starts about here."""
        self._since_cut = [word for word in self._since_cut if word.end_ms > at_ms]

    def _settle(self, words: list[HeardWord]) -> list[HeardWord]:
        if words:
            self._settled = [*self._settled, *words][-LONGEST_ECHO:]
            self._since_cut += words
            self.settled_to_ms = max(self.settled_to_ms, words[-1].end_ms)
        return words

    def _not_settled(self, words: Sequence[HeardWord]) -> list[HeardWord]:
        """Leave out what is settled already."""
        if not self._settled:
            return list(words)
        if all(word.exact for word in words):
            rest = [word for word in words if word.middle_ms >= self.settled_to_ms]
            overlapping = bool(rest) and rest[0].start_ms < self.settled_to_ms
            return self._without_echo(rest) if overlapping else rest
        if self._since_cut:
            return list(words[best_prefix(keys_of(self._since_cut), keys_of(words)) :])
        return self._without_echo(list(words))

    def _without_echo(self, words: list[HeardWord]) -> list[HeardWord]:
        for count in range(min(LONGEST_ECHO, len(words), len(self._settled)), 0, -1):
            if keys_of(self._settled[-count:]) == keys_of(words[:count]):
                return words[count:]
        return words


def best_prefix(known: Sequence[str], words: Sequence[str]) -> int:
    """Tell how many of `words` say what `known` says: the prefix with the least edit distance to it."""
    # One row of the table of distances per known word; the last row has the distance to every prefix.
    row = list(range(len(words) + 1))
    for count, wanted in enumerate(known, 1):
        before, row = row, [count]
        for at, word in enumerate(words):
            row.append(min(before[at + 1] + 1, row[at] + 1, before[at] + (word != wanted)))
    letters = len("".join(known))
    # As many letters decide between equal ones: `good bye` is `goodbye`, not `goodbye now`.
    return min(range(len(row)), key=lambda at: (row[at], abs(len("".join(words[:at])) - letters)))
