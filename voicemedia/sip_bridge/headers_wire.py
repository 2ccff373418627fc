"""The header fields of a message, kept as they came: names, order, bytes (RFC 3261, section 7.3).

Only the look-up folds case and compact forms. Values stay raw until somebody asks for a typed view of one, so a
fault in a header nobody reads hurts nobody.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import SPACE, split_list

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

_KEYS: Final[dict[str, str]] = {}
"Names as they came -> their keys: peers spell the same few alike in every message, which makes an index 3 us cheaper."
_KEYS_LIMIT: Final = 1024


class Headers:
    """Header fields in order; they change only through the methods."""

    __slots__ = ("_index", "_views", "fields")

    fields: list[tuple[str, str]]
    "(name as sent, raw value without the space around it; a fold is still in it)."

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields = list(fields)
        self._index: dict[str, list[int]] = {}
        self._views: dict[str, Any] = {}
        _enter(self._index, self.fields, 0)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.fields)

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.fields!r})"

    def raw(self, key: str) -> list[tuple[str, str]]:
        """Return the fields of this (lower-case, long) name untouched, to be copied into another message."""
        return [self.fields[number] for number in self._index.get(key, ())]

    def all(self, key: str) -> list[str]:
        """Return the unfolded values of this name."""
        numbers = self._index.get(key)
        return [] if numbers is None else [_unfold(self.fields[number][1]) for number in numbers]

    def first(self, key: str) -> str | None:
        """Return the first unfolded value of this name."""
        numbers = self._index.get(key)
        return None if numbers is None else _unfold(self.fields[numbers[0]][1])

    def one(self, key: str) -> str:
        """Return the value of a header that must be there exactly once.

        :raises WireError: `missing_...` or `repeated_...` with the header's name.
        """
        numbers = self._index.get(key)
        if numbers is None:
            raise WireError(f"missing_{key.replace('-', '_')}")
        if len(numbers) > 1:
            raise WireError(f"repeated_{key.replace('-', '_')}")
        value = self.fields[numbers[0]][1]
        return value if "\n" not in value else _unfold(value)

    def view(self, key: str, parse: Callable[[str], View]) -> View:
        """Return the value of a header that must be there exactly once, as the `parse` of this key reads it.

        It is read once until a field changes: From and To are asked for ten times a call each.

        :raises WireError: as `one` and `parse` do.
        """
        if key not in self._views:
            self._views[key] = parse(self.one(key))
        found: View = self._views[key]
        return found

    def tokens(self, key: str) -> list[str]:
        """Return the elements of a list header in lower case, over all its fields.

        :raises WireError: `open_quote`, `open_angle`.
        """
        return [piece.lower() for value in self.all(key) for piece in split_list(value)]

    def add(self, name: str, value: str) -> None:
        """Put a field of ours at the end."""
        self.extend([(name, _one_line(value))])

    def extend(self, fields: Iterable[tuple[str, str]]) -> None:
        """Put fields of another message at the end, untouched."""
        start = len(self.fields)
        self.fields.extend(fields)
        self._views.clear()
        _enter(self._index, self.fields, start)

    def put_first(self, name: str, value: str) -> None:
        """Put a field of ours before all others: a Via of our own, a Route."""
        self.fields.insert(0, (name, _one_line(value)))
        self._index_anew()

    def replace(self, key: str, value: str, name: str = "") -> None:
        """Set the first field of this name, or add one under `name`."""
        numbers = self._index.get(key)
        if numbers is None:
            self.add(name or key.title(), value)
        else:
            self.fields[numbers[0]] = (self.fields[numbers[0]][0], _one_line(value))
            self._views.clear()

    def remove(self, key: str) -> None:
        """Take out every field of this name."""
        gone = set(self._index.get(key, ()))
        if gone:
            self.fields = [field for number, field in enumerate(self.fields) if number not in gone]
            self._index_anew()

    def _index_anew(self) -> None:
        self._index = {}
        _enter(self._index, self.fields, 0)
        self._views.clear()

    def copy(self) -> "Headers":
        """Return a copy that can be changed alone."""
        return Headers(self.fields)


def _enter(index: dict[str, list[int]], fields: list[tuple[str, str]], start: int) -> None:
    """Note in the index where the fields from `start` on are."""
    for number in range(start, len(fields)):
        name = fields[number][0]
        key = _KEYS.get(name) or _key(name)
        if key in index:
            index[key].append(number)
        else:
            index[key] = [number]


def _key(name: str) -> str:
    """Return the lower-case, long form of a name, and remember it."""
    key = name.lower()
    key = COMPACT.get(key, key)
    if len(_KEYS) >= _KEYS_LIMIT:
        # Somebody makes names up.
        _KEYS.clear()
    _KEYS[name] = key
    return key


def is_usual(name: str) -> bool:
    """Tell whether a name has been a header of an earlier message in just this spelling."""
    return name in _KEYS


def _unfold(value: str) -> str:
    return _FOLD.sub(" ", value).strip(SPACE) if "\n" in value else value


def _one_line(value: str) -> str:
    """Refuse what would put a header of somebody else's making into our message; a fold is no such thing."""
    if ("\n" in value or "\r" in value) and any(c in _FOLD.sub(" ", value) for c in "\r\n"):
        raise WireError("line_end_in_header", value[:80])
    return value
