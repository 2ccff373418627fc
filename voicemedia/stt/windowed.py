"""One caller heard by a recognizer that answers questions about whole windows.

One question at a time is under way; what came meanwhile is in the next one. A question about an utterance that
has ended takes the place of one about its beginning, and only it is asked again when it fails: a guess that got
lost is made up for by the next.
"""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Hearing
from voicemedia.stt.windows import Window, Windows
from voicemedia.stt.words import HeardWord
from voicemedia.web.backoff import Backoff

Ask = Callable[[Window, Expected], Deferred[Sequence[HeardWord]]]
"Asks what a window holds; fails with `ProviderError` only, may be cancelled."


class WindowedRecognition:
    """Asks about one caller's windows and tells what is settled.

    :param patience_s: how long the final of an utterance is asked for again before the recognition fails.
    """

    log = Logger()

    def __init__(self, reactor: Any, windows: Windows, ask: Ask, backoff: Backoff, patience_s: float) -> None:
        self._reactor = reactor
        self._windows = windows
        self._ask = ask
        self._backoff = backoff
        self._patience_s = patience_s
        self._hearing: Hearing | None = None
        "None: nobody is told anything any more."
        self._expected = Expected()
        self._asked: Window | None = None
        self._answer: Deferred[None] | None = None

    def begin(self, hearing: Hearing) -> "WindowedRecognition":
        """Tell `hearing` from now on."""
        self._hearing = hearing
        return self

    @property
    def backlog_ms(self) -> int:
        """Sound taken that has no answer yet."""
        return self._windows.backlog_ms

    def feed(self, pcm: bytes) -> None:
        """Take sound, of any length."""
        if self._hearing is None:
            return
        try:
            self._windows.feed(pcm)
        except ProviderError as error:
            return self._fail(error)
        self._go_on()

    def onset(self) -> None:
        """The caller has begun to speak."""
        self._windows.onset()

    def endpoint(self) -> None:
        """The utterance is over: ask for its final."""
        self._windows.endpoint()
        self._go_on()

    def expect(self, expected: Expected) -> None:
        """Prefer these phrases."""
        self._expected = expected

    def close(self) -> None:
        """Ask nothing more and tell nothing more."""
        self._hearing = None
        self._forget_question()

    def _go_on(self) -> None:
        """Ask the next question, if there is one and none is in its way."""
        hearing = self._hearing
        if hearing is None:
            return
        if self._asked is not None:
            if self._asked.last or not self._windows.urgent:
                return
            self._forget_question()
        for transcript in self._windows.empties():
            hearing.heard(transcript)
        if not self._windows.urgent and self._backoff.wait_s(self._reactor.seconds()):
            return
        window = self._windows.ask()
        if window is not None:
            self._asked = window
            answer = Deferred.fromCoroutine(self._find_out(window)).addErrback(self._report_bug)
            if self._asked is window:
                self._answer = answer

    async def _find_out(self, window: Window) -> None:
        try:
            words = await (self._insist(window) if window.last else self._ask_once(window))
        except CancelledError:
            return
        except ProviderError as error:
            if window.last or not error.retryable:
                return self._fail(error)
            self.log.info("a guess is missing: {error}", error=str(error))
            self._asked = None
            return self._go_on()
        self._asked = None
        for transcript in self._windows.answered(window, words):
            if self._hearing is not None:
                self._hearing.heard(transcript)
        self._go_on()

    async def _ask_once(self, window: Window) -> Sequence[HeardWord]:
        try:
            words = await self._ask(window, self._expected)
        except ProviderError as error:
            if error.retryable:
                self._backoff.refused(error, self._reactor.seconds())
            raise
        self._backoff.served()
        return words

    async def _insist(self, window: Window) -> Sequence[HeardWord]:
        """Ask until there is an answer, or patience ends, or asking is of no use."""
        end_s = self._reactor.seconds() + self._patience_s
        while True:
            wait_s = self._backoff.wait_s(self._reactor.seconds())
            if wait_s:
                await deferLater(self._reactor, wait_s)
            try:
                return await self._ask_once(window)
            except ProviderError as error:
                now_s = self._reactor.seconds()
                if not error.retryable or now_s + self._backoff.wait_s(now_s) > end_s:
                    raise

    def _fail(self, error: ProviderError) -> None:
        hearing, self._hearing = self._hearing, None
        self._asked = None
        if hearing is not None:
            hearing.deaf(error)

    def _forget_question(self) -> None:
        answer, self._answer, self._asked = self._answer, None, None
        if answer is not None:
            answer.cancel()

    def _report_bug(self, failure: Any) -> None:
        self.log.failure("bug while asking about a window", failure=failure)
        self._fail(ProviderError("internal error"))
