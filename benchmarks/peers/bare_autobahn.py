"""Autobahn on Twisted as they come: every text goes back as it is."""

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


factory = WebSocketServerFactory()
factory.protocol = Echo
port = reactor.listenTCP(0, factory, backlog=1024, interface="127.0.0.1")
print(f"listening on http://127.0.0.1:{port.getHost().port}", flush=True)
reactor.run()
