"""Bars: what is to be reached, beside what was found."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

MISSING: Final = "-"


@dataclass(frozen=True, slots=True)
class Bar:
    """One thing to reach."""

    what: str
    found: str
    met: bool | None
    "None: not measured."


def at_most(what: str, found: float | None, most: float, unit: str) -> Bar:
    """Make the bar of a figure that must not be above another."""
    return Bar(what, MISSING if found is None else f"{found:.2f} {unit}", None if found is None else found <= most)


def bar_table(bars: Sequence[Bar]) -> Iterator[str]:
    """Write a table of bars, a line each."""
    yield "| bar | found | |"
    yield "|---|---|---|"
    verdicts = {True: "met", False: "**not met**", None: "not measured"}
    for bar in bars:
        yield f"| {bar.what} | {bar.found} | {verdicts[bar.met]} |"


def save(bars: Sequence[Bar], file: Path | None) -> None:
    """Leave bars to whoever started this benchmark."""
    if file is not None:
        file.write_text(json.dumps([asdict(bar) for bar in bars]))


def load(file: Path) -> list[Bar]:
    """Read what `save` has left; nothing is there when the benchmark broke."""
    return [Bar(**each) for each in json.loads(file.read_text())] if file.exists() else []


def replace_section(page: str, section: str) -> str:
    """Put a section, which begins with a heading of the first level, in the place of the one with that heading."""
    heading = section.partition("\n")[0]
    sections = [part for part in page.replace("\n# ", "\n\0# ").split("\0") if part.strip()]
    kept = [part.rstrip() for part in sections if part.partition("\n")[0] != heading]
    at = next((number for number, part in enumerate(sections) if part.partition("\n")[0] == heading), len(kept))
    kept.insert(at, section.rstrip())
    return "\n\n".join(kept) + "\n"
