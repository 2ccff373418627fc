"""Calls placed, watched, moved and ended over HTTP, to a telephone on real loopback sockets."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import treq
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, bridge_of, header, make_certificate, pause, serving, until
from voicemedia.config import Calls, Trunk
from voicemedia.service import MediaServer
from voicemedia.sip_bridge.rtp_wire import read_rtp

TOKEN = "s3cret-token"
COMMAND = (
    "-c",
    "import argparse, sys; from voicemedia.callers import call_out_command as command; "
    "parser = argparse.ArgumentParser(); command.add_arguments(parser); sys.exit(command.run(parser.parse_args()))",
)
"The command alone: `voicemedia` knows them all, which takes seconds on a busy machine."
OUT = Trunk("out", agent="echo", stt="none", tts="none", dial_prefixes=("bob", "+91", "carol"), ring_s=5)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)


class Client:
    """A client of `/calls`."""

    def __init__(self, server: MediaServer, token: str = TOKEN) -> None:
        assert server.port is not None
        self.url = f"http://127.0.0.1:{server.port.getHost().port}/calls"  # type: ignore[attr-defined]
        self.headers: Any = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask(self, method: str, path: str = "", /, **body: Any) -> tuple[int, Any]:
        data = json.dumps(body).encode() if body else b""
        response = await treq.request(method, self.url + path, headers=self.headers, data=data, persistent=False)
        return response.code, json.loads(await response.content())

    async def place(self, to: str, **body: Any) -> dict[str, Any]:
        status, told = await self.ask("POST", to=to, **body)
        assert status == 201, told
        card: dict[str, Any] = told["call"]
        return card

    async def card(self, call: dict[str, Any]) -> dict[str, Any]:
        _, told = await self.ask("GET", f"/{call['id']}")
        card: dict[str, Any] = told["call"]
        return card


@asynccontextmanager
async def calling(trunk: Trunk = OUT, **sip: Any) -> AsyncIterator[tuple[MediaServer, Client, Telephone]]:
    """A server that may call out, who asks it to, and a telephone."""
    async with serving(trunk, calls=Calls("CALLS_TOKEN"), **sip) as server:
        bob = Telephone(server)
        try:
            yield server, Client(server), bob
        finally:
            await bob.close()


def address(phone: Telephone, name: str = "bob") -> str:
    return f"sip:{name}@127.0.0.1:{phone.port}"


async def ended(phone: Telephone) -> str:
    """Wait for a BYE, and agree."""
    await until(lambda: phone.requests("BYE"))
    phone.agree(phone.requests("BYE")[0])
    return phone.requests("BYE")[0]


@in_reactor
async def test_a_call_rings_is_answered_by_a_person_and_handed_to_the_agent() -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob), parameters={"first_name": "Bob"})
        assert call["state"] == "dialing" and call["direction"] == "outbound" and call["number"] == "bob"
        invite = await bob.invited()
        assert invite.startswith(f"INVITE {address(bob)} SIP/2.0") and "m=audio" in invite
        assert header(invite, "From").startswith("<sip:voicemedia@")
        bob.reply(invite, "180 Ringing")
        await until(lambda: [each.card.state for each in bridge_of(server).lines[0].calls] == ["ringing"])
        assert (await client.card(call))["status"] == 180 and not len(server.switchboard)
        bob.reply(invite, "200 OK", bob.sdp())
        await until(lambda: len(server.switchboard) == 1)
        (talk,) = server.switchboard
        assert talk.caller.number == "bob" and talk.caller.parameters["first_name"] == "Bob"
        assert talk.caller.direction == "outbound"
        said = bytes(range(160))
        await bob.talk([said] * 10)
        await until(lambda: any(said in got for got in bob.sound.got))
        _, told = await client.ask("GET")
        assert [card["state"] for card in told["calls"]] == ["up"]
        status, told = await client.ask("DELETE", f"/{call['id']}")
        assert status == 200
        await ended(bob)
        card = await client.card(call)
        assert (card["state"], card["status"], card["cause"]) == ("ended", 200, 16)
        assert bridge_of(server).rtp_ports.lent == 0 and server.switchboard.ended_by == {"agent_hung_up": 1}
        assert (await client.ask("DELETE", f"/{call['id']}"))[0] == 409


@in_reactor
async def test_we_call_as_one_of_our_numbers_and_assert_it_where_the_trunk_wants_it() -> None:
    trunk = msgspec.structs.replace(OUT, callers=("+918011111111", "+918022222222"), asserted=True)
    async with calling(trunk) as (_, client, bob):
        await client.place(address(bob), caller="+918022222222")
        invite = await bob.invited()
        assert header(invite, "From").startswith("<sip:+918022222222@127.0.0.1:")
        assert header(invite, "P-Asserted-Identity").startswith("<sip:+918022222222@127.0.0.1:")
        bob.reply(invite, "486 Busy Here")
        await client.place(address(bob))
        assert header(await bob.invited(2), "From").startswith("<sip:+918011111111@")
        bob.reply(bob.requests("INVITE")[1], "486 Busy Here")


@pytest.mark.parametrize(
    ("answer", "extra", "cause"),
    [
        ("486 Busy Here", "", 17),
        ("404 Not Found", "", 1),
        ("603 Decline", "", 21),
        ("480 Temporarily Unavailable", "Reason: Q.850;cause=19\n", 19),
        ("503 Service Unavailable", "", 41),
    ],
)
@in_reactor
async def test_a_call_nobody_takes_says_why(answer: str, extra: str, cause: int) -> None:
    async with calling() as (server, client, bob):
        waiting = Deferred.fromCoroutine(client.ask("POST", to=address(bob), wait=True))
        invite = await bob.invited()
        bob.reply(invite, answer, extra=extra)
        status, told = await waiting
        assert status == 502
        assert told["error"]["status"] == int(answer[:3]) and told["error"]["cause"] == cause
        assert told["error"]["message"] == answer[4:]
        assert not bridge_of(server).rtp_ports.lent and not server.switchboard.total


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
@in_reactor
async def test_two_servers_call_each_other(transport: str, host: str) -> None:
    async with serving(host=host) as other:
        at = {"::": "127.0.0.1", "::1": "[::1]"}.get(host, host)
        at = f"{at}:{bridge_of(other).ports.port}"
        trunk = msgspec.structs.replace(OUT, server=at, transport=transport, probe_s=30)
        async with calling(trunk, host=host) as (server, client, _):
            await until(lambda: bridge_of(server).lines[0].server.address)
            call = await client.place("+91 98000 00001")
            await until(lambda: len(server.switchboard) == len(other.switchboard) == 1)
            (talk,) = other.switchboard
            assert talk.caller.to == "+919800000001" and talk.caller.number == "voicemedia"
            assert (await client.ask("DELETE", f"/{call['id']}"))[0] == 200
            await until(lambda: not bridge_of(other).rtp_ports.lent and not bridge_of(server).rtp_ports.lent)
            assert other.switchboard.ended_by == {"caller_hung_up": 1}


@pytest.mark.parametrize("trusted", [True, False])
@in_reactor
async def test_two_servers_call_each_other_over_tls_if_the_one_trusts_the_other(trusted: bool, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    async with serving(**certificate) as other:
        at = f"127.0.0.1:{bridge_of(other).ports.tls_port}"
        trunk = msgspec.structs.replace(OUT, server=at, transport="tls")
        ca = certificate["certificate"] if trusted else ""
        async with calling(trunk, ca=ca) as (server, client, _):
            await until(lambda: bridge_of(server).lines[0].server.address)
            status, told = await client.ask("POST", to="bob", wait=True)
            assert (status, told["call"]["status"]) == ((201, 200) if trusted else (502, 503))
            assert len(other.switchboard) == trusted
            await client.ask("DELETE", f"/{told['call']['id']}")
            await until(lambda: not bridge_of(server).rtp_ports.lent)


@in_reactor
async def test_a_call_that_is_sent_on_goes_there_if_the_trunk_may() -> None:
    async with calling() as (server, client, bob):
        carol = Telephone(server)
        await client.place(address(bob))
        bob.reply(await bob.invited(), "302 Moved Temporarily", extra=f"Contact: <{address(carol, 'carol')}>\n")
        invite = await carol.take()
        assert invite.startswith(f"INVITE {address(carol, 'carol')} SIP/2.0")
        await until(lambda: len(server.switchboard) == 1)
        await carol.close()


@pytest.mark.parametrize("to", ["sip:+1900555@127.0.0.1", "sip:carol@192.0.2.1", "tel:911", "*"])
@in_reactor
async def test_a_call_is_not_sent_on_to_just_anybody(to: str) -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob))
        contact = to if to == "*" else f"<{to}>"
        bob.reply(await bob.invited(), "302 Moved Temporarily", extra=f"Contact: {contact}\n")
        await until(lambda: not bridge_of(server).rtp_ports.lent)
        assert (await client.card(call))["status"] == 302


@in_reactor
async def test_a_call_that_is_sent_round_in_circles_ends() -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob))
        for number in range(1, 5):
            bob.reply(await bob.invited(number), "302 Moved Temporarily", extra=f"Contact: <{address(bob)}>\n")
        await until(lambda: not bridge_of(server).rtp_ports.lent)
        assert (await client.card(call))["status"] == 302 and len(bob.requests("INVITE")) == 4


@in_reactor
async def test_headers_go_along_with_a_call_unless_they_are_ours_to_write() -> None:
    async with calling() as (_, client, bob):
        await client.place(address(bob), headers={"X-Ticket": "4711", "Diversion": "<sip:+911@x>;reason=no-answer"})
        invite = await bob.invited()
        assert header(invite, "X-Ticket") == "4711" and "no-answer" in header(invite, "Diversion")
        bob.reply(invite, "486 Busy Here")
        for headers in ({"Via": "x"}, {"X-A": "b\r\nVia: c"}, {"X A": "b"}, {"X-A": ""}, {"Contact": "<sip:x@y>"}):
            status, told = await client.ask("POST", to=address(bob), headers=headers)
            assert (status, told["error"]["code"]) == (400, "bad_request")


@in_reactor
async def test_a_call_is_canceled_while_it_rings() -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob))
        invite = await bob.invited()
        bob.reply(invite, "180 Ringing")
        calls = bridge_of(server).lines[0].calls
        await until(lambda: [each.card.state for each in calls] == ["ringing"])
        assert (await client.ask("DELETE", f"/{call['id']}"))[0] == 200
        await until(lambda: bob.requests("CANCEL"))
        bob.agree(bob.requests("CANCEL")[0])
        bob.reply(invite, "487 Request Terminated")
        await until(lambda: bob.requests("ACK"))
        assert (await client.card(call))["status"] == 487


@in_reactor
async def test_it_does_not_ring_for_ever() -> None:
    async with calling() as (_, client, bob):
        call = await client.place(address(bob), ring_s=1)
        bob.reply(await bob.invited(), "180 Ringing")
        await until(lambda: bob.requests("CANCEL"))
        bob.agree(bob.requests("CANCEL")[0])
        bob.reply(bob.requests("INVITE")[0], "487 Request Terminated")
        await until(lambda: bob.requests("ACK"))
        assert (await client.card(call))["reason"] == "nobody answered"


@in_reactor
async def test_without_the_token_nothing_is_told_and_nothing_done() -> None:
    async with calling() as (server, client, bob):
        for token in ("", "wrong", TOKEN[:-1], f"{TOKEN}x"):
            stranger = Client(server, token)
            for method, path in (("POST", ""), ("GET", ""), ("DELETE", "/x"), ("POST", "/x/transfer")):
                status, told = await stranger.ask(method, path, to=address(bob))
                assert (status, told["error"]["code"]) == (401, "unauthorized")
                assert "missing or wrong" in told["error"]["message"]
        assert not bob.signals.got
        assert (await client.ask("GET"))[1] == {"calls": []}


@in_reactor
async def test_where_no_token_is_configured_nobody_may() -> None:
    async with serving(OUT) as server:
        status, told = await Client(server).ask("POST", to="bob")
        assert status == 403 and "calls.token_env" in told["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"to": "+1900555"}, 403, "dial_prefixes"),
        ({"to": "112"}, 403, "emergency"),
        ({"to": "sip:bob@192.0.2.9"}, 403, "none of the trunk's"),
        ({"to": "bob"}, 503, "no server"),
        ({"to": "bob", "trunk": "other"}, 404, "no trunk other"),
        ({"to": "sip:bob@127.0.0.1", "agent": "nobody"}, 404, "no agent nobody"),
        ({"to": "sip:bob@127.0.0.1", "caller": "+15550100"}, 403, "may not call as"),
        ({"too": "bob"}, 400, "body"),
        ({"to": "bob", "ring_s": -1}, 400, "ring_s"),
        ({"to": 5}, 400, "body"),
        ({"to": "http://127.0.0.1/"}, 400, "address"),
    ],
)
@in_reactor
async def test_what_cannot_be_called_is_refused_with_a_reason(body: dict[str, Any], status: int, says: str) -> None:
    async with calling() as (server, client, _):
        got, told = await client.ask("POST", **body)
        assert got == status and says in told["error"]["message"]
        assert not bridge_of(server).rtp_ports.lent


@in_reactor
async def test_methods_and_paths_that_are_not_there_say_so() -> None:
    async with calling() as (_, client, _bob):
        assert (await client.ask("PUT"))[0] == 405
        assert (await client.ask("GET", "/x"))[0] == 404
        assert (await client.ask("GET", "/x/hold"))[0] == 405
        assert (await client.ask("POST", "/x/hold"))[0] == 404
        assert (await client.ask("GET", "/x/y/z"))[0] == 404


@in_reactor
async def test_a_person_on_hold_hears_nothing_of_the_agent_and_comes_back() -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob))
        await bob.take()
        await until(lambda: len(server.switchboard) == 1)
        held = Deferred.fromCoroutine(client.ask("POST", f"/{call['id']}/hold"))
        await until(lambda: len(bob.requests("INVITE")) == 2)
        assert "a=sendonly" in bob.requests("INVITE")[1]
        bob.reply(bob.requests("INVITE")[1], "200 OK", bob.sdp(direction="recvonly", version=2))
        status, told = await held
        assert status == 200 and told["call"]["held"]
        bob.sound.got.clear()
        await bob.talk([bytes(range(160))] * 10)
        assert not any(bytes(range(160)) in got for got in bob.sound.got)
        resumed = Deferred.fromCoroutine(client.ask("POST", f"/{call['id']}/resume"))
        await until(lambda: len(bob.requests("INVITE")) == 3)
        assert "a=sendrecv" in bob.requests("INVITE")[2]
        bob.reply(bob.requests("INVITE")[2], "200 OK", bob.sdp(version=3))
        assert not (await resumed)[1]["call"]["held"]
        await bob.talk([bytes(range(160))] * 10)
        await until(lambda: any(bytes(range(160)) in got for got in bob.sound.got))


@pytest.mark.parametrize("said", ["488 Not Acceptable Here", "403 Forbidden", "500 Server Internal Error"])
@in_reactor
async def test_a_hold_the_peer_refuses_leaves_the_call_as_it_was(said: str) -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob))
        await bob.take()
        await until(lambda: len(server.switchboard) == 1)
        held = Deferred.fromCoroutine(client.ask("POST", f"/{call['id']}/hold"))
        await until(lambda: len(bob.requests("INVITE")) == 2)
        bob.reply(bob.requests("INVITE")[1], said)
        status, told = await held
        assert (status, told["error"]["code"], told["error"]["status"]) == (502, "refused", int(said[:3]))
        assert not (await client.card(call))["held"]
        await bob.talk([bytes(range(160))] * 10)
        await until(lambda: any(bytes(range(160)) in got for got in bob.sound.got))


@in_reactor
async def test_keys_are_pressed_in_the_sound() -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob))
        await bob.take()
        await until(lambda: len(server.switchboard) == 1)
        assert (await client.ask("POST", f"/{call['id']}/dtmf", keys="4#"))[0] == 200
        assert (await client.ask("POST", f"/{call['id']}/dtmf", keys="4x"))[0] == 400

        def events() -> list[int]:
            packets = [read_rtp(got) for got in bob.sound.got if not 200 <= got[1] <= 204]
            return [packet.payload[0] for packet in packets if packet.payload_type == 101 and packet.marker]

        await until(lambda: events() == [4, 11])


@pytest.mark.parametrize(
    ("answer", "status", "says"), [("200 OK", 0, "agent echo talks"), ("486 Busy Here", 1, "Busy")]
)
@in_reactor
async def test_the_command_places_a_call_and_shows_how_it_goes(answer: str, status: int, says: str) -> None:
    async with calling() as (_, client, bob):
        base = client.url.removesuffix("/calls")
        command = (*COMMAND, address(bob), "--url", base, "--token-env", "CALLS_TOKEN")
        running = getProcessOutputAndValue(sys.executable, command, env=os.environ)
        invite = await bob.invited()
        bob.reply(invite, "180 Ringing")
        bob.reply(invite, answer, bob.sdp() if status == 0 else "")
        if status == 0:
            await until(lambda: bob.requests("ACK"))
            await pause(0.6)
            bob.ask("BYE")
        out, complaints, code = await running
        assert (code, complaints) == (status, b"")
        lines = out.decode().splitlines()
        assert lines[0].startswith("calling bob over trunk out") and says in out.decode() and "cause" in lines[-1]


@in_reactor
async def test_the_command_says_what_is_wrong_in_one_line() -> None:
    async with calling() as (_, client, _bob):
        base = client.url.removesuffix("/calls")
        for arguments, says in (
            (("911",), "emergency"),
            (("+1900",), "dial_prefixes"),
            (("x", "--trunk", "y"), "no trunk y"),
        ):
            command = (*COMMAND, *arguments, "--url", base, "--token-env", "CALLS_TOKEN")
            _, complaints, code = await getProcessOutputAndValue(sys.executable, command, env=os.environ)
            assert code == 2 and says in complaints.decode() and len(complaints.splitlines()) == 1


@in_reactor
async def test_a_call_too_long_for_a_datagram_fails_alone() -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob), headers={f"X-{number}": "a" * 4096 for number in range(16)})
        await until(lambda: not bridge_of(server).lines[0].calls.live)
        assert (await client.card(call))["status"] == 503
        assert bridge_of(server).rtp_ports.lent == 0


@in_reactor
async def test_of_those_a_call_is_sent_on_to_the_first_that_may_be_called_is() -> None:
    async with calling() as (server, client, bob):
        carol = Telephone(server)
        await client.place(address(bob))
        contacts = f"<tel:911>, <{address(carol, 'carol')}>"
        bob.reply(await bob.invited(), "300 Multiple Choices", extra=f"Contact: {contacts}\n")
        await carol.take()
        await until(lambda: len(server.switchboard) == 1)
        await carol.close()


@in_reactor
async def test_a_number_a_call_is_sent_on_to_is_in_no_log() -> None:
    said: list[str] = []

    @implementer(ILogObserver)
    def watch(event: LogEvent) -> None:
        said.append(formatEvent(event))

    globalLogPublisher.addObserver(watch)
    try:
        async with calling() as (server, client, bob):
            await client.place(address(bob))
            bob.reply(await bob.invited(), "302 Moved Temporarily", extra="Contact: <sip:+919876543210@no host>\n")
            await until(lambda: not bridge_of(server).rtp_ports.lent)
    finally:
        globalLogPublisher.removeObserver(watch)
    assert any("not sent on" in line for line in said)
    assert not [line for line in said if "9876543210" in line]


@in_reactor
async def test_what_a_peer_sends_that_is_no_text_does_not_hide_the_calls() -> None:
    async with calling() as (server, client, bob):
        bob.call_id = "caf\udce9@phone"
        bob.request("INVITE", bob.sdp(), lines="X-Name: M\udcfcller\n")
        await bob.answer()
        bob.request("ACK", cseq=1)
        await until(lambda: len(server.switchboard) == 1)
        (talk,) = server.switchboard
        assert talk.caller.parameters["x-name"] == "M\ufffdller"
        status, told = await client.ask("GET")
        assert status == 200 and [card["id"] for card in told["calls"]] == ["caf\ufffd@phone"]
        waiting = Deferred.fromCoroutine(client.ask("POST", to=address(bob), wait=True))
        bob.reply(await bob.invited(), "486 Occup\udce9")
        assert (await waiting)[1]["error"]["message"] == "Occup\ufffd"
