"""What all voices of web services need to know, and how they are asked again."""

import random
from collections.abc import Callable
from typing import Annotated, Any, Final

from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from voicemedia.errors import ProviderError
from voicemedia.keyed import Keyed
from voicemedia.tts.cache import CacheOptions
from voicemedia.web.backoff import Backoff
from voicemedia.web.trouble import Trouble

Seconds = Annotated[float, Meta(gt=0)]

LONGEST_SENTENCE: Final = 2_000
"Characters; more is no sentence but a mistake of the agent's."


class Account(Keyed, CacheOptions, frozen=True, forbid_unknown_fields=True):
    """How a service is reached."""

    base_url: str = ""
    key_env: str = ""
    "Environment variable with the API key; empty: the service wants none."
    timeout_s: Seconds = 5.0
    "How long the sound may keep us waiting, at its beginning and in its course, in seconds."
    patience_s: Annotated[float, Meta(ge=0)] = 1.5
    "How long a sentence of which nothing has sounded yet is asked for again, in seconds."


class Retrying:
    """Asks a service again while nothing has sounded, with the jittered waits all callers share.

    :param random: 0 to 1.
    """

    def __init__(self, reactor: Any, patience_s: float, random: Callable[[], float] = random.random) -> None:
        self._reactor, self._patience_s = reactor, patience_s
        self._backoff = Backoff(random)
        self._trouble = Trouble(reactor.seconds)

    @property
    def trouble(self) -> str:
        """Why the service cannot serve now."""
        return self._trouble.text

    async def ask(self, attempt: Callable[[], Deferred[None]], begun: Callable[[], bool]) -> None:
        """Make attempts until one ends well.

        :param begun: whether sound has been given, after which nothing can be asked again.
        :raises ProviderError: of the last attempt.
        """
        give_up_s = self._reactor.seconds() + self._patience_s
        while True:
            try:
                await attempt()
            except ProviderError as error:
                self._trouble.failed(error)
                self._backoff.refused(error, self._reactor.seconds())
                wait_s = self._backoff.wait_s(self._reactor.seconds())
                if begun() or not error.retryable or self._reactor.seconds() + wait_s > give_up_s:
                    raise
            else:
                self._trouble.served()
                self._backoff.served()
                return
            await deferLater(self._reactor, wait_s)
