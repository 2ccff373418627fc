"""A command that needs the reactor for one piece of work."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.task import react

INTERRUPTED: Final = 130
"Exit status of what Ctrl-C has ended, as shells have it."


def run_once(work: Callable[[Any], Coroutine[Any, Any, int]]) -> int:
    """Run a coroutine function on the reactor, which it is given; return the exit status it comes to.

    Raises BrokenPipeError when nobody reads what it prints.
    """
    status = INTERRUPTED
    unread: list[BrokenPipeError] = []

    async def main(reactor: Any) -> None:
        nonlocal status
        try:
            status = await work(reactor)
        except BrokenPipeError as error:
            # Whoever reads our output has seen enough; `react` would take it for a bug.
            unread.append(error)

    try:
        react(main)
    except SystemExit as stopped:
        if stopped.code:
            # Our own bug, which `react` has logged.
            return 1
    if unread:
        raise unread[0]
    return status
