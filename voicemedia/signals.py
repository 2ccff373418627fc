"""Signals beside those that stop us: SIGHUP, which would kill the server and with it all calls, and impatience."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from twisted.application.service import Service
from twisted.logger import Logger

ECHO_S: Final = 1.0
"A terminal signals all programs in it, and some of them (`timeout`, for one) pass the signal on to us."
STANDARD: Final = (0, 1, 2)
"Descriptors of standard input, output and error."


def heed_impatience(hasten: Callable[[], None], reactor: Any) -> None:
    """Be quicker when somebody who has stopped us asks again; Twisted would log that it is no longer running."""
    again = impatience(hasten, reactor)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: reactor.callFromThread(again))


def impatience(hasten: Callable[[], None], reactor: Any) -> Callable[[], None]:
    """Return what another signal does; one that comes with the first is its echo, from a program that started us."""
    stopped_s = reactor.seconds()

    def again() -> None:
        if reactor.seconds() - stopped_s >= ECHO_S:
            hasten()

    return again


class Hangup(Service):
    """Heeds SIGHUP while the server runs, unless it was told to ignore it (`nohup`).

    It says that a terminal was closed, or a log file moved away.

    :param reopen: opens the log's file anew, and says which; empty: there is none.
    """

    log = Logger()

    def __init__(self, reopen: Callable[[], str], reactor: Any) -> None:
        self._reopen, self._reactor = reopen, reactor
        self._before: Any = signal.SIG_IGN
        self._on_terminal = False

    def startService(self) -> None:
        """Begin to listen, and see whether there is a terminal: when it is closed, that can be seen no more."""
        super().startService()  # type: ignore[no-untyped-call]
        self._on_terminal = any(map(_is_terminal, STANDARD))
        self._before = signal.getsignal(signal.SIGHUP)
        if self._before is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._received)

    def stopService(self) -> None:
        """Leave the signal as it was found."""
        super().stopService()  # type: ignore[no-untyped-call]
        signal.signal(signal.SIGHUP, self._before)

    def _received(self, _number: int, _frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._heed)

    def _heed(self) -> None:
        if self._on_terminal:
            self.log.info("{signal}: the terminal was closed; the server stops as by SIGTERM", signal="SIGHUP")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        try:
            file = self._reopen() or "standard output"
        except OSError as error:
            self.log.error("{signal}: the log stays where it is: {error}", signal="SIGHUP", error=str(error))
        else:
            text = "{signal}: the log goes to {file}; the configuration is read at the start only"
            self.log.info(text, signal="SIGHUP", file=file)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
