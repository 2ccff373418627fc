"""Whose midnight it is: time zones as carriers and pages name them."""

import re
from collections.abc import Mapping
from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo


def zone_of(name: str) -> tzinfo | None:
    """Find a time zone by its name or its offset from UTC; None for an unknown one."""
    if offset := re.fullmatch(r"(?:UTC|GMT)?([+-])(\d{1,2}):?([0-5]\d)?", name):
        minutes = int(offset[2]) * 60 + int(offset[3] or 0)
        return timezone(timedelta(minutes=minutes if offset[1] == "+" else -minutes)) if minutes < 24 * 60 else None
    try:
        return ZoneInfo(name)
    # What a carrier hands us may look like a path, a directory, or not be a name at all.
    except (KeyError, ValueError, OSError):
        return None


def zone_told(parameters: Mapping[str, str]) -> tzinfo | None:
    """Find the time zone among the caller's parameters; None: none is told, or it is unknown."""
    return zone_of(parameters.get("time_zone") or parameters.get("timeZone") or "")
