"""Twilio Media Streams: the differences from the common dialect, and the proof that a caller is Twilio.

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages and /docs/usage/security.
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from voicemedia.protocols.media_stream_session_wire import Dialect

TWILIO: Final = Dialect("twilio")

_PORTS: Final = {"wss": 443, "https": 443, "ws": 80, "http": 80}


def signature(token: str, url: str, params: Mapping[str, Sequence[str]] | None = None) -> str:
    """Sign as Twilio does: base64 of HMAC-SHA1 over the URL and the sorted, distinct parameters.

    :param params: the fields of a posted form; a WebSocket handshake has none.
    """
    fields = "".join(name + value for name in sorted(params or {}) for value in sorted(set((params or {})[name])))
    return b64encode(hmac.digest(token.encode(), (url + fields).encode(), "sha1")).decode()


def signature_valid(token: str, url: str, given: str, params: Mapping[str, Sequence[str]] | None = None) -> bool:
    """Compare an `X-Twilio-Signature` in constant time.

    Whether Twilio signed the URL with its port is not known beforehand: both count.

    :param url: as Twilio sees it: `wss://`, public host, path and query.
    """
    matches = [_equal(signature(token, form, params), given) for form in _with_and_without_port(url)]
    return any(matches)


def _equal(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "replace"))


def _with_and_without_port(url: str) -> tuple[str, ...]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return (url,)
    usual = _PORTS.get(parts.scheme)
    if port is None:
        return (url,) if usual is None else (url, _at_host(parts, f"{parts.netloc}:{usual}"))
    return (url, _at_host(parts, parts.netloc.rpartition(":")[0]))


def _at_host(parts: SplitResult, netloc: str) -> str:
    return parts._replace(netloc=netloc).geturl()
