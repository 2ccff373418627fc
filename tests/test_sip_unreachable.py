"""Calls to where nobody listens, as the network tells it."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.in_reactor import in_reactor
from tests.sip_house import Socket, Telephone, bridge_of, header, reactor, until
from tests.sip_net import QUIET, Host, Net, ended, pair, up
from tests.test_calls_out import TOKEN, address, calling
from tests.test_sip_servers import behind_one_name
from voicemedia.sip_bridge import redialing
from voicemedia.sip_bridge.call_wire import CallState
from voicemedia.sip_bridge.flow_wire import Ended, MediaRefused
from voicemedia.sip_bridge.icmp_wire import ICMP, ICMP6, NOTE, branch_quoted, unreachable
from voicemedia.sip_bridge.sip_socket import SipSocket
from voicemedia.sip_bridge.user_agent_wire import UserAgent


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Branches the network says reached nobody."""
    branches: list[str] = []

    def noted(agent: UserAgent, peer: tuple[str, int], branch: str, now_ms: int, patience: int) -> None:
        branches.append(branch)
        take_note(agent, peer, branch, now_ms, patience)

    take_note = UserAgent.refused
    monkeypatch.setattr(UserAgent, "refused", noted)
    return branches


@contextmanager
def closed_port(host: str = "127.0.0.1") -> Iterator[int]:
    """Give a port that is closed to everybody, and that no other process opens meanwhile."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind((host, 0))
        # Of a connected socket the kernel says "port unreachable" to all but that one peer.
        held.connect((host, 9))
        yield held.getsockname()[1]


@in_reactor
async def test_a_call_to_a_closed_port_fails_soon() -> None:
    async with calling() as (server, client, bob):
        with closed_port() as nowhere:
            call = await client.place(f"sip:bob@127.0.0.1:{nowhere}")
            await until(lambda: not bridge_of(server).rtp_ports.lent)
        card = await client.card(call)
        assert (card["state"], card["status"]) == ("ended", 503)
        # The port of all trunks is not the worse for it.
        await client.place(address(bob))
        await bob.take()
        carol = Telephone(server)
        assert (await carol.call()).startswith("SIP/2.0 200")
        await carol.close()


@in_reactor
async def test_a_telephone_that_is_just_being_started_is_reached(refusals: list[str]) -> None:
    async with calling() as (server, client, bob):
        await bob._ports[0].stopListening()
        await client.place(address(bob))
        await until(lambda: refusals)
        bob._ports[0] = reactor.listenUDP(bob.port, bob.signals, interface="127.0.0.1")
        await bob.take()
        await until(lambda: len(server.switchboard) == 1)


@in_reactor
async def test_a_call_whose_server_is_down_is_placed_by_the_next_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redialing, "NO_WORD_S", 3600)
    async with behind_one_name() as behind:
        await behind.one._ports.pop(0).stopListening()
        call = await behind.client.place("bob")
        invite = await behind.other.take()
        assert header(invite, "Call-ID") == call["id"]
        await until(lambda: len(behind.house.switchboard) == 1)


@in_reactor
async def test_a_call_that_is_up_outlives_a_port_that_is_closed_for_a_moment(refusals: list[str]) -> None:
    async with calling() as (server, client, bob):
        call = await client.place(address(bob))
        await bob.take()
        await until(lambda: len(server.switchboard) == 1)
        await bob._ports[0].stopListening()
        turned = Deferred.fromCoroutine(client.ask("POST", f"/{call['id']}/hold"))
        await until(lambda: refusals)
        bob._ports[0] = reactor.listenUDP(bob.port, bob.signals, interface="127.0.0.1")
        await until(lambda: len(bob.requests("INVITE")) == 2)
        bob.reply(bob.requests("INVITE")[1], "200 OK", bob.sdp(version=2))
        assert (await turned)[0] == 200 and len(server.switchboard) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@in_reactor
async def test_what_became_of_one_datagram_does_not_hold_up_the_next(host: str) -> None:
    heard: list[bytes] = []
    refused: list[tuple[Any, str]] = []
    ours = SipSocket(reactor, lambda datagram, _: heard.append(datagram), lambda *told: refused.append(told))
    port = ours.open(host, 0)
    other = Socket()
    listening = reactor.listenUDP(0, other, interface=host)
    with closed_port(host) as closed:
        there, nowhere = (host, listening.getHost().port), (host, closed)
        for number in range(100):
            ours.write(b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK%d;rport\r\n" % number, nowhere)
            ours.write(b"%d" % number, there)
        await until(lambda: len(other.got) == 100 and len(refused) == 100)
    assert refused == [(nowhere, f"z9hG4bK{number}") for number in range(100)]
    other.transport.write(b"still there?", (host, port))  # type: ignore[union-attr]
    await until(lambda: heard == [b"still there?"])
    ours.close()
    await listening.stopListening()


@pytest.mark.parametrize(("number", "lost"), [(errno.ENOBUFS, True), (errno.EAGAIN, True), (errno.EMSGSIZE, False)])
def test_a_datagram_that_finds_the_queue_full_is_lost_like_any_on_its_way(number: int, lost: bool) -> None:
    class Jammed(socket.socket):
        def sendto(self, *_args: object) -> int:
            raise OSError(number, "")

    ours = SipSocket(Clock(), lambda *_: None, lambda *_: None)
    with Jammed(socket.AF_INET, socket.SOCK_DGRAM) as jammed, nullcontext() if lost else pytest.raises(OSError):
        ours._socket = jammed
        ours.write(b"INVITE", ("192.0.2.1", 5060))


# --- what is believed ---


def refused(a: Host, peer: tuple[str, int] = ("nobody.test", 5060), number: int = -1) -> None:
    """Let the network refuse a message of a host's."""
    branch = a.net.sent[number].via.branch
    a.net.do(lambda: a.agent.refused(peer, branch, a.net.now_ms), 0)


