"""Provisional responses that must arrive (RFC 3262)."""

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import natural
from voicemedia.sip_bridge.sip_wire import CSeq, Request, Response


class RAck(msgspec.Struct, frozen=True):
    """The RAck header: which response a PRACK acknowledges."""

    rseq: int
    cseq: CSeq

    @classmethod
    def parse(cls, text: str) -> "RAck":
        """Parse `776656 1 INVITE`.

        :raises WireError: `bad_rack`, `bad_cseq`.
        """
        rseq, _, cseq = text.strip().partition(" ")
        return cls(natural(rseq, 2**32, "bad_rack"), CSeq.parse(cseq))

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq}"


def wants_reliable(request: Request) -> str:
    """Return `required`, `supported` or nothing: whether an INVITE wants its provisionals acknowledged."""
    if "100rel" in request.headers.tokens("require"):
        return "required"
    return "supported" if "100rel" in request.headers.tokens("supported") else ""


class ReliableSender(msgspec.Struct):
    """Our side when we answer: one reliable response at a time, numbered."""

    rseq: int
    "Of the next response; the first is chosen by chance, at most 2**31 - 1."
    waiting: Response | None = None
    "Sent and not acknowledged."
    _cseq: CSeq | None = None

    def mark(self, response: Response) -> None:
        """Make a response (not 100) reliable."""
        response.headers.add("Require", "100rel")
        response.headers.add("RSeq", str(self.rseq))
        self.waiting, self._cseq = response, response.cseq

    def acknowledged(self, prack: Request) -> bool:
        """Take a PRACK; False when it acknowledges nothing that waits (481).

        :raises WireError: when its RAck cannot be read.
        """
        if self.waiting is None or RAck.parse(prack.headers.one("rack")) != RAck(self.rseq, self._cseq or CSeq(0, "")):
            return False
        self.waiting = None
        self.rseq += 1
        return True


class ReliableReceiver(msgspec.Struct):
    """Our side when we call, one for each early dialog: responses count once and in order."""

    last: int | None = None

    def take(self, response: Response) -> RAck | None:
        """Return what to acknowledge; None when the response is not reliable, was seen, or came too early."""
        if "100rel" not in response.headers.tokens("require"):
            return None
        try:
            rseq = natural(response.headers.one("rseq"), 2**32, "bad_rseq")
        except WireError:
            return None
        if self.last is not None and rseq != self.last + 1:
            return None
        self.last = rseq
        return RAck(rseq, response.cseq)
