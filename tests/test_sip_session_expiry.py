"""Session timers on the running server: real sockets, its own clock moved on by the test (RFC 4028)."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.in_reactor import in_reactor
from tests.sip_house import ECHO, Telephone, bridge_of, header, reactor, until
from voicemedia.config import Config, Grpc, History, Limits, Server, Sip
from voicemedia.service import MediaServer

HOURS = 1 << 16


class House:
    """A server, the time it knows, and a telephone whose call is on hold, so that nobody misses its sound."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        config = Config(
            server=Server(port=0),
            limits=Limits(drain_s=0, idle_s=HOURS),
            grpc=Grpc(enabled=False),
            history=History(enabled=False),
            routes=(),
            sip=Sip(enabled=True, port=0, tls_port=0, rtp_first_port=0),
            trunks=(ECHO,),
        )
        self.server = MediaServer(config, reactor, lambda: reactor.seconds() + self.ahead_s)

    def pass_s(self, seconds: float) -> None:
        """Let time pass, and the trunk's timer look at what is due."""
        self.ahead_s += seconds
        timer = bridge_of(self.server).lines[0]._timer
        if timer is not None and timer.active():
            timer.reset(0)

    async def call(self, session: str) -> str:
        """Agree on a session; return the answer."""
        self.phone = Telephone(self.server)
        lines = f"Supported: timer\nSession-Expires: {session}\n"
        self.phone.request("INVITE", self.phone.sdp(direction="sendonly"), lines=lines)
        answer = await self.phone.answer()
        self.phone.request("ACK", cseq=1)
        await until(lambda: len(self.server.switchboard) == 1)
        return answer


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    made = House()
    made.server.startService()
    try:
        yield made
    finally:
        await made.phone.close()
        await made.server.stopService()
    assert bridge_of(made.server).rtp_ports.lent == 0


async def said(house: House, method: str) -> str:
    """Wait for a request of the server's, which is sent once time has passed."""
    await until(lambda: house.phone.requests(method))
    request = house.phone.requests(method)[-1]
    house.phone.agree(request)
    return request


async def looked(house: House) -> None:
    """Let the server look at its timers: an answer to a later request tells that it has."""
    looked: Deferred[Any] = Deferred()
    reactor.callLater(0, reactor.callLater, 0, looked.callback, None)
    await looked
    house.phone.request("OPTIONS")
    await house.phone.answer("OPTIONS")


@in_reactor
async def test_a_caller_who_does_not_refresh_the_session_is_hung_up_before_its_end() -> None:
    async with house() as here:
        answer = await here.call("90;refresher=uac")
        assert header(answer, "Session-Expires") == "90;refresher=uac" and header(answer, "Require") == "timer"
        here.pass_s(50)
        await looked(here)
        assert not here.phone.requests("BYE")
        here.phone.request("UPDATE", lines="Supported: timer\nSession-Expires: 90;refresher=uac\n")
        assert header(await here.phone.answer("UPDATE"), "Session-Expires") == "90;refresher=uac"
        here.pass_s(50)
        await looked(here)
        assert not here.phone.requests("BYE") and len(here.server.switchboard) == 1
        # A third of the 90 s before their end.
        here.pass_s(11)
        bye = await said(here, "BYE")
        assert "cause=408" in header(bye, "Reason")
        await until(lambda: here.server.switchboard.ended_by == {"peer_vanished": 1})


@pytest.mark.parametrize("allow", ["", "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\n"])
@in_reactor
async def test_the_server_refreshes_at_half_time_and_hangs_up_when_nobody_answers(allow: str) -> None:
    async with house() as here:
        answer = await here.call(f"100;refresher=uas\n{allow}".rstrip("\n"))
        assert header(answer, "Session-Expires") == "100;refresher=uas"
        method = "UPDATE" if allow else "INVITE"
        here.phone.signals.got.clear()
        here.pass_s(50)
        await until(lambda: here.phone.requests(method))
        assert header(here.phone.requests(method)[0], "Session-Expires") == "100;refresher=uac"
        # Its timer F or B: 32 s without an answer.
        here.pass_s(33)
        bye = await said(here, "BYE")
        assert "cause=408" in header(bye, "Reason")
        await until(lambda: here.server.switchboard.ended_by == {"peer_vanished": 1})


@in_reactor
async def test_a_session_that_is_refreshed_by_the_server_goes_on() -> None:
    async with house() as here:
        await here.call("90;refresher=uas\nAllow: UPDATE")
        for _ in range(3):
            here.phone.signals.got.clear()
            here.pass_s(46)
            await until(lambda: here.phone.requests("UPDATE"))
            extra = "Require: timer\nSession-Expires: 90;refresher=uac\n"
            here.phone.reply(here.phone.requests("UPDATE")[0], "200 OK", extra=extra)
            await looked(here)
        assert not here.phone.requests("BYE") and len(here.server.switchboard) == 1
