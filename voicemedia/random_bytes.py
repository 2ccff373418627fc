"""Random bytes, fetched from the system by the page."""

from collections.abc import Callable
from typing import Final

PAGE: Final = 4096


class RandomBytes:
    """Gives out small pieces of what `source` gives in large ones.

    A SIP call needs nine: tags, branches, SSRC, sequence numbers. Each would be a system call that lets another
    thread have the interpreter: 20 us a call beside a busy writer of history.

    :param source: makes that many random bytes, fit for secrets.
    """

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source
        self._page, self._at = b"", 0

    def __call__(self, count: int) -> bytes:
        """Return `count` bytes that were never given out before."""
        start, page = self._at, self._page
        end = start + count
        if end > len(page):
            if count > PAGE:
                return self._source(count)
            self._page = page = self._source(PAGE)
            start, end = 0, count
        self._at = end
        return page[start:end]
