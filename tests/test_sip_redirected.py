"""Calls that are sent on (3xx): whom they try, and in which order (RFC 3261, section 8.1.3.4)."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, bridge_of, until
from tests.test_calls_out import TOKEN, Client, address, calling
from voicemedia.service import MediaServer
from voicemedia.sip_bridge.address_wire import Address


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)


class Sent:
    """A call to bob, who sends it on to others."""

    def __init__(self, server: MediaServer, client: Client, bob: Telephone, others: list[Telephone]) -> None:
        self.server, self.client, self.bob, self.others = server, client, bob, others
        self.call: dict[str, Any] = {}

    async def on(self, *weights: str) -> None:
        """Place the call, and send it on to one of the others for each `q`."""
        self.call = await self.client.place(address(self.bob))
        contacts = [f"<{address(phone, 'carol')}>{q}" for phone, q in zip(self.others, weights, strict=True)]
        self.bob.reply(await self.bob.invited(), "302 Moved Temporarily", extra=f"Contact: {', '.join(contacts)}\n")

    async def fails(self, status: int) -> None:
        await until(lambda: not bridge_of(self.server).rtp_ports.lent)
        assert (await self.client.card(self.call))["status"] == status


@asynccontextmanager
async def sent(count: int) -> AsyncIterator[Sent]:
    async with calling() as (server, client, bob):
        others = [Telephone(server) for _ in range(count)]
        try:
            yield Sent(server, client, bob, others)
        finally:
            for phone in others:
                await phone.close()


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ((";q=0.1", ";q=0.5", ";q=0.9"), (2, 1, 0)),
        # Without a weight it is 1; those that weigh the same come as they were named.
        ((";q=0.9", "", ";q=1.0"), (1, 2, 0)),
        ((";q=0", ";q=0.001;expires=60", ";Q=0.5"), (2, 1, 0)),
        # What is no weight counts as none.
        ((";q=0.7", ";q=7", ";q=high"), (1, 2, 0)),
    ],
)
@in_reactor
async def test_who_is_preferred_is_called_first(weights: tuple[str, ...], order: tuple[int, ...]) -> None:
    async with sent(3) as call:
        await call.on(*weights)
        for at, number in enumerate(order):
            phone = call.others[number]
            invite = await phone.invited()
            assert [bool(other.signals.got) for other in call.others].count(True) == at + 1
            phone.reply(invite, "486 Busy Here")
        await call.fails(486)


@in_reactor
async def test_once_one_has_answered_nobody_else_is_called() -> None:
    async with sent(3) as call:
        await call.on(";q=0.3", ";q=0.9", ";q=0.6")
        call.others[1].reply(await call.others[1].invited(), "404 Not Found")
        await call.others[2].take()
        await until(lambda: len(call.server.switchboard) == 1)
        assert (await call.client.card(call.call))["state"] == "up" and not call.others[0].signals.got


@in_reactor
async def test_who_says_that_nobody_will_take_the_call_is_believed() -> None:
    async with sent(2) as call:
        await call.on("", "")
        call.others[0].reply(await call.others[0].invited(), "603 Decline")
        await call.fails(603)
        assert not call.others[1].signals.got


@in_reactor
async def test_who_is_sent_on_once_more_goes_there_before_those_that_were_left() -> None:
    async with sent(3) as call:
        one, other, last = call.others
        await call.on(";q=0.9", ";q=0", ";q=0.1")
        further = f"Contact: <{address(other, 'carol')}>\n"
        one.reply(await one.invited(), "301 Moved Permanently", extra=further)
        other.reply(await other.invited(), "480 Temporarily Unavailable")
        await last.take()


@in_reactor
async def test_a_call_that_is_hung_up_while_it_is_sent_on_goes_no_further() -> None:
    async with sent(2) as call:
        await call.on("", "")
        first = call.others[0]
        invite = await first.invited()
        first.reply(invite, "180 Ringing")
        await until(lambda: bridge_of(call.server).lines[0].calls.find(call.call["id"]).card.status == 180)  # type: ignore[union-attr]
        assert (await call.client.ask("DELETE", f"/{call.call['id']}"))[0] == 200
        await until(lambda: first.requests("CANCEL"))
        first.agree(first.requests("CANCEL")[0])
        first.reply(invite, "487 Request Terminated")
        await call.fails(487)
        assert not call.others[1].signals.got


@pytest.mark.parametrize(
    ("text", "weight"),
    [("", 1.0), (";q=0.25", 0.25), (";q=1.000", 1.0), (";q=0.", 0.0), (";q=1.5", 1.0), (";q=-1", 1.0), (";q", 1.0)],
)
def test_a_weight_is_from_0_to_1(text: str, weight: float) -> None:
    assert Address.parse(f"<sip:a@b>{text}").weight == weight
