"""A call that begins with nobody hearing anybody: the agent waits with its first words."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import Callable
from typing import Any

import pytest

from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, bridge_of, serving, until
from voicemedia.config import Trunk
from voicemedia.sip_bridge.trunk_call import Order

CALLING = Trunk("test", agent="echo", stt="none", tts="none", dial_prefixes=("+91",), server="127.0.0.1")


def inactive(phone: Telephone) -> str:
    return phone.sdp(direction="inactive")


def black_hole(phone: Telephone) -> str:
    """As a controller that is to join two parties later has it (RFC 3725, section 4.1)."""
    return phone.sdp().replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0")


def only_sends(phone: Telephone) -> str:
    return phone.sdp(direction="sendonly")


@pytest.mark.parametrize("begins", [inactive, black_hole])
@in_reactor
async def test_the_agent_answers_when_it_can_be_heard(begins: Callable[[Telephone], str]) -> None:
    async with serving() as server:
        phone = Telephone(server)
        await phone.call(begins(phone))
        (call,) = bridge_of(server).lines[0].calls
        await until(lambda: call.card.state == "up")
        assert server.switchboard.total == 0
        phone.request("INVITE", phone.sdp(version=2))
        await phone.answer()
        phone.request("ACK", cseq=phone._cseq)
        await until(lambda: server.switchboard.total == 1 and phone.sound.got)
        await phone.hang_up()
        await until(lambda: dict(server.switchboard.ended_by) == {"caller_hung_up": 1})
        await phone.close()


@in_reactor
async def test_who_only_sends_is_listened_to_at_once() -> None:
    async with serving() as server:
        phone = Telephone(server)
        await phone.call(only_sends(phone))
        await until(lambda: server.switchboard.total == 1)
        await phone.close()


@in_reactor
async def test_a_call_that_stays_silent_gets_its_agent_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicemedia.sip_bridge.trunk_calls.SILENT_S", 0.05)
    async with serving() as server:
        phone = Telephone(server)
        await phone.call(inactive(phone))
        await until(lambda: server.switchboard.total == 1)
        await phone.close()


@in_reactor
async def test_a_silent_call_that_is_hung_up_had_no_agent() -> None:
    async with serving() as server:
        phone = Telephone(server)
        await phone.call(inactive(phone))
        await phone.hang_up()
        await until(lambda: not bridge_of(server).lines[0].calls.live)
        assert server.switchboard.total == 0 and bridge_of(server).rtp_ports.lent == 0
        phone.to_tag = ""
        await phone.close()


@in_reactor
async def test_who_is_called_and_answers_in_silence_is_spoken_to_later() -> None:
    taken: list[Any] = []
    async with serving(CALLING) as server:
        phone = Telephone(server)
        (line,) = bridge_of(server).lines
        call = line.calls.place(Order(f"sip:+919800000001@127.0.0.1:{phone.port}", taken.append))
        invite = await phone.invited()
        phone.reply(invite, "200 OK", inactive(phone))
        await until(lambda: call.card.state == "up")
        assert not taken
        phone.ask("INVITE", body=phone.sdp(version=2), lines="Content-Type: application/sdp\n")
        await until(lambda: taken == [call])
        phone.ask("ACK", cseq=phone._cseq)
        await phone.close()
