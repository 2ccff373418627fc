"""All transactions of one endpoint: finds the one a message belongs to (RFC 3261, sections 17.1.3 and 17.2.3)."""

from collections.abc import Hashable
from typing import Final

import msgspec

from voicemedia.sip_bridge.agenda_wire import Agenda
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.transaction_wire import TIMING, ClientTransaction, Output, Pass, ServerTransaction, Timing
from voicemedia.sip_bridge.via_wire import MAGIC


class Effect(msgspec.Struct, frozen=True):
    """What a transaction wants; without one, the message belongs to none (the ACK of a 2xx)."""

    transaction: ClientTransaction | ServerTransaction | None
    output: Output


ANSWERED: Final = Request()
"Stands for every request that is."
_INVITE_LIKE: Final = ("INVITE", "ACK", "CANCEL")


def server_key(request: Request, method: str = "") -> Hashable:
    """Return the name of the server transaction a request belongs to.

    :param method: another method under the same name: an ACK or CANCEL looks for its INVITE.
    :raises WireError: when a header that names it cannot be read.
    """
    via = request.via
    branch, method = via.branch, method or request.method
    if branch.startswith(MAGIC) and len(branch) > len(MAGIC):
        return branch, via.sent_by, "INVITE" if method == "ACK" else method
    # A peer of RFC 2543, or one whose branch says nothing: the whole of its headers is the name.
    to_tag = None if request.method in _INVITE_LIKE else request.recipient.tag
    key = (request.uri, to_tag, request.sender.tag, request.call_id, request.cseq.number, str(via))
    return (*key, "INVITE" if method == "ACK" else method)


class Transactions:
    """The transaction layer.

    Every method returns what has to be done now; whoever calls sends, and passes on.
    """

    def __init__(self, timing: Timing = TIMING) -> None:
        self.timing = timing
        self.clients: dict[Hashable, ClientTransaction] = {}
        self.servers: dict[Hashable, ServerTransaction] = {}
        self._agenda: Agenda[ClientTransaction | ServerTransaction] = Agenda()

    @property
    def next_due_ms(self) -> int | None:
        """When `due` has something to do."""
        return self._agenda.next_due_ms

    def request(self, request: Request, flow: object, reliable: bool, now_ms: int) -> list[Effect]:
        """Send a request that wants a response (no ACK) over `flow`; its branch names the transaction."""
        transaction = ClientTransaction(request, reliable, self.timing)
        transaction.flow = flow
        transaction.key = request.via.branch, request.method
        self.clients[transaction.key] = transaction
        return self._after(transaction, transaction.start(now_ms))

    def receive_response(self, response: Response, now_ms: int) -> list[Effect]:
        """Take a response that `bad_response` finds good; one that matches nothing is dropped."""
        transaction = self.clients.get((response.via.branch, response.cseq.method))
        if transaction is None:
            return []
        return self._after(transaction, transaction.receive(response, now_ms))

    def receive_request(self, request: Request, flow: object, reliable: bool, now_ms: int) -> list[Effect]:
        """Take a request: known ones are answered by their transaction, new ones are passed on with theirs.

        :raises WireError: when the headers that name its transaction cannot be read.
        """
        key = server_key(request)
        transaction = self.servers.get(key)
        if transaction is not None:
            return self._after(transaction, transaction.receive(request, now_ms))
        if request.method == "ACK":
            return [Effect(None, Pass(request))]
        transaction = ServerTransaction(request, reliable, self.timing)
        transaction.flow = flow
        transaction.key = key
        self.servers[key] = transaction
        return self._after(transaction, transaction.start(now_ms))

    def respond(self, transaction: ServerTransaction, response: Response, now_ms: int) -> list[Effect]:
        """Send a response to a request; after a final one, the request is only in the way for half a minute."""
        effects = self._after(transaction, transaction.send(response, now_ms))
        if response.status >= 200:
            transaction.request = ANSWERED
        return effects

    def broken(self, transaction: ClientTransaction | ServerTransaction, now_ms: int) -> list[Effect]:
        """Take note that what a transaction sent could not leave."""
        return self._after(transaction, transaction.broken(now_ms))

    def again(self, transaction: ServerTransaction, now_ms: int) -> list[Effect]:
        """Say once more what was last said to a request that has no final response."""
        return self._after(transaction, transaction.receive(transaction.request, now_ms))

    def of(self, message: Request | Response) -> ClientTransaction | ServerTransaction | None:
        """Return the transaction that sent a message."""
        via = message.via
        if isinstance(message, Request):
            return self.clients.get((via.branch, message.method))
        return self.servers.get((via.branch, via.sent_by, message.cseq.method))

    def canceled(self, cancel: Request) -> ServerTransaction | None:
        """Return the INVITE a CANCEL is about."""
        return self.servers.get(server_key(cancel, "INVITE"))

    def due(self, now_ms: int) -> list[Effect]:
        """Let time pass."""
        effects: list[Effect] = []
        while (transaction := self._agenda.take(now_ms)) is not None:
            effects += self._after(transaction, transaction.due(now_ms))
        return effects

    def _after(self, transaction: ClientTransaction | ServerTransaction, outputs: list[Output]) -> list[Effect]:
        self._agenda.note(transaction)
        if transaction.over:
            known = self.clients if isinstance(transaction, ClientTransaction) else self.servers
            known.pop(transaction.key, None)
        return [Effect(transaction, output) for output in outputs]