def test_an_invite_that_reached_nobody_three_times_has_failed() -> None:
    net = Net()
    a = net.host("a", QUIET)
    a.dial("nobody")
    for until_ms in (500, 1500):
        refused(a, ("elsewhere.test", 5060))
        refused(a)
        net.run(until_ms)
        assert not a.events
    refused(a)
    assert ended(a) == (True, 503, 41) and net.ladder == ["a>nobody INVITE (lost)"] * 3
    refused(a)
    assert a.agent.next_due_ms is None


def test_where_another_server_waits_once_is_enough() -> None:
    net = Net()
    a = net.host("a", QUIET)
    a.dial("nobody")
    branch = net.sent[0].via.branch
    net.do(lambda: a.agent.refused(("nobody.test", 5060), branch, net.now_ms, 1), 0)
    assert ended(a) == (True, 503, 41)


def test_who_has_answered_anything_is_there() -> None:
    net, a, _ = pair()
    call = a.dial("b")
    net.run(230)
    assert net.ladder == ["a>b INVITE", "b>a 100 INVITE"]
    for _ in range(9):
        refused(a, ("b.test", 5060), 0)
    assert call.state is CallState.STARTING and not a.said()


def test_no_request_of_a_call_that_is_up_fails_by_it() -> None:
    net, a, b, call, _ = up()
    for ask in (lambda: call.session.reoffer(net.now_ms), lambda: call.send_key("1", net.now_ms)):
        b.drop = lambda message: True
        net.do(ask)
        for _ in range(9):
            refused(a, ("b.test", 5060))
        assert call.up
        b.drop = lambda message: False
        net.run(net.now_ms + 10_000)
    assert call.up and not [event for event in a.events if isinstance(event, Ended | MediaRefused)]


@pytest.mark.parametrize(
    ("origin", "kind", "code", "fatal"),
    [
        (ICMP, 3, 3, True),  # port
        (ICMP, 3, 1, True),  # host
        (ICMP, 3, 13, True),  # forbidden by a firewall
        (ICMP, 3, 4, False),  # too long: the kernel sends fragments from now on
        (ICMP, 11, 0, False),  # a loop of routers, perhaps for a moment (RFC 3261, section 18.4)
        (ICMP, 4, 0, False),  # slow down
        (ICMP, 12, 0, True),
        (ICMP6, 1, 4, True),
        (ICMP6, 3, 0, False),
        (1, 3, 3, False),  # our own kernel
    ],
)
def test_only_who_says_that_nobody_can_be_reached_is_believed(origin: int, kind: int, code: int, fatal: bool) -> None:
    note = NOTE.pack(111, origin, kind, code, 0, 0, 0) + bytes(16)
    assert unreachable(note) is fatal
    assert not unreachable(note[:8])


@pytest.mark.parametrize(
    ("quote", "branch"),
    [
        (b"INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa.1;rport\r\nTo: b\r\n", "z9hG4bKa.1"),
        (b"INVITE sip:a SIP/2.0\r\nTo: b\r\nv : SIP/2.0/UDP h;rport;Branch = z9;x\r\n", "z9"),
        # Cut off in its midst it names nothing.
        (b"INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa.1", ""),
        (b"INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nX: ;branch=z9;\r\n", ""),
        (b"", ""),
        (b"\xff\x00", ""),
    ],
)
def test_a_message_is_known_by_what_is_quoted_of_it(quote: bytes, branch: str) -> None:
    assert branch_quoted(quote) == branch
