"""The decoders of one child: few, shared by many callers, each used from onset to endpoint only.

A grammar decoder always finds its best sentence, also for words that are not in the grammar. So a free loop of
phones listens along: how much better the freest explanation scores than the grammar's tells a sentence that was
said from one that was forced (docs/stt/pocketsphinx.md has the numbers).
"""

import os
import re
import tempfile
from collections.abc import Iterable
from math import log
from typing import Any, Final

import pocketsphinx

from voicemedia.stt.jsgf import words
from voicemedia.stt.pocketsphinx_wire import Answer, Setup
from voicemedia.stt.spelling import pronounce

DICTATION: Final = ""
"The grammar of free dictation."
FRAME_MS: Final = 10
MARGIN: Final = 3.4
"Thousandths of log likelihood a frame over which confidence falls from 1 to 0."
EDGES: Final = 15
"Frames added to the words: their first and last phone always fit badly, which would weigh most on a `no`."
NO_MEAN: Final = ",".join(["0"] * 13)
"The cepstral mean of our features: it has been taken off (`pocketsphinx_features`)."
VARIANT: Final = re.compile(r"\(\d+\)$")


def decoder(**options: Any) -> Any:
    """Make a decoder that is quiet."""
    return pocketsphinx.Decoder(loglevel="FATAL", **options)


def _begin(each: Any) -> None:
    # Without it the channel of one caller colors the next, and results depend on who spoke before.
    each.reinit_feat()
    each.start_utt()


def _hear(each: Any, cepstra: bytes) -> None:
    # Said anew each time: after 8 s the decoder would take off a mean of its own.
    each.set_cmn(NO_MEAN)
    each.process_cep(cepstra, False, False)


class Dictation:
    """Free dictation with the language model that comes in the wheel (91 MiB)."""

    grammar = DICTATION

    def __init__(self) -> None:
        self._decoder = decoder()

    def begin(self) -> None:
        """Begin an utterance, forgetting the caller before."""
        _begin(self._decoder)

    def hear(self, cepstra: bytes) -> None:
        """Decode what comes next."""
        _hear(self._decoder, cepstra)

    def guess(self) -> str:
        """Return the words so far."""
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""

    def finish(self, utterance: int) -> Answer | None:
        """End the utterance; return its words."""
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        if hypothesis is None or not hypothesis.hypstr:
            return Answer(utterance, "")
        said = [segment for segment in self._decoder.seg() if _is_word(segment.word)]
        # The posterior of the whole sentence falls with its length; the mean of its words does not.
        confidence = min(1.0, max(0.0, hypothesis.prob)) ** (1 / max(1, len(said)))
        return _answer(utterance, hypothesis.hypstr, confidence, said)


