"""What a SIP call costs in signalling, whether a hundred a second are held, and what ten thousand leave behind.

    python -m benchmarks.sip [--calls 2000] [--rate 100] [--seconds 60] [--many 10000] [--output benchmarks/RESULTS.md]

SIPp (Debian: sip-tester) calls the server with its own scenario `uac`: INVITE, 100, 200, ACK, BYE, 200. The server is a
process of its own, pinned to the first core; its trunk leads to the agent `echo`, so that a call is a whole one: ports
for its sound, negotiation, leg, conversation, metrics, the lines in the log, the record in the history. Beside it, in
the same run: SIPp's own `uas`, in C++ and without any of that, and aiosipua, whose calls have a session of aiortp.
"""

import argparse
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.bars import Bar, at_most, bar_table, replace_section
from benchmarks.contestants import PEERS_VENV, Unavailable, set_up_peers
from benchmarks.precedence import precedence
from voicemedia.callers.process_use import read_use

PYTHON_PEER: Final = "0.7.1"
HERE: Final = Path(__file__).parent.parent
RUNS: Final = 3
BUSY: Final = 4
COST_US: Final = 700.0
"Of CPU for a complete call."
GROWTH_MB: Final = 8.0
"Of resident memory, that many calls may leave."
START_S: Final = 60.0
IDLE_S: Final = 5
CONFIG: Final = """
routes = []
[server]
port = 0
[limits]
max_calls = 5000
[log]
format = "json"
[grpc]
enabled = false
[sip]
enabled = true
port = 0
rtp_first_port = 20000
rtp_last_port = 39999
messages_per_s = 100000
[[trunks]]
name = "echo"
agent = "echo"
stt = "none"
tts = "none"
"""


@dataclass(frozen=True, slots=True)
class Callee:
    """A process that is called."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def resident_mb(self) -> float:
        return read_use(self.process.pid).resident_bytes / 1e6

    @property
    def sockets(self) -> int:
        """Count what it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What SIPp told of some calls, and what they cost."""

    calls: int
    failed: int
    cpu_us: float
    "For each call."


def pin(pid: int, core: int) -> None:
    """Let a process run on one core only, if there are others."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(pid, {cores[core % len(cores)]})


@contextmanager
def ours(folder: Path) -> Iterator[Callee]:
    """Start the server."""
    config, log = folder / "voicemedia.toml", folder / "log.json"
    config.write_text(CONFIG)
    environment = {**os.environ, "VOICEMEDIA_CONFIG": str(config), "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--pidfile=", "-ny"]
    with log.open("w") as output:
        process = subprocess.Popen([*command, str(HERE / "voicemedia.tac")], cwd=folder, env=environment, stdout=output)
    try:
        pin(process.pid, 0)
        yield Callee(process, _port(process, log))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < until:
        lines = log.read_text().splitlines()
        if any("listening on" in line for line in lines):
            return next(int(json.loads(line)["sip_port"]) for line in lines if '"sip_port"' in line)
        time.sleep(0.1)
    raise SystemExit(f"the server did not start: {log.read_text()[-500:]}")


