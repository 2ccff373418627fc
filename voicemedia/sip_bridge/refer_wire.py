"""Transfers: REFER, the reports that follow it, and Replaces (RFC 3515, RFC 3891, RFC 3892, RFC 4488)."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from voicemedia.errors import WireError
from voicemedia.sip_bridge.address_wire import Address
from voicemedia.sip_bridge.grammar_wire import Params, natural
from voicemedia.sip_bridge.sip_wire import REASONS, Message, Request
from voicemedia.sip_bridge.uri_wire import Uri

SIPFRAG: Final = "message/sipfrag"
_STATUS: Final = re.compile(rb"SIP/2\.0 ([1-6][0-9][0-9])(?: |\r|\n|$)")
_ESCAPED: Final = re.compile(r"[^A-Za-z0-9_.!~*'()\[\]/:&+$-]")


@dataclass(frozen=True, slots=True)
class Replaces:
    """Which dialog a new call takes the place of; the tags are named as its recipient sees them."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @classmethod
    def parse(cls, text: str) -> "Replaces":
        """Parse `98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff`.

        :raises WireError: `bad_replaces`.
        """
        call_id, _, rest = text.strip().partition(";")
        params = Params.parse(rest)
        to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
        if not call_id or to_tag is None or from_tag is None:
            raise WireError("bad_replaces", text[:80])
        return cls(call_id.strip(), to_tag, from_tag, "early-only" in params)

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a REFER asks for."""

    target: Uri
    "Whom to call, without headers."
    replaces: Replaces | None = None
    "An attended transfer: the call to take the place of."
    referred_by: str = ""
    "Raw, to be copied into the new INVITE."
    reports: bool = True
    "The sender wants NOTIFYs (no `Refer-Sub: false`)."

    @classmethod
    def parse(cls, request: Request) -> "Transfer":
        """Read a REFER.

        :raises WireError: `missing_refer_to`, `repeated_refer_to`, `bad_replaces`, or a bad address.
        """
        uri = Address.parse(request.headers.one("refer-to")).uri
        replaces = None
        for header in uri.headers.split("&"):
            name, _, value = header.partition("=")
            if name.lower() == "replaces":
                replaces = Replaces.parse(
                    unquote_to_bytes(value.encode(errors="surrogateescape")).decode("utf-8", "replace")
                )
        quiet = (request.headers.first("refer-sub") or "").partition(";")[0].strip().lower() == "false"
        return cls(uri.bare(), replaces, request.headers.first("referred-by") or "", not quiet)


def refer_to(target: Uri, replaces: Replaces | None = None) -> str:
    """Return a Refer-To value; the dialog to replace travels escaped in the URI."""
    if replaces is None:
        return f"<{target}>"
    escaped = _ESCAPED.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode(errors="surrogateescape")), str(replaces)
    )
    return f"<{target}?Replaces={escaped}>"


def sipfrag(status: int, reason: str = "") -> bytes:
    """Return the body of a NOTIFY that reports how the transfer goes."""
    return f"SIP/2.0 {status} {reason or REASONS.get(status, '')}\r\n".encode()


def reported(notify: Message) -> int:
    """Return the status a NOTIFY's sipfrag reports.

    :raises WireError: `bad_sipfrag`.
    """
    match = _STATUS.match(notify.body)
    if match is None:
        raise WireError("bad_sipfrag")
    return natural(match[1].decode())


def last_report(notify: Message) -> bool:
    """Tell whether no further NOTIFY will come."""
    state = notify.headers.first("subscription-state") or ""
    return state.partition(";")[0].strip().lower() == "terminated"
