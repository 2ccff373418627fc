"""Lets a test be a coroutine on the real reactor."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

P = ParamSpec("P")

PATIENCE_S: Final = 60
"No test waits longer; pytest-timeout would break the greenlets that pytest-twisted runs on."


def in_reactor(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test until it is done."""

    @wraps(test)
    async def patient(*args: P.args, **kwargs: P.kwargs) -> None:
        await Deferred.fromCoroutine(test(*args, **kwargs)).addTimeout(PATIENCE_S, reactor)

    wrapped: Callable[P, None] = pytest_twisted.ensureDeferred(patient)
    return wrapped
