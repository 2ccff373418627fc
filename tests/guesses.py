"""Programs that show guesses while somebody speaks, on a machine that may not let the recognizer run in time."""

import re
from collections.abc import Callable
from typing import Final

TRIES: Final = 5


def with_guess(run: Callable[[], str], guess: str) -> str:
    """Run a program until what it prints has a guess, a regular expression; return what it printed.

    A recognizer that is starved has its first guess when all has been said, and then it is final.
    """
    for _ in range(TRIES):
        printed = run()
        if re.search(guess, printed, re.MULTILINE):
            return printed
    raise AssertionError(f"{TRIES} times no guess: {printed}")
