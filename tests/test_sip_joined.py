"""What two calls that are joined, or were not, have to do with waiting and with each other."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import wave
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, until
from tests.test_calls_out import TOKEN, address
from tests.test_sip_transfers import OTHER_WORDS, WORDS, Party, hung_up, joined, party, referred
from voicemedia.audio.g711 import decode_alaw
from voicemedia.sip_bridge.rtp_wire import read_rtp

LOUD = 12_000
"What the music on hold is made of, beyond what ringing has."


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)


async def other_call(house: Party, phone: Telephone, calls: int = 2) -> Any:
    call = await house.client.place(address(phone, "carol"))
    await phone.take()
    await until(lambda: len(house.server.switchboard) == calls)
    return call


async def turned(house: Party, what: str, *, direction: str, invites: int) -> str:
    """Hold or resume bob's call; return the offer he gets."""
    done = Deferred.fromCoroutine(house.client.ask("POST", f"/{house.call['id']}/{what}"))
    offer = await reoffered(house, direction=direction, invites=invites)
    assert (await done)[0] == 200
    return offer


async def reoffered(house: Party, *, direction: str, invites: int) -> str:
    await until(lambda: len(house.bob.requests("INVITE")) == invites)
    offer = house.bob.requests("INVITE")[invites - 1]
    house.bob.reply(offer, "200 OK", house.bob.sdp(direction=direction, version=invites))
    return offer


def loud_music(path: Path) -> str:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(LOUD.to_bytes(2, "little", signed=True) * 8000)
    return str(path)


def loudest(phone: Telephone) -> int:
    """Return the loudest sample of the last packet a telephone has got."""
    if not phone.sound.got:
        return 0
    heard = decode_alaw(read_rtp(phone.sound.got[-1]).payload)
    return max(int.from_bytes(heard[at : at + 2], "little", signed=True) for at in range(0, len(heard), 2))


@pytest.mark.parametrize("by", ["bridge", "refer", "auto"])
@in_reactor
async def test_two_calls_that_are_joined_are_not_joined_again(by: str) -> None:
    async with party() as house:
        other = await other_call(house, house.carol)
        assert (await house.transfer(call=other["id"], by="bridge"))[0] == 200
        status, told = await house.transfer(call=other["id"], by=by)
        assert status == 409 and "joined" in told["error"]["message"]
        status, _ = await house.client.ask("POST", f"/{other['id']}/transfer", call=house.call["id"], by=by)
        assert status == 409
        await house.says(house.bob, WORDS, heard_by=house.carol)
        await house.says(house.carol, OTHER_WORDS, heard_by=house.bob)
        assert not house.bob.requests("REFER") and not house.carol.requests("BYE")


@in_reactor
async def test_two_calls_that_were_joined_while_the_peer_thought_about_it_stay_so() -> None:
    async with party() as house:
        other = await other_call(house, house.carol)
        refer, moved = await referred(house, call=other["id"], by="auto")
        status, _ = await house.client.ask("POST", f"/{other['id']}/transfer", call=house.call["id"], by="bridge")
        # Who is being handed over is left alone.
        assert status == 409
        house.bob.reply(refer, "405 Method Not Allowed")
        assert (await moved)[0] == 200
        await house.says(house.bob, WORDS, heard_by=house.carol)


@in_reactor
async def test_a_third_who_is_joined_with_one_of_two_leaves_the_other_alone() -> None:
    async with party() as house:
        await joined(house)
        dave = Telephone(house.server)
        third = await other_call(house, dave, 1)
        assert (await house.transfer(call=third["id"], by="bridge"))[0] == 200
        await hung_up(house.carol)
        await house.says(house.bob, WORDS, heard_by=dave)
        await house.says(dave, OTHER_WORDS, heard_by=house.bob)
        assert (await house.client.card(house.call))["joined"] == third["id"]
        assert (await house.client.card(third))["joined"] == house.call["id"]
        await dave.close()


@in_reactor
async def test_a_caller_on_hold_whose_transfer_fails_hears_the_music_again(tmp_path: Path) -> None:
    async with party(hold_music=loud_music(tmp_path / "music.wav")) as house:
        await turned(house, "hold", direction="recvonly", invites=2)
        await until(lambda: loudest(house.bob) > LOUD - 500)
        moved = house.transfer(to=address(house.carol, "carol"), by="bridge")
        invite = await house.carol.invited()
        await until(lambda: loudest(house.bob) < LOUD - 500)
        house.carol.reply(invite, "486 Busy Here")
        assert (await moved)[0] == 502
        await until(lambda: loudest(house.bob) > LOUD - 500)
        assert (await house.client.card(house.call))["held"]
        # And nobody but the agent is there when the waiting is over.
        await turned(house, "resume", direction="sendrecv", invites=3)
        await house.says(house.bob, WORDS, heard_by=house.bob)


@in_reactor
async def test_a_caller_on_hold_waits_no_more_once_somebody_is_there() -> None:
    async with party() as house:
        await turned(house, "hold", direction="recvonly", invites=2)
        await joined(house)
        assert "a=sendrecv" in await reoffered(house, direction="sendrecv", invites=3)
        await house.says(house.bob, WORDS, heard_by=house.carol)
        await house.says(house.carol, OTHER_WORDS, heard_by=house.bob)
        assert not (await house.client.card(house.call))["held"]
