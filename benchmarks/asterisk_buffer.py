"""A model of Asterisk's adaptive jitter buffer (main/jitterbuf.c), after its published rules, to compare with.

It holds the last 500 delays and takes the span between them, 3 % at each end left out, and 40 ms on top as its target.
It grows by making up a frame every 40 ms, and shrinks by dropping one every 500 ms, or every 80 ms where none is there.
"""

from bisect import insort
from collections import deque
from dataclasses import dataclass, field
from typing import Final

HISTORY: Final = 500
DROPPED_SHARE: Final = 0.03
EXTRA_MS: Final = 40
GROW_MS, SHRINK_MS, SHRINK_DRY_MS = 40, 500, 80


@dataclass(slots=True)
class AsteriskBuffer:
    """One stream; frames are known by their media time."""

    frame_ms: int = 20
    current_ms: float = 0.0
    interpolated: int = 0
    dropped: int = 0
    played: int = 0
    delays_ms: list[float] = field(default_factory=list)
    "Of each frame played."
    next_ms: float | None = None
    _history: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    _sorted: list[float] = field(default_factory=list)
    _queue: list[float] = field(default_factory=list)
    _adjusted_ms: float = -1e9

    def put(self, media_ms: float, now_ms: float) -> None:
        """Take a frame."""
        if len(self._history) == HISTORY:
            self._sorted.remove(self._history[0])
        self._history.append(now_ms - media_ms)
        insort(self._sorted, now_ms - media_ms)
        insort(self._queue, media_ms)

    def _target_ms(self) -> float:
        out = int(len(self._sorted) * DROPPED_SHARE)
        return self._sorted[-1 - out] + EXTRA_MS

    def run(self, now_ms: float) -> None:
        """Let time pass up to now: play whatever is due."""
        if self.next_ms is None:
            if not self._queue:
                return
            # It begins at its target.
            target = self._target_ms()
            if now_ms - self._queue[0] < target:
                return
            self.current_ms = target
            self.next_ms = self._queue[0] + target
        while self.next_ms <= now_ms:
            self._get(self.next_ms)

    def _get(self, now_ms: float) -> None:
        assert self.next_ms is not None
        difference = self._target_ms() - self.current_ms
        held_ms = self._queue[-1] - self._queue[0] if self._queue else 0.0
        if difference > 0 and (self._adjusted_ms + GROW_MS < now_ms or difference > held_ms):
            self.current_ms += self.frame_ms
            self._adjusted_ms = now_ms
            self._interpolate()
            return
        due = self.next_ms - self.current_ms
        frame = self._queue.pop(0) if self._queue and self._queue[0] <= due + 0.001 else None
        if frame is not None and frame < due - 0.001:
            if frame + self.current_ms > self.next_ms - self.frame_ms:
                self.next_ms = frame + self.current_ms + self.frame_ms
                self._play()
            return
        if difference < -EXTRA_MS and self._adjusted_ms + (SHRINK_MS if frame is not None else SHRINK_DRY_MS) < now_ms:
            self._adjusted_ms = now_ms
            self.current_ms -= self.frame_ms
            self.dropped += frame is not None
            return
        if frame is None:
            self._interpolate()
            return
        self.next_ms += self.frame_ms
        self._play()

    def _play(self) -> None:
        self.played += 1
        self.delays_ms.append(self.current_ms)

    def _interpolate(self) -> None:
        assert self.next_ms is not None
        self.next_ms += self.frame_ms
        self.interpolated += 1
