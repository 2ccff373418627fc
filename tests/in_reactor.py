"""Lets a test be a coroutine on the real reactor."""

from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

import pytest_twisted

P = ParamSpec("P")


def in_reactor(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test until it is done."""
    wrapped: Callable[P, None] = pytest_twisted.ensureDeferred(test)
    return wrapped
