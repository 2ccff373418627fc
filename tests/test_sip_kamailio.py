"""Behind Kamailio: registered with it, and two servers it divides the calls among."""

import sys
from pathlib import Path

import pytest

from tests.in_reactor import in_reactor
from tests.peers import baresip
from tests.peers.baresip import needs_baresip
from tests.peers.kamailio import HOST, PASSWORD, kamailio, needs_kamailio
from tests.peers.moments import THROUGH_A_PROXY
from tests.peers.scenario import scenario
from tests.peers.sipp import needs_sipp, outcome, sipp, start_sipp
from tests.sip_house import bridge_of, serving, until
from tests.test_sip_peers import SECONDS, chirp, free_ports, left_behind, share_that_survived, write_words
from tests.test_start import TWISTD, Started
from voicemedia.config import Trunk
from voicemedia.service import MediaServer

SERVER = """
routes = []
[server]
port = 0
[limits]
drain_s = 0
[grpc]
enabled = false
[history]
enabled = false
[sip]
enabled = true
port = 0
rtp_first_port = 0
[[trunks]]
name = "test"
agent = "echo"
stt = "none"
tts = "none"
"""


def registering(port: int) -> Trunk:
    """Make a trunk that registers with Kamailio."""
    return Trunk(
        "test",
        server=f"{HOST}:{port}",
        register=True,
        user="alice",
        secret_env="ALICE_PASSWORD",
        agent="echo",
        stt="none",
        tts="none",
    )


async def registered(server: MediaServer) -> None:
    await until(lambda: not any(bridge_of(server).troubles().values()))


@needs_kamailio
@needs_sipp
@in_reactor
async def test_a_call_comes_by_the_registrar_and_ends_by_its_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALICE_PASSWORD", PASSWORD)
    file = tmp_path / "through.xml"
    file.write_text(scenario("through", THROUGH_A_PROXY))
    with kamailio(tmp_path) as port:
        async with serving(registering(port)) as server:
            await registered(server)
            arguments = ("-sf", str(file), "-m", "5", "-r", "10", "-s", "alice")
            status, log = await sipp(tmp_path, port, *arguments)
            assert status == 0, log
            await until(lambda: not left_behind(server))
            assert server.switchboard.total == 5
            assert server.switchboard.ended_by == {"caller_hung_up": 5}


@needs_kamailio
@in_reactor
async def test_a_wrong_password_is_trouble_the_trunk_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALICE_PASSWORD", "another")
    with kamailio(tmp_path) as port:
        async with serving(registering(port)) as server:
            await until(lambda: "last answer 401" in "".join(bridge_of(server).troubles().values()))


@needs_kamailio
@needs_baresip
@in_reactor
async def test_baresip_with_a_password_is_heard_through_kamailio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALICE_PASSWORD", PASSWORD)
    said = chirp()
    write_words(tmp_path / "said.wav", said)
    with kamailio(tmp_path) as port:
        async with serving(registering(port)) as server:
            await registered(server)
            account = f'pcma;auth_user=bob;auth_pass="{PASSWORD}";outbound="sip:{HOST}:{port};lr"'
            heard, log = await baresip.call(
                tmp_path,
                f"sip:alice@{HOST}:{port}",
                tmp_path / "said.wav",
                codecs=account,
                seconds=SECONDS + 2,
                port=free_ports(),
            )
            await until(lambda: not left_behind(server))
    assert "Call established" in log, log
    assert share_that_survived(said, heard) > 0.95


@needs_kamailio
@needs_sipp
def test_when_one_of_two_servers_is_killed_new_calls_go_to_the_other(tmp_path: Path) -> None:
    through = tmp_path / "through.xml"
    through.write_text(scenario("through", THROUGH_A_PROXY))
    with started(tmp_path / "first") as first, started(tmp_path / "second") as second:
        servers = [server.wait_for("sip_port")["sip_port"] for server in (first, second)]
        with kamailio(tmp_path, servers) as port:
            arguments = ("-sf", str(through), "-r", "10", "-s", "anybody")
            traffic = start_sipp(tmp_path, port, *arguments, "-m", "50")
            for server in (first, second):
                server.wait_for("turns")
            first.process.kill()
            # New calls, while those of before go on.
            afterwards = start_sipp(tmp_path, port, *arguments, "-m", "20", host="127.5.0.3")
            assert outcome(afterwards) == (20, 0), "calls after the death of one"
            succeeded, failed = outcome(traffic)
            # Those that were up on the killed server at that instant cannot be ended.
            assert succeeded + failed == 50 and failed <= 4
        assert second.stop() in (0, -15)
        assert sum("turns" in line for line in second.lines) > 35


def started(folder: Path) -> Started:
    folder.mkdir()
    (folder / "voicemedia.toml").write_text(SERVER)
    return Started(Path(sys.executable), (*TWISTD, "-n", "voicemedia", "--config", "voicemedia.toml"), folder)
