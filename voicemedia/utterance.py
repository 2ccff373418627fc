"""The caller's turn while it is being made: speech, transcripts and keys become one `Said`.

A turn is complete when the caller is silent, the final transcript of what was said is there (or overdue), and
keys that belong together have come. The time line is the reactor's; voice detection keeps its own on the media.
"""

from typing import Final

from voicemedia.interfaces import Said, Transcript

MEANT_MS: Final = 600
"Speech shorter than this that nobody understands is taken for noise, unless it interrupted us."


class Utterance:
    """What the caller has said and pressed since the last turn.

    :param transcript_wait_ms: how long after the endpoint a final transcript may take.
    :param key_wait_ms: the pause that ends a row of keys.
    """

    def __init__(self, transcript_wait_ms: int, key_wait_ms: int) -> None:
        self._transcript_wait_ms = transcript_wait_ms
        self._key_wait_ms = key_wait_ms
        self.speaking = False
        self._began_ms = 0
        self._interrupting = False
        self._final_due_ms: int | None = None
        self._waits = 0
        "How often the time for the final was over and was given again."
        self._interim = ""
        self._words: list[Transcript] = []
        self._keys = ""
        self._keys_due_ms: int | None = None
        self._unclear = False
        self._taken = Said()
        self._returned_words = self._returned_keys = 0
        "How many of them were given back."
        self.endpoint_ms = 0
        "When the caller last stopped speaking or pressed a key."
        self._stood_in = 0
        "Finals still to come for which a guess was taken."

    @property
    def under_way(self) -> bool:
        """Whether speech is being made or a final transcript is awaited."""
        return self.speaking or self._final_due_ms is not None

    @property
    def fresh(self) -> bool:
        """Whether there are words or keys that have never been taken."""
        return len(self._words) > self._returned_words or len(self._keys) > self._returned_keys

    def onset(self, now_ms: int, *, interrupting: bool) -> None:
        """The caller has begun to speak, perhaps over us."""
        self.speaking = True
        self._began_ms = now_ms
        self._interrupting = self._interrupting or interrupting
        self._final_due_ms = None

    def endpoint(self, now_ms: int, *, understood_by_somebody: bool) -> None:
        """The caller has stopped; a final transcript follows if there is a recognizer."""
        self.speaking = False
        self.endpoint_ms = now_ms
        if understood_by_somebody:
            self._final_due_ms, self._waits = now_ms + self._transcript_wait_ms, 0

    def heard(self, transcript: Transcript, now_ms: int) -> None:
        """Take an interim or final transcript."""
        if not transcript.final:
            self._interim = transcript.text
            return
        if transcript.closes and self._stood_in:
            # What it says was said already.
            self._stood_in -= 1
            return
        self._interim = ""
        if not self.speaking:
            if transcript.closes:
                self.endpoint_ms = self.endpoint_ms or now_ms
                self._settle(transcript.text)
            elif self._final_due_ms is None:
                # Nobody noticed the speech: the endpoint known is that of a turn long past.
                self.endpoint_ms = now_ms
        if transcript.text:
            self._words.append(transcript)

    def digit(self, key: str, expected_keys: int, now_ms: int) -> None:
        """Take a key; `expected_keys` of them make a turn, 0: until `#` or a pause."""
        self._keys += key
        self.endpoint_ms = now_ms
        complete = len(self._keys) >= expected_keys if expected_keys else key == "#"
        self._keys_due_ms = now_ms if complete else now_ms + self._key_wait_ms

    def typed(self, text: str, now_ms: int) -> None:
        """Take words that need no recognition."""
        if text:
            self.endpoint_ms = now_ms
            self._words.append(Transcript(text, final=True, confidence=1.0))

    def complete(self, now_ms: int, ears: object = None) -> bool:
        """Let time pass; return whether a turn is complete and may be taken.

        :param ears: the recognition; while it is `renewing` (what was said has no stream or child yet, because the one
            before has died) its final is waited for once more, while it is `decoding` (on a busy machine) twice more.
        """
        if self._final_due_ms is not None and now_ms >= self._final_due_ms:
            self._overdue(now_ms, ears)
        if self.speaking or self._final_due_ms is not None:
            return False
        if self._keys_due_ms is not None:
            return now_ms >= self._keys_due_ms
        return bool(self._words) or self._unclear

    def take(self) -> Said:
        """Return the turn and begin a new one."""
        words = self._words
        said = Said(
            text=" ".join(transcript.text for transcript in words),
            keys=self._keys,
            confidence=sum(transcript.confidence for transcript in words) / len(words) if words else 0.0,
        )
        self._words, self._keys, self._keys_due_ms, self._unclear = [], "", None, False
        self._returned_words = self._returned_keys = 0
        self._taken = said
        return said

    def give_back(self) -> None:
        """Put the turn taken last in front of what comes now: it was not answered."""
        said, self._taken = self._taken, Said()
        if said.text:
            self._words.insert(0, Transcript(said.text, final=True, confidence=said.confidence))
            self._returned_words = 1
        if said.keys:
            self._keys, self._keys_due_ms = said.keys + self._keys, self._keys_due_ms or self.endpoint_ms
            self._returned_keys = len(said.keys)

    def forget(self) -> None:
        """Give up the final that is awaited: its recognition died. What was understood before stays."""
        self._final_due_ms, self._interim, self._stood_in = None, "", 0

    def _overdue(self, now_ms: int, ears: object) -> None:
        again = 2 if getattr(ears, "decoding", False) else 1 if getattr(ears, "renewing", False) else 0
        if self._waits < again:
            # Later is better than half of the words now and never the other half.
            self._waits += 1
            self._final_due_ms = now_ms + self._transcript_wait_ms
            return
        if self._interim:
            # A guess that never became final is better than a lost turn.
            self._words.append(Transcript(self._interim, final=True))
            self._interim = ""
            self._stood_in += 1
        self._settle(self._words[-1].text if self._words else "")

    def _settle(self, text: str) -> None:
        """The final is there or given up: was it speech that nobody understood?"""
        if self._final_due_ms is not None:
            meant = self._interrupting or self.endpoint_ms - self._began_ms >= MEANT_MS
            self._unclear = self._unclear or (not text and meant)
            self._final_due_ms = None
            self._interrupting = False
