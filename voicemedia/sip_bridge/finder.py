"""Finds the servers behind the name of a trunk: NAPTR, SRV, addresses (RFC 3263, section 4)."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import TimeoutError as GivenUp
from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.names import client, dns
from twisted.names.error import AuthoritativeDomainError, DomainError, ResolverError

from voicemedia.sip_bridge.servers_wire import Address, Pointer, Service, in_order, service_names

TIMEOUTS_S: Final = (1, 2, 4)
"After each of these a question is asked again, after the last it is given up."
PORTS: Final = {"udp": 5060, "tcp": 5060, "tls": 5061}
RESOLV: Final = Path("/etc/resolv.conf")
FAILURES: Final = (DomainError, AuthoritativeDomainError, ResolverError, GivenUp, OSError)
MOST_SERVERS: Final = 16


class Finder:
    """Asks name servers.

    :param server: `host:port` of the one to ask; empty: the system's.
    :param chance: makes a random number from 0 up to 1.
    """

    log = Logger()

    def __init__(self, reactor: Any, server: str, chance: Callable[[], float]) -> None:
        self._reactor, self._server, self._chance = reactor, server, chance

    async def find(self, name: str, port: int | None, transport: str) -> list[Address]:
        """Return addresses in the order they are to be tried; empty: there are none.

        :param port: as it was written; then there is no choice of servers.
        """
        if _is_address(name):
            return [(name, port or PORTS[transport])]
        found: list[Address] = []
        if port is None:
            for service in in_order(await self._services(name, transport), self._chance)[:MOST_SERVERS]:
                found += [(address, service.port) for address in await self._addresses(service.host)]
        return found or [(address, port or PORTS[transport]) for address in await self._addresses(name)]

    async def _services(self, name: str, transport: str) -> list[Service]:
        pointers = [
            Pointer(each.order, each.preference, _text(each.flags), _text(each.service), str(each.replacement))
            for each in await self._ask("lookupNamingAuthorityPointer", name, dns.NAPTR)
        ]
        services: list[Service] = []
        for alias in service_names(name, transport, pointers):
            for each in await self._ask("lookupService", alias, dns.SRV):
                # A target of "." says that the service is decidedly not there.
                if str(each.target) not in ("", "."):
                    services.append(Service(each.priority, each.weight, str(each.target), each.port))
        return services

    async def _addresses(self, name: str) -> list[str]:
        if _is_address(name):
            return [name]
        if self._server:
            records = await self._ask("lookupAddress", name, dns.A)
            if records:
                return [each.dottedQuad() for each in records]
        try:
            return [await maybeDeferred(self._reactor.resolve, name)]
        except OSError as error:
            self.log.info("{name} is not found: {error}", name=name, error=str(error))
            return []

    async def _ask(self, question: str, name: str, kind: int) -> list[Any]:
        """Return the payloads of one kind in the answer; none when there is no answer."""
        try:
            answers, _, _ = await getattr(self._resolver(), question)(name, TIMEOUTS_S)
        except FAILURES as error:
            self.log.debug("no {question} of {name}: {error}", question=question, name=name, error=repr(error))
            return []
        return [answer.payload for answer in answers if answer.type == kind]

    def _resolver(self) -> Any:
        servers = [_split(self._server)] if self._server else _of_the_system()
        # Given servers, it reads no file and keeps no timer.
        return client.Resolver(servers=servers, timeout=TIMEOUTS_S, reactor=_AnyPort(self._reactor))  # type: ignore[no-untyped-call]


class _AnyPort:
    """A reactor that asks from ports the system chooses, no less at random than Twisted, which tries taken ones."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenUDP(self, _port: int, *args: Any, **options: Any) -> Any:
        """Open a free port."""
        return self._reactor.listenUDP(0, *args, **options)


def _of_the_system() -> list[tuple[str, int]]:
    try:
        lines = RESOLV.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return [(address, dns.PORT) for address in named] or [("127.0.0.1", dns.PORT)]


def _split(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return host.strip("[]"), int(port)


def _text(characters: dns.Charstr) -> str:
    return characters.string.decode("latin-1")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
