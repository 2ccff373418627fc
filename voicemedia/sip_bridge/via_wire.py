"""The Via header: the way a response takes back (RFC 3261, section 20.42; RFC 3581)."""

import re
from functools import lru_cache
from typing import Final, Self

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import HOST, NO_PARAMS, SPACE, Params, natural, split_outside

MAGIC: Final = "z9hG4bK"
"What the branch of an RFC 3261 element begins with."

_SENT: Final = re.compile(
    r"(?P<protocol>[^\s/;]+)\s*/\s*(?P<version>[^\s/;]+)\s*/\s*(?P<transport>[^\s/;]+)\s+"
    rf"(?P<host>{HOST.pattern})(?:\s*:\s*(?P<port>\d+))?\s*"
)

DEFAULT_PORT: Final = {"TLS": 5061, "WSS": 443, "WS": 80}


class Via(msgspec.Struct, frozen=True):
    """One hop."""

    transport: str
    "As sent: `UDP`, `TCP`, `TLS`, or anything."
    host: str
    port: int | None = None
    params: Params = NO_PARAMS
    version: str = "2.0"

    @staticmethod
    @lru_cache(maxsize=1024)
    def parse(text: str) -> "Via":
        """Parse one hop.

        :raises WireError: `bad_via`, `bad_port`, `empty_parameter`.
        """
        text = text.strip(SPACE)
        match = _SENT.match(text)
        if match is None:
            raise WireError("bad_via", text[:80])
        protocol, version, transport, host, digits = match.groups()
        rest = text[match.end() :]
        if protocol.upper() != "SIP" or (rest and rest[0] != ";"):
            raise WireError("bad_via", text[:80])
        port = None if digits is None else natural(digits, 65536, "bad_port")
        return Via(transport, host, port, Params.parse(rest[1:]) if rest else NO_PARAMS, version)

    @staticmethod
    def parse_many(text: str) -> "list[Via]":
        """Parse a comma-separated list; an empty element is an error here, as no way leads through it."""
        return [Via.parse(piece) for piece in split_outside(text, ",")]

    @property
    def branch(self) -> str:
        """The branch, empty when the hop is of RFC 2543."""
        return self.params.get("branch") or ""

    @property
    def sent_by(self) -> str:
        """Host and port in lower case, the default port filled in; part of the transaction's name."""
        return f"{self.host.lower()}:{self.listening}"

    @property
    def listening(self) -> int:
        """The port its sender takes connections and datagrams at."""
        return self.port or DEFAULT_PORT.get(self.transport.upper(), 5060)

    def stamped(self, host: str, port: int) -> Self:
        """Return it with where it really came from (RFC 3581, section 4).

        `rport` is filled in when asked for; `received` then always, else when the name differs, or it is there already:
        who sends a request may not choose who is sent the response.
        """
        params = self.params
        asked = "rport" in params
        if not asked and "received" not in params and self.host.strip("[]").lower() == host.lower():
            return self
        if asked:
            params = params.with_("rport", str(port))
        return msgspec.structs.replace(self, params=params.with_("received", host))

    @property
    def reply_to(self) -> tuple[str, int]:
        """Where a response goes over an unreliable transport (RFC 3261, section 18.2.2; RFC 3581)."""
        params = self.params
        port = self.listening
        if maddr := params.get("maddr"):
            return maddr.strip("[]"), port
        rport = params.get("rport") or ""
        if rport.isascii() and rport.isdigit() and 0 < len(rport) < 6 and 0 < int(rport) < 65536:
            port = int(rport)
        return (params.get("received") or self.host).strip("[]"), port

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/{self.version}/{self.transport} {self.host}{port}{self.params}"
