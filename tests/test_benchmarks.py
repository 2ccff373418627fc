"""`make bench`: what it reads, decides and writes; its figures are nobody's test."""

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.__main__ import parse, plan
from benchmarks.bars import Bar, replace_section
from benchmarks.contestants import CONTESTANTS, OURS, versions
from benchmarks.echo_runs import SEARCH_STORMS, Findings, Most, find_most, judge
from benchmarks.echo_table import Setting, bars, page
from benchmarks.precedence import precedence
from benchmarks.stages import sound_stages, wire_stages
from voicemedia.callers.process_use import ProcessUse, read_use
from voicemedia.callers.storm_report import Spread, StormReport

CHECKOUT = Path(__file__).parent.parent
PIPECAT = CONTESTANTS[1]


def report(calls: int = 100, cpu_ms: float = 1.0, **changes: object) -> StormReport:
    told = StormReport(
        calls,
        answered=calls,
        sent=5000,
        received=5000,
        round_trip_ms=Spread(0.2, 1.0, 3.0, 9.0),
        cpu_ms_per_call_second=cpu_ms,
        memory_bytes_per_call=20 * 1024,
    )
    for name, value in changes.items():
        setattr(told, name, value)
    return told


def found(*reports: StormReport) -> Findings:
    findings = Findings(OURS)
    for told in reports:
        findings.reports[told.calls].append(told)
    return findings


def setting() -> Setting:
    return Setting("2026-01-02", "a machine", "0.1", "make bench", 100, 5.0, 3, {"voicemedia": {"Twisted": "1.2.3"}})


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "benchmarks", *arguments)
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)


# --- the table ---


def test_table_holds_median_and_all_runs() -> None:
    text = page([found(report(cpu_ms=1.5), report(cpu_ms=1.25), report(cpu_ms=9.0))], setting())
    assert "| voicemedia | 1.50 (1.50 1.25 9.00) | 1.0 | 0 of 15000 | 0.2 | 3.0 | 20 |" in text
    assert "- voicemedia: Twisted 1.2.3" in text


def test_costs_are_told_by_number_of_calls_and_beside_ours() -> None:
    peer = Findings(PIPECAT, defaultdict(list, {100: [report(cpu_ms=8.0)]}), Most(90))
    text = page([found(report(50, 2.0), report(100, 2.0), report(300, 1.0)), peer], setting())
    assert "| pipecat | 8.00 (8.00) | 4.0 |" in text
    assert "| voicemedia | 2.00 | 2.00 | 1.00 | - |" in text
    assert "| pipecat | - | 8.00 | - | 90 |" in text


def test_server_that_loses_frames_has_no_cost() -> None:
    assert "| voicemedia | full (1.00) | - | 7 of 5000 |" in page([found(report(lost=7))], setting())


def test_peer_that_cannot_be_installed_is_told_with_its_reason() -> None:
    text = page([found(report()), Findings(PIPECAT, trouble="cannot be installed: no such package")], setting())
    assert "| pipecat | cannot be installed: no such package | - |" in text


def test_most_calls_are_at_least_so_many_when_the_generator_gave_up() -> None:
    findings = found(report())
    findings.most = Most(400, at_least=True)
    assert "| voicemedia | 1.00 | at least 400 |" in page([findings], setting())


def test_search_that_held_nothing_says_so() -> None:
    findings = found(report())
    findings.most = find_most(lambda _calls: None, 400)
    assert "| voicemedia | 1.00 | not found |" in page([findings], setting())


# --- the bar ---


def verdicts(*reports: StormReport) -> list[bool | None]:
    return [bar.met for bar in bars([found(*reports)], 100)]


def test_bar_is_met_by_good_figures() -> None:
    assert verdicts(report(50, 1.0), report(100), report(300, 1.0)) == [True] * 5


@pytest.mark.parametrize(
    ("bad", "number"),
    [
        (report(cpu_ms=2.6), 0),
        (report(lost=1), 1),
        (report(round_trip_ms=Spread(1.0, 2.0, 26.0, 30.0)), 2),
        (report(memory_bytes_per_call=201 * 1024), 3),
    ],
)
def test_bar_is_not_met_by_a_bad_figure(bad: StormReport, number: int) -> None:
    met: list[bool | None] = [True, True, True, True, None]
    met[number] = False
    assert verdicts(bad) == met


def test_bar_is_not_met_when_many_calls_cost_more_than_few() -> None:
    assert verdicts(report(50, 1.0), report(100), report(300, 1.2))[4] is False


def test_bar_is_not_measured_without_our_own_figures() -> None:
    assert {bar.met for bar in bars([Findings(PIPECAT)], 100)} == {None}
    assert Bar("no frame lost", "-", None) in bars([Findings(PIPECAT)], 100)


# --- the most calls ---


@pytest.mark.parametrize(("limit", "guess"), [(100, 100), (520, 600), (300, 420), (900, 700)])
def test_most_calls_are_found_in_a_few_storms(limit: int, guess: int) -> None:
    tried: list[int] = []

    def held(calls: int) -> bool:
        tried.append(calls)
        return calls <= limit

    most = find_most(held, guess)
    assert limit * 0.85 <= most.calls <= limit
    assert most.calls in tried
    assert len(tried) <= SEARCH_STORMS


