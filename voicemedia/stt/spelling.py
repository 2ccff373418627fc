"""Guesses how an English speaker would read a word the pronouncing dictionary does not have.

Longest letter group first, one rule each: right for most loan words of the kitchen (`paneer`, `idli`, `halloumi`),
wrong often enough that a pronunciation given in the configuration goes first. Phones are those of cmudict.
"""

from typing import Final

SOUNDS: Final = {
    **{"tch": "CH", "sch": "SH", "igh": "AY", "tion": "SH AH N", "eau": "OW"},
    **{
        "ch": "CH",
        "sh": "SH",
        "th": "TH",
        "ph": "F",
        "gh": "G",
        "kh": "K",
        "bh": "B",
        "dh": "D",
        "ck": "K",
        "ng": "NG",
    },
    **{"qu": "K W", "wh": "W", "wr": "R", "kn": "N", "zh": "ZH", "jh": "JH"},
    **{"aa": "AA", "ai": "EY", "ay": "EY", "au": "AO", "aw": "AO", "ea": "IY", "ee": "IY", "ei": "EY", "ey": "IY"},
    **{"ie": "IY", "oa": "OW", "oo": "UW", "ou": "UW", "ow": "OW", "oi": "OY", "oy": "OY", "ue": "UW", "ui": "UW"},
    **{"ar": "AA R", "er": "ER", "ir": "ER", "or": "AO R", "ur": "ER"},
    **{"a": "AA", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH"},
    **{"k": "K", "l": "L", "m": "M", "n": "N", "o": "OW", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T"},
    **{"u": "UW", "v": "V", "w": "W", "x": "K S", "y": "Y", "z": "Z"},
}
LONGEST: Final = max(map(len, SOUNDS))
VOWELS: Final = "aeiouy"


def pronounce(word: str) -> str:
    """Return phones for a word, such as `P AA N IY R`; empty when it has no letter we can read."""
    letters = "".join(letter for letter in word.lower() if "a" <= letter <= "z")
    phones: list[str] = []
    at = 0
    while at < len(letters):
        phone, length = _sound(letters, at)
        if phone and (not phones or phones[-1] != phone):
            phones.append(phone)
        at += length
    return " ".join(phones)


def _sound(letters: str, at: int) -> tuple[str, int]:
    last = at == len(letters) - 1
    if last and len(letters) > 2:
        if letters[at] == "e":
            return ("", 1) if letters[at - 1] not in VOWELS else ("EY", 1)
        if letters[at] in "iy":
            return "IY", 1
        if letters[at] == "a":
            return "AH", 1
    if letters[at] == "c" and letters[at + 1 : at + 2] in ("e", "i", "y"):
        return "S", 1
    for length in range(min(LONGEST, len(letters) - at), 0, -1):
        phone = SOUNDS.get(letters[at : at + length])
        if phone is not None:
            return phone, length
    return "", 1
