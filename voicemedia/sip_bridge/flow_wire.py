"""Where messages go, and what a user agent tells its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.dtmf_wire import Key
from voicemedia.sip_bridge.offer_wire import Agreement
from voicemedia.sip_bridge.refer_wire import Transfer
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.uri_wire import Uri

if TYPE_CHECKING:
    from voicemedia.sip_bridge.call_wire import Call
    from voicemedia.sip_bridge.incoming_wire import IncomingCall


class Flow(msgspec.Struct, frozen=True):
    """A way to a peer: a pair of addresses, or one connection."""

    transport: str
    "`UDP`, `TCP` or `TLS`."
    local: str
    "Our `host:port` as the peer reaches it: goes into Via and Contact."
    peer: tuple[str, int]
    "Where its messages come from."
    connection: int = 0
    "Which connection; 0 over UDP."
    sips: bool = False
    "The peer wants every hop secured, so that our Contact must be a sips URI (RFC 3261, section 12.1.1)."

    @property
    def reliable(self) -> bool:
        """The transport repeats what is lost."""
        return self.transport != "UDP"

    def over(self, transport: str) -> Flow:
        """Return the way to the same peer over another transport."""
        return msgspec.structs.replace(self, transport=transport)

    @property
    def contact(self) -> str:
        """The Contact we give over this flow."""
        if self.sips:
            return f"<sips:{self.local}>"
        named = "" if self.transport == "UDP" else f";transport={self.transport.lower()}"
        return f"<sip:{self.local}{named}>"


class Transmit(msgspec.Struct, frozen=True):
    """Put a message on the wire."""

    message: Request | Response
    flow: Flow
    hop: Uri | None = None
    "For a request in a dialog: where its route leads, over `flow` if that leads there too. None: over `flow`."

    @property
    def address(self) -> tuple[str, int]:
        """Where it goes without a `hop`: to the peer, or, a response, along its Via when that can be read.

        Over TCP and TLS that is where the peer listens, should the connection its request came over be gone (RFC 3261,
        section 18.2.2); at its own address in any case.
        """
        if isinstance(self.message, Request):
            return self.flow.peer
        try:
            via = self.message.via
        except WireError:
            return self.flow.peer
        return (self.flow.peer[0], via.listening) if self.flow.reliable else via.reply_to


class Destination(msgspec.Struct, frozen=True):
    """Whom to call, as whom, and what else to say."""

    uri: str
    "`sip:+15551234@provider.example`, `tel:+15551234`."
    caller: str
    'The From value without a tag: `"Bot" <sip:bot@example.com>`.'
    headers: tuple[tuple[str, str], ...] = ()
    "P-Asserted-Identity, Privacy, Diversion, Identity, Referred-By, Replaces, Route ..."
    call_id: str = ""
    "The Call-ID, when it has to be known before; unique. Empty: a new one."


class Incoming(msgspec.Struct, frozen=True):
    """Somebody calls. `call.ring`, `progress`, `answer` or `refuse` it."""

    call: IncomingCall
    replaces: Call | None = None
    "The call whose place it takes once it is answered (RFC 3891)."


class Progress(msgspec.Struct, frozen=True):
    """Our call is getting on: 180 rings, 183 often has sound."""

    call: Call
    response: Response
    agreement: Agreement | None = None
    "Early media."


class Answered(msgspec.Struct, frozen=True):
    """The call is up: our call was answered, or our answer has arrived."""

    call: Call


class MediaChanged(msgspec.Struct, frozen=True):
    """Offer and answer have come to something new (or the same again)."""

    call: Call
    agreement: Agreement


class MediaRefused(msgspec.Struct, frozen=True):
    """The peer did not take our change; everything stays as it was agreed before."""

    call: Call
    status: int


class KeyPressed(msgspec.Struct, frozen=True):
    """A key came in an INFO."""

    call: Call
    key: Key


class TransferAsked(msgspec.Struct, frozen=True):
    """The peer wants us to call somebody else: `call.transfers.accept` or `refuse`."""

    call: Call
    transfer: Transfer


class TransferReport(msgspec.Struct, frozen=True):
    """How the transfer we asked for goes: the status of the peer's new call, or of its refusal."""

    call: Call
    status: int
    last: bool
    refused: bool = False
    "The peer did not even try."


class Ended(msgspec.Struct, frozen=True):
    """The call is over; said once."""

    call: Call
    by_peer: bool
    status: int
    "200 when an answered call was hung up, else the status of the failure: 408 and 481 of one that was up."
    cause: int
    "Q.850."
    answered: bool = False
    "It had been up."
    response: Response | None = None
    "The failure of a call of ours, with its Contact (3xx), Retry-After, Warning."


Event = (
    Incoming | Progress | Answered | MediaChanged | MediaRefused | KeyPressed | TransferAsked | TransferReport | Ended
)
Output = Transmit | Event
