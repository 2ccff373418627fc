"""The measurements: storms of calls on each contestant in turn, so that a noisy minute hits all of them alike."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from benchmarks.contestants import OURS, Contestant, Server, Unavailable, set_up_peers
from voicemedia.callers.carriers import CARRIERS
from voicemedia.callers.storm import Progress, StormPlan, run_storm
from voicemedia.callers.storm_report import StormReport

P99_LIMIT_MS: Final = 60.0
"A server that answers later than this has more calls than it can take."
LATE_MS: Final = 10.0
"A generator that is so far behind its own clock (p99) is what was measured, and not the server."
SEARCH_STORMS: Final = 4
SEARCH_S: Final = 3.0
RAMP_PER_S: Final = 200.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where."""

    server: int
    generator: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    contestants: Sequence[Contestant]
    calls: int = 100
    more_calls: tuple[int, ...] = (50, 300)
    "Further points of the cost per call."
    seconds: float = 5.0
    runs: int = 3
    search: bool = True
    "Look for the most calls, too."


@dataclass(frozen=True, slots=True)
class Most:
    """The most calls that one core has held."""

    calls: int
    at_least: bool = False
    "The generator could do no more."


@dataclass(slots=True)
class Findings:
    """All that was measured of one contestant."""

    contestant: Contestant
    reports: defaultdict[int, list[StormReport]] = field(default_factory=lambda: defaultdict(list))
    "By number of calls."
    most: Most | None = None
    trouble: str = ""
    "Why it could not be measured."


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells how far the measurements are."""

    step: Callable[[str], None]
    storm: Callable[[Progress], None]


def measure(plan: Plan, cores: Cores, teller: Teller) -> list[Findings]:
    """Measure all contestants; blocks for minutes."""
    findings = [Findings(contestant) for contestant in plan.contestants]
    _admit(findings, teller)
    for number in range(plan.runs):
        for found in findings:
            _attempt(found, partial(_run, found, plan, number, cores, teller))
    if plan.search:
        for found in findings:
            _attempt(found, partial(_search, found, plan, cores, teller))
    return findings


def _admit(findings: list[Findings], teller: Teller) -> None:
    peers = [found for found in findings if found.contestant.peer]
    try:
        if peers:
            set_up_peers(teller.step)
    except Unavailable as why:
        for found in peers:
            found.trouble = str(why)


def _attempt(found: Findings, work: Callable[[], None]) -> None:
    if found.trouble:
        return
    try:
        work()
    except Unavailable as why:
        found.trouble = str(why)


def _run(found: Findings, plan: Plan, number: int, cores: Cores, teller: Teller) -> None:
    """Measure one contestant once, in a fresh process: its first storm tells its memory."""
    # What the bar is about is measured each time, the peers' further points once.
    more = plan.more_calls if number == 0 or found.contestant is OURS else ()
    with Server(found.contestant, cores.server) as server:
        for calls in (plan.calls, *more):
            teller.step(f"run {number + 1} of {plan.runs}: {found.contestant.name}, {calls} calls")
            found.reports[calls].append(_storm(server, found.contestant, calls, plan.seconds, teller))


def _search(found: Findings, plan: Plan, cores: Cores, teller: Teller) -> None:
    costs = [report.cpu_ms_per_call_second or 0.0 for report in found.reports[plan.calls]]
    with Server(found.contestant, cores.server) as server:

        def held(calls: int) -> bool | None:
            teller.step(f"most calls: {found.contestant.name}, {calls}")
            report = _storm(server, found.contestant, calls, SEARCH_S, teller)
            return judge(report)

        found.most = find_most(held, round(900 / max(min(costs), 0.1)))


def judge(report: StormReport) -> bool | None:
    """Say whether the server held all calls; None: the generator was the slower of the two."""
    # Beyond its median: pipecat keeps for the whole call what delay its start has caused.
    spread_ms = report.round_trip_ms.p99 - report.round_trip_ms.p50
    if report.answered == report.calls and report.good and spread_ms < P99_LIMIT_MS:
        return True
    return None if report.generator_late_ms.p99 > LATE_MS else False


def find_most(held: Callable[[int], bool | None], guess: int) -> Most:
    """Find the most calls for which `held` is true, in a few steps, to 5 % at best."""
    low, high, at_least, calls = 0, 0, False, guess
    for _ in range(SEARCH_STORMS):
        answer = held(calls)
        if answer:
            low = calls
        else:
            high, at_least = calls, answer is None
        if high and high - low <= low // 20:
            break
        calls = _between(low, high)
    return Most(low, at_least or not high)


def _between(low: int, high: int) -> int:
    """Choose what to try next: beyond what is known, or in the middle of it."""
    if low and high:
        return (low + high) // 2
    return low * 5 // 4 if low else max(1, high * 3 // 4)


def _storm(server: Server, contestant: Contestant, calls: int, seconds: float, teller: Teller) -> StormReport:
    return run_storm(
        StormPlan(
            server.url,
            CARRIERS[contestant.carrier],
            calls,
            seconds,
            ramp_per_s=RAMP_PER_S,
            late_after_ms=P99_LIMIT_MS,
            pid=server.pid,
        ),
        teller.storm,
    )
