"""Measure the jitter buffers on eight families of networks, beside a model of Asterisk's.

    python -m benchmarks.jitter [--seconds S] [--trace FILE]... [--output FILE]

Real speech in mu-law goes through every trace (benchmarks/traces.py), three seeds each. R is the E-model's (G.107) with
a way of 40 ms and packets of 20 ms besides the buffer's delay; what is made up counts as lost.
"""

import argparse
import datetime
import sys
import time
import wave
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Final

from benchmarks.asterisk_buffer import AsteriskBuffer
from benchmarks.bars import Bar, bar_table, replace_section
from benchmarks.traces import FAMILIES, PACKET_MS, SECONDS, Trace, make_trace, read_trace
from voicemedia.audio.coding import make_decoding
from voicemedia.audio.e_model import r_factor
from voicemedia.audio.g711 import encode_mulaw
from voicemedia.audio.jitter import JitterBuffer, Lost
from voicemedia.audio.resample import Resampler
from voicemedia.audio.smoother import Smoother

SPEECH: Final = Path(__file__).parent.parent / "tests" / "vectors" / "speech"
SEEDS: Final = (7, 8, 9)
WAY_MS: Final = 60
"40 ms of way and 20 ms in the packet."


@dataclass(frozen=True, slots=True)
class Heard:
    """What one buffer made of one trace."""

    delay_ms: float
    concealed: float
    "Share of the sound that was made up."

    @property
    def r(self) -> float:
        return r_factor(WAY_MS + self.delay_ms, self.concealed)


def speech() -> list[bytes]:
    """Return real speech as packets of mu-law, with a second of silence between sentences."""
    sound = b""
    for path in sorted(SPEECH.glob("*.wav")):
        with wave.open(str(path)) as file:
            pcm = file.readframes(file.getnframes())
            sound += Resampler(file.getframerate(), 8000).feed(pcm) + bytes(16_000)
    ulaw = encode_mulaw(sound[: len(sound) // 320 * 320])
    return [ulaw[at : at + 160] for at in range(0, len(ulaw), 160)]


def ours(trace: Trace, packets: Sequence[bytes]) -> tuple[Heard, float]:
    """Let the smoother play a trace; return what was heard, and its us of CPU a frame."""
    smoother, delays = Smoother(make_decoding("PCMU")), []
    arrivals = list(trace.arrivals)
    began, at = time.process_time(), 0
    for now_ms in range(0, trace.sent * PACKET_MS, PACKET_MS):
        while at < len(arrivals) and arrivals[at][0] <= now_ms:
            came_ms, number = arrivals[at]
            smoother.put(number * 160, 160, packets[number % len(packets)], came_ms)
            at += 1
        if smoother.playing:
            delays.append(smoother.delay_ms(now_ms))
        smoother.pull(now_ms)
    took_us = (time.process_time() - began) * 1e6 / trace.sent
    return Heard(mean(delays), smoother.concealed_ms / (trace.sent * PACKET_MS)), took_us


def asterisk(trace: Trace) -> Heard:
    """Let the model of Asterisk's buffer play a trace."""
    buffer = AsteriskBuffer()
    for came_ms, number in trace.arrivals:
        buffer.run(came_ms - 0.001)
        buffer.put(number * PACKET_MS, came_ms)
        buffer.run(came_ms)
    fastest_ms = min(came_ms - number * PACKET_MS for came_ms, number in trace.arrivals)
    return Heard(
        mean(buffer.delays_ms) - fastest_ms, buffer.interpolated / (buffer.interpolated + len(buffer.delays_ms))
    )


def eager(trace: Trace) -> tuple[list[int], int]:
    """Let the eager buffer order a trace; return how long each packet was held back, and how many came too late."""
    jitter, came, added = JitterBuffer(8000), {}, []
    for at_ms, number in trace.arrivals:
        for due_ms in range(min(jitter.next_due_ms, at_ms), at_ms, 5):
            added += [due_ms - came[item] for item in jitter.due(due_ms) if not isinstance(item, Lost)]
        payload = number.to_bytes(4) * 40
        came[payload] = at_ms
        added += [
            at_ms - came[item] for item in jitter.put(number * 160, 160, payload, at_ms) if not isinstance(item, Lost)
        ]
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
    packets = speech()
    for name, traces in families:
        played = [ours(trace, packets) for trace in traces]
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


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Write the table."""
    yield "| network | R | delay, ms | made up, % | Asterisk: R | delay | made up | eager: mean, p99 added, ms; late |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        held = f"{mean(row.added_ms):.2f}, {_p99(row.added_ms)}; {100 * row.late:.2f} %"
        yield f"| {row.name} | {_cells(row.ours)} | {_cells(row.asterisk)} | {held} |"
    all_ours = [each for row in rows for each in row.ours]
    all_theirs = [each for row in rows for each in row.asterisk]
    yield f"| **all** | {_cells(all_ours)} | {_cells(all_theirs)} | |"


def bars(rows: Sequence[Row]) -> list[Bar]:
    """Hold the findings against what is to be reached."""
    all_ours = [each for row in rows for each in row.ours]
    all_theirs = [each for row in rows for each in row.asterisk]
    r, theirs = (mean(each.r for each in side) for side in (all_ours, all_theirs))
    delay, their_delay = (mean(each.delay_ms for each in side) for side in (all_ours, all_theirs))
    worst = min(rows, key=lambda row: mean(each.r for each in row.ours) - mean(each.r for each in row.asterisk))
    gap = mean(each.r for each in worst.ours) - mean(each.r for each in worst.asterisk)
    p99 = max(_p99(row.added_ms) for row in rows)
    return [
        Bar("Playout: R not below the model of Asterisk's", f"{r:.1f} against {theirs:.1f}", r >= theirs),
        Bar("Playout: R of each family at most 0.3 below it", f"{gap:+.1f} ({worst.name})", gap >= -0.3),
        Bar(
            "Playout: delay at least 20 % lower", f"{100 * (1 - delay / their_delay):.0f} %", delay <= 0.8 * their_delay
        ),
        Bar("Eager: p99 of the added delay at most 25 ms, every family", f"{p99} ms", p99 <= 25),
    ]


def main() -> int:
    """Measure and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"of each trace ({SECONDS})")
    parser.add_argument("--trace", type=Path, action="append", default=[], metavar="FILE", help="in place of ours")
    parser.add_argument("--output", type=Path, metavar="FILE")
    args = parser.parse_args()
    ours_too = [(family.name, [make_trace(family, seed, args.seconds) for seed in SEEDS]) for family in FAMILIES]
    given = [(path.stem, [read_trace(path)]) for path in args.trace]
    rows = list(measure(given or ours_too))
    found = bars(rows)
    about = f"{datetime.date.today().isoformat()}, {args.seconds} s a trace, seeds {', '.join(map(str, SEEDS))}"
    cost = f"A frame costs {mean(row.frame_us for row in rows):.0f} us with decoding."
    lines = ["# Jitter buffers", "", f"Measured by `python -m benchmarks.jitter`: {about}. {cost}", "", *table(rows)]
    text = "\n".join([*lines, "", "## Bars of the jitter buffers", "", *bar_table(found)])
    if args.output is None:
        print(text)
    else:
        args.output.write_text(replace_section(args.output.read_text() if args.output.exists() else "", text))
    return 1 if any(bar.met is False for bar in found) else 0


if __name__ == "__main__":
    sys.exit(main())
