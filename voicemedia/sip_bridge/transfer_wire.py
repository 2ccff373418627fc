"""Transfers of a call, both ways: REFER and the NOTIFYs that follow (RFC 3515, RFC 4488, RFC 5589)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicemedia.errors import WireError
from voicemedia.sip_bridge.exchange_wire import Exchange
from voicemedia.sip_bridge.flow_wire import TransferAsked, TransferReport
from voicemedia.sip_bridge.refer_wire import (
    SIPFRAG,
    Replaces,
    Transfer,
    last_report,
    refer_to,
    reported,
    sipfrag,
)
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.transaction_wire import ServerTransaction
from voicemedia.sip_bridge.uri_wire import Uri

if TYPE_CHECKING:
    from voicemedia.sip_bridge.call_wire import Call


class Transfers:
    """What one call has to do with transfers; one at a time each way."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._asked: tuple[ServerTransaction, Request, Transfer] | None = None
        "A REFER of the peer's that the owner has not yet decided on."
        self._reporting: str | None = None
        "Event value of the NOTIFYs we owe; None: none."
        self._awaiting = False
        "A REFER of ours is not over."

    # --- the peer wants us to call somebody ---

    def asked(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        """Take a REFER.

        :raises WireError: when it cannot be read.
        """
        transfer = Transfer.parse(request)
        if self._asked is not None:
            self.call.respond(transaction, request.answer(491), now_ms)
            return
        self._asked = transaction, request, transfer
        self.call.agent.tell(TransferAsked(self.call, transfer))

    def accept(self, now_ms: int) -> None:
        """Promise to call; `report` how it goes."""
        if self._asked is None:
            return
        transaction, request, transfer = self._asked
        self._asked = None
        response = request.answer(202)
        response.headers.add("Contact", self.call.flow.contact)
        if not transfer.reports:
            response.headers.add("Refer-Sub", "false")
        self.call.respond(transaction, response, now_ms)
        if transfer.reports:
            self._reporting = f"refer;id={request.cseq.number}"
            self.report(100, now_ms)

    def refuse(self, now_ms: int, status: int = 603) -> None:
        """Do not call."""
        if self._asked is not None:
            transaction, request, _ = self._asked
            self._asked = None
            self.call.respond(transaction, request.answer(status), now_ms)

    def report(self, status: int, now_ms: int) -> None:
        """Tell the peer how the call it asked for goes; a final status is the last report."""
        if self._reporting is None or not self.call.up:
            return
        notify = self.call.in_dialog("NOTIFY", f"{SIPFRAG};version=2.0", sipfrag(status))
        notify.headers.add("Event", self._reporting)
        final = status >= 200
        notify.headers.add("Subscription-State", "terminated;reason=noresource" if final else "active;expires=60")
        notify.headers.add("Contact", self.call.flow.contact)
        if final:
            self._reporting = None
        self.call.send(notify, now_ms)

    # --- we want the peer to call somebody ---

    def ask(self, target: Uri, now_ms: int, replaces: Replaces | None = None) -> None:
        """Ask the peer to call `target`, in place of another call when attended (`TransferReport` follows)."""
        refer = self.call.in_dialog("REFER")
        refer.headers.add("Refer-To", refer_to(target, replaces))
        refer.headers.add("Referred-By", self.call.flow.contact)
        self._awaiting = True
        self.call.send(refer, now_ms, self._answered)

    def _answered(self, exchange: Exchange, response: Response, now_ms: int) -> None:
        quiet = (response.headers.first("refer-sub") or "").strip().lower() == "false"
        if not self._awaiting or response.status < 200 or (response.status < 300 and not quiet):
            return
        self._awaiting = False
        self.call.agent.tell(TransferReport(self.call, response.status, True, response.status >= 300))
        if response.status == 481:
            self.call.lost(response, now_ms)

    def notified(self, transaction: ServerTransaction, request: Request, now_ms: int) -> None:
        """Take a NOTIFY, which may come before the 202."""
        event = (request.headers.first("event") or "").partition(";")[0].strip().lower()
        if event != "refer":
            self.call.respond(transaction, request.answer(489), now_ms)
            return
        if not self._awaiting:
            self.call.respond(transaction, request.answer(481), now_ms)
            return
        self.call.respond(transaction, request.answer(200), now_ms)
        try:
            status = reported(request)
        except WireError:
            status = 0
        last = last_report(request) or status >= 200
        self._awaiting = not last
        if status or last:
            self.call.agent.tell(TransferReport(self.call, status, last))
