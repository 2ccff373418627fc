"""The door of a WebSocket path on the HTTP port: who may not come in hears why in plain HTTP, before the upgrade."""
# Autobahn carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from twisted.web.iweb import IRequest

from voicemedia.protocols.fast_websocket import FastWebSocketFactory
from voicemedia.protocols.status import Refusal, unfit_for_websocket


class FastWebSocketResource(WebSocketResource):
    """A path of twisted.web where WebSockets are answered; whatever follows in the path belongs to it too.

    :param admit: asked before the upgrade, with all of the request; None lets the peer in.
    """

    def __init__(self, factory: FastWebSocketFactory, admit: Callable[[IRequest], Refusal | None] | None = None):
        super().__init__(factory)
        self._admit = admit

    def render(self, request: Any) -> Any:
        refusal = unfit_for_websocket(request) or (self._admit(request) if self._admit else None)
        if refusal is not None:
            return refusal.render(request)
        channel = request.channel
        answer = super().render(request)
        if channel.transport is None and request in channel.requests:
            # The connection is the WebSocket's now. Channel and request would keep one another alive until the garbage
            # collector comes, which is seldom: 10 KB a connection.
            channel.requests.remove(request)
        return answer
