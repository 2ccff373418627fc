"""A dialog: what two user agents remember of each other between requests (RFC 3261, section 12)."""

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.address_wire import Address
from voicemedia.sip_bridge.grammar_wire import split_list
from voicemedia.sip_bridge.sip_wire import Message, Request, Response
from voicemedia.sip_bridge.uri_wire import Uri

DialogKey = tuple[str, str, str]
"(Call-ID, our tag, their tag); the tag of an RFC 2543 peer is empty."


class Dialog(msgspec.Struct):
    """One dialog, seen from our side; early until `confirmed`."""

    call_id: str
    local: str
    "Our From (To) value, raw, with our tag."
    remote: str
    "Theirs."
    local_tag: str
    remote_tag: str
    target: Uri
    "Their Contact: where our requests go in the end."
    route: list[str] = msgspec.field(default_factory=list)
    "The route set as raw addresses, in the order of our Route header."
    local_seq: int = 0
    remote_seq: int | None = None
    caller: bool = False
    "We made the Call-ID: decides who waits longer after a 491."
    confirmed: bool = False

    @classmethod
    def answering(cls, request: Request, tag: str) -> "Dialog":
        """Make the dialog of a request we answer; its Record-Route is our Route as it stands (section 12.1.1).

        :raises WireError: when a header it is made of cannot be read.
        """
        to = request.headers.one("to")
        return cls(
            request.call_id,
            to if request.recipient.tag else f"{to};tag={tag}",
            request.headers.one("from"),
            request.recipient.tag or tag,
            request.sender.tag or "",
            # Callers of RFC 2543 need not give a Contact; then From is all there is.
            request.contact.uri if "contact" in request.headers else request.sender.uri,
            _routes(request),
            remote_seq=request.cseq.number,
        )

    @classmethod
    def calling(cls, request: Request, response: Response) -> "Dialog":
        """Make the dialog that a response to our request opens; its Record-Route is turned round (section 12.1.2).

        :raises WireError: when a header it is made of cannot be read.
        """
        return cls(
            request.call_id,
            request.headers.one("from"),
            response.headers.one("to"),
            request.sender.tag or "",
            response.recipient.tag or "",
            # Who answers must give a Contact; who does not is still best reached where the call went.
            response.contact.uri if "contact" in response.headers else Uri.parse(request.uri),
            _routes(response)[::-1],
            local_seq=request.cseq.number,
            caller=True,
            confirmed=response.status >= 200,
        )

    @property
    def key(self) -> DialogKey:
        """Its name among our dialogs."""
        return self.call_id, self.local_tag, self.remote_tag

    def confirm(self, response: Response) -> None:
        """Take the final route set and target from the 2xx (section 13.2.2.4)."""
        self.confirmed = True
        self.route = _routes(response)[::-1]
        self.refresh(response)

    def refresh(self, message: Message) -> None:
        """Take the new Contact of a target refresh; a bad one leaves the old."""
        try:
            self.target = message.contact.uri
        except WireError:
            return

    def in_order(self, request: Request) -> bool:
        """Tell whether a request is not older than one already seen, and remember it."""
        number = request.cseq.number
        if self.remote_seq is not None and number < self.remote_seq:
            return False
        self.remote_seq = number
        return True

    @property
    def next_hop(self) -> Uri:
        """Where a request goes first."""
        return Address.parse(self.route[0]).uri if self.route else self.target

    def request(self, method: str, number: int | None = None) -> Request:
        """Make a request in this dialog, without Via and Contact (section 12.2.1.1).

        :param number: of the CSeq; by default the next one.
        """
        if number is None:
            self.local_seq += 1
            number = self.local_seq
        uri, route = str(self.target.bare()), self.route
        if route and "lr" not in Address.parse(route[0]).uri.params:
            # A strict router wants itself in the Request-URI and the target last in the route.
            uri, route = str(self.next_hop.bare()), [*route[1:], f"<{self.target.bare()}>"]
        request = Request(method=method, uri=uri)
        headers = request.headers
        headers.add("Max-Forwards", "70")
        for value in route:
            headers.add("Route", value)
        headers.add("From", self.local)
        headers.add("To", self.remote)
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{number} {method}")
        return request


def key_of_request(request: Request) -> DialogKey:
    """Return the name of the dialog a received request is in."""
    return request.call_id, request.recipient.tag or "", request.sender.tag or ""


def key_of_own(message: Message) -> DialogKey:
    """Return the name of the dialog that a message of ours is in."""
    sender, recipient = message.sender.tag or "", message.recipient.tag or ""
    return message.call_id, *((sender, recipient) if isinstance(message, Request) else (recipient, sender))


def _routes(message: Message) -> list[str]:
    """Return the Record-Route addresses raw; each must be readable, as one of them will be our next hop."""
    routes = [piece for value in message.headers.all("record-route") for piece in split_list(value)]
    for route in routes:
        Address.parse(route)
    return routes
