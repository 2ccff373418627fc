"""Looks a JSGF grammar over before a decoder gets it: is it well formed, and which words does it use.

The decoder's own parser says what is wrong on stderr only, and accepts a rule nobody has defined until it
stumbles over it. Source: Java Speech Grammar Format, version 1.0.
"""

import re
from functools import lru_cache
from typing import Final

HEADER: Final = re.compile(r"\ufeff?#JSGF(\s+[^;\n]*)?;")
COMMENT: Final = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
TOKEN: Final = re.compile(
    r"""\s*(?:(?P<rule><[^<>\s]+>) | (?P<tag>\{(?:\\.|[^{}\\])*\}) | (?P<weight>/\s*[0-9.eE+-]+\s*/)
        | "(?P<quoted>(?:\\.|[^"\\])*)" | (?P<sign>[()\[\]|*+=;]) | (?P<word>[^\s()\[\]|*+=;<>{}"/]+))""",
    re.VERBOSE,
)
CLOSES: Final = {")": "(", "]": "["}
BUILT_IN: Final = {"<NULL>", "<VOID>"}


class JsgfError(ValueError):
    """The grammar is not well formed; the message says where."""


@lru_cache(maxsize=64)
def words(grammar: str) -> frozenset[str]:
    """Return the words of a grammar, in lower case.

    :raises JsgfError: no header, no public rule, brackets that do not match, a rule used but not defined.
    """
    header = HEADER.match(grammar.lstrip())
    if header is None:
        raise JsgfError("does not begin with #JSGF V1.0;")
    found: set[str] = set()
    defined: set[str] = set()
    used: set[str] = set()
    public = False
    for statement in _statements(COMMENT.sub(" ", grammar.lstrip()[header.end() :])):
        if statement[0] == ("word", "grammar"):
            continue
        if statement[0] == ("word", "import"):
            raise JsgfError("imports are not supported")
        if statement[0] == ("word", "public"):
            public = True
            statement = statement[1:]
        defined.add(_definition(statement))
        _check_brackets(statement)
        used |= {text for kind, text in statement[2:] if kind == "rule"}
        found |= {text.lower() for kind, text in statement[2:] if kind == "word"}
    if not public:
        raise JsgfError("has no public rule")
    if missing := used - defined - BUILT_IN:
        raise JsgfError(f"{min(missing)} is used but not defined")
    return frozenset(found)


def _statements(text: str) -> list[list[tuple[str, str]]]:
    statements: list[list[tuple[str, str]]] = []
    statement: list[tuple[str, str]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = TOKEN.match(text, at)
        if match is None:
            raise JsgfError(f"cannot be read at {text[at : at + 20].strip()!r}")
        at = match.end()
        kind = match.lastgroup or ""
        if kind == "sign" and match["sign"] == ";":
            if statement:
                statements.append(statement)
            statement = []
        elif kind == "quoted":
            statement += [("word", word) for word in match["quoted"].split()]
        else:
            statement.append((kind, match[kind]))
    if statement:
        raise JsgfError(f"has no ; after {statement[-1][1]!r}")
    return statements


def _definition(statement: list[tuple[str, str]]) -> str:
    match statement:
        case [("rule", name), ("sign", "="), _, *_]:
            return name
    raise JsgfError(f"has no rule definition at {' '.join(text for _, text in statement[:4])!r}")


def _check_brackets(statement: list[tuple[str, str]]) -> None:
    name, opened = statement[0][1], []
    for kind, text in statement[2:]:
        if kind != "sign":
            continue
        if text in "([":
            opened.append(text)
        elif text in CLOSES and (not opened or opened.pop() != CLOSES[text]):
            raise JsgfError(f"{name}: {text} closes nothing")
        elif text == "=":
            raise JsgfError(f"{name}: there is no ; before the next rule")
    if opened:
        raise JsgfError(f"{name}: {opened[-1]} is never closed")
