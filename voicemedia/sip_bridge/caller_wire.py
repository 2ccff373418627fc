"""Who calls, and for whom, out of all the headers that say so.

(RFC 3325 P-Asserted-Identity, RFC 3323 Privacy, RFC 5806 Diversion, RFC 7044 History-Info, RFC 8224 and RFC 8588
for STIR/SHAKEN, RFC 7989 Session-ID.) Nothing here can fail: a header that cannot be read says nothing.
"""

import binascii
import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.address_wire import Address
from voicemedia.sip_bridge.grammar_wire import SPACE, unquote
from voicemedia.sip_bridge.sip_wire import Message

NO_SESSION: Final = "0" * 32


@dataclass(frozen=True, slots=True)
class Diverted:
    """One station a call was sent on from."""

    address: Address
    reason: str
    "`unconditional`, `user-busy`, `no-answer` ...; empty when not said."


@dataclass(frozen=True, slots=True)
class Origin:
    """What an INVITE says of its caller."""

    sender: Address | None = field(repr=False)
    "The From header: what the caller claims."
    asserted: tuple[Address, ...] = field(default=(), repr=False)
    "What the network vouches for; only to be believed from a trusted peer."
    private: bool = False
    "The caller does not want its number shown (`Privacy: id` or an anonymous From)."
    diverted: tuple[Diverted, ...] = field(default=(), repr=False)
    "The latest first, as the header has it."
    identities: tuple[str, ...] = field(default=(), repr=False)
    "Raw Identity headers, for a verification service and for passing on."
    attestation: str = ""
    "`A`, `B` or `C` as the network's verstat or the unverified passport claims; empty when nobody does."
    verified: str = ""
    "The network's verstat: `TN-Validation-Passed`, `TN-Validation-Failed`, `No-TN-Validation`; empty when not said."

    @property
    def number(self) -> str:
        """The best number or user name: the network's before the caller's; empty when there is none."""
        addresses: list[Address] = [*self.asserted, *([self.sender] if self.sender else [])]
        for address in addresses:
            name = address.uri.name.partition(";")[0]
            if name and name.lower() != "anonymous":
                return name
        return ""


def origin_of(message: Message) -> Origin:
    """Read everything an INVITE says of its caller."""
    senders = _addresses(message, "from")
    sender = senders[0] if senders else None
    asserted = tuple(_addresses(message, "p-asserted-identity"))
    privacy = {word.strip(SPACE).lower() for value in message.headers.all("privacy") for word in value.split(";")}
    anonymous = sender is not None and sender.uri.name.lower() == "anonymous"
    identities = tuple(message.headers.all("identity"))
    verified = _verstat((*asserted, *senders))
    level = verified.rpartition("-")[2] if verified[-2:-1] == "-" else ""
    return Origin(
        sender,
        asserted,
        private=anonymous or bool(privacy & {"id", "user", "header"}),
        diverted=tuple(_diverted(message)),
        identities=identities,
        attestation=level or next(filter(None, map(_claimed, identities)), ""),
        verified=verified.removesuffix(f"-{level}") if level else verified,
    )


def session_id(message: Message) -> tuple[str, str]:
    """Return (sender's, recipient's) half of the Session-ID, zeros where it is missing (RFC 7989, section 5)."""
    local, _, rest = (message.headers.first("session-id") or "").partition(";")
    remote = rest.partition("remote=")[2].partition(";")[0].strip(SPACE)
    return _uuid(local.strip(SPACE)), _uuid(remote)


def _uuid(text: str) -> str:
    text = text.lower()
    return text if len(text) == 32 and set(text) <= set("0123456789abcdef") else NO_SESSION


def _addresses(message: Message, key: str) -> list[Address]:
    try:
        return message.addresses(key)
    except WireError:
        return []


def _diverted(message: Message) -> list[Diverted]:
    diverted = _addresses(message, "diversion")
    return [Diverted(address, unquote(address.params.get("reason") or "").lower()) for address in diverted]


def _verstat(addresses: tuple[Address, ...]) -> str:
    """Return the verstat parameter, which some write into the number, some into the URI, some into the header."""
    for address in addresses:
        user = (address.uri.user or "").partition(";verstat=")[2].partition(";")[0]
        found = user or address.uri.params.get("verstat") or address.params.get("verstat")
        if found:
            return found
    return ""


def _claimed(identity: str) -> str:
    """Return the attestation a passport claims; whether it is true is for a verification service to say."""
    parts = identity.partition(";")[0].strip(SPACE).split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return ""
    attest = claims.get("attest") if isinstance(claims, dict) else None
    return str(attest) if attest in ("A", "B", "C") else ""
