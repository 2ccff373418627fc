"""How many calls may begin in a second."""

from collections import deque
from typing import Final

WINDOW_MS: Final = 1000


class Pace:
    """Counts what begins in any second.

    :param per_s: 0: without limit.
    """

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._began: deque[int] = deque()

    def admits(self, now_ms: int) -> bool:
        """Tell whether one more may begin now, and count it when it may."""
        if not self._per_s:
            return True
        while self._began and now_ms - self._began[0] >= WINDOW_MS:
            self._began.popleft()
        if len(self._began) >= self._per_s:
            return False
        self._began.append(now_ms)
        return True
