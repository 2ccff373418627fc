"""SIP stacks nobody here wrote are called by us, and hand us over: SIPp and baresip."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred, DeferredList

from tests.in_reactor import in_reactor
from tests.peers import baresip
from tests.peers.baresip import needs_baresip
from tests.peers.sipp import CALLEES, needs_sipp, sipp_called
from tests.sip_house import bridge_of, serving, until
from tests.test_calls_out import OUT, TOKEN, Client
from tests.test_sip_peers import SECONDS, chirp, free_ports, share_that_survived, write_words
from voicemedia.config import Calls
from voicemedia.service import MediaServer


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def caller() -> AsyncIterator[tuple[MediaServer, Client]]:
    async with serving(OUT, calls=Calls("CALLS_TOKEN")) as server:
        yield server, Client(server)
        await until(lambda: not bridge_of(server).rtp_ports.lent, 10)


def callee(folder: Path, port: int, name: str, *arguments: str) -> "Deferred[tuple[int, str]]":
    folder.mkdir(exist_ok=True)
    return sipp_called(folder, port, "-sf", str(CALLEES / f"{name}.xml"), *arguments)


@needs_sipp
@in_reactor
async def test_calls_to_sipp_are_answered_and_ended(tmp_path: Path) -> None:
    async with caller() as (server, client):
        port = free_port()
        done = sipp_called(tmp_path, port, "-sn", "uas", "-m", "20")
        placed = [
            Deferred.fromCoroutine(client.ask("POST", to=f"sip:bob@127.0.0.1:{port}", wait=True)) for _ in range(20)
        ]
        answers = await DeferredList(placed, fireOnOneErrback=True)
        assert [answer[1][0] for answer in answers] == [201] * 20
        await until(lambda: len(server.switchboard) == 20)
        for _, (_, told) in answers:
            assert (await client.ask("DELETE", f"/{told['call']['id']}"))[0] == 200
        status, log = await done
        assert status == 0, log


@needs_sipp
@pytest.mark.parametrize("name", ["reliable", "updates"])
@in_reactor
async def test_a_callee_of_sipp_goes_as_written(name: str, tmp_path: Path) -> None:
    async with caller() as (server, client):
        port = free_port()
        done = callee(tmp_path, port, name, "-m", "1")
        status, told = await client.ask("POST", to=f"sip:bob@127.0.0.1:{port}", wait=True)
        assert status == 201, told
        await until(lambda: len(server.switchboard) == 1)
        assert (await client.ask("DELETE", f"/{told['call']['id']}"))[0] == 200
        status, log = await done
        assert status == 0, log


@needs_sipp
@in_reactor
async def test_sipp_hands_us_over_to_another(tmp_path: Path) -> None:
    async with caller() as (server, client):
        bob, carol = free_port(), free_port()
        takes = sipp_called(tmp_path, carol, "-sn", "uas", "-m", "1")
        hands = callee(tmp_path / "bob", bob, "hands_over", "-m", "1", "-key", "carol", str(carol))
        status, told = await client.ask("POST", to=f"sip:bob@127.0.0.1:{bob}", wait=True)
        assert status == 201, told
        status, log = await hands
        assert status == 0, log
        assert server.switchboard.total == 1 and not server.switchboard.ended_by, "the talk goes on with carol"
        assert (await client.ask("DELETE", f"/{told['call']['id']}"))[0] == 200
        status, log = await takes
        assert status == 0, log


@needs_sipp
@in_reactor
async def test_sipp_is_handed_over_to_another(tmp_path: Path) -> None:
    async with caller() as (server, client):
        bob = free_port()
        done = callee(tmp_path, bob, "is_handed_over", "-m", "1")
        _, told = await client.ask("POST", to=f"sip:bob@127.0.0.1:{bob}", wait=True)
        await until(lambda: len(server.switchboard) == 1)
        status, answer = await client.ask("POST", f"/{told['call']['id']}/transfer", to="sip:carol@127.0.0.1:9")
        assert status == 200, answer
        status, log = await done
        assert status == 0, log
        assert server.switchboard.ended_by == {"transferred": 1}


@needs_sipp
@in_reactor
async def test_two_of_sipp_are_joined(tmp_path: Path) -> None:
    async with caller() as (server, client):
        bob, carol = free_port(), free_port()
        (tmp_path / "carol").mkdir()
        first = sipp_called(tmp_path, bob, "-sn", "uas", "-m", "1")
        second = sipp_called(tmp_path / "carol", carol, "-sn", "uas", "-m", "1")
        _, told = await client.ask("POST", to=f"sip:bob@127.0.0.1:{bob}", wait=True)
        await until(lambda: len(server.switchboard) == 1)
        wanted = {"to": f"sip:carol@127.0.0.1:{carol}", "by": "bridge"}
        assert (await client.ask("POST", f"/{told['call']['id']}/transfer", **wanted))[0] == 200
        assert server.switchboard.ended_by == {"transferred": 1}
        assert (await client.ask("DELETE", f"/{told['call']['id']}"))[0] == 200
        assert [(await each)[0] for each in (first, second)] == [0, 0]


@needs_baresip
@in_reactor
async def test_baresip_is_called_and_hears_its_own_words_at_the_quality_of_the_codec(tmp_path: Path) -> None:
    said = chirp()
    write_words(tmp_path / "said.wav", said)
    async with caller() as (server, client):
        port = free_ports()
        done = Deferred.fromCoroutine(
            baresip.called(tmp_path, tmp_path / "said.wav", codecs="pcma", seconds=SECONDS + 4, port=port)
        )
        status, told = await client.ask("POST", to=f"sip:bob@127.0.0.1:{port}", wait=True)
        assert status == 201, told
        heard, log = await done
        await until(lambda: not bridge_of(server).rtp_ports.lent, 10)
    assert "Call established" in log, log
    assert share_that_survived(said, heard) > 0.95
