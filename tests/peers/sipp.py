"""SIPp as a caller (Debian: sip-tester)."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import csv
import os
import subprocess
from pathlib import Path
from typing import Final

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

from tests.peers.needs import needs

SCENARIOS: Final = Path(__file__).parent / "scenarios"
CALLEES: Final = Path(__file__).parent / "callees"
PCAPS: Final = Path("/usr/share/sip-tester")

Running = tuple["subprocess.Popen[bytes]", Path]
"A SIPp at work, and where."

needs_sipp = needs("sipp", "sip-tester")
needs_raw_sockets = pytest.mark.skipif(os.geteuid() != 0, reason="SIPp plays pcap files with raw sockets: needs root")


async def sipp(folder: Path, port: int, *arguments: str, host: str = "127.5.0.2") -> tuple[int, str]:
    """Run a scenario against 127.0.0.1; return the exit status (0: every call went as written) and what it logged."""
    link = folder / "pcap"
    if not link.exists():
        link.symlink_to(PCAPS)
    line = ("-i", host, "-mi", host, f"127.0.0.1:{port}", "-nostdin", "-timeout", "40", "-trace_err")
    if "-s" not in arguments:
        arguments = ("-s", "bot", *arguments)
    _, _, status = await getProcessOutputAndValue(
        "timeout", ("-s", "KILL", "50", "sipp", *arguments, *line), env=os.environ, path=str(folder)
    )
    return status, "".join(path.read_text() for path in folder.glob("*_errors.log"))


def start_sipp(folder: Path, port: int, *arguments: str, host: str = "127.5.0.2") -> Running:
    """Run a scenario beside others; `outcome` says how it went."""
    line = ("-i", host, "-mi", host, f"127.0.0.1:{port}", "-nostdin", "-timeout", "30", "-trace_stat", "-trace_err")
    work = folder / host
    work.mkdir()
    command = ["timeout", "-s", "KILL", "50", "sipp", *arguments, *line, "-stf", "stat.csv"]
    return subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), work


def outcome(running: Running) -> tuple[int, int]:
    """Wait for the end; return how many calls have succeeded and failed."""
    process, folder = running
    process.wait()
    with (folder / "stat.csv").open() as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    return int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"])


async def built_in(folder: Path, name: str) -> Path:
    """Write out one of SIPp's own scenarios."""
    out, _, _ = await getProcessOutputAndValue("sipp", ("-sd", name), env=os.environ)
    path = folder / f"{name}.xml"
    path.write_bytes(out)
    return path


async def _called(folder: Path, port: int, arguments: tuple[str, ...]) -> tuple[int, str]:
    line = ("-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", str(port), "-nostdin", "-timeout", "40", "-trace_err")
    _, _, status = await getProcessOutputAndValue(
        "timeout", ("-s", "KILL", "50", "sipp", *arguments, *line), env=os.environ, path=str(folder)
    )
    return status, "".join(path.read_text() for path in folder.glob("*_errors.log"))


def sipp_called(folder: Path, port: int, *arguments: str) -> "Deferred[tuple[int, str]]":
    """Run a scenario that waits to be called; fires as `sipp` does, once its calls are over."""
    return Deferred.fromCoroutine(_called(folder, port, arguments))
