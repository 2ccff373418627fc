"""Why calls end, in the telephone network's numbers (RFC 3326; ITU-T Q.850; the mapping of RFC 3398)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import Params, natural, quote, split_list, unquote
from voicemedia.sip_bridge.sip_wire import Message

NORMAL: Final = 16

CAUSES: Final[Mapping[int, int]] = {
    400: 41,
    401: 21,
    402: 21,
    403: 21,
    404: 1,
    405: 63,
    406: 79,
    407: 21,
    408: 102,
    410: 22,
    413: 127,
    414: 127,
    415: 79,
    416: 127,
    420: 127,
    480: 18,
    481: 41,
    482: 25,
    483: 25,
    484: 28,
    485: 1,
    486: 17,
    487: 16,
    488: 65,
    500: 41,
    501: 79,
    502: 38,
    503: 41,
    504: 102,
    505: 127,
    513: 127,
    600: 17,
    603: 21,
    604: 1,
    606: 88,
}
"SIP status -> Q.850 cause."


@dataclass(frozen=True, slots=True)
class Reason:
    """One value of a Reason header."""

    protocol: str
    "`Q.850` or `SIP`."
    cause: int
    text: str = ""

    def __str__(self) -> str:
        text = f";text={quote(self.text)}" if self.text else ""
        return f"{self.protocol};cause={self.cause}{text}"


def reasons_in(message: Message) -> list[Reason]:
    """Return the readable values of a message's Reason headers."""
    found: list[Reason] = []
    for value in message.headers.all("reason"):
        try:
            pieces = split_list(value)
        except WireError:
            continue
        for piece in pieces:
            protocol, _, rest = piece.partition(";")
            try:
                params = Params.parse(rest)
                cause = natural(params.get("cause") or "", 1000)
            except WireError:
                continue
            found.append(Reason(protocol.strip(), cause, unquote(params.get("text") or "")))
    return found


def cause_of(message: Message, status: int = 0) -> int:
    """Return the Q.850 cause of an ending: as said, else as the status maps, else normal clearing."""
    said = next((reason.cause for reason in reasons_in(message) if reason.protocol.upper() == "Q.850"), None)
    return said if said is not None else CAUSES.get(status, NORMAL)