@contextmanager
def sipp_uas(folder: Path) -> Iterator[Callee]:
    """Start SIPp as the callee."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = ["sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-nostdin"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        pin(process.pid, 0)
        time.sleep(0.5)
        yield Callee(process, port)
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def aiosipua(folder: Path) -> Iterator[Callee]:
    """Start the Python peer."""
    # Its assertions do not hold on Python 3.11.
    command = [str(PEERS_VENV / "bin" / "python"), "-O", str(HERE / "benchmarks" / "peers" / "aiosipua_echo.py")]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            pin(process.pid, 0)
            assert process.stdout is not None
            yield Callee(process, int(process.stdout.readline()))
        finally:
            process.kill()


def call(callee: Callee, folder: Path, calls: int, rate: int) -> Outcome:
    """Let SIPp place calls, and wait until all are over."""
    before = read_use(callee.process.pid).cpu_ms
    command = ["sipp", "-sn", "uac", "-i", "127.0.0.1", "-r", str(rate), "-m", str(calls), "-l", "3000", "-nostdin"]
    statistics = folder / "calls.csv"
    command += ["-trace_stat", "-fd", "1", "-stf", str(statistics), "-s", "bot", f"127.0.0.1:{callee.port}"]
    patience_s = calls / rate + 60
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        pin(process.pid, -1)
        process.wait(patience_s)
    finally:
        process.kill()
    used = read_use(callee.process.pid).cpu_ms - before
    rows = [line.split(";") for line in statistics.read_text().splitlines()]
    last = dict(zip(rows[0], rows[-1], strict=False))
    done, failed = int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"])
    return Outcome(done, calls - done if failed + done < calls else failed, used * 1000 / calls)


def idle(callee: Callee) -> float:
    """Return what a callee takes that has no calls, in ms of CPU a second."""
    before = read_use(callee.process.pid).cpu_ms
    time.sleep(IDLE_S)
    return (read_use(callee.process.pid).cpu_ms - before) / IDLE_S


@dataclass(frozen=True, slots=True)
class Left:
    """What many calls have left behind."""

    memory_mb: float
    sockets: int


def left_by(callee: Callee, folder: Path, calls: int, rate: int) -> Left:
    """Place many calls, and compare memory and sockets with before."""
    memory, sockets = callee.resident_mb, callee.sockets
    call(callee, folder, calls, rate)
    # Transactions live on for 32 s after their last message (timers H and J of RFC 3261).
    time.sleep(35)
    return Left(callee.resident_mb - memory, callee.sockets - sockets)


@dataclass(frozen=True, slots=True)
class Findings:
    """All that was measured."""

    costs_us: list[float]
    busy_us: list[float]
    "The same at four times the rate."
    peer_us: list[float]
    python_us: list[float]
    "The peer in Python."
    idle_ms: list[float]
    "A second without calls."
    held: Outcome
    left: Left
    load_1m: float
    "Before: other work takes our caches, and with them every second us."


def measure(args: argparse.Namespace, folder: Path) -> Findings:
    """Run everything; takes some minutes."""
    costs, busy, peers, pythons, idles, load_1m = [], [], [], [], [], os.getloadavg()[0]
    for number in range(RUNS):
        _tell(f"run {number + 1} of {RUNS}: {args.calls} calls")
        with sipp_uas(folder) as peer:
            peers.append(call(peer, folder, args.calls, args.rate).cpu_us)
        with aiosipua(folder) as peer:
            call(peer, folder, 100, 50)
            pythons.append(call(peer, folder, args.calls, args.rate).cpu_us)
        with ours(folder) as server:
            call(server, folder, 100, 50)
            idles.append(idle(server))
            costs.append(call(server, folder, args.calls, args.rate).cpu_us)
            # Between two of a hundred calls a second other work takes our caches; between two of four hundred, less.
            busy.append(call(server, folder, args.calls, args.rate * BUSY).cpu_us)
    with ours(folder) as server:
        _tell(f"{args.rate} calls a second for {args.seconds} s")
        held = call(server, folder, args.rate * args.seconds, args.rate)
        _tell(f"{args.many} calls")
        # As many a second as before: transactions live on for 32 s, and their room is kept for the next.
        left = left_by(server, folder, args.many, args.rate)
    return Findings(costs, busy, peers, pythons, idles, held, left, load_1m)


def page(found: Findings, args: argparse.Namespace) -> str:
    """Write the section."""
    measured = (found.costs_us, found.busy_us, found.peer_us, found.python_us)
    ours_us, busy_us, peer_us, python_us = (sorted(runs)[RUNS // 2] for runs in measured)
    lines = [
        "# SIP signalling",
        "",
        f"Measured by `python -m benchmarks.sip` on {datetime.date.today().isoformat()}: SIPp's `uac`,",
        f"{args.rate} calls a second, {RUNS} runs of {args.calls} calls, one core, load {found.load_1m:.1f} before.",
        f"Without calls the server takes {sorted(found.idle_ms)[RUNS // 2]:.2f} ms of CPU a second.",
        "",
        "| callee | CPU for a call, us (median) | runs |",
        "|---|---|---|",
        f"| voicemedia, the whole call: ports, leg, agent, log, history | {ours_us:.0f} | {_runs(found.costs_us)} |",
        f"| the same, {args.rate * BUSY} calls a second | {busy_us:.0f} | {_runs(found.busy_us)} |",
        f"| aiosipua {PYTHON_PEER}: dialog, session of aiortp | {python_us:.0f} | {_runs(found.python_us)} |",
        f"| SIPp `uas`, signalling only, C++ | {peer_us:.0f} | {_runs(found.peer_us)} |",
        "",
        *bar_table(bars(found, args)),
    ]
    return "\n".join(lines)


def bars(found: Findings, args: argparse.Namespace) -> list[Bar]:
    """Judge."""
    median_us = sorted(found.costs_us)[RUNS // 2]
    return [
        at_most(f"CPU of a complete call: at most {COST_US:.0f} us", median_us, COST_US, "us"),
        at_most(
            f"{args.rate} calls a second for {args.seconds} s: none fails", float(found.held.failed), 0, "calls failed"
        ),
        at_most(
            f"{args.many} calls: memory grows by at most {GROWTH_MB:.0f} MB", found.left.memory_mb, GROWTH_MB, "MB"
        ),
        at_most(f"{args.many} calls: every socket is given back", float(found.left.sockets), 0, "sockets"),
    ]


def _runs(values: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.sip", description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="of each run (2000)")
    parser.add_argument("--rate", type=int, default=100, help="calls a second (100)")
    parser.add_argument("--seconds", type=int, default=60, help="that the rate is held for (60)")
    parser.add_argument("--many", type=int, default=10_000, help="calls that shall leave nothing behind (10000)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="put the section there; default: print it")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Measure; return the exit status."""
    args = parse(arguments)
    if shutil.which("sipp") is None:
        _tell("python -m benchmarks.sip needs SIPp: sudo apt-get install sip-tester")
        return 2
    try:
        set_up_peers(_tell)
    except Unavailable as error:
        _tell(f"aiosipua {error}")
        return 2
    with precedence(), tempfile.TemporaryDirectory(prefix="benchmark.") as folder:
        found = measure(args, Path(folder))
    section = page(found, args)
    if args.output is None:
        print(section)
    else:
        args.output.write_text(replace_section(args.output.read_text(), section))
    return 0 if all(bar.met for bar in bars(found, args)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
