"""From, To, Contact, Route and their like: a display name, a URI, parameters (RFC 3261, section 20.10)."""

import re
from functools import lru_cache
from typing import Final

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import (
    NO_PARAMS,
    SPACE,
    Params,
    end_of_quoted,
    quote,
    unquote,
)
from voicemedia.sip_bridge.uri_wire import Uri

_NOT_A_NAME: Final = re.compile(r'[",;:<>@]')
"What an unquoted display name cannot hold; other characters outside the grammar are let through."
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


class Address(msgspec.Struct, frozen=True):
    """One address; `str` gives it in angle brackets.

    The same few are read again and again in the course of a call, hence the cache.
    """

    uri: Uri
    params: Params = NO_PARAMS
    "Of the header, such as `tag`, not of the URI."
    display: str = ""
    "The name without its quotes."

    @staticmethod
    @lru_cache(maxsize=1024)
    def parse(text: str) -> "Address":
        """Parse one address of either form: `"Bell, A." <sip:a@b;lr>;tag=1` or `sip:a@b;tag=1`.

        :raises WireError: `bad_address`, `bad_display`, `open_quote`, `open_angle`, or what `Uri.parse` raises.
        """
        text = text.strip(SPACE)
        start = end_of_quoted(text, 0) if text.startswith('"') else 0
        opening = text.find("<", start)
        if opening < 0:
            if start:
                raise WireError("bad_address", text[:80])
            return Address._bare(text)
        closing = text.find(">", opening)
        if closing < 0:
            raise WireError("open_angle", text[:80])
        display = _display(text[:start], text[start:opening].strip(SPACE))
        # Spaces inside the brackets are a fault that does no harm (RFC 4475, section 3.1.2.15).
        uri = Uri.parse(text[opening + 1 : closing].strip(SPACE))
        return Address(uri, _params(text[closing + 1 :]), display)

    @staticmethod
    def _bare(text: str) -> "Address":
        """Without brackets, everything after `;` belongs to the header (RFC 3261, section 20)."""
        uri, semicolon, params = text.partition(";")
        if "," in uri or "?" in uri:
            raise WireError("bad_address", text[:80])
        return Address(Uri.parse(uri.rstrip(SPACE)), _params(semicolon + params))

    @property
    def tag(self) -> str | None:
        """The tag, None when it has none."""
        return self.params.get("tag")

    @property
    def weight(self) -> float:
        """How much a Contact is preferred to others, 0 to 1 (`q`): 1 without it, or when it is none."""
        found = _WEIGHT.fullmatch(self.params.get("q") or "")
        return float(found[0]) if found else 1.0

    def __str__(self) -> str:
        name = f"{quote(self.display)} " if self.display else ""
        return f"{name}<{self.uri}>{self.params}"


def _display(quoted: str, rest: str) -> str:
    if quoted:
        if rest:
            raise WireError("bad_display", rest[:80])
        return unquote(quoted)
    if _NOT_A_NAME.search(rest):
        raise WireError("bad_display", rest[:80])
    return rest


def _params(text: str) -> Params:
    text = text.strip(SPACE)
    if not text:
        return NO_PARAMS
    if text[0] != ";":
        raise WireError("bad_address", text[:80])
    return Params.parse(text[1:])
