"""Measure the jitter buffers on eight families of networks, beside a model of Asterisk's.

    python -m benchmarks.jitter [--seconds S] [--trace FILE]... [--output FILE]

Real speech in mu-law goes through every trace (benchmarks/traces.py), ten seeds each. R is the E-model's (G.107) with
a way of 40 ms and the packet's length besides the buffer's delay; what is made up counts as lost. Delay is counted from
the fastest packet of the whole call, for both buffers: a way that became longer, and a clock that is slow, are in it.
"""

import argparse
import datetime
import sys
import time
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Final

from benchmarks.asterisk_buffer import AsteriskBuffer
from benchmarks.bars import Bar, bar_table, replace_section
from benchmarks.traces import FAMILIES, OTHERS, SECONDS, Family, Trace, make_trace, read_trace
from voicemedia.audio.coding import make_decoding
from voicemedia.audio.e_model import r_factor
from voicemedia.audio.g711 import encode_mulaw
from voicemedia.audio.jitter import JitterBuffer, Lost
from voicemedia.audio.resample import Resampler
from voicemedia.audio.smoother import Smoother
from voicemedia.interfaces import FRAME_MS

SPEECH: Final = Path(__file__).parent.parent / "tests" / "vectors" / "speech"
SEEDS: Final = range(7, 17)
"Nothing was tuned with them."
WAY_MS: Final = 40


@dataclass(frozen=True, slots=True)
class Heard:
    """What one buffer made of one trace."""

    way_ms: float
    "Besides the buffer."
    delay_ms: float
    concealed: float
    "Share of the sound that was made up."

    @property
    def r(self) -> float:
        return r_factor(self.way_ms + self.delay_ms, self.concealed)


@cache
def speech(packet_ms: int = 20) -> list[bytes]:
    """Return real speech as packets of mu-law, with a second of silence between sentences."""
    sound = b""
    for path in sorted(SPEECH.glob("*.wav")):
        with wave.open(str(path)) as file:
            pcm = file.readframes(file.getnframes())
            sound += Resampler(file.getframerate(), 8000).feed(pcm) + bytes(16_000)
    ulaw, size = encode_mulaw(sound), 8 * packet_ms
    return [ulaw[at : at + size] for at in range(0, len(ulaw) - size + 1, size)]


def _fastest_ms(trace: Trace) -> float:
    return min(came_ms - number * trace.packet_ms for came_ms, number in trace.arrivals)


def ours(trace: Trace) -> tuple[Heard, float]:
    """Let the smoother play a trace; return what was heard, and its us of CPU a frame."""
    smoother, delays = Smoother(make_decoding("PCMU")), []
    arrivals, packets, ticks = trace.arrivals, speech(trace.packet_ms), 8 * trace.packet_ms
    fastest_ms, lasts_ms = _fastest_ms(trace), trace.sent * trace.packet_ms
    began, at = time.process_time(), 0
    for now_ms in range(0, lasts_ms, FRAME_MS):
        while at < len(arrivals) and arrivals[at][0] <= now_ms:
            came_ms, number = arrivals[at]
            smoother.put(number * ticks, ticks, packets[number % len(packets)], came_ms)
            at += 1
        if smoother.playing:
            delays.append(smoother.delay_ms(now_ms) + smoother.target.fastest_ms - fastest_ms)
        smoother.pull(now_ms)
    took_us = (time.process_time() - began) * 1e6 * FRAME_MS / lasts_ms
    return Heard(WAY_MS + trace.packet_ms, mean(delays), smoother.concealed_ms / lasts_ms), took_us


def asterisk(trace: Trace) -> Heard:
    """Let the model of Asterisk's buffer play a trace."""
    buffer = AsteriskBuffer(trace.packet_ms)
    for came_ms, number in trace.arrivals:
        buffer.run(came_ms - 0.001)
        buffer.put(number * trace.packet_ms, came_ms)
        buffer.run(came_ms)
    made_up = buffer.interpolated / (buffer.interpolated + len(buffer.delays_ms))
    return Heard(WAY_MS + trace.packet_ms, mean(buffer.delays_ms) - _fastest_ms(trace), made_up)


