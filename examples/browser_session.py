"""Talk to the server as a page does: each argument is a recording or words to type.

    python examples/browser_session.py examples/breakfast.wav "two boiled eggs" [--url ws://127.0.0.1:8000]

Prints what is understood and answered, and leaves after the last answer.
"""

import json
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any
from uuid import uuid4

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor as any_reactor

reactor: Any = any_reactor


class Page(WebSocketClientProtocol):
    """Says the next line after each answer."""

    lines: list[str]

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        message = json.loads(payload)
        data = message["data"]
        if message["type"] != "audio":
            print(f"{message['type']}: {data['message']}")
            return
        print(f"agent: {data['text']}   [{data['duration']} ms of sound]")
        if not self.lines:
            self.sendMessage(b'{"type":"hang_up"}')
            return
        line = self.lines.pop(0)
        if Path(line).is_file():
            said: dict[str, object] = {"type": "webm_audio", "data": b64encode(Path(line).read_bytes()).decode()}
        else:
            said = {"type": "text_message", "data": line}
        print(f"you: {line}")
        self.sendMessage(json.dumps(said).encode())

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        print(f"over: {reason}")
        if reactor.running:
            reactor.stop()


def main(arguments: list[str]) -> None:
    server = "ws://127.0.0.1:8000"
    if "--url" in arguments:
        at = arguments.index("--url")
        server = arguments[at + 1]
        del arguments[at : at + 2]
    Page.lines = arguments
    factory: Any = WebSocketClientFactory(f"{server}/audio-stream?sessionId={uuid4().hex}")
    factory.protocol = Page
    connectWS(factory)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
