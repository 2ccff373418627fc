"""Keys in INFO requests, as gateways send them (draft-kaplan-dispatch-info-dtmf-package; Cisco's dtmf-relay)."""

from dataclasses import dataclass
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.sip_wire import Message

RELAY: Final = "application/dtmf-relay"
PLAIN: Final = "application/dtmf"
KEYS: Final = "0123456789*#ABCD"
_NUMBERED: Final = {str(number): key for number, key in enumerate(KEYS)}


@dataclass(frozen=True, slots=True)
class Key:
    """A key the caller pressed."""

    key: str
    "One of `0123456789*#ABCD`."
    duration_ms: int = 160


def key_in(message: Message) -> Key | None:
    """Return the key an INFO carries, None when its body is something else.

    :raises WireError: `bad_dtmf`.
    """
    if message.content_type not in (RELAY, PLAIN):
        return None
    text = message.body.decode("latin-1").strip()
    if message.content_type == PLAIN and "=" not in text:
        return Key(_key(text))
    fields = dict(_field(line) for line in text.splitlines()[:8])
    duration = fields.get("duration", "")
    good = duration.isascii() and duration.isdigit() and len(duration) < 6
    return Key(_key(fields.get("signal", "")), int(duration) if good else 160)


def relay(key: str, duration_ms: int = 160) -> bytes:
    """Return the body of an `application/dtmf-relay` INFO."""
    return f"Signal={key}\r\nDuration={duration_ms}\r\n".encode()


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name.strip().lower(), value.strip()


def _key(text: str) -> str:
    # Some gateways write star, pound and the letters by their event numbers.
    key = text.upper() if len(text) == 1 else _NUMBERED.get(text, "")
    if len(key) != 1 or key not in KEYS:
        raise WireError("bad_dtmf", text[:20])
    return key
