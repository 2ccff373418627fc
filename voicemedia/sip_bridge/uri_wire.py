"""SIP, SIPS and tel URIs, and the outside of any other (RFC 3261, section 19; RFC 3966)."""

import re
from functools import lru_cache
from typing import Final, Self
from urllib.parse import unquote_to_bytes

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import HOST, NO_PARAMS, Params, natural

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_FORBIDDEN: Final = re.compile(r'[\x00-\x20<>"\x7f]')

SIP_SCHEMES: Final = ("sip", "sips")


class Uri(msgspec.Struct, frozen=True):
    """A URI with its parts as they were sent: nothing is percent-decoded, so `str` gives back what came in."""

    scheme: str
    "In lower case: `sip`, `sips`, `tel`, or whatever else."
    user: str | None = None
    "Raw user part (`user;par=u%40example.net`); the number of a tel URI; all of a URI of an unknown scheme."
    host: str = ""
    "`example.com`, `192.0.2.1`, `[2001:db8::1]`; empty but for sip and sips."
    port: int | None = None
    params: Params = NO_PARAMS
    headers: str = ""
    "What follows `?`, raw; only legal in Contact, Refer-To and 3xx."
    password: str | None = None

    @staticmethod
    @lru_cache(maxsize=1024)
    def parse(text: str) -> "Uri":
        """Parse one URI. A trunk's Request-URIs and Contacts are few, and each is read several times a call.

        :raises WireError: `bad_uri`, `bad_host`, `bad_port`, `empty_parameter`.
        """
        scheme, colon, rest = text.partition(":")
        if not colon or not rest or not _SCHEME.fullmatch(scheme) or _FORBIDDEN.search(rest):
            raise WireError("bad_uri", text[:80])
        scheme = scheme.lower()
        if scheme in SIP_SCHEMES:
            return Uri._sip(scheme, rest)
        if scheme == "tel":
            number, _, params = rest.partition(";")
            return Uri(scheme, number, params=Params.parse(params))
        return Uri(scheme, rest)

    @staticmethod
    def _sip(scheme: str, rest: str) -> "Uri":
        # The user part may hold `;`, `?` and `/`, so the `@` comes first; the host side can have none.
        userinfo, at, rest = rest.rpartition("@")
        user, colon, password = userinfo.partition(":")
        if at and (not user or "@" in userinfo):
            raise WireError("bad_uri", userinfo[:80])
        rest, _, headers = rest.partition("?")
        hostport, _, params = rest.partition(";")
        host, port = split_host(hostport)
        return Uri(scheme, user if at else None, host, port, Params.parse(params), headers, password if colon else None)

    def __str__(self) -> str:
        if self.scheme not in SIP_SCHEMES:
            return f"{self.scheme}:{self.user}{self.params}"
        password = "" if self.password is None else f":{self.password}"
        userinfo = "" if self.user is None else f"{self.user}{password}@"
        headers = f"?{self.headers}" if self.headers else ""
        return f"{self.scheme}:{userinfo}{self.hostport}{self.params}{headers}"

    @property
    def hostport(self) -> str:
        """`example.com:5070`, without the port when none was written."""
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def name(self) -> str:
        """The user part with its escapes undone: `user@example.net`, `+15551234`; `%00` stays a NUL in it."""
        return unquote_to_bytes((self.user or "").encode(errors="surrogateescape")).decode(errors="replace")

    def bare(self) -> Self:
        """Return it without what a Request-URI must not have (headers, `method`; RFC 3261, table 1)."""
        return msgspec.structs.replace(self, headers="", params=self.params.without("method"))


def split_host(text: str) -> tuple[str, int | None]:
    """Split `host:port`, `[v6]:port` or a host alone.

    :raises WireError: `bad_host`, `bad_port`.
    """
    match = HOST.match(text)
    if match is None:
        raise WireError("bad_host", text[:80])
    host, rest = match.group(), text[match.end() :]
    if not rest:
        return host, None
    if rest[0] != ":":
        raise WireError("bad_host", text[:80])
    return host, natural(rest[1:], 65536, "bad_port")