def test_search_says_when_it_met_no_limit() -> None:
    assert find_most(lambda _calls: True, 100) == Most(100 * 5 // 4 * 5 // 4 * 5 // 4, at_least=True)


def test_search_says_when_the_generator_was_the_limit() -> None:
    assert find_most(lambda calls: True if calls <= 400 else None, 400).at_least


def test_calls_are_held_when_all_frames_come_back_in_time() -> None:
    assert judge(report()) is True
    assert judge(report(lost=1)) is False
    assert judge(report(answered=99)) is False
    assert judge(report(round_trip_ms=Spread(1.0, 40.0, 61.5, 80.0))) is False
    # What a server holds back all the time is not what many calls do to it.
    assert judge(report(round_trip_ms=Spread(200.0, 230.0, 240.0, 250.0))) is True


def test_late_generator_is_no_verdict_on_the_server() -> None:
    assert judge(report(lost=1, generator_late_ms=Spread(1.0, 5.0, 11.0, 20.0))) is None


# --- the stages ---


def test_stages_neither_pile_up_nor_lose_their_frame() -> None:
    stages = dict([*wire_stages(), *sound_stages()])
    for _ in range(3):
        assert len(list(stages["media clock and jitter buffer"]())) == 1
        assert [len(sound) for sound in stages["playout, in and out"]()] == [320]
        assert [type(event).__name__ for event in stages["read JSON and base64, check the stream"]()] == ["Media"]
        assert b'"payload"' in stages["write JSON and base64"]()


# --- what a process and its children have used ---


SLEEPER = "import sys; print('up', flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPER!r}])"


def use_of(program: str) -> ProcessUse:
    """Read the use of a program as soon as it, or its child, is up."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        use = read_use(process.pid)
        process.communicate("")
    assert said == "up\n"
    return use


def test_use_of_children_is_counted() -> None:
    alone, with_child = use_of(SLEEPER), use_of(PARENT)
    assert alone.cpu_ms > 0
    assert with_child.resident_bytes > 1.5 * alone.resident_bytes


# --- the command ---


def test_plain_command_measures_everybody() -> None:
    measured = plan(parse([]))
    assert measured.contestants[0] is OURS
    assert len(measured.contestants) == len(CONTESTANTS)
    assert (measured.calls, measured.more_calls, measured.runs, measured.search) == (100, (50, 300), 3, True)


def test_quick_is_short_and_what_is_given_stands() -> None:
    measured = plan(parse(["--quick", "--only", "voicemedia", "--calls", "7"]))
    assert measured.contestants == [OURS]
    assert (measured.calls, measured.runs, measured.search) == (7, 1, False)


def test_help_names_the_options() -> None:
    told = run("--help")
    assert told.returncode == 0
    assert "--quick" in told.stdout
    assert "--only" in told.stdout


def test_unknown_name_is_refused() -> None:
    assert run("--only", "nobody").returncode == 2


def test_versions_are_those_installed() -> None:
    assert set(versions(OURS)) == set(OURS.packages)


def test_two_calls_are_measured_on_the_real_server(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    told = run("--quick", "--only", "voicemedia", "--calls", "2", "--seconds", "1", "--output", str(table))
    assert told.returncode == 0, told.stderr
    row = next(line for line in table.read_text().splitlines() if line.startswith("| voicemedia"))
    _, name, cpu, ours, lost, p50, p99, memory, _ = (cell.strip() for cell in row.split("|"))
    assert (name, ours, lost.partition(" ")[0]) == ("voicemedia", "1.0", "0")
    assert all(float(figure) > 0 for figure in (cpu.partition(" ")[0], p50, p99))
    assert float(memory) >= 0


@pytest.mark.parametrize("said", ["", "/autogroup-7 nice 0\n"])
def test_a_benchmark_takes_precedence_in_a_group_of_processes_or_in_none(tmp_path: Path, said: str) -> None:
    autogroup = tmp_path / "autogroup"
    autogroup.write_text(said)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with precedence(autogroup) as preferred:
        during = autogroup.read_text()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    if preferred:
        assert (during, autogroup.read_text()) == (("-10", "0") if said else ("", ""))
    else:
        assert autogroup.read_text() == said


def test_a_benchmark_takes_precedence_where_there_are_no_groups(tmp_path: Path) -> None:
    with precedence(tmp_path / "none"):
        assert not (tmp_path / "none").exists()


def test_a_benchmark_replaces_its_own_section_of_the_results() -> None:
    page = "# One\n\n1\n\n## Bar\n\nx\n\n# Two\n\n2\n"
    assert replace_section(page, "# One\n\n3\n") == "# One\n\n3\n\n# Two\n\n2\n"
    assert replace_section(page, "# Three\n\n3") == page + "\n# Three\n\n3\n"
    assert replace_section("", "# One\n\n1") == "# One\n\n1\n"


def test_the_webm_benchmark_hears_every_frame() -> None:
    pytest.importorskip("av", reason="the extra opus is not installed")
    command = [sys.executable, "-m", "benchmarks.webm", "--sessions", "3", "--seconds", "1"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=True).stdout
    assert "3 sessions for 1 s, scripted providers: 150 of 150 frames heard" in said
