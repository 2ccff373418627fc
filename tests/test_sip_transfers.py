"""Handing callers over: by the peer (REFER) or by ourselves (two calls joined), and being handed over."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred

from tests.in_reactor import in_reactor
from tests.sip_house import Socket, Telephone, bridge_of, header, pause, serving, until
from tests.test_calls_out import OUT, TOKEN, Client, address
from tests.transferring_agent import TOLD
from voicemedia.audio.g711 import decode_alaw
from voicemedia.config import Calls, Trunk
from voicemedia.service import MediaServer
from voicemedia.sip_bridge.rtp_leg import LOOK_MS
from voicemedia.sip_bridge.rtp_wire import read_rtp

WORDS = bytes(range(160))
OTHER_WORDS = bytes(range(80, 240))


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)


class Party:
    """A server, who moves its calls, and two telephones; the first talks with the agent."""

    def __init__(self, server: MediaServer, bob: Telephone, carol: Telephone) -> None:
        self.server, self.client, self.bob, self.carol = server, Client(server), bob, carol
        self.call: dict[str, Any] = {}

    async def up(self) -> None:
        self.call = await self.client.place(address(self.bob))
        await self.bob.take()
        await until(lambda: len(self.server.switchboard) == 1)
        # The agent is an echo: once it is heard, all ways are open.
        await self.says(self.bob, WORDS, heard_by=self.bob)

    def transfer(self, **body: str) -> "Deferred[tuple[int, Any]]":
        return Deferred.fromCoroutine(self.client.ask("POST", f"/{self.call['id']}/transfer", **body))

    async def says(self, phone: Telephone, words: bytes, heard_by: Telephone) -> None:
        """Let one speak until the other hears it."""
        heard_by.sound.got.clear()
        for _ in range(100):
            await phone.talk([words] * 4)
            if hears(heard_by.sound, words):
                return
        raise AssertionError("it was not heard")

    @property
    def ended_by(self) -> dict[str, int]:
        return dict(self.server.switchboard.ended_by)


def hears(socket: Socket, words: bytes) -> bool:
    return any(words[:80] in got or words[80:] in got for got in socket.got)


@asynccontextmanager
async def party(trunk: Trunk = OUT, **sip: Any) -> AsyncIterator[Party]:
    async with serving(trunk, calls=Calls("CALLS_TOKEN"), **sip) as server:
        bob, carol = Telephone(server), Telephone(server)
        try:
            made = Party(server, bob, carol)
            await made.up()
            yield made
        finally:
            await bob.close()
            await carol.close()
    assert bridge_of(server).rtp_ports.lent == 0


def sipfrag(status: str, state: str) -> str:
    return f"Event: refer\nSubscription-State: {state}\nContent-Type: message/sipfrag\n"


async def hung_up(phone: Telephone) -> None:
    await until(lambda: phone.requests("BYE"))
    phone.agree(phone.requests("BYE")[0])


# --- the peer calls ---


async def referred(house: Party, **body: str) -> "tuple[str, Deferred[tuple[int, Any]]]":
    """Let the server ask bob to call carol."""
    moved = house.transfer(**body)
    await until(lambda: house.bob.requests("REFER"))
    return house.bob.requests("REFER")[0], moved


@in_reactor
async def test_a_peer_that_takes_our_refer_is_let_go_when_it_has_reached_the_other() -> None:
    async with party() as house:
        refer, moved = await referred(house, to=address(house.carol, "carol"))
        assert header(refer, "Refer-To") == f"<{address(house.carol, 'carol')}>"
        house.bob.reply(refer, "202 Accepted")
        for status, state in (("100 Trying", "active;expires=60"), ("180 Ringing", "active"), ("200 OK", "terminated")):
            house.bob.ask("NOTIFY", sipfrag(status, state), f"SIP/2.0 {status}\n")
            await until(lambda: house.bob.responses("NOTIFY"))
            house.bob.signals.got = [got for got in house.bob.signals.got if not got.startswith(b"SIP/2.0")]
        assert (await moved)[0] == 200
        await hung_up(house.bob)
        await until(lambda: house.ended_by == {"transferred": 1})


@in_reactor
async def test_a_peer_that_hangs_up_right_after_our_refer_has_taken_the_caller_along() -> None:
    async with party() as house:
        refer, moved = await referred(house, to=address(house.carol, "carol"), by="refer")
        house.bob.reply(refer, "202 Accepted")
        house.bob.ask("BYE")
        assert (await moved)[0] == 200
        assert house.ended_by == {"transferred": 1}


@pytest.mark.parametrize("said", ["486 Busy Here", "404 Not Found"])
@in_reactor
async def test_a_transfer_the_other_does_not_take_leaves_the_call_with_the_agent(said: str) -> None:
    async with party() as house:
        refer, moved = await referred(house, to=address(house.carol, "carol"))
        house.bob.reply(refer, "202 Accepted")
        house.bob.ask("NOTIFY", sipfrag(said[:3], "terminated;reason=noresource"), f"SIP/2.0 {said}\n")
        status, told = await moved
        assert (status, told["error"]["status"]) == (502, int(said[:3]))
        await house.says(house.bob, OTHER_WORDS, heard_by=house.bob)


@in_reactor
async def test_whom_the_trunk_may_not_call_nobody_is_transferred_to() -> None:
    async with party() as house:
        for to in ("+1900555", "911", "sip:911@127.0.0.1"):
            assert (await house.transfer(to=to))[0] == 403
        assert not house.bob.requests("REFER")


# --- we call ---


@in_reactor
async def test_where_the_peer_takes_no_refer_both_calls_are_joined() -> None:
    async with party() as house:
        refer, moved = await referred(house, to=address(house.carol, "carol"))
        house.bob.reply(refer, "405 Method Not Allowed")
        invite = await house.carol.invited()
        house.carol.reply(invite, "180 Ringing")
        house.bob.sound.got.clear()
        # It rings, and the agent says nothing of its own.
        await until(lambda: any(len(set(read_rtp(got).payload)) > 8 for got in house.bob.sound.got if len(got) == 172))
        house.carol.reply(invite, "200 OK", house.carol.sdp())
        assert (await moved)[0] == 200
        await house.says(house.bob, WORDS, heard_by=house.carol)
        await house.says(house.carol, OTHER_WORDS, heard_by=house.bob)
        assert house.ended_by == {"transferred": 1} and not len(house.server.switchboard)
        _, told = await house.client.ask("GET")
        assert sorted(card["joined"] for card in told["calls"]) == sorted(card["id"] for card in told["calls"])
        house.bob.ask("INFO", "Content-Type: application/dtmf-relay\n", "Signal=5\nDuration=100\n")
        await until(lambda: any(got[1] & 0x7F == 101 and got[12] == 5 for got in house.carol.sound.got))
        house.bob.ask("BYE")
        await hung_up(house.carol)


async def joined(house: Party) -> None:
    moved = house.transfer(to=address(house.carol, "carol"), by="bridge")
    await house.carol.take()
    assert (await moved)[0] == 200


@in_reactor
async def test_whoever_hangs_up_first_of_two_joined_ends_both() -> None:
    async with party() as house:
        await joined(house)
        house.carol.ask("BYE")
        await hung_up(house.bob)
        await until(lambda: not any(len(line.calls.live) for line in bridge_of(house.server).lines))


@in_reactor
async def test_a_joined_call_that_is_ended_from_outside_ends_both() -> None:
    async with party() as house:
        await joined(house)
        assert (await house.client.ask("DELETE", f"/{house.call['id']}"))[0] == 200
        await hung_up(house.bob)
        await hung_up(house.carol)


@pytest.mark.looks_at_the_log
@in_reactor
async def test_a_bug_between_two_joined_ends_both_and_nobody_else() -> None:
    async with party() as house:
        await joined(house)
        one, _ = bridge_of(house.server).lines[0].calls
        one.leg.music = {}.popitem  # type: ignore[assignment]
        await hung_up(house.bob)
        await hung_up(house.carol)


@in_reactor
async def test_a_person_who_is_busy_leaves_the_caller_with_the_agent() -> None:
    async with party() as house:
        moved = house.transfer(to=address(house.carol, "carol"), by="bridge")
        house.carol.reply(await house.carol.invited(), "486 Busy Here")
        status, told = await moved
        assert (status, told["error"]["status"]) == (502, 486)
        await house.says(house.bob, OTHER_WORDS, heard_by=house.bob)
        assert not house.ended_by


@in_reactor
async def test_what_the_other_side_says_before_it_answers_is_heard() -> None:
    async with party() as house:
        moved = house.transfer(to=address(house.carol, "carol"), by="bridge")
        invite = await house.carol.invited()
        house.carol.reply(invite, "183 Session Progress", house.carol.sdp())
        await house.says(house.carol, OTHER_WORDS, heard_by=house.bob)
        house.carol.reply(invite, "200 OK", house.carol.sdp())
        assert (await moved)[0] == 200
        await house.says(house.bob, WORDS, heard_by=house.carol)


@in_reactor
async def test_a_caller_who_hangs_up_meanwhile_ends_the_call_to_the_other() -> None:
    async with party() as house:
        moved = house.transfer(to=address(house.carol, "carol"), by="bridge")
        invite = await house.carol.invited()
        house.carol.reply(invite, "180 Ringing")
        house.bob.ask("BYE")
        await until(lambda: house.carol.requests("CANCEL"))
        house.carol.agree(house.carol.requests("CANCEL")[0])
        house.carol.reply(invite, "487 Request Terminated")
        assert (await moved)[0] == 409
        assert house.ended_by == {"caller_hung_up": 1}


@in_reactor
async def test_two_calls_of_ours_are_joined() -> None:
    async with party() as house:
        other = await house.client.place(address(house.carol, "carol"))
        await house.carol.take()
        await until(lambda: len(house.server.switchboard) == 2)
        assert (await house.transfer(call=other["id"], by="bridge"))[0] == 200
        await house.says(house.bob, WORDS, heard_by=house.carol)
        await house.says(house.carol, OTHER_WORDS, heard_by=house.bob)
        assert house.ended_by == {"transferred": 2}
        assert (await house.transfer(call=house.call["id"], by="bridge"))[0] == 409


@in_reactor
async def test_an_attended_transfer_names_the_call_to_replace_as_its_owner_sees_it() -> None:
    async with party() as house:
        other = await house.client.place(address(house.carol, "carol"))
        invite = await house.carol.take()
        await until(lambda: len(house.server.switchboard) == 2)
        refer, moved = await referred(house, call=other["id"], by="refer")
        ours = header(invite, "From").partition("tag=")[2]
        replaces = f"{other['id']}%3Bto-tag%3Dyou%3Bfrom-tag%3D{ours}"
        assert header(refer, "Refer-To") == f"<sip:me@127.0.0.1:{house.carol.port}?Replaces={replaces}>"
        house.bob.reply(refer, "202 Accepted")
        house.bob.ask("NOTIFY", sipfrag("200", "terminated"), "SIP/2.0 200 OK\n")
        assert (await moved)[0] == 200
        await hung_up(house.bob)
        house.carol.ask("BYE")
        await until(lambda: house.ended_by == {"transferred": 1, "caller_hung_up": 1})


# --- the peer hands us over ---


async def asked_to_call(house: Party) -> str:
    """Let bob ask the server to call carol; return the INVITE she gets."""
    lines = f"Refer-To: <{address(house.carol, 'carol')}>\nReferred-By: <sip:bob@127.0.0.1>\n"
    house.bob.ask("REFER", lines)
    return await house.carol.invited()


@in_reactor
async def test_a_peer_that_hands_us_over_is_told_how_it_goes_and_the_talk_goes_on_with_the_other() -> None:
    async with party() as house:
        (talk,) = house.server.switchboard
        invite = await asked_to_call(house)
        assert house.bob.responses("REFER")[0].startswith("SIP/2.0 202")
        assert header(invite, "Referred-By") == "<sip:bob@127.0.0.1>"
        house.carol.reply(invite, "180 Ringing")
        house.carol.reply(invite, "200 OK", house.carol.sdp())

        def told() -> list[str]:
            return [notify.rpartition("\r\n\r\n")[2].strip() for notify in house.bob.requests("NOTIFY")]

        await until(lambda: "SIP/2.0 200 OK" in told())
        assert told()[0] == "SIP/2.0 100 Trying" and "SIP/2.0 180 Ringing" in told()
        for notify in house.bob.requests("NOTIFY"):
            house.bob.agree(notify)
        house.bob.ask("BYE")
        await house.says(house.carol, OTHER_WORDS, heard_by=house.carol)
        assert list(house.server.switchboard) == [talk] and not house.ended_by
        house.carol.ask("BYE")
        await until(lambda: house.ended_by == {"caller_hung_up": 1})


@in_reactor
async def test_a_peer_that_hangs_up_at_once_after_handing_us_over_does_not_end_the_talk() -> None:
    async with party() as house:
        (talk,) = house.server.switchboard
        invite = await asked_to_call(house)
        house.bob.ask("BYE")
        await pause(0.05)
        house.carol.reply(invite, "200 OK", house.carol.sdp())
        await house.says(house.carol, OTHER_WORDS, heard_by=house.carol)
        assert list(house.server.switchboard) == [talk]
        house.carol.ask("BYE")
        await until(lambda: house.ended_by == {"caller_hung_up": 1})


@in_reactor
async def test_whom_we_are_handed_over_to_may_let_it_ring_for_longer_than_silence_is_borne() -> None:
    async with party() as house:
        invite = await asked_to_call(house)
        house.carol.reply(invite, "180 Ringing")
        house.bob.ask("BYE")
        await until(lambda: house.bob.responses("BYE"))
        (call,) = bridge_of(house.server).lines[0].calls
        call.leg.last_message_ms -= 60_000
        await pause(2 * LOOK_MS / 1000)
        assert not house.carol.requests("CANCEL")
        house.carol.reply(invite, "200 OK", house.carol.sdp())
        await house.says(house.carol, OTHER_WORDS, heard_by=house.carol)


@in_reactor
async def test_when_the_other_does_not_take_us_we_stay_with_the_peer() -> None:
    async with party() as house:
        invite = await asked_to_call(house)
        house.carol.reply(invite, "486 Busy Here")
        await until(lambda: any("SIP/2.0 486" in notify for notify in house.bob.requests("NOTIFY")))
        assert "terminated" in header(house.bob.requests("NOTIFY")[-1], "Subscription-State")
        await house.says(house.bob, OTHER_WORDS, heard_by=house.bob)


@pytest.mark.parametrize("to", ["+1900555", "911", "tel:112", "bob@192.0.2.1"])
@in_reactor
async def test_a_peer_cannot_have_us_call_just_anybody(to: str) -> None:
    async with party() as house:
        target = to if ":" in to else f"sip:{to}" if "@" in to else f"sip:{to}@127.0.0.1:{house.carol.port}"
        house.bob.ask("REFER", f"Refer-To: <{target}>\n")
        await until(lambda: house.bob.responses("REFER"))
        assert house.bob.responses("REFER")[0].startswith("SIP/2.0 403")
        assert not house.carol.signals.got


@in_reactor
async def test_a_trunk_that_may_not_dial_takes_no_refer() -> None:
    async with serving() as server:
        phone = Telephone(server)
        await phone.call()
        phone.request("REFER", "")
        assert (await phone.answer("REFER")).startswith("SIP/2.0 400")
        await phone.close()


@in_reactor
async def test_somebody_who_replaces_the_peer_goes_on_with_the_talk() -> None:
    async with party() as house:
        (talk,) = house.server.switchboard
        invite = house.bob.requests("INVITE")[0]
        ours = header(invite, "From").partition("tag=")[2]
        carol = house.carol
        text = carol.sdp()
        carol.send(
            f"INVITE sip:bot@127.0.0.1 SIP/2.0\nVia: SIP/2.0/UDP 127.0.0.1:{carol.port};branch=z9hG4bKrep;rport\n"
            f"Max-Forwards: 70\nFrom: <sip:carol@127.0.0.1>;tag=me\nTo: <sip:bot@127.0.0.1>\n"
            f"Call-ID: {carol.call_id}\nCSeq: 1 INVITE\nContact: <sip:me@127.0.0.1:{carol.port}>\n"
            f"Replaces: {header(invite, 'Call-ID')};to-tag={ours};from-tag=you\n"
            f"Content-Type: application/sdp\nContent-Length: {len(text.replace(chr(10), chr(13) + chr(10)))}\n\n{text}"
        )
        assert (await carol.answer()).startswith("SIP/2.0 200")
        carol.request("ACK", cseq=1)
        await hung_up(house.bob)
        await house.says(carol, OTHER_WORDS, heard_by=carol)
        assert list(house.server.switchboard) == [talk] and not house.ended_by
        assert (await carol.hang_up()).startswith("SIP/2.0 200")
        await until(lambda: house.ended_by == {"caller_hung_up": 1})


# --- what is heard while one waits ---


@in_reactor
async def test_music_plays_on_hold(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "music.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"".join(((at % 40) * 400 - 8000).to_bytes(2, "little", signed=True) for at in range(800)))
    async with party(hold_music=str(tmp_path / "music.wav")) as house:
        held = Deferred.fromCoroutine(house.client.ask("POST", f"/{house.call['id']}/hold"))
        await until(lambda: len(house.bob.requests("INVITE")) == 2)
        house.bob.reply(house.bob.requests("INVITE")[1], "200 OK", house.bob.sdp(direction="recvonly", version=2))
        assert (await held)[0] == 200
        house.bob.sound.got.clear()

        def played() -> list[int]:
            if not house.bob.sound.got:
                return [0]
            heard = decode_alaw(read_rtp(house.bob.sound.got[-1]).payload)
            return [int.from_bytes(heard[at : at + 2], "little", signed=True) for at in range(0, 320, 2)]

        # What was on its way before, and a first packet that is music in part, come in front of it.
        await until(lambda: min(played()) < -7000 and len(house.bob.sound.got) > 20)
        samples = played()
        assert max(samples) > 7000 and min(samples) < -7000 and sum(a < b for a, b in pairwise(samples)) > 120


# --- what an agent does ---

AGENTS = msgspec.structs.replace(OUT, agent="tests.transferring_agent", transfer_by="bridge")


@asynccontextmanager
async def talking() -> AsyncIterator[Party]:
    """Bob talks with an agent that can be told what to do by a key."""
    TOLD.clear()
    async with serving(AGENTS, calls=Calls("CALLS_TOKEN")) as server:
        bob, carol = Telephone(server), Telephone(server)
        try:
            made = Party(server, bob, carol)
            made.call = await made.client.place(address(bob), parameters={"to": address(carol, "carol")})
            await bob.take()
            await until(lambda: len(server.switchboard) == 1)
            yield made
        finally:
            await bob.close()
            await carol.close()


def key(phone: Telephone, pressed: str) -> None:
    phone.ask("INFO", "Content-Type: application/dtmf-relay\n", f"Signal={pressed}\nDuration=100\n")


@in_reactor
async def test_an_agent_announces_a_transfer_and_leaves_when_it_has_come_about() -> None:
    async with talking() as house:
        key(house.bob, "1")
        await house.carol.take()
        await until(lambda: "over transferred" in TOLD)
        assert "1: done" in TOLD
        await house.says(house.bob, WORDS, heard_by=house.carol)
        await house.says(house.carol, OTHER_WORDS, heard_by=house.bob)


@in_reactor
async def test_an_agent_is_told_why_nobody_took_the_call_and_goes_on() -> None:
    async with talking() as house:
        key(house.bob, "1")
        house.carol.reply(await house.carol.invited(), "486 Busy Here")
        await until(lambda: "1: Busy Here (486)" in TOLD)
        key(house.bob, "4")
        await until(lambda: "4: done" in TOLD)
        await until(lambda: {got[12] for got in house.bob.sound.got if got[1] & 0x7F == 101} == {4, 2})


@in_reactor
async def test_an_agent_lets_the_caller_wait_and_comes_back() -> None:
    async with talking() as house:
        key(house.bob, "2")
        await until(lambda: len(house.bob.requests("INVITE")) == 2)
        house.bob.reply(house.bob.requests("INVITE")[1], "200 OK", house.bob.sdp(direction="recvonly", version=2))
        await until(lambda: "2: done" in TOLD)
        assert (await house.client.card(house.call))["held"]
        # Keys of one who waits are nobody's: somebody else has to bring the caller back.
        key(house.bob, "3")
        resumed = Deferred.fromCoroutine(house.client.ask("POST", f"/{house.call['id']}/resume"))
        await until(lambda: len(house.bob.requests("INVITE")) == 3)
        house.bob.reply(house.bob.requests("INVITE")[2], "200 OK", house.bob.sdp(version=3))
        assert (await resumed)[0] == 200 and "3: done" not in TOLD
        key(house.bob, "4")
        await until(lambda: "4: done" in TOLD)


# --- a peer that hands us over to somebody it talks to already ---


@in_reactor
async def test_a_peer_may_hand_us_over_in_the_place_of_a_call_it_has() -> None:
    async with party() as house:
        target = f"{address(house.carol, 'carol')}?Replaces=abc%40x%3Bto-tag%3Dt1%3Bfrom-tag%3Df1"
        house.bob.ask("REFER", f"Refer-To: <{target}>\nRefer-Sub: false\n")
        invite = await house.carol.invited()
        assert header(invite, "Replaces") == "abc@x;to-tag=t1;from-tag=f1"
        accepted = house.bob.responses("REFER")[0]
        assert accepted.startswith("SIP/2.0 202") and header(accepted, "Refer-Sub") == "false"
        house.carol.reply(invite, "200 OK", house.carol.sdp())
        await house.says(house.carol, OTHER_WORDS, heard_by=house.carol)
        assert not house.bob.requests("NOTIFY")


@in_reactor
async def test_a_call_that_ends_while_its_successor_is_answered_is_over_once() -> None:
    async with party() as house:
        invite = await asked_to_call(house)
        house.carol.reply(invite, "180 Ringing")
        await until(lambda: any("180" in notify for notify in house.bob.requests("NOTIFY")))
        assert (await house.client.ask("DELETE", f"/{house.call['id']}"))[0] == 200
        await until(lambda: house.carol.requests("CANCEL"))
        house.carol.reply(invite, "200 OK", house.carol.sdp())
        await hung_up(house.carol)
        await until(lambda: not bridge_of(house.server).lines[0].agent.dialogs or house.bob.requests("BYE"))
        await hung_up(house.bob)
        assert sum(house.server.switchboard._held.values()) == 0
        assert not bridge_of(house.server).lines[0].calls.live


@in_reactor
async def test_nobody_is_joined_with_a_call_that_has_ended_meanwhile() -> None:
    async with party() as house:
        other = await house.client.place(address(house.carol, "carol"))
        await house.carol.take()
        await until(lambda: len(house.server.switchboard) == 2)
        refer, moved = await referred(house, call=other["id"], by="auto")
        house.carol.ask("BYE")
        await until(lambda: len(house.server.switchboard) == 1)
        house.bob.reply(refer, "405 Method Not Allowed")
        assert (await moved)[0] == 409
        await house.says(house.bob, OTHER_WORDS, heard_by=house.bob)


@in_reactor
async def test_the_name_in_a_refer_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def towards(peer: str) -> str:
        asked.append(peer)
        return "127.0.0.1"

    # It asks the system, which would ask name servers while all calls wait.
    monkeypatch.setattr("voicemedia.sip_bridge.sip_ports._own_address_towards", towards)
    async with party(host="0.0.0.0") as house:
        house.bob.ask("REFER", "Refer-To: <sip:carol@slow.invalid>\n")
        await until(lambda: house.bob.responses("REFER"))
        assert house.bob.responses("REFER")[0].startswith("SIP/2.0 403")
        assert (await house.client.ask("POST", to="sip:carol@slow.invalid"))[0] == 403
    assert set(asked) == {"127.0.0.1"}
