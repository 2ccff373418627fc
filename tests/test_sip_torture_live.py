"""RFC 4475's messages over TCP, to a running server."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from tests.in_reactor import in_reactor
from tests.sip_house import ECHO, Telephone, bridge_of, pause, reactor, serving, until
from tests.test_sip_torture import CASES, TCP_DIFFERS, TORTURE, needs_vectors

REFUSALS = {"400", "405", "413", "414", "415", "416", "420", "501", "505"}


class Caller(Protocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got, self.closed = b"", False

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: object = None) -> None:
        self.closed = True

    @property
    def statuses(self) -> set[str]:
        """The final and provisional answers, without the 100 of who needs time."""
        lines = self.got.split(b"\r\n")
        return {line.split()[1].decode() for line in lines if line.startswith(b"SIP/2.0 ")} - {"100"}


def allowed(entry: dict[str, Any]) -> set[str]:
    return set(TCP_DIFFERS.get(Path(entry["file"]).stem, entry["uas_reaction"]))


@needs_vectors
@in_reactor
async def test_torture_over_tcp_gets_the_answers_its_manifest_allows_and_calls_go_on() -> None:
    async with serving(ECHO) as server:
        port = bridge_of(server).ports.port
        for entry in CASES:
            caller: Caller = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Caller())
            caller.transport.write((TORTURE / entry["file"]).read_bytes())  # type: ignore[union-attr]
            wanted = allowed(entry)
            if entry["kind"] == "request" and wanted <= REFUSALS:
                await until(lambda caller=caller: caller.statuses)  # type: ignore[misc]
                assert caller.statuses <= wanted, entry["file"]
            else:
                await pause(0.02)
                if entry["kind"] != "request" or wanted == {"drop"}:
                    assert not caller.statuses, entry["file"]
            caller.transport.abortConnection()  # type: ignore[union-attr]
            await until(lambda caller=caller: caller.closed)  # type: ignore[misc]
        for line in bridge_of(server).lines:
            for call in tuple(line.calls.live):
                call.hang_up(0)
        phone = Telephone(server)
        assert (await phone.call()).startswith("SIP/2.0 200")
        await phone.close()
