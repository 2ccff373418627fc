"""Cuts what a language model writes into sentences for a voice, as they complete. Free of I/O and clocks.

A sentence is given out as soon as its end is certain: after a full stop the next word may have to be seen, after a
danda or an ideographic full stop nothing. Marks that are meant for the eye (`**`, `#`, bullets, emojis) are left out.
"""

import re
import unicodedata
from typing import Final

ENDS: Final = ".!?\u2026"
"Ends of sentences when a space follows."
ENDS_ALONE: Final = "\u0964\u0965\u3002\uff01\uff1f\u061f\u06d4\u1362\u17d4\u104b"
"Ends in themselves: danda, ideographic, Arabic, Urdu, Ethiopic, Khmer, Burmese."
CLOSING: Final = "\"')]}\u201d\u2019\u00bb\u300d\u300f"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ABBREVIATIONS: Final = _words("""
    mr mrs ms dr prof sr jr st mt rev gen col sgt capt lt vs etc approx ca cf fig no nos vol pp dept est inc ltd co
    corp ave blvd rd rs e.g i.e a.m p.m u.s u.k oz lb lbs tbsp tsp min max hr hrs jan feb mar apr jun jul aug sep sept
    oct nov dec mon tue wed thu fri sat sun bzw usw z.b d.h ggf env sra srta
""")
MAY_END: Final = _words("etc a.m p.m u.s u.k jr sr inc ltd co corp usw oz lb lbs no")
"Of these, those that also end sentences, when a capital follows."
FIRST_CLAUSE: Final = 40
"Characters from which on the very first sentence may be cut at a comma: somebody waits for it."
LONGEST: Final = 280
"Characters; what is longer is cut where a breath is."

UNSPOKEN: Final = frozenset(("So", "Cs", "Cc", "Co", "Cn", "Sk"))
"Categories of characters nobody says: symbols, control characters, nothing at all."

_MARKS: Final = re.compile(r"\*\*|__|`+|^#{1,6}\s+|^\s*[-*\u2022]\s+|~~", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_BREATH: Final = re.compile(r"[,;:\u2014\u2013\u060c\uff0c\u3001]\s*")


def spoken(text: str) -> str:
    """Leave out what a voice cannot say: Markdown, emojis, control characters."""
    text = _MARKS.sub("", _LINK.sub(r"\1", text)).replace("*", "")
    kept = (
        char
        for char in text
        if char.isspace() or unicodedata.category(char) not in ("So", "Cs", "Cc", "Co", "Cn", "Sk")
    )
    return " ".join("".join(char for char in kept if char not in "\ufe0f\u200d\u20e3").split())


class Sentences:
    """One answer as it is written.

    :param hurry: whether the first sentence may end at a comma.
    """

    def __init__(self, *, hurry: bool = True) -> None:
        self._rest = ""
        self._hurry = hurry

    def feed(self, piece: str) -> list[str]:
        """Take what was written; return the sentences that are complete."""
        self._rest += piece
        found = []
        while (end := self._end()) is not None:
            sentence, self._rest = spoken(self._rest[:end]), self._rest[end:].lstrip(" ")
            if any(char.isalnum() for char in sentence):
                found.append(sentence)
                self._hurry = False
        return found

    def finish(self) -> list[str]:
        """The answer is over: return its end."""
        rest, self._rest = self._rest, ""
        return Sentences(hurry=False).feed(rest + "\n") if rest.strip() else []

    def _end(self) -> int | None:
        """Find where the first sentence ends; None: it is not certain yet."""
        text = self._rest
        for at, char in enumerate(text):
            if char == "\n" and text[:at].strip():
                return at + 1
            if char in ENDS_ALONE:
                return _closed(text, at + 1)
            if char in ENDS:
                end = _closed(text, at + 1)
                certain = _is_end(text, at, end)
                if certain:
                    return end
                if certain is None:
                    break
        return self._breath()

    def _breath(self) -> int | None:
        """Cut a sentence that keeps somebody waiting, or the voice breathless."""
        text = self._rest
        if self._hurry and len(text) > FIRST_CLAUSE:
            for breath in _BREATH.finditer(text, FIRST_CLAUSE // 2):
                # Not within a number, and not before something is known of what follows.
                if breath.end() < len(text) and breath[0][-1:].isspace() and breath.end() >= FIRST_CLAUSE // 2:
                    return breath.end()
        if len(text) <= LONGEST:
            return None
        breaths = [breath.end() for breath in _BREATH.finditer(text, LONGEST // 2, LONGEST)]
        space = text.rfind(" ", LONGEST // 2, LONGEST)
        return breaths[-1] if breaths else space if space > 0 else LONGEST


def _closed(text: str, at: int) -> int:
    """Pass over more marks and closing quotes after an end."""
    while at < len(text) and (text[at] in CLOSING or text[at] in ENDS or text[at] in ENDS_ALONE or text[at] == "*"):
        at += 1
    return at


def _is_end(text: str, at: int, end: int) -> bool | None:
    """Tell whether a mark ends a sentence; None: what comes next will tell."""
    if end >= len(text):
        return None
    if not text[end].isspace():
        return False
    if text[end] == "\n":
        return True
    return True if text[at] != "." else _is_full_stop(text, at, end)


def _is_full_stop(text: str, at: int, end: int) -> bool | None:
    """Tell a full stop from the dot of an abbreviation, a list's number, or a pause."""
    word = re.findall(r"\S*$", text[:at])[0].lstrip("(\"'\u201c").lower()
    following = text[end:].lstrip()[:1]
    if word.isdigit() and not text[: at - len(word)].strip():
        # The number of a list: `1. Eggs`.
        return False
    initial = len(word) == 1 and word.isalpha() and word != "i"
    if word in ABBREVIATIONS or initial:
        if word not in MAY_END:
            return False
        return following.isupper() if following else None
    if ".." in text[max(0, at - 1) : end]:
        return None if not following else not following.islower()
    return True
