"""What SIPp does at awkward moments, and the keys it presses."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.in_reactor import in_reactor
from tests.peers.moments import ALL_KEYS, KEYS, MOMENTS
from tests.peers.scenario import scenario
from tests.peers.sipp import needs_raw_sockets, needs_sipp, sipp
from tests.sip_house import ECHO, bridge_of, serving, until
from tests.test_sip_peers import left_behind


@needs_sipp
@needs_raw_sockets
@in_reactor
async def test_every_key_of_sipp_is_heard_once(tmp_path: Path) -> None:
    async with serving() as server:
        file = tmp_path / "keys.xml"
        file.write_text(scenario("keys", ALL_KEYS))
        status, log = await sipp(tmp_path, bridge_of(server).ports.port, "-sf", str(file), "-m", "1")
        assert status == 0, log
        await until(lambda: not left_behind(server))
        diary = next(iter(server.switchboard._ended.values()))
        assert "".join(str(turn["keys"]) for turn in diary.read()) == "".join(KEYS)


@needs_sipp
@pytest.mark.parametrize(
    ("name", "transport"), [(name, each) for name, moment in MOMENTS.items() for each in moment.transports]
)
@in_reactor
async def test_an_awkward_moment_is_survived(name: str, transport: str, tmp_path: Path) -> None:
    moment = MOMENTS[name]
    async with serving(replace(ECHO, **moment.trunk)) as server:
        file = tmp_path / f"{name}.xml"
        file.write_text(scenario(name, moment.steps))
        arguments = ("-sf", str(file), "-m", "2", "-r", "10", "-t", transport, *moment.arguments)
        status, log = await sipp(tmp_path, bridge_of(server).ports.port, *arguments)
        assert status == 0, log
        await until(lambda: not left_behind(server))
