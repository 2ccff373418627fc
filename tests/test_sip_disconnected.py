"""A connection that breaks while a call over it rings, or is up (RFC 3261, sections 17.2.4 and 18.2.2)."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

from tests.in_reactor import in_reactor
from tests.sip_house import bridge_of, header, reactor, serving, until
from voicemedia.config import Trunk
from voicemedia.service import MediaServer

RINGING = Trunk("test", agent="echo", stt="none", tts="none", answer_after_s=60)
SLOW = Trunk("test", agent="echo", stt="none", tts="none", answer_after_s=1)
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"


class Peer(Protocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got = ""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.got += data.decode()

    def connectionLost(self, reason: object = None) -> None:
        self.lost = True

    def request(self, method: str, listening: int, to_tag: str = "") -> None:
        body = SDP if method == "INVITE" else ""
        assert self.transport is not None
        self.transport.write(
            f"{method} sip:bot@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:{listening};branch=z9hG4bK{method}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:me@127.0.0.1>;tag=me\r\nTo: <sip:bot@127.0.0.1>{to_tag}\r\n"
            f"Call-ID: tcp\r\nCSeq: {2 if method == 'BYE' else 1} {method}\r\n"
            f"Contact: <sip:me@127.0.0.1:{listening};transport=tcp>\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )

    async def drop(self) -> None:
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]
        await until(lambda: self.lost)


async def connected(server: MediaServer) -> Peer:
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", bridge_of(server).ports.port)
    peer: Peer = await connectProtocol(endpoint, Peer())
    return peer


@asynccontextmanager
async def listening(kind: type[Peer] = Peer) -> AsyncIterator[tuple[int, list[Peer]]]:
    """Take connections, as a PBX does."""
    peers: list[Peer] = []

    class Pbx(Factory):
        def buildProtocol(self, addr: Any) -> Peer:
            peers.append(kind())
            return peers[-1]

    port = reactor.listenTCP(0, Pbx(), interface="127.0.0.1")
    yield port.getHost().port, peers
    await port.stopListening()


@in_reactor
async def test_a_caller_that_is_cut_off_while_it_rings_and_cannot_be_reached_has_given_up() -> None:
    async with serving(RINGING) as server:
        async with listening() as (nowhere, _):
            pass
        peer = await connected(server)
        peer.request("INVITE", nowhere)
        await until(lambda: "180 Ringing" in peer.got)
        await peer.drop()
        (line,) = bridge_of(server).lines
        await until(lambda: not line.calls.live)
        assert line.calls.cards["tcp"].status == 487
        assert bridge_of(server).rtp_ports.lent == 0 and not line.agent.dialogs


@in_reactor
async def test_a_caller_that_can_be_reached_again_gets_its_answer_there() -> None:
    async with serving(SLOW) as server, listening() as (port, peers):
        peer = await connected(server)
        peer.request("INVITE", port)
        await until(lambda: "180 Ringing" in peer.got)
        await peer.drop()
        await until(lambda: peers and "180 Ringing" in peers[0].got and "200 OK" in peers[0].got)
        assert len(peers) == 1
        tag = ";tag=" + header(peers[0].got.split("200 OK")[1], "To").partition(";tag=")[2]
        peers[0].request("ACK", port, tag)
        await until(lambda: len(server.switchboard) == 1)
        peers[0].request("BYE", port, tag)
        await until(lambda: "2 BYE" in peers[0].got and not bridge_of(server).lines[0].calls.live)
        await peers[0].drop()


@in_reactor
async def test_a_call_that_is_up_goes_on_over_another_connection() -> None:
    async with serving() as server, listening() as (port, _):
        peer = await connected(server)
        peer.request("INVITE", port)
        await until(lambda: "200 OK" in peer.got)
        tag = ";tag=" + header(peer.got.split("200 OK")[1], "To").partition(";tag=")[2]
        peer.request("ACK", port, tag)
        await until(lambda: len(server.switchboard) == 1)
        await peer.drop()
        (line,) = bridge_of(server).lines
        await until(lambda: not bridge_of(server).ports.connections)
        assert line.calls.live
        again = await connected(server)
        again.request("BYE", port, tag)
        await until(lambda: "2 BYE" in again.got and not line.calls.live)
        await again.drop()


class Registrar(Peer):
    """Takes every registration."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if self.got.endswith("\r\n\r\n") and "REGISTER" in self.got:
            kept = ("via:", "from:", "to:", "call-id:", "cseq:", "contact:")
            text = self.got.rpartition("REGISTER sip:")[2]
            lines = [line for line in text.split("\r\n") if line.lower().startswith(kept)]
            assert self.transport is not None
            self.transport.write("\r\n".join(["SIP/2.0 200 OK", *lines, "Content-Length: 0", "", ""]).encode())


@in_reactor
async def test_who_is_registered_by_a_connection_that_breaks_registers_anew() -> None:
    async with listening(Registrar) as (port, peers):
        trunk = Trunk(
            "test",
            agent="echo",
            stt="none",
            tts="none",
            server=f"127.0.0.1:{port}",
            transport="tcp",
            register=True,
            user="u",
        )
        async with serving(trunk) as server:
            (line,) = bridge_of(server).lines
            await until(lambda: line.server.registration and not line.trouble)
            await peers[0].drop()
            await until(lambda: len(peers) == 2 and "REGISTER" in peers[1].got)
            first, again = (header(peer.got, "Call-ID") for peer in peers)
            assert first == again
            assert not line.trouble
