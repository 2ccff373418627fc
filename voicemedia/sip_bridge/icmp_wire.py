"""What the network says of a datagram that nobody took: the kernel's note, and what is quoted (RFC 792, RFC 4443)."""

import re
import struct
from typing import Final

NOTE: Final = struct.Struct("=IBBBBII")
"`sock_extended_err` of Linux: errno, origin, type, code, padding, info, data."
ICMP: Final = 2
ICMP6: Final = 3
"Origins of a note that came from the network."
_UNREACHABLE, _TOO_LONG, _PARAMETER = 3, 4, 12
_UNREACHABLE6, _PARAMETER6 = 1, 4
_BRANCH: Final = re.compile(rb"\r\n(?:via|v)[ \t]*:[^\r]*?;[ \t]*branch[ \t]*=[ \t]*([^;,\s]+)[;,\s]", re.IGNORECASE)


def unreachable(note: bytes) -> bool:
    """Tell whether a note is one of those a transaction fails by (RFC 3261, section 18.4)."""
    if len(note) < NOTE.size:
        return False
    origin: int
    kind: int
    code: int
    _, origin, kind, code, *_ = NOTE.unpack_from(note)
    if origin == ICMP:
        return (kind == _UNREACHABLE and code != _TOO_LONG) or kind == _PARAMETER
    return origin == ICMP6 and kind in (_UNREACHABLE6, _PARAMETER6)


def branch_quoted(quote: bytes) -> str:
    """Return the branch of the message that is quoted; empty when the quote does not get as far.

    Who can quote it has seen the message: anybody may send us an ICMP, and nearly all quote 500 bytes (RFC 1812).
    """
    found = _BRANCH.search(quote)
    return found[1].decode("latin-1") if found else ""
