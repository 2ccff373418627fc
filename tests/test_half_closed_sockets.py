"""Clients of ours whose server has said goodbye but keeps TCP open for a while."""
# Autobahn and Twisted carry types, but not everywhere.
# mypy: disallow-untyped-calls=False

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred

from tests.fake_carrier_server import tone
from tests.in_reactor import in_reactor
from voicemedia.callers.call_command import add_arguments, place
from voicemedia.callers.line import Destination
from voicemedia.callers.sound import write_wav
from voicemedia.transcribe import Speaker, stream
from voicemedia.web.websocket_client import Link, open_websocket


class Leaving(WebSocketServerProtocol):
    """Takes a few messages, says goodbye, and leaves it to the client to end TCP."""

    first: dict[str, Any] | None = None
    opened = False

    def onOpen(self) -> None:
        self.opened, self.heard = True, 0
        if self.first is not None:
            self.sendMessage(json.dumps(self.first).encode())

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.heard += 1
        if self.heard == 3:
            self.sendClose(1000, "enough")

    def dropConnection(self, abort: bool = False) -> None:
        # Autobahn's server would end TCP with the answer to its close frame.
        if not self.opened:
            super().dropConnection(abort)


@asynccontextmanager
async def leaving(first: dict[str, Any] | None = None) -> AsyncIterator[str]:
    """Serve on a port of the system's choice; gives the address."""
    factory: Any = WebSocketServerFactory(reactor=reactor)
    gone: Deferred[None] = Deferred()

    class Served(Leaving):
        def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
            # A caller also asks, on connections that never become WebSockets, what was understood.
            if self.opened:
                gone.callback(None)

    factory.protocol = Served
    Served.first = first
    port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        yield f"ws://127.0.0.1:{port.getHost().port}"
        await gone
    finally:
        await maybeDeferred(port.stopListening)


class Told:
    """Says something on every message, and keeps what it is told."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.over: Deferred[None] = Deferred()

    def message(self, payload: bytes) -> None:
        raise AssertionError(payload)

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)
        self.over.callback(None)


@in_reactor
async def test_a_link_is_lost_with_the_close_frame_and_takes_words_without_harm() -> None:
    told = Told()
    async with leaving() as url:
        link: Link = await open_websocket(reactor, url, {}, told)
        for _ in range(3):
            link.send(b"{}")
        await told.over
        link.send(b"{}")
        link.close()
        assert told.reasons == ["1000: enough"]
    assert told.reasons == ["1000: enough"]


@in_reactor
async def test_a_call_that_the_server_ends_is_reported_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    write_wav(tmp_path / "speech.wav", b"\xff" * 800 + tone(900) + b"\xff" * 1600)
    async with leaving() as url:
        line = ["smartflo", str(tmp_path / "speech.wav"), "--url", url, "--json"]
        assert await place(reactor, parser.parse_args([*line, "--record", str(tmp_path / "heard.wav")])) == 1
    assert json.loads(capsys.readouterr().out)["ended"] == "the server hung up (close code 1000: enough)"


@in_reactor
async def test_a_session_that_the_server_ends_gives_its_reason() -> None:
    started = {"type": "session_started", "session_id": "S", "provider": "pocketsphinx", "language": "en"}
    async with leaving(started) as url:
        speaker = Speaker(reactor, bytes(64_000), 3200, fast=False)
        assert await stream(reactor, Destination(url), speaker) == "enough"
