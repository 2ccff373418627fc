"""One trunk at work: its user agent, its registration and probes, and its calls.

A call comes in as an INVITE; it is admitted or refused, given ports, answered, and with the ACK its leg goes to the
switchboard. Everything the user agent says passes `_told`.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from voicemedia.config import Network, Secret, Trunk, networks
from voicemedia.errors import CallRefused, WireError
from voicemedia.interfaces import Caller, Goodbye, Leg, Listener
from voicemedia.sip_bridge.call_wire import Call
from voicemedia.sip_bridge.caller_wire import origin_of
from voicemedia.sip_bridge.codec_wire import CODECS
from voicemedia.sip_bridge.digest_wire import Credentials
from voicemedia.sip_bridge.flow_wire import (
    Answered,
    Ended,
    Event,
    Flow,
    Incoming,
    KeyPressed,
    MediaChanged,
    TransferAsked,
    Transmit,
)
from voicemedia.sip_bridge.incoming_wire import IncomingCall
from voicemedia.sip_bridge.keepalive_wire import Keepalive, Probing
from voicemedia.sip_bridge.offer_wire import Negotiation, Terms
from voicemedia.sip_bridge.reason_wire import NORMAL, Reason
from voicemedia.sip_bridge.register_wire import Account, Registration, Standing
from voicemedia.sip_bridge.rtp_leg import NARROW_HZ, Room, RtpLeg
from voicemedia.sip_bridge.sip_ports import Message, SipPorts
from voicemedia.sip_bridge.udp_ports import NoPorts
from voicemedia.sip_bridge.uri_wire import Uri, split_host
from voicemedia.sip_bridge.user_agent_wire import UserAgent

RESOLVE_AGAIN_S: Final = 30
"A server whose name is not found is asked for again after this."
REASONS: Final = {
    Goodbye.AGENT_HUNG_UP: Reason("Q.850", NORMAL, "Normal call clearing"),
    Goodbye.FAILED: Reason("Q.850", 41, "Temporary failure"),
    Goodbye.DRAINED: Reason("Q.850", NORMAL, "Normal call clearing"),
    Goodbye.TOO_LONG: Reason("Q.850", NORMAL, "Longest call"),
    Goodbye.IDLE: Reason("Q.850", 102, "Nothing heard"),
    Goodbye.PEER_VANISHED: Reason("Q.850", 102, "No sound from you"),
}
"What a BYE gives as its reason (RFC 3326)."


@dataclass(frozen=True, slots=True)
class Desk:
    """What the house gives one trunk."""

    reactor: Any
    room: Room
    random: Callable[[int], bytes]
    "Makes that many random bytes."
    route: str
    answer: Callable[[Leg], Listener]
    "The switchboard's: makes a call of a leg."
    refusal: Callable[[], CallRefused | None]
    draining: Callable[[], bool]
    hold: Callable[[int], None]
    "Told +1 for a call that is there and -1 for one that is gone."
    secret: Secret | None = None


class TrunkLine:
    """One trunk.

    :ivar legs: the sound of its calls that have not ended.
    """

    log = Logger()

    def __init__(self, trunk: Trunk, ports: SipPorts, desk: Desk) -> None:
        self.trunk, self._ports, self._desk = trunk, ports, desk
        self._clock = desk.room.clock
        self.peers: tuple[Network, ...] = networks(trunk.peers)
        self.server: tuple[str, int] | None = None
        "Address of the server, once its name is resolved."
        self.agent = UserAgent(lambda: desk.random(12).hex(), lambda: int.from_bytes(desk.random(4)) / 2**32)
        if desk.secret is not None:
            self.agent.credentials = Credentials(trunk.user, desk.secret.reveal(), lambda: desk.random(8).hex())
        self.legs: dict[Call, RtpLeg] = {}
        self._why: dict[Call, Goodbye] = {}
        "Calls we hang up, and why."
        self._timer: Any = None
        self._timer_ms: int | None = None
        self._resolving: Any = None
        self.registration: Registration | None = None
        self.keepalive: Keepalive | None = None
        self._stopped = False

    def knows(self, host: str) -> bool:
        """Tell whether an address is this trunk's."""
        if self.server is not None and self.server[0] == host:
            return True
        address = _address(host)
        return address is not None and any(address in network for network in self.peers)

    # --- life ---

    def start(self) -> None:
        """Find the server, register with it and probe it."""
        if self.trunk.server:
            host, port = split_host(self.trunk.server)
            found: Deferred[str] = maybeDeferred(self._desk.reactor.resolve, host.strip("[]"))
            default = 5061 if self.trunk.transport == "tls" else 5060
            found.addCallbacks(self._found, self._not_found, callbackArgs=(port or default,))

    def _not_found(self, _failure: object) -> None:
        if not self._stopped:
            self.log.error("trunk {trunk}: {server} is not found", trunk=self.trunk.name, server=self.trunk.server)
            self._resolving = self._desk.reactor.callLater(RESOLVE_AGAIN_S, self.start)

    def _found(self, host: str, port: int) -> None:
        if self._stopped:
            return
        trunk, now_ms = self.trunk, self._clock()
        self.server = host, port
        flow = self._ports.flow(trunk.transport.upper(), self.server)
        uri = Uri.parse(f"sip:{trunk.server}")
        if trunk.register:
            account = Account(uri, f"<sip:{trunk.user}@{trunk.server}>", trunk.user, trunk.expires_s)
            self.registration = Registration(self.agent, account, flow)
            self.registration.start(now_ms)
        if trunk.probe_s:
            self.keepalive = Keepalive(self.agent, uri, flow, Probing(trunk.probe_s * 1000))
        self.flush()

    def unregister(self) -> None:
        """Tell the registrar that we are gone."""
        if self.registration is not None:
            self.registration.stop(self._clock())
        self.keepalive = None
        self.flush()

    def stop(self) -> None:
        """Do nothing more."""
        self._stopped = True
        for timer in (self._timer, self._resolving):
            if timer is not None and timer.active():
                timer.cancel()

    @property
    def trouble(self) -> str:
        """Say why it cannot serve; empty when it can."""
        if self.trunk.server and self.server is None:
            return f"{self.trunk.server} is not found"
        if self.registration is not None and self.registration.standing is not Standing.IN:
            return f"not registered with {self.trunk.server} (last answer {self.registration.status or 'none'})"
        if self.keepalive is not None and not self.keepalive.up:
            return f"{self.trunk.server} does not answer OPTIONS"
        return ""

    # --- messages and time ---

    def receive(self, message: Message, flow: Flow) -> None:
        """Take a message of this trunk's peer."""
        self.agent.receive(message, flow, self._clock())
        self.flush()

    def unsent(self, message: Message) -> None:
        """Take note that a message could not leave."""
        self.agent.unsent(message, self._clock())
        self.flush()

    def flush(self) -> None:
        """Send and do what the user agent wants, and wake when it next has something to do."""
        while outputs := self.agent.outputs():
            for output in outputs:
                if isinstance(output, Transmit):
                    self._ports.send(output)
                else:
                    self._told(output)
        self._arm()

    def _arm(self) -> None:
        parts = (self.agent, self.registration, self.keepalive)
        due = [part.next_due_ms for part in parts if part is not None and part.next_due_ms is not None]
        next_ms = min(due, default=None)
        if next_ms == self._timer_ms or self._stopped:
            return
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer_ms = next_ms
        if next_ms is not None:
            delay_ms = max(0, next_ms - self._clock())
            self._timer = self._desk.reactor.callLater(delay_ms / 1000, self._due)

    def _due(self) -> None:
        self._timer_ms = None
        now_ms = self._clock()
        for part in (self.agent, self.registration, self.keepalive):
            if part is not None:
                part.due(now_ms)
        self.flush()

    # --- calls ---

    def _told(self, event: Event) -> None:
        match event:
            case Incoming(call):
                self._invited(call)
            case MediaChanged(call, agreement) if call in self.legs:
                self.legs[call].agree(agreement)
            case Answered(call) if call in self.legs:
                self._answered(call)
            case KeyPressed(call, key) if call in self.legs:
                listener = self.legs[call].listener
                if listener is not None:
                    listener.digit(key.key)
            case TransferAsked(call):
                call.transfers.refuse(self._clock())
            case Ended():
                self._ended(event)

    def _invited(self, call: IncomingCall) -> None:
        refusal = self._desk.refusal()
        if refusal is not None:
            self._refuse(call, str(refusal), refusal.retry_after_s)
            return
        try:
            pair = self._desk.room.ports.lend()
        except NoPorts:
            self._refuse(call, "no port for the sound is free", 5)
            return
        trunk, now_ms = self.trunk, self._clock()
        host = call.flow.peer[0]
        terms = Terms(
            self._ports.address(host),
            pair.port,
            tuple(CODECS[name.lower()] for name in trunk.codecs),
            trunk.ptime_ms,
            srtp=self._srtp(call),
        )
        self._desk.hold(+1)
        leg = RtpLeg(
            self._caller(call), pair, self._desk.room, self._known(call, host), lambda why: self._hang_up(call, why)
        )
        self.legs[call] = leg
        call.answer(Negotiation(terms, int.from_bytes(self._desk.random(4)), self._desk.random), now_ms)

    def _srtp(self, call: IncomingCall) -> str:
        """Tell how this call may be protected: keys that come in the clear protect nothing, unless they have to."""
        wanted = self.trunk.srtp
        return "never" if wanted == "allow" and call.flow.transport != "TLS" else wanted

    def _known(self, call: IncomingCall, host: str) -> Callable[[str], bool]:
        """Return who may send sound: the signalling peer, its trunk, and whom its SDP names."""

        def known(source: str) -> bool:
            agreement = call.media.agreement if call.media else None
            return source == host or (agreement is not None and source == agreement.address) or self.knows(source)

        return known

    def _refuse(self, call: IncomingCall, reason: str, retry_after_s: int) -> None:
        self.log.info("trunk {trunk}: a call is refused: {reason}", trunk=self.trunk.name, reason=reason)
        self._desk.room.metrics.calls_refused += 1
        # A server that stops is not busy: the carrier shall try the next one.
        full = 503 if self._desk.draining() else self.trunk.full
        headers = (("Retry-After", str(retry_after_s)),) if full == 503 else ()
        call.refuse(full, self._clock(), headers=headers)

    def _caller(self, call: IncomingCall) -> Caller:
        invite = call.invite
        origin = origin_of(invite)
        diverted = ", ".join(each.address.uri.name for each in origin.diverted)
        parameters = {
            "attestation": origin.attestation,
            "verified": origin.verified,
            "diverted_from": diverted,
            "private": "true" if origin.private else "",
            "trunk": self.trunk.name,
        }
        try:
            to = Uri.parse(invite.uri).name
        except WireError:
            to = ""
        return Caller(
            call_id=invite.call_id,
            carrier="sip",
            rate_hz=NARROW_HZ,
            route=self._desk.route,
            stream_id=call.session_id[:12],
            number=origin.number,
            to=to,
            parameters={name: value for name, value in parameters.items() if value},
        )

    def _answered(self, call: Call) -> None:
        leg = self.legs[call]
        leg.begin(self._desk.answer(leg))

    def _hang_up(self, call: Call, why: Goodbye) -> None:
        self._why.setdefault(call, why)
        call.hang_up(self._clock(), REASONS.get(why))
        # In its own turn: the leg is in the middle of something.
        self._desk.reactor.callLater(0, self.flush)

    def _ended(self, ended: Ended) -> None:
        call = ended.call
        leg, why = self.legs.pop(call, None), self._why.pop(call, None)
        if leg is None:
            return
        self._desk.hold(-1)
        self.log.info(
            "trunk {trunk}: call {call} over, status {status}, cause {cause}",
            trunk=self.trunk.name,
            call=leg.caller.call_id,
            status=ended.status,
            cause=ended.cause,
        )
        if why is None:
            why = Goodbye.CALLER_HUNG_UP if ended.status in (200, 487) else Goodbye.PEER_VANISHED
        leg.ended(why)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
