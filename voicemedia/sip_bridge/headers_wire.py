"""The header fields of a message, kept as they came: names, order, bytes (RFC 3261, section 7.3).

Only the look-up folds case and compact forms. Values stay raw until somebody asks for a typed view of one, so a
fault in a header nobody reads hurts nobody.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import SPACE

COMPACT: Final = {
    "a": "accept-contact",  # RFC 3841
    "b": "referred-by",  # RFC 3892
    "c": "content-type",
    "d": "request-disposition",  # RFC 3841
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",  # RFC 3841
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",  # RFC 8224 retired it; peers still send it
    "o": "event",  # RFC 6665
    "r": "refer-to",  # RFC 3515
    "s": "subject",
    "t": "to",
    "u": "allow-events",  # RFC 6665
    "v": "via",
    "x": "session-expires",  # RFC 4028
    "y": "identity",  # RFC 8224
}

View = TypeVar("View")

_FOLD: Final = re.compile(r"[ \t]*\r\n[ \t]+")

Field = tuple[str, str]
"(name as sent, raw value without the space around it; a fold is still in it)."

USUAL: Final[dict[str, str]] = {}
"Names as they came -> their keys: peers spell the same few alike in every message."
_USUAL_LIMIT: Final = 1024


class Headers:
    """Header fields in order; they change only through the methods."""

    __slots__ = ("_first", "_views", "fields")

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        self.fields = list(fields)
        self._first = _first_of_each(self.fields)
        "Where each name is met first; it is met again only when there are more fields than names."
        self._views: dict[str, Any] = {}

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.fields!r})"

    def names(self) -> list[str]:
        """Return the names, each once, in lower case and long."""
        return list(self._first)

    def raw(self, *keys: str) -> list[Field]:
        """Return the fields of these (lower-case, long) names untouched, to be copied into another message."""
        first, fields = self._first, self.fields
        known = [key for key in keys if key in first]
        if len(first) == len(fields):
            return [fields[first[key]] for key in known]
        return [field for key in known for field in fields[first[key] :] if key_of(field[0]) == key]

    def all(self, key: str) -> list[str]:
        """Return the unfolded values of this name."""
        if key not in self._first:
            return []
        if len(self._first) == len(self.fields):
            return [self.one(key)]
        return [_unfold(value) if "\n" in value else value for _, value in self.raw(key)]

    def first(self, key: str) -> str | None:
        """Return the first unfolded value of this name."""
        first = self._first.get(key)
        if first is None:
            return None
        value = self.fields[first][1]
        return _unfold(value) if "\n" in value else value

    def one(self, key: str) -> str:
        """Return the value of a header that must be there exactly once.

        :raises WireError: `missing_...` or `repeated_...` with the header's name.
        """
        first = self._first.get(key)
        if first is None:
            raise WireError(f"missing_{key.replace('-', '_')}")
        if len(self._first) != len(self.fields) and len(self.raw(key)) > 1:
            raise WireError(f"repeated_{key.replace('-', '_')}")
        value = self.fields[first][1]
        return _unfold(value) if "\n" in value else value

    def view(self, key: str, parse: Callable[[str], View]) -> View:
        """Return the value of a header that must be there exactly once, as the `parse` of this key reads it.

        It is read once until a field changes: From and To are asked for ten times a call each.

        :raises WireError: as `one` and `parse` do.
        """
        found: View | None = self._views.get(key)
        if found is None:
            found = self._views[key] = parse(self.one(key))
        return found

    def tokens(self, key: str) -> list[str]:
        """Return the elements of a list of tokens in lower case, over all fields; what is no token, as it stands."""
        return [token.lower() for value in self.all(key) for piece in value.split(",") if (token := piece.strip(SPACE))]

    def add(self, name: str, value: str) -> None:
        """Put a field of ours at the end."""
        self._first.setdefault(key_of(name), len(self.fields))
        self.fields.append((name, _one_line(value)))
        self._views.clear()

    def extend(self, fields: Iterable[Field]) -> None:
        """Put fields of another message at the end, untouched."""
        for field in fields:
            self._first.setdefault(key_of(field[0]), len(self.fields))
            self.fields.append(field)
        self._views.clear()

    def put_first(self, name: str, value: str) -> None:
        """Put a field of ours before all others: a Via of our own, a Route."""
        self._change([(name, _one_line(value)), *self.fields])

    def replace(self, key: str, value: str, name: str = "") -> None:
        """Set the first field of this name, or add one under `name`."""
        first = self._first.get(key)
        if first is None:
            self.add(name or key.title(), value)
        else:
            self.fields[first] = (self.fields[first][0], _one_line(value))
            self._views.clear()

    def remove(self, key: str) -> None:
        """Take out every field of this name."""
        if key in self._first:
            self._change([field for field in self.fields if key_of(field[0]) != key])

    def _change(self, fields: list[Field]) -> None:
        self.fields, self._first = fields, _first_of_each(fields)
        self._views.clear()

    def copy(self) -> "Headers":
        """Return a copy that can be changed alone."""
        return Headers(self.fields)


def _first_of_each(fields: list[Field]) -> dict[str, int]:
    first: dict[str, int] = {}
    for number, (name, _) in enumerate(fields):
        first.setdefault(USUAL.get(name) or key_of(name), number)
    return first


def key_of(name: str) -> str:
    """Return the lower-case, long form of a name, and remember it."""
    known = USUAL.get(name)
    if known is not None:
        return known
    key = name.lower()
    key = COMPACT.get(key, key)
    if len(USUAL) >= _USUAL_LIMIT:
        # Somebody makes names up.
        USUAL.clear()
    USUAL[name] = key
    return key


def _unfold(value: str) -> str:
    return _FOLD.sub(" ", value).strip(SPACE)


def _one_line(value: str) -> str:
    """Refuse what would put a header of somebody else's making into our message; a fold is no such thing."""
    if ("\n" in value or "\r" in value) and any(c in _FOLD.sub(" ", value) for c in "\r\n"):
        raise WireError("line_end_in_header", value[:80])
    return value
