"""Measure the whole server beside its peers: CPU time per call-second, latency, memory, most calls.

Every server runs in turn on one core of its own, the load generator on another. Without options the table goes to
benchmarks/RESULTS.md and all takes some eight minutes; with any it is printed.
"""

import argparse
import datetime
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Final

from benchmarks.bars import replace_section
from benchmarks.contestants import CONTESTANTS, HERE, OURS, versions
from benchmarks.echo_runs import Cores, Findings, Plan, Teller, measure
from benchmarks.echo_table import Setting, page
from benchmarks.precedence import precedence
from voicemedia.callers.storm_command import ProgressBar

RESULTS: Final = HERE / "RESULTS.md"
QUICK: Final = {"calls": 20, "seconds": 1.0, "runs": 1}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    names = [contestant.name for contestant in CONTESTANTS]
    parser.add_argument("--quick", action="store_true", help="one short run of each, no search: does it work?")
    parser.add_argument("--only", choices=names, action="append", metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--calls", type=int, metavar="N", help="default: 100")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each measurement (5)")
    parser.add_argument("--runs", type=int, metavar="N", help="of each server (3)")
    parser.add_argument("--no-search", action="store_true", help="do not look for the most calls")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table there")
    return parser.parse_args(arguments)


def plan(args: argparse.Namespace) -> Plan:
    """Make the plan of the measurements."""
    chosen = [contestant for contestant in CONTESTANTS if not args.only or contestant.name in args.only]
    wanted = {name: value for name in QUICK if (value := getattr(args, name)) is not None}
    if args.quick:
        return Plan(chosen, more_calls=(), search=False, **{**QUICK, **wanted})
    return Plan(chosen, search=not args.no_search, **wanted)


def main(arguments: list[str]) -> int:
    """Measure and write; return the exit status."""
    args = parse(arguments)
    cores, load = choose_cores(), os.getloadavg()
    bar = ProgressBar(sys.stderr.isatty())
    planned = plan(args)
    try:
        with precedence() as preferred:
            findings = measure(planned, cores, Teller(_tell, bar.show if sys.stderr.isatty() else lambda _: None))
    except KeyboardInterrupt:
        return 130
    finally:
        bar.end()
    setting = Setting(
        date=datetime.date.today().isoformat(),
        machine=machine(cores) + (", raised priority" if preferred else ""),
        load=" ".join(f"{share:.1f}" for share in load),
        command=" ".join(["python -m benchmarks", *arguments]) if arguments else "make bench",
        calls=planned.calls,
        seconds=planned.seconds,
        runs=planned.runs,
        versions=_all_versions(findings),
    )
    _write(page(findings, setting), args.output or (None if arguments else RESULTS))
    ours = [found for found in findings if found.contestant is OURS]
    return 1 if any(found.trouble for found in ours) else 0


def choose_cores() -> Cores:
    """Take the first core for the servers and the last for us, and let us open many sockets."""
    cores = sorted(os.sched_getaffinity(0))
    chosen = Cores(server=cores[0], generator=cores[-1])
    os.sched_setaffinity(0, {chosen.generator})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return chosen


def machine(cores: Cores) -> str:
    """Describe the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    shared = "a core each for server and generator" if cores.server != cores.generator else "server and generator share"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{model}, {os.cpu_count()} cores ({shared}), {platform.system()} {platform.machine()}, {python}"


def _all_versions(findings: list[Findings]) -> dict[str, dict[str, str]]:
    return {found.contestant.name: versions(found.contestant) for found in findings if any(found.reports.values())}


def _write(text: str, file: Path | None) -> None:
    if file is None:
        print(text)
    else:
        # Other benchmarks have sections of their own there.
        file.write_text(replace_section(file.read_text() if file.exists() else "", text))
        print(f"written to {os.path.relpath(file)}")


def _tell(step: str) -> None:
    print(f"\r\033[K{step}" if sys.stderr.isatty() else step, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
