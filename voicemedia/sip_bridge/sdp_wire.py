"""Session descriptions, every line kept (RFC 8866)."""

from typing import Final

import msgspec

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import natural

LINE_LIMIT: Final = 600
MEDIA_LIMIT: Final = 32
FORMATS_LIMIT: Final = 128
"There are no more payload types."

DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")

Line = tuple[str, str]
"(type, value): `('a', 'rtpmap:0 PCMU/8000')`."


class Section(msgspec.Struct):
    """The lines of a session or of one medium, in the order they came."""

    lines: list[Line] = msgspec.field(default_factory=list)

    def first(self, kind: str) -> str | None:
        """Return the value of the first line of this type."""
        return next((value for known, value in self.lines if known == kind), None)

    def attribute(self, name: str) -> str | None:
        """Return the first attribute of this name: empty when it has no value, None when absent."""
        return next(iter(self.attributes(name)), None)

    def attributes(self, name: str) -> list[str]:
        """Return the values of all attributes of this name."""
        found = []
        for kind, value in self.lines:
            if kind == "a" and value.startswith(name):
                known, _, rest = value.partition(":")
                if known == name:
                    found.append(rest.strip())
        return found

    @property
    def direction(self) -> str | None:
        """`sendrecv`, `sendonly`, `recvonly`, `inactive`; None when not said."""
        return next((value for kind, value in self.lines if kind == "a" and value in DIRECTIONS), None)

    @property
    def address(self) -> str | None:
        """The connection address without a multicast TTL; None when there is no c= line.

        :raises WireError: `bad_connection`.
        """
        value = self.first("c")
        return None if value is None else _address(value)


class Media(Section):
    """One m= line and what belongs to it."""

    kind: str = "audio"
    port: int = 0
    "0: refused or removed."
    protocol: str = "RTP/AVP"
    formats: tuple[str, ...] = ()
    count: str = ""
    "`/2` when several ports are asked for."

    def refused(self) -> "Media":
        """Return the answer that refuses it (RFC 3264, section 6)."""
        mid = [("a", f"mid:{value}") for value in self.attributes("mid")]
        return Media(mid, self.kind, 0, self.protocol, self.formats)

    def __str__(self) -> str:
        head = f"m={self.kind} {self.port}{self.count} {self.protocol} {' '.join(self.formats)}\r\n"
        return head + _lines(self.lines)


class Session(Section):
    """A whole description; `str` and `encode` give it back line for line."""

    media: list[Media] = msgspec.field(default_factory=list)

    @classmethod
    def parse(cls, body: bytes) -> "Session":
        """Parse a description with CRLF or LF line ends; empty lines, which some peers send, are left out.

        :raises WireError: `bad_sdp`, `bad_media`, `too_large`.
        """
        lines = body.decode("utf-8", "surrogateescape").replace("\r\n", "\n").rstrip("\n\r ").split("\n", LINE_LIMIT)
        if len(lines) > LINE_LIMIT:
            raise WireError("too_large")
        lines = [line for line in lines if line]
        if not lines or lines[0].rstrip() != "v=0":
            raise WireError("bad_sdp", "".join(lines[:1])[:40])
        session = cls()
        section: Section = session
        for line in lines:
            if len(line) < 2 or line[1] != "=" or "\r" in line:
                raise WireError("bad_sdp", line[:40])
            kind, value = line[0], line[2:]
            if kind == "m":
                section = _media(value)
                session.media.append(section)
                if len(session.media) > MEDIA_LIMIT:
                    raise WireError("too_large")
            else:
                section.lines.append((kind, value))
        return session

    def address_of(self, media: Media) -> str:
        """Return where a medium's packets go: its own c= line or the session's.

        :raises WireError: `bad_connection`, also when there is none.
        """
        address = media.address or self.address
        if address is None:
            raise WireError("bad_connection")
        return address

    def inherited(self, media: Media, name: str) -> list[str]:
        """Return an attribute's values at the medium, else those at the session."""
        return media.attributes(name) or self.attributes(name)

    def direction_of(self, media: Media) -> str:
        """Return the direction of a medium as its sender sees it."""
        return media.direction or self.direction or "sendrecv"

    def __str__(self) -> str:
        return _lines(self.lines) + "".join(map(str, self.media))

    def encode(self) -> bytes:
        """Return the bytes to send."""
        return str(self).encode("utf-8", "surrogateescape")


def net(address: str) -> str:
    """Return `IN IP4 192.0.2.1` or `IN IP6 2001:db8::1`."""
    return f"IN {'IP6' if ':' in address else 'IP4'} {address}"


def _lines(lines: list[Line]) -> str:
    return "".join([f"{kind}={value}\r\n" for kind, value in lines])


def _address(value: str) -> str:
    parts = value.split()
    if len(parts) != 3 or parts[0].upper() != "IN" or parts[1].upper() not in ("IP4", "IP6"):
        raise WireError("bad_connection", value[:80])
    return parts[2].partition("/")[0]


def _media(value: str) -> Media:
    parts = value.split()
    if not 4 <= len(parts) <= 3 + FORMATS_LIMIT:
        raise WireError("bad_media", value[:80])
    port, slash, count = parts[1].partition("/")
    return Media([], parts[0], natural(port, 65536, "bad_media"), parts[2], tuple(parts[3:]), slash + count)
