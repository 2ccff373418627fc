"""What a transfer by REFER may not do: pass by a trunk's limits, or by whom it may call."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import msgspec
import pytest

from tests.in_reactor import in_reactor
from tests.sip_house import bridge_of, until
from tests.test_calls_out import OUT, TOKEN, address
from tests.test_sip_transfers import OTHER_WORDS, Party, asked_to_call, party
from voicemedia.config import Trunk


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)


def trunk(**changes: object) -> Trunk:
    return msgspec.structs.replace(OUT, **changes)


async def refused(house: Party, target: str) -> str:
    """Let bob ask for a call; return the refusal, which comes before anybody is called."""
    house.bob.ask("REFER", f"Refer-To: <{target}>\n")
    await until(lambda: house.bob.responses("REFER"))
    assert not house.carol.signals.got
    return house.bob.responses("REFER")[0][8:11]


def held(house: Party) -> int:
    return sum(house.server.switchboard._held.values())


@pytest.mark.parametrize("limit", ["max_calls", "calls_per_s"])
@in_reactor
async def test_a_peer_that_hands_us_over_gets_no_more_calls_than_the_trunk_has(limit: str) -> None:
    async with party(trunk(**{limit: 1})) as house:
        calls = bridge_of(house.server).lines[0].calls
        # One more within this second, should the first be longer ago.
        calls._pace.admits(calls.now_ms)
        assert await refused(house, address(house.carol, "carol")) == "603"
        await house.says(house.bob, OTHER_WORDS, heard_by=house.bob)
        assert held(house) == 1


@in_reactor
async def test_a_call_placed_for_a_peer_counts_until_it_is_the_call() -> None:
    async with party(trunk(max_calls=2)) as house:
        invite = await asked_to_call(house)
        assert held(house) == 2
        assert (await house.client.ask("POST", to=address(house.carol, "carol")))[0] == 503
        house.carol.reply(invite, "486 Busy Here")
        await until(lambda: held(house) == 1)
        house.carol.signals.got.clear()
        house.bob.ask("REFER", f"Refer-To: <{address(house.carol, 'carol')}>\n")
        house.carol.reply(await house.carol.invited(), "200 OK", house.carol.sdp())
        await house.says(house.carol, OTHER_WORDS, heard_by=house.carol)
        assert held(house) == 1


@in_reactor
async def test_nobody_is_called_for_a_peer_while_the_server_drains() -> None:
    async with party() as house:
        house.server.switchboard.draining = True
        assert await refused(house, address(house.carol, "carol")) == "603"


@in_reactor
async def test_a_number_at_our_own_address_is_called_by_the_trunk() -> None:
    async with party() as house:
        ours = bridge_of(house.server).ports.port
        # The trunk has no server to call by; we do not call ourselves instead.
        assert await refused(house, f"sip:carol@127.0.0.1:{ours}") == "603"
        assert len(house.server.switchboard) == 1


@pytest.mark.parametrize("by", ["refer", "auto", "bridge"])
@in_reactor
async def test_a_peer_is_not_asked_to_call_where_no_trunk_is(by: str) -> None:
    async with party() as house:
        for target in ("sip:carol@192.0.2.1", "sip:+919800000009@pbx.example"):
            assert (await house.transfer(to=target, by=by))[0] == 403
        assert not house.bob.requests("REFER")
        await house.says(house.bob, OTHER_WORDS, heard_by=house.bob)