class GrammarEars:
    """One grammar, and the phone loop that tells whether to believe it.

    :param lexicon: words and phones, all of the grammar.
    :param reject_below: thousandths of log likelihood a frame by which the grammar may be worse than the loop.
    """

    def __init__(self, grammar: str, lexicon: Iterable[str], reject_below: float) -> None:
        self.grammar = grammar
        self._reject_below = reject_below
        with tempfile.TemporaryDirectory() as folder:
            dictionary = os.path.join(folder, "dictionary")
            with open(dictionary, "w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lexicon)
            # Its own small dictionary, not all 134,860 words: 7 MiB and 60 ms, not 29 MiB and 290 ms.
            # Without the lattice, and with a dearer next word: 1.6 % word errors, not 10.3 (9.5, not 14.3, through
            # the telephone), at a third of the time.
            self._decoder = decoder(lm=None, dict=dictionary, bestpath=False, wip=0.2, lw=3.0)
            phones = pocketsphinx.get_model_path("en-us/en-us-phone.lm.bin")
            self._phones = decoder(lm=None, allphone=phones, dict=dictionary, beam=1e-20, pbeam=1e-10, lw=2.0)
        self._decoder.add_jsgf_string("grammar", grammar)
        self._decoder.activate_search("grammar")

    def begin(self) -> None:
        """Begin an utterance, forgetting the caller before."""
        for each in (self._decoder, self._phones):
            _begin(each)

    def hear(self, cepstra: bytes) -> None:
        """Decode what comes next."""
        for each in (self._decoder, self._phones):
            _hear(each, cepstra)

    def guess(self) -> str:
        """Return the words so far."""
        hypothesis = self._decoder.hyp()
        return hypothesis.hypstr if hypothesis is not None else ""

    def finish(self, utterance: int) -> Answer | None:
        """End the utterance; return its words, or None when they were not of the grammar."""
        self._decoder.end_utt()
        self._phones.end_utt()
        found, free = self._decoder.hyp(), self._phones.hyp()
        if found is None or free is None or not found.hypstr or not free.score:
            return None
        segments = list(self._decoder.seg())
        if not all(segment.ascore for segment in segments):
            return None
        said = [segment for segment in segments if _is_word(segment.word)]
        # The sound alone: a grammar's word penalties say nothing about whether it was said.
        sound = sum(log(segment.ascore) for segment in segments)
        frames = sum(
            segment.end_frame - segment.start_frame + 1 for segment in self._phones.seg() if _is_phone(segment)
        )
        margin = 1000 * (sound - log(free.score)) / (frames + EDGES)
        if margin < self._reject_below:
            return None
        return _answer(utterance, found.hypstr, min(1.0, max(0.0, 1 + margin / MARGIN)), said)


Ears = Dictation | GrammarEars


class Decoders:
    """Lends decoders, one to an utterance, and makes new ones while the limits allow."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._idle: list[Ears] = []
        "The one used last is last."
        self._made = {False: 0, True: 0}
        "Living decoders: of dictation, of grammars."
        self._unfit: set[str] = set()
        self.troubles: list[str] = []
        if setup.dictations:
            self.give_back(self._make(DICTATION))

    def fit(self, grammar: str) -> str:
        """Return the grammar, or that of dictation when the decoder cannot read it."""
        if grammar and grammar not in self._unfit and not self._have(grammar) and self._make_room():
            self._try(grammar)
        return DICTATION if grammar in self._unfit else grammar

    def take(self, grammar: str) -> Ears | None:
        """Lend ears for an utterance, already begun; None when all that are allowed are in use."""
        ears = self._from_idle(grammar)
        if ears is None and grammar and self._make_room():
            ears = self._try(grammar) and self._from_idle(grammar)
        elif ears is None and not grammar and self._made[False] < self._setup.dictations:
            ears = self._make(grammar)
        if ears is not None:
            ears.begin()
        return ears

    def give_back(self, ears: Ears) -> None:
        """Take back ears whose utterance has been finished."""
        self._idle.append(ears)

    @property
    def dictates(self) -> bool:
        """Whether there is free dictation at all."""
        return self._setup.dictations > 0

    def _have(self, grammar: str) -> bool:
        return any(ears.grammar == grammar for ears in self._idle)

    def _from_idle(self, grammar: str) -> Ears | None:
        for ears in reversed(self._idle):
            if ears.grammar == grammar:
                self._idle.remove(ears)
                return ears
        return None

    def _make_room(self) -> bool:
        if self._made[True] < self._setup.grammar_decoders:
            return True
        for ears in self._idle:
            if ears.grammar:
                self._idle.remove(ears)
                self._made[True] -= 1
                return True
        return False

    def _try(self, grammar: str) -> Ears | None:
        try:
            ears = self._make(grammar)
        except (RuntimeError, ValueError) as error:
            self._unfit.add(grammar)
            self.troubles.append(f"a grammar cannot be used, dictation takes its place: {error}")
            return None
        self.give_back(ears)
        return ears

    def _make(self, grammar: str) -> Ears:
        ears = GrammarEars(grammar, self._lexicon(grammar), self._setup.reject_below) if grammar else Dictation()
        self._made[bool(grammar)] += 1
        return ears

    def _lexicon(self, grammar: str) -> list[str]:
        wanted = set(words(grammar))
        given = {word: phones for word, phones in self._setup.pronunciations.items() if word in wanted}
        lines = [f"{word} {phones}" for word, phones in given.items()]
        found = set(given)
        with open(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as dictionary:
            for line in dictionary:
                word = VARIANT.sub("", line[: line.find(" ")]) if "(" in line else line[: line.find(" ")]
                if word in wanted and word not in given:
                    lines.append(line.rstrip("\n"))
                    found.add(word)
        if guessed := sorted(wanted - found):
            lines += [f"{word} {pronounce(word) or 'SIL'}" for word in guessed]
            self.troubles.append(f"pronunciation guessed of: {' '.join(guessed)}")
        return lines


def _is_word(word: str) -> bool:
    return not word.startswith(("<", "[", "+", "("))


def _is_phone(segment: Any) -> bool:
    return _is_word(segment.word) and segment.word != "SIL"


def _answer(utterance: int, text: str, confidence: float, said: list[Any]) -> Answer:
    words = tuple(
        (VARIANT.sub("", each.word), each.start_frame * FRAME_MS, (each.end_frame + 1) * FRAME_MS) for each in said
    )
    if not words:
        return Answer(utterance, text, round(confidence, 3))
    return Answer(utterance, text, round(confidence, 3), words[0][1], words[-1][2], words)
