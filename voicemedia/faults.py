"""From a validation error of msgspec to one line that names the key at fault and the cure."""

import difflib
import re
import typing
from typing import Final, Literal

import msgspec

_AT: Final = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<at>.*)`)?", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field (.*)")
_ABSENT: Final = re.compile(r"Object missing required field (.*)")
_OWN_KEY: Final = re.compile(r"([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+)*): (.*)", re.DOTALL)


def explain(error: msgspec.ValidationError, wanted: type, key: str = "") -> str:
    """Write one line that names the key at fault and the cure."""
    match = _AT.fullmatch(str(error))
    assert match is not None
    what = (
        match["what"]
        .replace("`", "")
        .replace("Expected object", "Expected table")
        .replace("Expected array", "Expected list")
    )
    at = (key + (match["at"] or "")).removeprefix(".").replace("[...]", ".NAME")
    owner = _type_at(wanted, match["at"] or "")
    if unknown := _UNKNOWN.fullmatch(what):
        return f"{_join(at, unknown[1])}: unknown key; {_known_keys(owner, unknown[1])}"
    if absent := _ABSENT.fullmatch(what):
        return f"{_join(at, absent[1])}: missing; add it"
    if own := _OWN_KEY.fullmatch(what):
        return f"{_join(at, own[1])}: {own[2]}"
    choices = f"; choose one of {', '.join(map(str, typing.get_args(owner)))}" if _is_literal(owner) else ""
    return f"{at}: {what[:1].lower()}{what[1:]}{choices}"


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _is_literal(wanted: object) -> bool:
    return typing.get_origin(wanted) is Literal


def _known_keys(owner: object, unknown: str) -> str:
    names = getattr(owner, "__struct_fields__", ())
    close = difflib.get_close_matches(unknown, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"


def _type_at(wanted: object, at: str) -> object:
    """Follow a path such as `.routes[0].path` through the types; None where it leads nowhere."""
    here: object = wanted
    for name, _ in re.findall(r"\.([A-Za-z_]\w*)|(\[[^\]]*\])", at):
        if name:
            here = typing.get_type_hints(here).get(name) if isinstance(here, type) else None
        else:
            here = next(iter(typing.get_args(here)), None)
    return here
