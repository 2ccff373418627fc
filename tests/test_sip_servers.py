"""Finding the servers behind a name, and going to the next when one fails."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.names import dns, server
from twisted.names.common import ResolverBase

from tests.in_reactor import in_reactor
from tests.sip_house import Socket, Telephone, bridge_of, header, reactor, serving, until
from tests.test_calls_out import OUT, TOKEN, Client
from voicemedia.config import Calls
from voicemedia.service import MediaServer
from voicemedia.sip_bridge import redialing
from voicemedia.sip_bridge.finder import Finder
from voicemedia.sip_bridge.servers_wire import AVOID_MS, Pointer, Servers, Service, in_order, service_names


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)


# --- without a network ---


def test_a_lower_priority_comes_first_and_weight_decides_by_chance() -> None:
    services = [
        Service(20, 1, "late", 1),
        Service(10, 60, "heavy", 1),
        Service(10, 20, "light", 1),
        Service(10, 0, "never", 1),
    ]
    chance = Random(5).random
    orders = [[each.host for each in in_order(services, chance)] for _ in range(3000)]
    assert {order[3] for order in orders} == {"late"}
    firsts = Counter(order[0] for order in orders)
    assert 2.2 < firsts["heavy"] / firsts["light"] < 4 and firsts["never"] < 30
    assert {len(set(order)) for order in orders} == {4}


def test_naptr_says_under_which_name_a_transport_is_served() -> None:
    pointers = [
        Pointer(20, 10, "s", "SIP+D2U", "second.test"),
        Pointer(10, 10, "S", "sip+d2u", "first.test"),
        Pointer(5, 1, "s", "SIPS+D2T", "secure.test"),
        Pointer(1, 1, "u", "SIP+D2U", "not.test"),
    ]
    assert service_names("a.test", "udp", pointers) == ["first.test", "second.test"]
    assert service_names("a.test", "tls", pointers) == ["secure.test"]
    assert service_names("a.test", "tcp", pointers) == ["_sip._tcp.a.test"]


def test_a_server_that_failed_is_avoided_for_a_while_and_no_longer() -> None:
    servers = Servers([("a", 1), ("b", 2), ("a", 1)])
    assert servers.addresses == (("a", 1), ("b", 2))
    assert servers.failed(("a", 1), 0) == ("b", 2) and servers.best(100) == ("b", 2)
    assert servers.failed(("b", 2), 200) is None
    assert servers.best(300) == ("a", 1), "all have failed: the one whose time is up first"
    assert servers.best(AVOID_MS + 200) == ("a", 1)
    assert servers.failed(("a", 1), AVOID_MS + 300, retry_after_ms=600_000) == ("b", 2)
    assert servers.best(AVOID_MS * 5) == ("b", 2)
    servers.served(("a", 1))
    assert servers.best(AVOID_MS * 5) == ("a", 1)


# --- with a name server ---


class Names(ResolverBase):
    """The records of a test."""

    def __init__(self, records: Iterable[tuple[str, Any]]) -> None:
        super().__init__()
        self.records = list(records)
        self.asked: list[str] = []

    def _lookup(self, name: bytes, _class: int, kind: int, _timeout: object) -> "Deferred[Any]":
        asked = name.decode() if isinstance(name, bytes) else str(name)
        self.asked.append(f"{dns.QUERY_TYPES.get(kind)} {asked}")
        found = [
            dns.RRHeader(name, kind, payload=payload, ttl=60)
            for owner, payload in self.records
            if owner == asked and kind == payload.TYPE
        ]
        return succeed((found, [], []))


@asynccontextmanager
async def names(*records: tuple[str, Any]) -> AsyncIterator[tuple[str, Names]]:
    """A name server; give its `address:port`."""
    known = Names(records)
    protocol = dns.DNSDatagramProtocol(server.DNSServerFactory(clients=[known]))
    port = reactor.listenUDP(0, protocol, interface="127.0.0.1")
    try:
        yield f"127.0.0.1:{port.getHost().port}", known
    finally:
        await port.stopListening()


def two_servers(one: int, other: int) -> list[tuple[str, Any]]:
    return [
        ("_sip._udp.carrier.test", dns.Record_SRV(10, 0, one, "one.carrier.test")),
        ("_sip._udp.carrier.test", dns.Record_SRV(20, 0, other, "other.carrier.test")),
        ("one.carrier.test", dns.Record_A("127.0.0.1")),
        ("other.carrier.test", dns.Record_A("127.0.0.2")),
    ]


@in_reactor
async def test_servers_are_found_by_srv_then_by_address() -> None:
    records = [*two_servers(5070, 5080), ("plain.test", dns.Record_A("127.0.0.9"))]
    async with names(*records) as (at, known):
        finder = Finder(reactor, at, lambda: 0.5)
        assert await finder.find("carrier.test", None, "udp") == [("127.0.0.1", 5070), ("127.0.0.2", 5080)]
        assert await finder.find("plain.test", None, "tls") == [("127.0.0.9", 5061)]
        known.asked.clear()
        assert await finder.find("plain.test", 5099, "udp") == [("127.0.0.9", 5099)]
        assert known.asked == ["A plain.test"], "who names a port wants no choice"
        assert await finder.find("192.0.2.1", None, "tcp") == [("192.0.2.1", 5060)]


@in_reactor
async def test_naptr_leads_to_the_srv_records_of_another_name() -> None:
    pointer = dns.Record_NAPTR(10, 10, b"s", b"SIP+D2U", b"", b"_sip._udp.elsewhere.test")
    records = [
        ("carrier.test", pointer),
        ("_sip._udp.elsewhere.test", dns.Record_SRV(1, 1, 5090, "one.carrier.test")),
        *two_servers(5070, 5080),
    ]
    async with names(*records) as (at, _):
        assert await Finder(reactor, at, lambda: 0.5).find("carrier.test", None, "udp") == [("127.0.0.1", 5090)]


@in_reactor
async def test_a_service_that_is_decidedly_not_there_is_not_asked_for() -> None:
    records = [("_sip._udp.carrier.test", dns.Record_SRV(0, 0, 0, "")), ("carrier.test", dns.Record_A("127.0.0.3"))]
    async with names(*records) as (at, _):
        assert await Finder(reactor, at, lambda: 0.5).find("carrier.test", None, "udp") == [("127.0.0.3", 5060)]


@in_reactor
async def test_names_are_asked_for_from_a_port_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    async with names(("plain.test", dns.Record_A("127.0.0.9"))) as (at, _):
        monkeypatch.setattr("twisted.names.dns.randomSource", lambda: int(at.partition(":")[2]))
        assert await Finder(reactor, at, lambda: 0.5).find("plain.test", 5060, "udp") == [("127.0.0.9", 5060)]


class Behind:
    """A server that calls by `carrier.test`, behind whose name are two telephones."""

    def __init__(self, house: MediaServer, one: Telephone, other: Telephone) -> None:
        self.house, self.client, self.one, self.other = house, Client(house), one, other


@asynccontextmanager
async def behind_one_name(**changes: Any) -> AsyncIterator[Behind]:
    async with names() as (at, records):
        trunk = msgspec.structs.replace(OUT, server="carrier.test", **changes)
        ports = [reactor.listenUDP(0, Socket(), interface=host) for host in ("127.0.0.1", "127.0.0.2")]
        numbers = [port.getHost().port for port in ports]
        for port in ports:
            await port.stopListening()
        records.records = two_servers(*numbers)
        async with serving(trunk, calls=Calls("CALLS_TOKEN"), dns_server=at) as house:
            one = Telephone(house, port=numbers[0])
            other = Telephone(house, "127.0.0.2", port=numbers[1])
            try:
                await until(lambda: bridge_of(house).lines[0].server.address)
                yield Behind(house, one, other)
            finally:
                await one.close()
                await other.close()


@in_reactor
async def test_a_call_the_first_server_cannot_take_goes_to_the_second() -> None:
    async with behind_one_name() as behind:
        call = await behind.client.place("bob")
        invite = await behind.one.invited()
        behind.one.reply(invite, "503 Service Unavailable", extra="Retry-After: 120\n")
        again = await behind.other.take()
        assert header(again, "Call-ID") == header(invite, "Call-ID") == call["id"]
        assert header(again, "From") != header(invite, "From")
        await until(lambda: len(behind.house.switchboard) == 1)
        # The next call does not try the first again.
        second = await behind.client.place("carol")
        await until(lambda: len(behind.other.requests("INVITE")) == 2)
        assert len(behind.one.requests("INVITE")) == 1
        await behind.client.ask("DELETE", f"/{second['id']}")


@in_reactor
async def test_a_call_the_first_server_says_nothing_to_goes_to_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redialing, "NO_WORD_S", 0.2)
    async with behind_one_name() as behind:
        await behind.client.place("bob")
        await behind.other.take()
        await until(lambda: len(behind.house.switchboard) == 1)
        # It was heard after all: it is canceled.
        late = await behind.one.invited()
        behind.one.reply(late, "180 Ringing")
        await until(lambda: behind.one.requests("CANCEL"))


@in_reactor
async def test_a_call_that_a_person_refuses_is_not_tried_elsewhere() -> None:
    async with behind_one_name() as behind:
        call = await behind.client.place("bob")
        behind.one.reply(await behind.one.invited(), "486 Busy Here")
        await until(lambda: behind.one.requests("ACK"))
        assert (await behind.client.card(call))["status"] == 486
        assert not behind.other.requests("INVITE")


@in_reactor
async def test_a_call_no_server_takes_fails_once_all_were_tried() -> None:
    async with behind_one_name() as behind:
        call = await behind.client.place("bob")
        behind.one.reply(await behind.one.invited(), "503 Service Unavailable")
        behind.other.reply(await behind.other.invited(), "503 Service Unavailable")
        await until(lambda: not bridge_of(behind.house).rtp_ports.lent)
        assert (await behind.client.card(call))["status"] == 503


@in_reactor
async def test_a_registration_the_first_server_cannot_take_goes_to_the_second() -> None:
    async with behind_one_name(register=True, user="alice") as behind:
        await until(lambda: behind.one.requests("REGISTER"))
        register = behind.one.requests("REGISTER")[0]
        assert register.startswith("REGISTER sip:carrier.test SIP/2.0")
        behind.one.reply(register, "503 Service Unavailable")
        await until(lambda: behind.other.requests("REGISTER"))
        line = bridge_of(behind.house).lines[0]
        assert line.trouble
        second = behind.other.requests("REGISTER")[0]
        behind.other.reply(second, "200 OK", extra=f"Contact: {header(second, 'Contact')}\n")
        await until(lambda: not line.trouble)
        await behind.client.place("bob")
        await behind.other.take()
        assert not behind.one.requests("INVITE")
