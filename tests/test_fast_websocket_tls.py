"""Over TLS the fast WebSocket reads as fast, sends through the transport, and still knows who does not read."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import datetime
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.loopback import Loopback
from tests.websocket_wires import HANDSHAKE, PING, PONG, Frame, Recorder, close, server_frames, text
from voicemedia.protocols.fast_websocket import FastWebSocketFactory, whole_frame


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for nobody in particular, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    day = datetime.datetime(2020, 1, 1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(day)
        .not_valid_after(day + datetime.timedelta(days=36_500))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "here.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


class TLSCaller:
    """The caller's end of a loopback connection, encrypted."""

    def __init__(self, certificate: Path) -> None:
        reactor = MemoryReactorClock()
        plain = FastWebSocketFactory(Recorder, reactor)
        factory = TLSMemoryBIOFactory(
            DefaultOpenSSLContextFactory(str(certificate), str(certificate)), False, plain, clock=reactor
        )
        self.connection = Loopback(factory, buffer_bytes=32_768, reactor=reactor)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        while self.tls.version() is None:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.incoming.write(self.connection.send(self.outgoing.read()))

    @property
    def protocol(self) -> Any:
        tls: Any = self.connection.server.protocol
        return tls.wrappedProtocol

    def send(self, octets: bytes) -> bytes:
        self.tls.write(octets)
        self.incoming.write(self.connection.send(self.outgoing.read()))
        return self._decrypted()

    def read(self) -> bytes:
        self.incoming.write(self.connection.read())
        return self._decrypted()

    def _decrypted(self) -> bytes:
        got = b""
        with suppress(ssl.SSLWantReadError):
            while octets := self.tls.read(1_000_000):
                got += octets
        return got


@pytest.fixture
def caller(certificate: Path) -> Iterator[TLSCaller]:
    caller = TLSCaller(certificate)
    with closing(caller.connection):
        assert caller.send(HANDSHAKE).startswith(b"HTTP/1.1 101 ")
        yield caller


def test_messages_pass_both_ways(caller: TLSCaller) -> None:
    assert caller.send(text("hello") + bytes(Frame(PING, b"?"))) == b"\x8a\x01?"
    caller.protocol.send_text(b"welcome")
    assert caller.read() == whole_frame(0x81, b"welcome")
    assert caller.protocol.told == [("opened",), ("text", b"hello")]


def test_a_peer_that_does_not_read_is_known_and_gets_all_that_was_sent_once_it_reads(caller: TLSCaller) -> None:
    sent, protocol = b"", caller.protocol
    while protocol.writable:
        payload = b"%d" % len(sent) * 1_000
        protocol.send_text(payload)
        caller.connection.turn()
        sent += whole_frame(0x81, payload)
        assert len(sent) < 10_000_000
    caller.tls.write(bytes(Frame(PING, b"1")) + bytes(Frame(PING, b"2")))
    caller.connection.client.sendall(caller.outgoing.read())
    got = b"".join(caller.read() for _ in range(3))
    assert got.startswith(sent)
    assert server_frames(got[len(sent) :]) == [(PONG, b"2")]
    assert protocol.writable


def test_a_close_ends_the_connection(caller: TLSCaller) -> None:
    protocol = caller.protocol
    assert caller.send(close(1000)) == b"\x88\x02\x03\xe8"
    caller.connection.turn()
    caller.connection.client.close()
    caller.connection.turn()
    assert protocol.told[-1] == ("closed", True, 1000, "")
