"""Writes what was measured as a page of Markdown, with the bars and whether they are met."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.bars import MISSING, Bar, at_most, bar_table
from benchmarks.contestants import OURS
from benchmarks.echo_runs import P99_LIMIT_MS, Findings, Most
from voicemedia.callers.storm_report import StormReport

CPU_BAR_MS: Final = 2.5
P99_BAR_MS: Final = 25.0
MEMORY_BAR_KB: Final = 200.0
SCALE_TOLERANCE: Final = 1.05
"Two medians of the same thing differ by as much here."

FULL: Final = "full"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how it was measured."""

    date: str
    machine: str
    load: str
    "Of the machine when the measurements began."
    command: str
    calls: int
    seconds: float
    runs: int
    versions: Mapping[str, Mapping[str, str]]
    "By contestant."


def page(findings: Sequence[Findings], setting: Setting) -> str:
    """Write the page."""
    return "\n".join(
        [
            "# What an echo costs",
            "",
            *_about(setting),
            "",
            *_main_table(findings, setting.calls),
            "",
            *_more_table(findings),
            "",
            "## The bar",
            "",
            *bar_table(bars(findings, setting.calls)),
            "",
            *_remarks(findings),
            "## What ran",
            "",
            *(f"- {name}: {_versions(found)}" for name, found in setting.versions.items()),
            "",
        ]
    )


def _about(setting: Setting) -> Iterator[str]:
    yield f"Measured on {setting.date} by `{setting.command}`; docs/performance.md says how to read it."
    yield ""
    yield f"- Machine: {setting.machine}; load when it began: {setting.load}."
    yield (
        f"- {setting.calls} calls of 20 ms packets for {setting.seconds:g} s, {setting.runs} runs of each server in "
        "turn; medians, all runs in parentheses."
    )
    yield "- CPU is user and system time of the server and its children, in ms for each second of each call."
    yield "- Round trips are from sending a packet to having its sound back; nothing is taken off."


def _main_table(findings: Sequence[Findings], calls: int) -> Iterator[str]:
    heads = (
        "server",
        "CPU, ms per call-second",
        "ours = 1",
        "frames lost",
        "round trip p50, ms",
        "p99, ms",
        "KB per call",
    )
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    ours = next((cost(found.reports[calls]) for found in findings if found.contestant is OURS), None)
    for found in findings:
        reports = found.reports[calls]
        if found.trouble and not reports:
            yield f"| {found.contestant.name} | {found.trouble} |" + f" {MISSING} |" * 5
        else:
            yield _main_row(found.contestant.name, reports, ours)


def _main_row(name: str, reports: Sequence[StormReport], ours: float | None) -> str:
    runs = " ".join(_figure(report.cpu_ms_per_call_second, 2) for report in reports)
    own = None if full(reports) else cost(reports)
    cells = [
        name,
        f"{FULL if full(reports) else _figure(own, 2)} ({runs})",
        _figure(own / ours if own and ours else None, 1),
        f"{sum(report.lost for report in reports)} of {sum(report.sent for report in reports)}",
        _figure(median(reports, lambda report: report.round_trip_ms.p50), 1),
        _figure(median(reports, lambda report: report.round_trip_ms.p99), 1),
        _figure(memory_kb(reports), 0),
    ]
    return f"| {' | '.join(cells)} |"


def _more_table(findings: Sequence[Findings]) -> Iterator[str]:
    points = sorted({calls for found in findings for calls in found.reports})
    yield "| CPU, ms per call-second, at | " + " | ".join(f"{calls} calls" for calls in points) + " | most calls |"
    yield "|---|" + "---|" * (len(points) + 1)
    for found in findings:
        costs = " | ".join(_cost_of(found.reports.get(calls, [])) for calls in points)
        yield f"| {found.contestant.name} | {costs} | {_most(found.most)} |"
    yield ""
    yield (
        f"Most calls: held on one core with no frame lost and the p99 of the round trip less than {P99_LIMIT_MS:g} ms "
        'above its median; "at least": the generator could do no more. "full": most runs lost calls or frames.'
    )


def _cost_of(reports: Sequence[StormReport]) -> str:
    return FULL if full(reports) else _figure(cost(reports), 2)


def _most(most: Most | None) -> str:
    if most is None:
        return MISSING
    if not most.calls:
        return "not found"
    return f"at least {most.calls}" if most.at_least else str(most.calls)


def bars(findings: Sequence[Findings], calls: int) -> list[Bar]:
    """Say of each bar whether our own figures meet it."""
    found = next((found for found in findings if found.contestant is OURS), None)
    reports = found.reports[calls] if found else []
    lost = sum(report.lost for report in reports) if reports else None
    few, many = (cost(found.reports.get(point, [])) if found else None for point in (50, 300))
    return [
        at_most(f"at most {CPU_BAR_MS} ms per call-second, complete path", cost(reports), CPU_BAR_MS, "ms"),
        Bar("no frame lost", _figure(lost, 0), None if lost is None else lost == 0),
        at_most(
            f"p99 of the added latency below {P99_BAR_MS:g} ms",
            median(reports, lambda report: report.round_trip_ms.p99),
            P99_BAR_MS,
            "ms",
        ),
        at_most(f"memory per call below {MEMORY_BAR_KB:g} KB", memory_kb(reports), MEMORY_BAR_KB, "KB"),
        Bar(
            f"a call-second among 300 calls costs no more than among 50 (to {SCALE_TOLERANCE - 1:.0%})",
            f"{_figure(many, 2)} ms, {_figure(few, 2)} ms",
            None if few is None or many is None else many <= few * SCALE_TOLERANCE,
        ),
    ]


def _remarks(findings: Sequence[Findings]) -> Iterator[str]:
    """Say what else a reader must know of these figures."""
    behind = max(
        (
            report.generator_late_ms.p99
            for found in findings
            for reports in found.reports.values()
            for report in reports
        ),
        default=0.0,
    )
    yield f"The generator was at most {behind:.1f} ms (p99) behind its own clock; round trips hold as much of its own."
    yield ""
    for found in findings:
        yield f"- **{found.contestant.name}**: {found.contestant.what}" + (
            f" ({found.trouble})" if found.trouble else ""
        )
    yield ""


def _versions(packages: Mapping[str, str]) -> str:
    return ", ".join(f"{package} {version}" for package, version in packages.items())


def full(reports: Sequence[StormReport]) -> bool:
    """Tell whether it was too much: most runs lost calls or frames, and the cost of the rest says little."""
    return 2 * sum(report.lost > 0 or report.answered < report.calls for report in reports) > len(reports)


def cost(reports: Sequence[StormReport]) -> float | None:
    """Return the median CPU time per call-second in ms."""
    return median(reports, lambda report: report.cpu_ms_per_call_second)


def memory_kb(reports: Sequence[StormReport]) -> float | None:
    """Return the median growth per call in KB."""
    octets = median(reports, lambda report: report.memory_bytes_per_call)
    return None if octets is None else octets / 1024


def median(reports: Sequence[StormReport], figure: Callable[[StormReport], float | None]) -> float | None:
    """Return the median of a figure; None when it was never measured."""
    figures = [value for report in reports if (value := figure(report)) is not None]
    return statistics.median(figures) if figures else None


def _figure(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"
