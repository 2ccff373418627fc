"""A raised priority for benchmarks, so that other work on the machine is measured less."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PRIORITY: Final = -10
"As of `nice`: ten times the share of others on a core that is full."
AUTOGROUP: Final = Path("/proc/self/autogroup")


@contextmanager
def precedence(autogroup: Path = AUTOGROUP) -> Iterator[bool]:
    """Let other work on the machine wait for us and for the servers we start, where we are allowed to; say whether."""
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    group: list[str] = []
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        # Where sessions are scheduled as groups, a process' own priority counts within its session only (sched(7)).
        # The file is there on every such kernel, but says nothing for a process that is in no group.
        group = autogroup.read_text().split() if autogroup.exists() else []
        if group:
            autogroup.write_text(str(PRIORITY))
    except OSError:
        # Not allowed to, or a container that shows the file read-only.
        group = []
        preferred = False
    else:
        preferred = True
    try:
        yield preferred
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, ours)
        if group:
            autogroup.write_text(group[-1])
