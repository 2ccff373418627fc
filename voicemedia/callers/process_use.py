"""What another process has used, from Linux's /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

from voicemedia.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """A reading of a process' meters."""

    cpu_ms: float
    "User and system time since it started."
    resident_bytes: int


def read_use(pid: int) -> ProcessUse:
    """Read the meters of a process.

    :raises ConfigError: there is no such process, or no /proc here.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError as error:
        raise ConfigError(f"--pid {pid}: {error.strerror or error}") from error
    # The name in parentheses may hold spaces and parentheses itself; what follows the last one is regular (proc(5)).
    fields = stat.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ProcessUse(ticks * 1000 / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))
