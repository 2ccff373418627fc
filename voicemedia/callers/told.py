"""What the server says it understood and said: carriers' protocols carry sound only, so it is asked over HTTP."""

from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec
import treq
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.web.client import Agent, ResponseNeverReceived
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from voicemedia.callers.line import Destination, tls_options

PATIENCE_S: Final = 2.0


class ToldTurn(msgspec.Struct, frozen=True):
    """One entry of `GET /calls/{call_id}/turns`."""

    who: str
    "`caller` or `agent`."
    text: str = ""
    keys: str = ""
    "Keys of a caller's turn."
    heard_text: str = ""
    "How much of an interrupted answer the server takes for heard."
    at_ms: float = 0.0
    interrupted: bool = False
    latency_ms: dict[str, float] = {}
    "By stage, as the server measured it."


@implementer(IPolicyForHTTPS)
class _AsTheCall:
    """Trusts whom the call itself trusts."""

    def __init__(self, to: Destination) -> None:
        self._to = to

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        return tls_options(self._to)


class Told:
    """Asks for one call's turns."""

    def __init__(self, reactor: Any, to: Destination, call_id: str) -> None:
        parts = urlsplit(to.url)
        scheme = "https" if to.encrypted else "http"
        self._url = f"{scheme}://{parts.netloc.rpartition('@')[2]}/calls/{quote(call_id, safe='')}/turns"
        self._agent: Any = Agent(  # type: ignore[no-untyped-call]
            reactor, contextFactory=_AsTheCall(to), connectTimeout=PATIENCE_S
        )
        self._reactor = reactor
        self.turns: list[ToldTurn] = []
        "As told the last time; a turn may still be completed."

    def ask(self) -> Deferred[None]:
        """Bring `turns` up to date; fires with nothing changed when the server does not tell."""
        return Deferred.fromCoroutine(self._update())

    async def _update(self) -> None:
        self.turns = await self._ask() or self.turns

    async def _ask(self) -> list[ToldTurn]:
        try:
            response = await treq.get(self._url, agent=self._agent, timeout=PATIENCE_S, reactor=self._reactor)
            if response.code != 200:
                return []
            return msgspec.json.decode(await treq.content(response), type=list[ToldTurn])
        except (ConnectError, ResponseNeverReceived, TimeoutError, msgspec.DecodeError):
            # The conversation goes on all the same; its texts are shown as not told.
            return []
