"""How long to leave a service alone that refused."""

from collections.abc import Callable

from voicemedia.errors import ProviderError


class Backoff:
    """The patience all calls of one service share: doubling from refusal to refusal, and jittered.

    :param random: gives a number from 0 to 1; every call that waits gets its own, so that not all come back at once.
    """

    def __init__(self, random: Callable[[], float], first_s: float = 0.25, longest_s: float = 20.0) -> None:
        self._random = random
        self._first_s = first_s
        self._longest_s = longest_s
        self._delay_s = 0.0
        self._until_s = 0.0

    def refused(self, error: ProviderError, now_s: float) -> None:
        """Take note of a failure; those of calls that asked before the last one was known count once."""
        if error.retry_after_s:
            self._delay_s = max(self._delay_s, self._first_s)
            self._until_s = max(self._until_s, now_s + error.retry_after_s)
        elif now_s >= self._until_s:
            self._delay_s = min(self._longest_s, 2 * self._delay_s or self._first_s)
            # Half of it for certain: no jitter at all would be a chance of none.
            self._until_s = now_s + self._delay_s / 2

    def served(self) -> None:
        """Take note of an answer: the next refusal is a first one."""
        self._delay_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Tell one call how long to wait before it asks again; 0: not at all."""
        if now_s >= self._until_s:
            return 0.0
        return self._until_s - now_s + self._random() * max(self._delay_s, self._first_s) / 2
