"""Whom a trunk may call, and how numbers are written: rewriting, the allow-list, emergency numbers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from voicemedia.errors import Unable, WireError
from voicemedia.sip_bridge.uri_wire import Uri

FORBIDDEN: Final = 403
UNREADABLE: Final = 400
LONGEST: Final = 256

EMERGENCY: Final = frozenset(
    (
        *("000", "060", "061", "066", "068", "080", "088", "089"),
        *("100", "101", "102", "103", "104", "105", "106", "107", "108", "110", "111", "112", "113", "114", "115"),
        *("116", "117", "118", "119", "120", "121", "122", "123", "124", "125", "127", "128", "129", "130", "131"),
        *("132", "133", "134", "140", "141", "143", "144", "147", "150", "151", "154", "155", "156", "157", "158"),
        *("159", "160", "165", "166", "170", "175", "180", "185", "190", "191", "192", "193", "194", "195", "196"),
        *("197", "198", "199", "901", "902", "903", "911", "912", "988", "990", "991", "992", "993", "994", "995"),
        *("996", "997", "998", "999", "1122", "1669", "10111"),
    )
)
"Numbers that reach police, fire brigade, ambulance or a crisis line somewhere in the world."
_OUTSIDE: Final = re.compile(r"(?:|0|9|00|(?:\+|00)[0-9]{1,3})")
"What may stand before one and still reach it: a digit for an outside line, a country."
_SEPARATORS: Final = re.compile(r"[-.() /\u00a0]")
_NUMBER: Final = re.compile(r"\+?[0-9*#]+")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.!~*'()+-]+")


@dataclass(frozen=True, slots=True)
class Called:
    """Somebody to call."""

    number: str
    "A number without separators, or a name; rewritten."
    uri: Uri | None = None
    "The address as it was given, if it was one with a host."

    @property
    def user(self) -> str:
        """The number as the user part of a URI."""
        return "".join(
            character
            if _PLAIN.fullmatch(character)
            else "".join(f"%{byte:02X}" for byte in character.encode(errors="replace"))
            for character in self.number
        )


class DialPlan:
    """The rules of one trunk.

    :param prefixes: what a number or name must begin with, after rewriting; none: nobody is called.
    :param emergency: whether emergency numbers may be called.
    :param rewrites: (pattern, replacement) pairs; the first whose pattern is found changes a number.
    """

    def __init__(self, prefixes: Sequence[str], emergency: bool, rewrites: Iterable[tuple[str, str]]) -> None:
        self._prefixes, self._emergency = tuple(prefixes), emergency
        self._rewrites = tuple((re.compile(pattern), replacement) for pattern, replacement in rewrites)

    def called(self, target: str) -> Called:
        """Read whom to call: a number, a name, or a `sip:` or `tel:` address.

        :raises Unable: 400 it cannot be read, 403 it may not be called.
        """
        if len(target) > LONGEST:
            raise Unable("that is too long for a number", UNREADABLE)
        uri = _uri(target)
        written = target.strip() if uri is None else uri.name.partition(";")[0]
        given = tidy(written)
        if not given or any(not character.isprintable() or character in '<>"@;?' for character in given):
            raise Unable("that is neither a number nor an address", UNREADABLE)
        number = self.rewrite(given)
        if not self._emergency and (is_emergency(given) or is_emergency(number)):
            raise Unable("emergency numbers are not called", FORBIDDEN)
        if not any(number.startswith(prefix) for prefix in self._prefixes):
            raise Unable("the trunk may not call this number; see dial_prefixes", FORBIDDEN)
        return Called(number, uri if uri is not None and uri.host else None)

    def rewrite(self, number: str) -> str:
        """Write a number as the other side wants it."""
        for pattern, replacement in self._rewrites:
            changed, count = pattern.subn(replacement, number, count=1)
            if count:
                return changed
        return number


def tidy(number: str) -> str:
    """Return a number without what people write between its digits; a name as it is."""
    bare = _SEPARATORS.sub("", number)
    return bare if _NUMBER.fullmatch(bare) else number


def is_emergency(number: str) -> bool:
    """Tell whether a number reaches help somewhere, dialed as it is, for an outside line, or with a country before."""
    number = _SEPARATORS.sub("", number)
    return any(number.endswith(help_) and _OUTSIDE.fullmatch(number[: len(number) - len(help_)]) for help_ in EMERGENCY)


def _uri(target: str) -> Uri | None:
    scheme = target.partition(":")[0].strip().lower()
    if ":" not in target:
        return None
    if scheme not in ("sip", "sips", "tel"):
        raise Unable("that is no address a trunk could call", UNREADABLE)
    try:
        return Uri.parse(target.strip())
    except WireError as error:
        raise Unable(f"that is no address ({error.kind})", UNREADABLE) from error
