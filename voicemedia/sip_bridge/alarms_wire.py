"""A few named alarms of one thing."""

from collections.abc import Callable

Ring = Callable[[int], None]
"Takes the time it is."


def earlier(one_ms: int | None, other_ms: int | None) -> int | None:
    """Return the first of two times, each of which may be never."""
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)


class Alarms:
    """Alarms by name: setting one again moves it, ringing takes it away."""

    def __init__(self) -> None:
        self._set: dict[str, tuple[int, Ring]] = {}

    def set(self, name: str, at_ms: int, ring: Ring) -> None:
        """Call `ring` when `at_ms` has come."""
        self._set[name] = at_ms, ring

    def clear(self, *names: str) -> None:
        """Take alarms away; without names, all."""
        for name in names or tuple(self._set):
            self._set.pop(name, None)

    def __contains__(self, name: str) -> bool:
        return name in self._set

    @property
    def next_due_ms(self) -> int | None:
        """When the first rings."""
        if not self._set:
            return None
        return min([at_ms for at_ms, _ in self._set.values()])

    def due(self, now_ms: int) -> None:
        """Ring those whose time has come, the earliest first."""
        while self._set:
            name = min(self._set, key=lambda known: self._set[known][0])
            at_ms, ring = self._set[name]
            if at_ms > now_ms:
                return
            del self._set[name]
            ring(now_ms)
