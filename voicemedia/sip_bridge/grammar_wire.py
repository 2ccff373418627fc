"""What all SIP headers share: tokens, quoted strings, lists and parameters (RFC 3261, section 25).

Scanners jump with `find` and one-character classes; nothing here can be made to backtrack.
"""

import re
from typing import Final, Self

import msgspec

from voicemedia.errors import WireError

SPACE: Final = " \t\r\n"
"Linear white space; a folded value still has its line ends."

TOKEN: Final = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
HOST: Final = re.compile(r"\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~-]+)?\]|[A-Za-z0-9_.-]+")
"A name, an IPv4 address or an IPv6 reference; the underscore is against the grammar and in the wild."

PARTS_LIMIT: Final = 512
"Quotes, brackets and elements of one value: a hostile one shall not cost a millisecond."

_SPECIAL: Final = {separator: re.compile(f'["<{separator}]') for separator in (",", ";")}


def is_token(text: str) -> bool:
    """Tell whether `text` is a token."""
    return TOKEN.fullmatch(text) is not None


def end_of_quoted(text: str, start: int) -> int:
    """Return the index after the quoted string that opens at `start`.

    :raises WireError: `open_quote` when it never closes, or is nearly all escapes.
    """
    at = start + 1
    for _ in range(PARTS_LIMIT):
        close = text.find('"', at)
        if close < 0:
            break
        escape = text.find("\\", at, close)
        if escape < 0:
            return close + 1
        at = escape + 2
    raise WireError("open_quote")


def split_outside(text: str, separator: str) -> list[str]:
    """Split at each `separator` (`,` or `;`) that stands neither in quotes nor between angle brackets.

    :raises WireError: `open_quote` or `open_angle` when one never closes, `too_many_parts`.
    """
    if '"' not in text and "<" not in text:
        return text.split(separator)
    pieces: list[str] = []
    start = at = 0
    special = _SPECIAL[separator]
    for _ in range(PARTS_LIMIT):
        match = special.search(text, at)
        if match is None:
            pieces.append(text[start:])
            return pieces
        at = match.start()
        if text[at] == '"':
            at = end_of_quoted(text, at)
        elif text[at] == "<":
            at = text.find(">", at)
            if at < 0:
                raise WireError("open_angle")
        else:
            pieces.append(text[start:at])
            start = at = at + 1
    raise WireError("too_many_parts")


def split_list(text: str) -> list[str]:
    """Split a header value that is a comma-separated list; empty elements are dropped (RFC 7230, section 7)."""
    return [piece for part in split_outside(text, ",") if (piece := part.strip(SPACE))]


def unquote(text: str) -> str:
    """Return the meaning of a quoted string; anything else as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if "\\" in inner else inner


def quote(text: str) -> str:
    """Return `text` as a quoted string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def natural(text: str, limit: int = 2**31, kind: str = "bad_number") -> int:
    """Return the number written in ASCII digits, below `limit`.

    :raises WireError: `kind` when it is no number or too large.
    """
    if not text.isascii() or not text.isdigit() or len(text) > 20 or (number := int(text)) >= limit:
        raise WireError(kind, text[:40])
    return number


class Params(msgspec.Struct, frozen=True):
    """Parameters as they were sent: order, case, quotes and escapes are kept, the look-up folds case."""

    pairs: tuple[tuple[str, str | None], ...] = ()
    "(name, raw value); None for a parameter without `=`."

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `a=b;c;d="e;f"` (what follows the first `;`).

        :raises WireError: `empty_parameter`, `bad_parameter`, `open_quote`.
        """
        return cls(tuple([_pair(piece) for piece in split_outside(text, ";")])) if text else cls()

    def get(self, name: str) -> str | None:
        """Return the raw value of the first parameter `name`: None when absent, empty when it has no value."""
        for known, value in self.pairs:
            if known == name or known.lower() == name:
                return value or ""
        return None

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def with_(self, name: str, value: str | None) -> Self:
        """Return these parameters with `name` set, in its old place when it had one."""
        pair = (name, value)
        if name in self:
            return type(self)(tuple(pair if known.lower() == name else (known, old) for known, old in self.pairs))
        return type(self)((*self.pairs, pair))

    def without(self, *names: str) -> Self:
        """Return these parameters without those named."""
        return type(self)(tuple(pair for pair in self.pairs if pair[0].lower() not in names))

    def __str__(self) -> str:
        return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in self.pairs)


NO_PARAMS: Final = Params()


def _pair(piece: str) -> tuple[str, str | None]:
    name, equals, value = piece.partition("=")
    name = name.strip(SPACE)
    if not name:
        raise WireError("empty_parameter", piece[:40])
    if " " in name or '"' in name or "<" in name or "," in name:
        raise WireError("bad_parameter", name[:40])
    return name, value.strip(SPACE) if equals else None
