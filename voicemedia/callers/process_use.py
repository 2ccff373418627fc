"""What another process and its children have used, from Linux's /proc."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from voicemedia.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """A reading of the meters of a process and all its children."""

    cpu_ms: float
    "User and system time since they started."
    resident_bytes: int


def read_use(pid: int) -> ProcessUse:
    """Read the meters of a process and of its children that still run.

    :raises ConfigError: there is no such process, or no /proc here.
    """
    try:
        own = _read(pid)
    except OSError as error:
        raise ConfigError(f"--pid {pid}: {error.strerror or error}") from error
    uses = [own, *_of_children(pid)]
    return ProcessUse(sum(use.cpu_ms for use in uses), sum(use.resident_bytes for use in uses))


def _of_children(pid: int) -> Iterator[ProcessUse]:
    for task in _tasks(pid):
        for child in (task / "children").read_text().split():
            try:
                yield _read(int(child))
                yield from _of_children(int(child))
            except OSError:
                # It has ended since its parent named it.
                continue


def _read(pid: int) -> ProcessUse:
    # To the nanosecond, where the times in `stat` are to a hundredth of a second (proc(5)).
    ran_ns = sum(int((task / "schedstat").read_text().split()[0]) for task in _tasks(pid))
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return ProcessUse(ran_ns / 1e6, pages * os.sysconf("SC_PAGE_SIZE"))


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())
