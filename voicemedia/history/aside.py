"""One thread for the files of the spool: an fsync may take as long as the disk likes."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")
P = ParamSpec("P")


class OneThread:
    """A thread of its own; Twisted's pool also resolves names, and a disk that hangs must not stop that."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=1, name="spool")

    def start(self) -> None:
        """Start it, after twistd has daemonized: threads do not survive a fork."""
        self._pool.start()

    def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run `work` there, in the order given."""
        done: Deferred[T] = deferToThreadPool(self._reactor, self._pool, work, *args, **kwargs)
        return done

    def stop(self) -> None:
        """Stop it; nothing is under way any more."""
        self._pool.stop()
