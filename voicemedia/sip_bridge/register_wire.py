"""Registering with a provider: the binding, its refresh, and what to do when it fails (RFC 3261, section 10)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.exchange_wire import Exchange
from voicemedia.sip_bridge.flow_wire import Flow
from voicemedia.sip_bridge.grammar_wire import natural
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.sip_bridge.user_agent_wire import UserAgent

SOON_MS: Final = 2000
"Within this, by chance, a binding whose connection is gone is made anew."


@dataclass(frozen=True, slots=True)
class Account:
    """What is registered where."""

    registrar: Uri
    "`sip:provider.example`."
    address: str
    "The address of record: `<sip:alice@provider.example>`."
    user: str
    "The user part of our Contact: what the provider will call us by."
    expires_s: int = 600


class Standing(Enum):
    """Where a registration stands."""

    OUT = auto()
    IN = auto()
    REFUSED = auto()
    "The provider knows us and does not want us (wrong password): trying again soon will not help."
    FAILED = auto()
    "No answer or a server's trouble: another server, or later."


class Registration:
    """One account at one registrar, over one flow.

    :ivar standing: changes only in `receive`d responses; the owner looks after each step.
    :ivar next_due_ms: when `due` refreshes or tries again.
    """

    def __init__(self, agent: UserAgent, account: Account, flow: Flow) -> None:
        self.agent = agent
        self.account = account
        self.flow = flow
        self.standing = Standing.OUT
        self.status = 0
        "Of the last final response; 408 when none came."
        self.next_due_ms: int | None = None
        self._expires_s = account.expires_s
        self._failures = 0
        self._last: Request | None = None
        "The same Call-ID and rising CSeq for all (section 10.2)."

    def start(self, now_ms: int) -> None:
        """Register."""
        self._send(self._expires_s, now_ms)

    def stop(self, now_ms: int) -> None:
        """Take the binding away, when there is one."""
        self.next_due_ms = None
        if self.standing is Standing.IN:
            self._send(0, now_ms)
        self.standing = Standing.OUT

    def disconnected(self, now_ms: int) -> None:
        """Register anew soon: the connection calls were to come by is gone (RFC 5626, section 4.3)."""
        if self.standing is Standing.IN and self.next_due_ms is not None:
            # Not all clients of a registrar that has been started again in the same instant.
            self.next_due_ms = min(self.next_due_ms, now_ms + int(self.agent.chance() * SOON_MS))

    def due(self, now_ms: int) -> None:
        """Refresh, or try again."""
        if self.next_due_ms is not None and now_ms >= self.next_due_ms:
            self._send(self._expires_s, now_ms)

    def _send(self, expires_s: int, now_ms: int) -> None:
        self.next_due_ms = None
        account = self.account
        request = self.agent.new_request("REGISTER", account.registrar, account.address, account.address)
        if self._last is not None:
            for key in ("from", "call-id"):
                request.headers.replace(key, self._last.headers.one(key))
            request.headers.replace("cseq", f"{self._last.cseq.number + 1} REGISTER")
        contact = self.flow.contact.replace("<sip:", f"<sip:{account.user}@", 1)
        request.headers.add("Contact", f"{contact};expires={expires_s}")
        request.headers.add("Expires", str(expires_s))
        exchange = Exchange(request, self.flow, None, self._answered if expires_s else _forgotten)
        self._last = request
        self.agent.request(exchange, now_ms)

    def _answered(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        if response.status < 200:
            return
        self._last, self.status = exchange.request, response.status
        if response.status < 300:
            self._registered(response, now_ms)
        elif response.status == 423 and response.number("min-expires", 0, 2**31) > self._expires_s:
            self._expires_s = response.number("min-expires", 0, 2**31)
            self._send(self._expires_s, now_ms)
        else:
            self._failed(response, now_ms)

    def _registered(self, response: Response, now_ms: int) -> None:
        self.standing, self._failures = Standing.IN, 0
        granted_s = max(30, self._granted(response))
        # Early enough for a lost packet or two, as the binding must never lapse (RFC 5626, section 4.4.1).
        self.next_due_ms = now_ms + max(granted_s - 60, granted_s // 2) * 1000

    def _granted(self, response: Response) -> int:
        """Return how long our own binding lasts, among those of other devices the registrar may list."""
        ours = self.flow.local
        default = response.number("expires", self._expires_s, 2**31)
        try:
            for contact in response.contacts:
                if contact.uri.hostport == ours and contact.uri.user == self.account.user:
                    return natural(contact.params.get("expires") or str(default))
        except WireError:
            return default
        return default

    def _failed(self, response: Response, now_ms: int) -> None:
        """Wait before trying again, twice as long each time, not all clients at once (RFC 5626, section 4.5)."""
        refused = response.status in (401, 403, 404, 407)
        self.standing = Standing.REFUSED if refused else Standing.FAILED
        self._failures += 1
        wait_s = min(1800, 30 * 2 ** min(self._failures, 10))
        wait_ms = int(wait_s * 1000 * (0.5 + self.agent.chance() / 2))
        asked_ms = response.number("retry-after", 0, 86_400) * 1000
        self.next_due_ms = now_ms + max(wait_ms, asked_ms)


def _forgotten(exchange: Exchange, response: Response, now_ms: int) -> None:
    """Whether the binding was taken away or will lapse: we are gone."""
