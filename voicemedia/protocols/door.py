"""The door of a carrier's route: asked before the upgrade who calls, what it knows, and whether there is room."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.logger import Logger
from twisted.web.iweb import IRequest

from voicemedia.config import Network, Secret
from voicemedia.errors import CallRefused
from voicemedia.metrics import Metrics
from voicemedia.protocols.access import Access, within
from voicemedia.protocols.status import Refusal, no_room
from voicemedia.protocols.twilio_wire import signature_valid


class Door:
    """The rules of one route.

    :param token: Twilio's auth token; None: signatures are not checked.
    :param public_url: scheme and host as the carrier sees them; empty: as the request says.
    :param room: asked last; says why there is none.
    """

    log = Logger()

    def __init__(  # noqa: PLR0913 - each is one rule
        self,
        path: str,
        access: Access,
        token: Secret | None,
        public_url: str,
        trusted: tuple[Network, ...],
        room: Callable[[], CallRefused | None],
        metrics: Metrics,
    ) -> None:
        self._path, self._access, self._token, self._public_url = path, access, token, public_url
        self._trusted, self._room, self._metrics = trusted, room, metrics

    def admit(self, request: IRequest) -> Refusal | None:
        """Decide about one handshake; a refused one is one line in the log."""
        peer = peer_address(request, self._trusted)
        # Twisted has decoded the path; what it split and decoded is put together again as it came.
        rest = "/".join(quote(segment, safe="") for segment in request.postpath)
        reason = self._access.refusal(peer, rest, _query(request)) or self._unsigned(request)
        if reason:
            self._metrics.peers_denied += 1
            self.log.warn("{peer} was refused on {route}: {reason}", peer=peer, route=self._path, reason=reason)
            # The peer learns nothing of which rule it failed.
            return Refusal(403)
        full = self._room()
        if full is not None:
            self._metrics.calls_refused += 1
            self.log.warn("{peer} was refused on {route}: {reason}", peer=peer, route=self._path, reason=full.reason)
            return no_room(full)
        return None

    def _unsigned(self, request: Any) -> str:
        if self._token is None:
            return ""
        given = request.getHeader("X-Twilio-Signature") or ""
        if not given:
            return "signature missing"
        public = self._public_url.rstrip("/")
        if not public:
            scheme = "wss" if request.isSecure() else "ws"
            public = f"{scheme}://{request.getHeader('Host') or ''}"
        public = public.replace("https://", "wss://", 1).replace("http://", "ws://", 1)
        url = public + request.uri.decode("latin-1")
        return "" if signature_valid(self._token.reveal(), url, given) else "signature wrong"


def peer_address(request: Any, trusted: tuple[Network, ...]) -> str:
    """Return who calls: the last address a proxy names that is no trusted proxy itself, or else the first of all."""
    hop = str(getattr(request.getClientAddress(), "host", "") or "")
    # Every proxy appends who called it, some as a line of their own.
    lines = request.requestHeaders.getRawHeaders("X-Forwarded-For", [])
    named = [part.strip() for part in ",".join(lines).split(",")]
    while named and within(hop, trusted):
        hop = named.pop() or hop
    return hop


def _query(request: Any) -> dict[str, list[str]]:
    return {
        name.decode("utf-8", "replace"): [value.decode("utf-8", "replace") for value in values]
        for name, values in request.args.items()
    }
