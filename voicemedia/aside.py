"""One thread for files: a disk may take as long as it likes, the reactor's thread may not."""

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")
P = ParamSpec("P")


class Aside(Protocol):
    """Runs what blocks on one thread, in the order given."""

    def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run `work`; its result or exception comes back on the reactor."""


class OneThread:
    """A thread of its own; Twisted's pool also resolves names, and a disk that hangs must not stop that."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=1, name=name)

    def start(self) -> None:
        """Start it, after twistd has daemonized: threads do not survive a fork."""
        self._pool.start()

    def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run `work` there, in the order given."""
        done: Deferred[T] = deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)
        return done

    def stop(self) -> None:
        """Stop it, once what is under way is done."""
        self._pool.stop()
