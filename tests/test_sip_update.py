"""Hold and resume by UPDATE (RFC 3311) in calls that are up, and offers that cross."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from twisted.internet.defer import Deferred

from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, header, pause, serving, until
from tests.sip_net import Host, Net, up
from tests.test_calls_out import TOKEN, address, calling
from tests.test_sip_bridge import came_back, tone
from voicemedia.service import MediaServer
from voicemedia.sip_bridge.call_wire import Call
from voicemedia.sip_bridge.session_timer_wire import SessionTerms
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.user_agent_wire import Settings


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)


@asynccontextmanager
async def talking() -> AsyncIterator[tuple[MediaServer, Telephone]]:
    """A telephone whose words come back."""
    async with serving(no_rtp_s=1) as server:
        caller = Telephone(server)
        try:
            await caller.call()
            await hears_itself(caller)
            yield server, caller
        finally:
            await caller.close()


async def hears_itself(caller: Telephone) -> None:
    said = tone(20)
    caller.sound.got.clear()
    await caller.talk(said)
    await until(lambda: came_back(said, caller.sound))


async def update(caller: Telephone, sdp: str) -> str:
    caller.request("UPDATE", sdp)
    return await caller.answer("UPDATE")


@pytest.mark.parametrize(
    ("direction", "address", "answered"),
    [("sendonly", "127.0.0.1", "recvonly"), ("inactive", "127.0.0.1", "inactive"), ("sendrecv", "0.0.0.0", "recvonly")],
)
@in_reactor
async def test_a_caller_holds_and_resumes_by_update(direction: str, address: str, answered: str) -> None:
    async with talking() as (server, caller):
        sdp = caller.sdp(direction=direction, version=2).replace("c=IN IP4 127.0.0.1", f"c=IN IP4 {address}")
        answer = await update(caller, sdp)
        assert answer.startswith("SIP/2.0 200") and f"a={answered}" in answer
        assert header(answer, "Contact") and "UPDATE" in header(answer, "Allow")
        await pause(0.1)
        caller.sound.got.clear()
        # Longer than who is not on hold may be silent.
        await pause(1.4)
        assert not caller.sound.got and len(server.switchboard) == 1
        resumed = await update(caller, caller.sdp(version=3))
        assert resumed.startswith("SIP/2.0 200") and "a=inactive" not in resumed and "a=recvonly" not in resumed
        await hears_itself(caller)
        assert not caller.requests("INVITE") and not caller.requests("BYE")


@in_reactor
async def test_an_update_whose_sound_we_cannot_take_changes_nothing() -> None:
    async with talking() as (_, caller):
        refused = await update(caller, caller.sdp(version=2, formats="96").replace("m=audio", "m=video"))
        assert refused.startswith("SIP/2.0 488")
        await hears_itself(caller)


@in_reactor
async def test_an_update_that_crosses_our_offer_is_refused_until_it_is_answered() -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob))
        await bob.take()
        await until(lambda: len(server.switchboard) == 1)
        turned = Deferred.fromCoroutine(client.ask("POST", f"/{call['id']}/hold"))
        await until(lambda: len(bob.requests("INVITE")) == 2)
        sdp = "Content-Type: application/sdp\n"
        bob.ask("UPDATE", sdp, bob.sdp(direction="sendonly", version=2))
        await until(lambda: bob.responses("UPDATE"))
        assert bob.responses("UPDATE")[0].startswith("SIP/2.0 491")
        # One without an offer says only that it is still there.
        bob.ask("UPDATE")
        await until(lambda: len(bob.responses("UPDATE")) == 2)
        assert bob.responses("UPDATE")[1].startswith("SIP/2.0 200")
        bob.reply(bob.requests("INVITE")[1], "200 OK", bob.sdp(direction="recvonly", version=2))
        assert (await turned)[0] == 200
        # On hold by us, it stays so whatever the other side wants.
        bob.ask("UPDATE", sdp, bob.sdp(version=3))
        await until(lambda: len(bob.responses("UPDATE")) == 3)
        assert bob.responses("UPDATE")[2].startswith("SIP/2.0 200") and "a=sendonly" in bob.responses("UPDATE")[2]
        assert (await client.card(call))["held"] is True


# --- on the fake network ---


def offered(net: Net, sender: Host, call: Call, method: str) -> Response:
    """Send an offer as a peer of any make would; return what comes back."""
    assert call.media is not None
    request = call.in_dialog(method, "application/sdp", call.media.offer())
    net.do(lambda: call.send(request, net.now_ms))
    (response,) = [
        each
        for each in net.sent
        if isinstance(each, Response) and each.cseq == request.cseq and each.sender == request.sender
    ]
    return response


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_what_the_peer_wants_while_we_only_refresh_the_session_is_done(method: str) -> None:
    net, a, b, call, other = up(Settings(session=SessionTerms(600)))
    # Our UPDATE at half time, without an offer, gets lost; meanwhile the other side wants to hold.
    a.drop = lambda message: isinstance(message, Request) and message.method == "UPDATE"
    net.run(300_500)
    assert net.ladder[0] == "a>b UPDATE (lost)"
    assert other.media is not None and call.media is not None
    other.media.direction = "inactive"
    assert offered(net, b, other, method).status == 200
    assert call.media.agreement is not None and call.media.agreement.held


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
def test_what_the_peer_wants_while_our_offer_is_under_way_has_to_wait(method: str) -> None:
    net, a, b, call, other = up()
    a.drop = lambda message: isinstance(message, Request) and message.method == "INVITE"
    net.do(lambda: call.session.reoffer(net.now_ms), 50)
    assert offered(net, b, other, method).status == 491


@in_reactor
async def test_sound_goes_where_an_update_before_the_answer_has_moved_it() -> None:
    async with calling() as (_, client, phone):
        await client.place(address(phone))
        invite = await phone.invited()
        phone.reply(invite, "183 Session Progress", phone.sdp(), "Require: 100rel\nRSeq: 1\n")
        await until(lambda: phone.requests("PRACK"))
        phone.agree(phone.requests("PRACK")[0])
        moved = phone.sdp(version=2).replace(f"m=audio {phone.sound_port}", f"m=audio {phone.report_port}")
        phone.ask("UPDATE", "Content-Type: application/sdp\n", moved.replace(f"a=rtcp:{phone.report_port}\n", ""))
        await until(lambda: phone.responses("UPDATE"))
        phone.reply(invite, "200 OK")
        await until(lambda: phone.requests("ACK"))
        phone.sound.got.clear()
        phone.reports.got.clear()
        await until(lambda: len(phone.reports.got) > 3)
        assert not phone.sound.got
