"""The voices of a server, as routes use them: by several, one after the other, if one fails."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from voicemedia.interfaces import Provider, Synthesizer
from voicemedia.tts.failover import FailoverVoice, Mouth


class Voices:
    """One circuit breaker for each voice; all routes that name it share it."""

    def __init__(self, providers: Mapping[tuple[str, str], Provider], reactor: Any) -> None:
        self._reactor = reactor
        self._deputed: set[str] = set()
        self._mouths = {
            name: Mouth(cast(Synthesizer, provider), name)
            for (kind, name), provider in providers.items()
            if kind == "tts"
        }

    def read(self) -> dict[str, dict[str, object]]:
        """Return how those fared that have, on some route, a deputy."""
        return {name: mouth.read() for name, mouth in self._mouths.items() if name in self._deputed}

    def of_route(self, names: Sequence[str], missing: Mapping[str, str]) -> Synthesizer | None:
        """Join the voices of a route, without those whose packages or keys are missing; None: nobody is left."""
        mouths = [self._mouths[name] for name in names if name in self._mouths and f"tts.{name}" not in missing]
        if len(mouths) > 1:
            self._deputed |= {mouth.name for mouth in mouths}
            return FailoverVoice(mouths, self._reactor)
        return mouths[0].voice if mouths else None
