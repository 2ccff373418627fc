"""A server that serves SIP on real loopback sockets, and a telephone that knows nothing of our SIP code."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor as twisted_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater

from voicemedia.config import Calls, Config, Grpc, History, Limits, Recording, Server, Sip, Trunk
from voicemedia.service import MediaServer
from voicemedia.sip_bridge.bridge import Bridge
from voicemedia.sip_bridge.rtp_wire import Packet

reactor: Any = twisted_reactor

NO_CALLS = Calls()
NO_RECORDING = Recording()
ECHO = Trunk("test", agent="echo", stt="none", tts="none")
PCMA_SILENCE = b"\xd5" * 160


@asynccontextmanager
async def serving(
    *trunks: Trunk, calls: Calls = NO_CALLS, recording: Recording = NO_RECORDING, **sip: Any
) -> AsyncIterator[MediaServer]:
    """Run a server on ports the system chooses."""
    settings = Sip(enabled=True, port=0, tls_port=0, rtp_first_port=0, **sip)
    config = Config(
        server=Server(port=0),
        limits=Limits(drain_s=0),
        grpc=Grpc(enabled=False),
        history=History(enabled=False),
        routes=(),
        sip=settings,
        calls=calls,
        recording=recording,
        trunks=trunks or (ECHO,),
    )
    server = MediaServer(config, reactor)
    server.startService()
    try:
        yield server
    finally:
        await server.stopService()


def make_certificate(folder: Path) -> dict[str, Any]:
    """Make a certificate of 127.0.0.1 that nobody has signed; return what `[sip]` says of it."""
    paths = {"certificate": str(folder / "cert.pem"), "private_key": str(folder / "key.pem")}
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-out", paths["certificate"], "-keyout", paths["private_key"]),
        ],
        check=True,
        capture_output=True,
    )
    return paths


def bridge_of(server: MediaServer) -> Bridge:
    assert server.sip is not None
    return server.sip


def pause(seconds: float) -> "Deferred[None]":
    waited: Deferred[None] = deferLater(reactor, seconds)
    return waited


async def until(true: Callable[[], object], patience_s: float = 30) -> None:
    """Let the reactor run until something is so."""
    for _ in range(int(patience_s * 200)):
        if true():
            return
        await pause(0.005)
    raise AssertionError("it did not come to pass")


class Socket(DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.sources: list[tuple[str, int]] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.got.append(datagram)
        self.sources.append((addr[0], addr[1]))


def header(message: str, name: str) -> str:
    """Return the value of a header."""
    return next(line.split(":", 1)[1].strip() for line in message.split("\r\n") if line.startswith(f"{name}:"))


class Telephone:
    """Calls by messages written by hand."""

    def __init__(self, server: MediaServer, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.signals, self.sound, self.reports = Socket(), Socket(), Socket()
        sockets = (self.signals, port), (self.sound, 0), (self.reports, 0)
        self._ports = [reactor.listenUDP(at, each, interface=host) for each, at in sockets]
        self.port, self.sound_port, self.report_port = (each.getHost().port for each in self._ports)
        self.server = ("127.0.0.1", bridge_of(server).ports.port)
        self.call_id, self.to_tag, self._cseq = f"{self.port}@phone", "", 0
        self.sound_to = ("127.0.0.1", 0)
        self._sequence = self._timestamp = 0
        self.ssrc = 0x1234
        self.theirs = ""
        "From of a call that the server has begun."

    async def close(self) -> None:
        if self.to_tag and not self.requests("BYE"):
            self.request("BYE")
            await pause(0.02)
        if self.theirs and not self.requests("BYE"):
            self.ask("BYE")
            await pause(0.02)
        for each in self._ports:
            await each.stopListening()

    # --- signalling ---

    def send(self, text: str) -> None:
        self.signals.transport.write(text.replace("\n", "\r\n").encode(errors="surrogateescape"), self.server)  # type: ignore[union-attr]

    def request(
        self, method: str, body: str = "", *, kind: str = "sdp", cseq: int = 0, branch: str = "", lines: str = ""
    ) -> None:
        if not cseq:
            self._cseq += 1
        number = cseq or self._cseq
        content = f"Content-Type: application/{kind}\n" if body else ""
        size = len(body.replace("\n", "\r\n"))
        self.send(
            f"{method} sip:bot@127.0.0.1 SIP/2.0\n"
            f"Via: SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bK{branch or f'{method}{number}{self.port}'};rport\n"
            f'Max-Forwards: 70\nFrom: "Asha" <sip:+919800000001@phone>;tag=me\n'
            f"To: <sip:bot@127.0.0.1>{self.to_tag}\nCall-ID: {self.call_id}\nCSeq: {number} {method}\n"
            f"Contact: <sip:me@{self.host}:{self.port}>\n{lines}{content}Content-Length: {size}\n\n{body}"
        )

    def sdp(self, lines: str = "", *, formats: str = "8 101", direction: str = "sendrecv", version: int = 1) -> str:
        return (
            f"v=0\no=- 1 {version} IN IP4 {self.host}\ns=-\nc=IN IP4 {self.host}\nt=0 0\n"
            f"m=audio {self.sound_port} RTP/AVP {formats}\na=rtpmap:101 telephone-event/8000\n"
            f"a=rtcp:{self.report_port}\na={direction}\n{lines}"
        )

    def responses(self, method: str = "INVITE") -> list[str]:
        texts = [got.decode(errors="surrogateescape") for got in self.signals.got]
        return [text for text in texts if text.startswith("SIP/2.0") and f" {method}\r\n" in text]

    def requests(self, method: str) -> list[str]:
        return [got.decode(errors="surrogateescape") for got in self.signals.got if got.startswith(method.encode())]

    async def answer(self, method: str = "INVITE") -> str:
        """Wait for a final response; take tag and address from it."""
        self.signals.got = [got for got in self.signals.got if not got.startswith(b"SIP/2.0")]
        await until(lambda: [text for text in self.responses(method) if not text.startswith("SIP/2.0 1")])
        text = [text for text in self.responses(method) if not text.startswith("SIP/2.0 1")][-1]
        for line in text.split("\r\n"):
            if line.startswith("To:") and "tag=" in line and text.startswith("SIP/2.0 2"):
                self.to_tag = ";" + line[line.index("tag=") :]
            if line.startswith("m=audio"):
                self.sound_to = ("127.0.0.1", int(line.split()[1]))
        return text

    async def call(self, sdp: str | None = None) -> str:
        """Call and acknowledge; return the answer."""
        self.request("INVITE", self.sdp() if sdp is None else sdp)
        text = await self.answer()
        if text.startswith("SIP/2.0 2"):
            self.request("ACK", cseq=self._cseq)
        return text

    async def hang_up(self) -> str:
        self.request("BYE")
        return await self.answer("BYE")

    def agree(self, request: str) -> None:
        """Answer a request of the server's with 200."""
        kept = ("via:", "from:", "to:", "call-id:", "cseq:")
        lines = [line for line in request.split("\r\n\r\n")[0].split("\r\n")[1:] if line.lower().startswith(kept)]
        self.send("\n".join(["SIP/2.0 200 OK", *lines, "Content-Length: 0", "", ""]))

    # --- called by the server ---

    async def invited(self, number: int = 1) -> str:
        """Wait for the INVITE of a call of the server's; say where its sound goes."""
        await until(lambda: len(self.requests("INVITE")) >= number)
        invite = self.requests("INVITE")[number - 1]
        self.learn(invite)
        return invite

    def learn(self, request: str) -> None:
        """Take from a request of the server's what ours in the same dialog need."""
        self.call_id = header(request, "Call-ID")
        self.theirs = header(request, "From")
        for line in request.split("\r\n"):
            if line.startswith("m=audio"):
                self.sound_to = ("127.0.0.1", int(line.split()[1]))

    def reply(self, request: str, status: str, body: str = "", extra: str = "") -> None:
        """Answer a request of the server's."""
        kept = ("via:", "from:", "call-id:", "cseq:", "record-route:")
        lines = [line for line in request.split("\r\n\r\n")[0].split("\r\n")[1:] if line.lower().startswith(kept)]
        to = header(request, "To")
        to = to if "tag=" in to or status.startswith("100") else f"{to};tag=you"
        content = f"Content-Type: application/sdp\n{extra}" if body else extra
        size = len(body.replace("\n", "\r\n"))
        contact = "" if "Contact:" in extra else f"Contact: <sip:me@{self.host}:{self.port}>\n"
        text = "\n".join([f"SIP/2.0 {status}", *lines, f"To: {to}"])
        self.send(f"{text}\n{contact}{content}Content-Length: {size}\n\n{body}")

    def ask(self, method: str, lines: str = "", body: str = "", cseq: int = 0) -> None:
        """Send a request in a dialog the server has begun."""
        self._cseq += 1
        size = len(body.replace("\n", "\r\n"))
        ours = f"<sip:me@{self.host}>;tag=you"
        self.send(
            f"{method} sip:bot@127.0.0.1 SIP/2.0\n"
            f"Via: SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bKask{self._cseq}{self.port};rport\n"
            f"Max-Forwards: 70\nFrom: {ours}\nTo: {self.theirs}\nCall-ID: {self.call_id}\n"
            f"CSeq: {cseq or self._cseq} {method}\nContact: <sip:me@{self.host}:{self.port}>\n"
            f"{lines}Content-Length: {size}\n\n{body}"
        )

    async def take(self, number: int = 1) -> str:
        """Take a call of the server's."""
        invite = await self.invited(number)
        self.reply(invite, "200 OK", self.sdp())
        await until(lambda: len(self.requests("ACK")) >= number)
        return invite

    # --- sound ---

    def say(self, payload: bytes = PCMA_SILENCE, *, kind: int = 8, socket: Socket | None = None) -> None:
        packet = Packet(kind, self._sequence, self._timestamp, self.ssrc, payload)
        self._sequence, self._timestamp = self._sequence + 1, self._timestamp + len(payload)
        (socket or self.sound).transport.write(packet.encode(), self.sound_to)  # type: ignore[union-attr]

    async def talk(self, payloads: list[bytes], kind: int = 8) -> None:
        """Say packets at the speed of speech."""
        due_s = reactor.seconds()
        for payload in payloads:
            self.say(payload, kind=kind)
            due_s += len(payload) / 8000
            await pause(max(0.0, due_s - reactor.seconds()))