def eager(trace: Trace) -> tuple[list[int], int]:
    """Let the eager buffer order a trace; return how long each packet was held back, and how many came too late."""
    jitter, ticks = JitterBuffer(8000), 8 * trace.packet_ms
    came, added = dict[bytes, int](), list[int]()
    for at_ms, number in trace.arrivals:
        for due_ms in range(min(jitter.next_due_ms, at_ms), at_ms, 5):
            added += [due_ms - came[item] for item in jitter.due(due_ms) if not isinstance(item, Lost)]
        payload = number.to_bytes(4) * (ticks // 4)
        came[payload] = at_ms
        out = jitter.put(number * ticks, ticks, payload, at_ms)
        added += [at_ms - came[item] for item in out if not isinstance(item, Lost)]
    return added, jitter.late


@dataclass(frozen=True, slots=True)
class Row:
    """A family, all seeds."""

    name: str
    ours: Sequence[Heard]
    asterisk: Sequence[Heard]
    added_ms: Sequence[int]
    late: float
    frame_us: float


def measure(families: Iterable[tuple[str, Sequence[Trace]]]) -> Iterator[Row]:
    """Run all families."""
    for name, traces in families:
        played = [ours(trace) for trace in traces]
        ordered = [eager(trace) for trace in traces]
        yield Row(
            name,
            [heard for heard, _ in played],
            [asterisk(trace) for trace in traces],
            sorted(each for added, _ in ordered for each in added),
            sum(late for _, late in ordered) / sum(trace.sent for trace in traces),
            mean(took_us for _, took_us in played),
        )
        print(f"{name} done", file=sys.stderr, flush=True)


def _p99(ranked: Sequence[int]) -> int:
    return ranked[ceil(0.99 * len(ranked)) - 1]


def _cells(heard: Sequence[Heard]) -> str:
    r, delay_ms = mean(each.r for each in heard), mean(each.delay_ms for each in heard)
    return f"{r:.1f} | {delay_ms:.0f} | {100 * mean(each.concealed for each in heard):.2f}"


def _better(row: Row) -> tuple[float, float]:
    """Return by how much R is higher, and by what share delay is lower."""
    r, theirs = (mean(each.r for each in side) for side in (row.ours, row.asterisk))
    delay_ms, their_ms = (mean(each.delay_ms for each in side) for side in (row.ours, row.asterisk))
    return r - theirs, 1 - delay_ms / their_ms


def _all(rows: Sequence[Row]) -> Row:
    added_ms = sorted(each for row in rows for each in row.added_ms)
    ours = [each for row in rows for each in row.ours]
    theirs = [each for row in rows for each in row.asterisk]
    return Row("**all**", ours, theirs, added_ms, mean(row.late for row in rows), mean(row.frame_us for row in rows))


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Write the table."""
    yield "| network | R | delay, ms | made up, % | Asterisk: R | delay | made up | better | eager: added, p99, late |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in (*rows, _all(rows)):
        r, delay = _better(row)
        held = f"{mean(row.added_ms):.2f}, {_p99(row.added_ms)} ms; {100 * row.late:.2f} %"
        yield f"| {row.name} | {_cells(row.ours)} | {_cells(row.asterisk)} | {r:+.2f}, {100 * delay:.0f} % | {held} |"


def bars(rows: Sequence[Row]) -> list[Bar]:
    """Hold the findings against what is to be reached."""
    r, delay = _better(_all(rows))
    better = {row.name: _better(row) for row in rows}
    worst = min(better, key=lambda name: better[name][0])
    slow = [f"{name} {100 * share:.0f} %" for name, (_, share) in better.items() if share < 0.2]
    p99 = max(_p99(row.added_ms) for row in rows)
    gap = better[worst][0]
    return [
        Bar("Playout: R not below the model of Asterisk's", f"{r:+.2f}", r >= 0),
        Bar("Playout: R of each family at most 0.3 below it", f"{gap:+.2f} ({worst})", gap >= -0.3),
        Bar("Playout: delay at least 20 % lower", f"{100 * delay:.0f} %", delay >= 0.2),
        Bar("Playout: delay of each family at least 20 % lower", ", ".join(slow) or "all", not slow),
        Bar("Eager: p99 of the added delay at most 25 ms, every family", f"{p99} ms", p99 <= 25),
    ]


def _traces(families: Iterable[Family], seconds: int) -> list[tuple[str, list[Trace]]]:
    return [(family.name, [make_trace(family, seed, seconds) for seed in SEEDS]) for family in families]


def main() -> int:
    """Measure and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"of each trace ({SECONDS})")
    parser.add_argument("--trace", type=Path, action="append", default=[], metavar="FILE", help="in place of ours")
    parser.add_argument("--output", type=Path, metavar="FILE")
    args = parser.parse_args()
    given = [(path.stem, [read_trace(path)]) for path in args.trace]
    rows = list(measure(given or _traces(FAMILIES, args.seconds)))
    others = [] if given else list(measure(_traces(OTHERS, args.seconds)))
    found = bars(rows)
    what = "traces given" if given else f"{args.seconds} s a trace, seeds {SEEDS[0]} to {SEEDS[-1]}"
    about = f"{datetime.date.today().isoformat()}, {what}"
    cost = f"A frame costs {_all(rows).frame_us:.0f} us with decoding."
    lines = ["# Jitter buffers", "", f"Measured by `python -m benchmarks.jitter`: {about}. {cost}", "", *table(rows)]
    if others:
        lines += ["", "Weaker, stronger, mixed, and with packets of another length:", "", *table(others)]
    text = "\n".join([*lines, "", "## Bars of the jitter buffers", "", *bar_table(found)])
    if args.output is None:
        print(text)
    else:
        args.output.write_text(replace_section(args.output.read_text() if args.output.exists() else "", text))
    return 1 if any(bar.met is False for bar in found) else 0


if __name__ == "__main__":
    sys.exit(main())
