"""`voicemedia storm smartflo|twilio|sip --calls N --seconds S`: many calls at once, every frame accounted for."""

import argparse
import json
import sys
from typing import Final

from voicemedia.callers.carriers import CARRIERS, SERVER
from voicemedia.callers.sip_line import SIP_SERVER
from voicemedia.callers.storm import Progress, StormPlan, run_storm
from voicemedia.callers.storm_report import Spread, StormReport
from voicemedia.callers.storm_sip import SipGround
from voicemedia.errors import ConfigError
from voicemedia.one_shot import INTERRUPTED

NOTES: Final = """
The route or trunk must lead to the agent `echo`. Exit status: 0 every frame of every call came back once and whole, 1
not so, 2 the storm could not begin.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "Place many calls at once against the agent echo; report what became of every 20 ms frame."
    parser.epilog = NOTES
    parser.add_argument("carrier", choices=(*sorted(CARRIERS), "sip"))
    parser.add_argument("--calls", type=_count, default=100, metavar="N", help="default: 100")
    parser.add_argument("--seconds", type=_positive, default=10.0, metavar="S", help="all calls up together (10)")
    parser.add_argument("--url", help=f"default: {SERVER}, the carrier's path and /echo")
    parser.add_argument("--to", default=SIP_SERVER, metavar="ADDRESS", help=f"of a SIP storm (default: {SIP_SERVER})")
    parser.add_argument("--packet-ms", type=_packet_ms, default=20, metavar="MS", help="a multiple of 20 (20)")
    parser.add_argument("--ramp", type=_positive, default=100.0, metavar="CALLS_PER_S", help="default: 100")
    parser.add_argument("--lead-ms", type=float, default=0.0, metavar="MS", help="taken off every round trip (0)")
    parser.add_argument("--pid", type=int, help="the server's process: measure its CPU and memory")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count < 65535:
        raise argparse.ArgumentTypeError("1 to 65534")
    return count


def _positive(text: str) -> float:
    number = float(text)
    if number <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def _packet_ms(text: str) -> int:
    packet_ms = int(text)
    if packet_ms <= 0 or packet_ms % 20 or packet_ms > 1000:
        raise argparse.ArgumentTypeError("a multiple of 20, up to 1000")
    return packet_ms


def plan(args: argparse.Namespace) -> StormPlan:
    """Make the plan from the arguments."""
    carrier = CARRIERS.get(args.carrier)
    url = args.to if carrier is None else args.url or f"{SERVER}{carrier.default_path}/echo"
    return StormPlan(
        url=url,
        carrier=carrier,
        calls=args.calls,
        seconds=args.seconds,
        packet_ms=args.packet_ms,
        ramp_per_s=args.ramp,
        lead_ms=args.lead_ms,
        pid=args.pid,
    )


def run(args: argparse.Namespace) -> int:
    """Let the storm loose; return the exit status."""
    bar = ProgressBar(sys.stderr.isatty())
    try:
        storm = plan(args)
        report = run_storm(storm, bar.show, SipGround(storm) if args.carrier == "sip" else None)
    except ConfigError as error:
        print(f"voicemedia storm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        bar.end()
    print(json.dumps(report.as_json(), indent=2) if args.json else as_text(report))
    if not report.answered:
        print("voicemedia storm: no call was answered; is the server running (`make run`)?", file=sys.stderr)
        return 2
    return 0 if report.good else 1


WIDTH: Final = 30


class ProgressBar:
    """A bar that redraws itself on a terminal; elsewhere a plain line every five seconds."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal
        self._told = 0

    def show(self, progress: Progress) -> None:
        full = round(progress.share * WIDTH)
        text = f"{progress.up} calls up, {progress.sent} frames sent, {progress.missing} not back yet"
        if self._terminal:
            print(f"\r{progress.phase:5} [{'#' * full}{'.' * (WIDTH - full)}] {text} ", end="", file=sys.stderr)
            sys.stderr.flush()
        elif self._told % 10 == 0:
            print(f"{progress.phase}: {progress.share:.0%}, {text}", file=sys.stderr, flush=True)
        self._told += 1

    def end(self) -> None:
        if self._terminal and self._told:
            print(file=sys.stderr)


def as_text(report: StormReport) -> str:
    """Write the report for a reader."""
    lines = [
        f"calls        {report.answered} of {report.calls} answered, together for {report.seconds:.1f} s",
        f"frames       {report.sent} sent, {report.received} came back",
        f"             {report.lost} lost, {report.duplicated} duplicated, {report.late} late, "
        f"{report.damaged} damaged, {report.foreign} of other calls",
        f"other sound  {report.other_ms:.0f} ms",
        f"round trip   {_spread(report.round_trip_ms)}",
        f"generator    {_spread(report.generator_late_ms)} behind its own clock",
    ]
    if report.cpu_ms_per_call_second is not None and report.memory_bytes_per_call is not None:
        lines.append(
            f"server       {report.cpu_ms_per_call_second:.2f} ms CPU per call-second, "
            f"{report.memory_bytes_per_call / 1024:.0f} KB memory per call"
        )
    lines += [f"failed       {count} calls: {reason}" for reason, count in report.failures.most_common()]
    if report.sent and not report.received and report.other_ms:
        lines.append('Nothing came back but other sound: a storm wants a route or trunk with agent = "echo".')
    if report.generator_late_ms.p99 > 10:
        lines.append("The generator could not keep its pace: the times above are not the server's alone.")
    return "\n".join(lines)


def _spread(times: Spread) -> str:
    return f"p50 {times.p50:.1f}, p95 {times.p95:.1f}, p99 {times.p99:.1f}, max {times.max:.1f} ms"
