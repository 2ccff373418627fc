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
def precedence() -> Iterator[bool]:
    """Let other work on the machine wait for us and for the servers we start, where we are allowed to; say whether."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    except PermissionError:
        yield False
        return
    # Where sessions are scheduled as groups, a process' own priority counts within its session only (sched(7)).
    if not AUTOGROUP.exists():
        yield True
        return
    before = AUTOGROUP.read_text().split()[-1]
    AUTOGROUP.write_text(str(PRIORITY))
    try:
        yield True
    finally:
        AUTOGROUP.write_text(before)
