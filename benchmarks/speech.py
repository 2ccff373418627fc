"""Measure speech to text: many Google streams, sessions of the streaming API, what we add to a final, and what is lost.

    python -m benchmarks.speech [--output FILE]

Each benchmark runs in a process of its own and can be run alone. With `--output` their tables and bars become the
section `Speech to text` of that file; `make bench` writes it to benchmarks/RESULTS.md.
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bars import Bar, bar_table, load, replace_section
from benchmarks.precedence import precedence

HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Part:
    """One benchmark."""

    title: str
    module: str
    about: str


PARTS: Final = (
    Part(
        "Google streams",
        "google_streams",
        "100 ms requests of mu-law, the stand-in in another process; each utterance of 8 s is a stream.",
    ),
    Part(
        "Sessions of `/stt/stream`", "stt_stream", "The age of a guess at the client; then sessions opened and dropped."
    ),
    Part("From endpoint to final", "stt_latency", "Over sockets, against stand-ins that hear in no time."),
    Part("The offline voice", "offline_voice", "espeak-ng in its child process: from a sentence to its first sound."),
    Part("What we add to a turn", "turn_latency", "Calls against stand-ins of model and voice that take no time."),
)
FAULTS: Final = "tests/test_stt_renewing.py"
FAULTS_BAR: Final = "200 sessions with faults at random instants, of each kind: the words of undisturbed ones"


def run(part: Part, folder: Path) -> tuple[str, list[Bar]]:
    """Run one benchmark; return what it printed and its bars."""
    file = folder / f"{part.module}.json"
    command = [sys.executable, "-m", f"benchmarks.{part.module}", "--bars", str(file)]
    ran = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    bars = load(file)
    return ran.stdout.strip(), bars or [Bar(f"`python -m benchmarks.{part.module}`", f"exit {ran.returncode}", None)]


def faults() -> Bar:
    """Run the sessions whose streams die."""
    command = [sys.executable, "-m", "pytest", "-q", FAULTS, "-k", "whatever_ends_a_stream", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        return Bar(FAULTS_BAR, "failed", False)
    # So quiet, pytest writes a dot for each and no sentence.
    return Bar(FAULTS_BAR, f"{ran.stdout.partition('[')[0].count('.')} kinds, all equal", True)


def section(told: list[tuple[Part, str]], bars: list[Bar], setting: str) -> Iterator[str]:
    """Write the section, line by line."""
    yield "# Speech to text"
    yield ""
    yield f"Measured by `python -m benchmarks.speech` (`make bench` runs it): {setting}."
    for part, text in told:
        yield from ("", f"## {part.title}", "", f"`python -m benchmarks.{part.module}`. {part.about}", "", text)
    yield from ("", "## Bars of speech to text", "", *bar_table(bars))


def main() -> int:
    """Measure and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FILE")
    output: Path | None = parser.parse_args().output
    load_1m = os.getloadavg()[0]
    told, bars = [], []
    with tempfile.TemporaryDirectory() as folder, precedence() as preferred:
        for part in PARTS:
            print(f"{part.title} ...", file=sys.stderr, flush=True)
            text, found = run(part, Path(folder))
            told.append((part, text))
            bars += found
        bars.append(faults())
    date = datetime.date.today().isoformat()
    setting = f"{date}, {os.cpu_count()} cores, load {load_1m:.1f}{', raised priority' if preferred else ''}"
    text = "\n".join(section(told, bars, setting))
    if output is None:
        print(text)
    else:
        output.write_text(replace_section(output.read_text() if output.exists() else "", text))
    return 1 if any(bar.met is False for bar in bars) else 0


if __name__ == "__main__":
    sys.exit(main())
