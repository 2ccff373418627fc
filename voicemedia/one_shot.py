"""A command that needs the reactor for one piece of work."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.task import react

INTERRUPTED: Final = 130
"Exit status of what Ctrl-C has ended, as shells have it."


def run_once(work: Callable[[Any], Coroutine[Any, Any, int]]) -> int:
    """Run a coroutine function on the reactor, which it is given; return the exit status it comes to."""
    status = INTERRUPTED

    async def main(reactor: Any) -> None:
        nonlocal status
        status = await work(reactor)

    try:
        react(main)
    except SystemExit as stopped:
        if stopped.code:
            # Our own bug, which `react` has logged.
            return 1
    return status
