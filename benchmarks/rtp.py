"""Measure the media path of SIP calls: CPU time of a packet that comes and one that goes, and how late they leave.

    python -m benchmarks.rtp [--quick] [--output FILE]

The server has a core of its own, the load another. Beside it rtpengine in userspace forwards the same load, if it is
installed (Debian: rtpengine-daemon), aiortp does in asyncio what we do, and a process that only receives and sends
shows what is left when nothing is done with a packet. A pair is one in and one out, through the complete path: reading,
parsing, latching, statistics, jitter buffer, decoding, encoding and sending in its slot.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pylibsrtp import Policy, Session

from benchmarks import rtpengine
from benchmarks.__main__ import choose_cores
from benchmarks.bars import Bar, at_most, bar_table, replace_section
from benchmarks.contestants import PEERS_VENV, set_up_peers
from benchmarks.precedence import precedence
from benchmarks.rtp_load import Load
from benchmarks.rtp_server import KEY
from voicemedia.callers.process_use import read_use

WARM_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one run came to."""

    title: str
    streams: int
    pair_us: float
    call_ms: float
    "CPU time of a second of one call."
    lost: float
    "Share of packets that did not come back."
    late_ms: float
    "p99 of how late packets came against the earliest of their stream."


@contextmanager
def ours(load: Load, streams: int, core: int, *options: str) -> Iterator[int]:
    """Run our server for a load; give its process id."""
    command = [sys.executable, "-m", "benchmarks.rtp_server", "--streams", str(streams), "--peer", str(load.port)]
    with subprocess.Popen(
        [*command, "--core", str(core), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None and server.stdin is not None
        try:
            line = server.stdout.readline()
            while line and not line.startswith("["):
                line = server.stdout.readline()
            load.point(json.loads(line))
            yield server.pid
        finally:
            server.stdin.close()
            server.wait(20)


def run(title: str, load: Load, pid: int, streams: int, seconds: float) -> Finding:
    """Warm up and measure."""
    load.run(WARM_S)
    before = read_use(pid).cpu_ms
    echo = load.run(seconds)
    used_ms = read_use(pid).cpu_ms - before
    load.settle()
    return Finding(
        title,
        streams,
        1000 * used_ms / max(1, echo.received),
        used_ms / streams / seconds,
        1 - echo.received / echo.sent,
        echo.late_ms(0.99),
    )


def plain(title: str, streams: int, core: int, seconds: float, *options: str) -> Finding:
    """Measure our server."""
    load = Load([0] * streams, _protection() if "--srtp" in options else None)
    try:
        with ours(load, streams, core, *options) as pid:
            return run(title, load, pid, streams, seconds)
    finally:
        load.close()


def beside(streams: int, core: int, seconds: float) -> Finding | None:
    """Measure rtpengine; None when it is not here."""
    if not rtpengine.PROGRAM:
        return None
    load = Load([0] * streams)
    try:
        with rtpengine.rtpengine(core) as (pid, control):
            load.point([control.call(number, load.port) for number in range(streams)])
            return run("rtpengine in userspace, forwarding", load, pid, streams, seconds)
    except OSError as error:
        print(f"rtpengine: {error}", file=sys.stderr)
        return None
    finally:
        load.close()


def python_peer(streams: int, core: int, seconds: float) -> Finding:
    """Measure aiortp: jitter buffer, decoding and encoding, sent back at once and not paced."""
    load = Load([0] * streams)
    # Its assertions do not hold on Python 3.11.
    script = str(Path(__file__).parent / "peers" / "aiortp_echo.py")
    command = [str(PEERS_VENV / "bin" / "python"), "-O", script, "--streams", str(streams), "--peer", str(load.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            os.sched_setaffinity(server.pid, {core})
            load.point(json.loads(server.stdout.readline()))
            return run("aiortp 0.8.0 (asyncio): the same work, not paced", load, server.pid, streams, seconds)
        finally:
            server.kill()
            load.close()


def _protection() -> Session:
    return Session(Policy(KEY, Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80))


def _median(findings: Sequence[Finding]) -> Finding:
    return sorted(findings, key=lambda each: each.pair_us)[len(findings) // 2]


def bars(found: dict[str, Finding | None]) -> list[Bar]:
    """Hold the findings against what is to be reached."""

    def figure(name: str, of: Callable[[Finding], float]) -> float | None:
        finding = found.get(name)
        return None if finding is None else of(finding)

    g711, theirs = figure("g711", lambda each: each.pair_us), figure("rtpengine", lambda each: each.pair_us)
    verdict = None if g711 is None or theirs is None else g711 <= theirs

    return [
        at_most("1,000 G.711 streams both ways: at most 12 us a pair", g711, 12, "us"),
        Bar(
            "... and not more than rtpengine in userspace",
            f"{g711:.1f} against {theirs or float('nan'):.1f} us",
            verdict,
        ),
        at_most("1,000 streams of SRTP: at most 16 us a pair", figure("srtp", lambda each: each.pair_us), 16, "us"),
        at_most(
            "200 calls with voice detection and agent `echo`: at most 2.0 ms per call-second",
            figure("agent", lambda each: each.call_ms),
            2.0,
            "ms",
        ),
        at_most("500 streams: packets at most 3 ms late (p99)", figure("late", lambda each: each.late_ms), 3, "ms"),
        at_most("1,000 streams: no packet lost", figure("g711", lambda each: 100 * each.lost), 0.0, "%"),
    ]


def table(found: Sequence[Finding | None]) -> Iterator[str]:
    """Write the table."""
    yield "| what | streams | us a pair | ms per call-second | lost, % | late p99, ms |"
    yield "|---|---|---|---|---|---|"
    for each in found:
        if each is not None:
            figures = f"{each.pair_us:.1f} | {each.call_ms:.2f} | {100 * each.lost:.2f} | {each.late_ms:.1f}"
            yield f"| {each.title} | {each.streams} | {figures} |"


def measure(core: int, seconds: float, runs: int, scale: float) -> dict[str, Finding | None]:
    """Run everything so many times, in turns; keep the medians."""
    many, half, few = (max(10, int(count * scale)) for count in (1000, 500, 200))
    kinds: dict[str, Callable[[], Finding | None]] = {
        "few": lambda: plain("G.711", few, core, seconds),
        "late": lambda: plain("G.711", half, core, seconds),
        "g711": lambda: plain("G.711", many, core, seconds),
        "aiortp": lambda: python_peer(few, core, seconds),
        "bare": lambda: plain("Python that receives and sends, and nothing else", many, core, seconds, "--bare"),
        "rtpengine": lambda: beside(many, core, seconds),
        "srtp_half": lambda: plain("G.711, SRTP (AES-CM, SHA-1 80)", half, core, seconds, "--srtp"),
        "srtp": lambda: plain("G.711, SRTP (AES-CM, SHA-1 80)", many, core, seconds, "--srtp"),
        "agent": lambda: plain("whole calls, agent `echo`, voice detection", few, core, seconds, "--agent"),
    }
    found: dict[str, list[Finding]] = {name: [] for name in kinds}
    for _ in range(runs):
        for name, kind in kinds.items():
            finding = kind()
            if finding is not None:
                found[name].append(finding)
            print(finding, file=sys.stderr, flush=True)
    return {name: _median(each) if each else None for name, each in found.items()}


def main() -> int:
    """Measure and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the streams, once: does it work?")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path, metavar="FILE")
    args = parser.parse_args()
    set_up_peers(lambda text: print(text, file=sys.stderr, flush=True))
    load_1m = os.getloadavg()[0]
    with precedence() as preferred:
        cores = choose_cores()
        found = measure(cores.server, args.seconds, 1 if args.quick else args.runs, 0.1 if args.quick else 1.0)
    results = bars(found)
    date, priority = datetime.date.today().isoformat(), ", raised priority" if preferred else ""
    runs = f"medians of {args.runs} runs of {args.seconds:.0f} s"
    about = f"{date}, {os.cpu_count()} cores, load {load_1m:.1f}{priority}; {runs}"
    lines = ["# RTP", "", f"Measured by `python -m benchmarks.rtp`: {about}.", "", *table(list(found.values()))]
    text = "\n".join([*lines, "", "## Bars of RTP", "", *bar_table(results)])
    if args.output is None:
        print(text)
    else:
        args.output.write_text(replace_section(args.output.read_text() if args.output.exists() else "", text))
    return 1 if any(bar.met is False for bar in results) else 0


if __name__ == "__main__":
    sys.exit(main())
