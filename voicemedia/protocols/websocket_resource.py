"""The door of a WebSocket path on the HTTP port: who may not come in hears why in plain HTTP, before the upgrade."""
# Autobahn carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from twisted.web.iweb import IRequest

from voicemedia.protocols.fast_websocket import FastWebSocketFactory


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a peer gets no WebSocket: answered before the upgrade, as JSON."""

    status: int
    "403, 503 ..."
    error: str
    retry_after_s: int | None = None


class FastWebSocketResource(WebSocketResource):
    """A path of twisted.web where WebSockets are answered; whatever follows in the path belongs to it too.

    :param admit: asked before the upgrade, with all of the request; None lets the peer in.
    """

    def __init__(self, factory: FastWebSocketFactory, admit: Callable[[IRequest], Refusal | None] | None = None):
        super().__init__(factory)
        self._admit = admit

    def render(self, request: Any) -> Any:
        refusal = self._not_a_websocket(request) or (self._admit(request) if self._admit else None)
        if refusal is None:
            return super().render(request)
        request.setResponseCode(refusal.status)
        request.setHeader(b"Content-Type", b"application/json")
        if refusal.retry_after_s is not None:
            request.setHeader(b"Retry-After", b"%d" % refusal.retry_after_s)
        return json.dumps({"error": refusal.error}).encode()

    def _not_a_websocket(self, request: Any) -> Refusal | None:
        if request.method != b"GET":
            request.setHeader(b"Allow", b"GET")
            return Refusal(405, "only GET")
        if (request.getHeader(b"Upgrade") or b"").lower() != b"websocket":
            request.setHeader(b"Upgrade", b"websocket")
            return Refusal(426, "WebSocket only")
        return None
