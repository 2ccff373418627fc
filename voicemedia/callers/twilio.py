"""Twilio's side of Media Streams (https://www.twilio.com/docs/voice/media-streams/websocket-messages)."""

import base64
import hashlib
import hmac
from typing import Any, Final

from voicemedia.callers.dialect import CallIdentity, Message, envelope

DEFAULT_PATH: Final = "/twilio"


class Twilio:
    """Writes what the carrier sends and checks what it is sent."""

    name = "twilio"
    default_path = DEFAULT_PATH

    def __init__(self, identity: CallIdentity) -> None:
        self._identity = identity

    def connected(self) -> str:
        return '{"event":"connected","protocol":"Call","version":"1.0.0"}'

    def start(self, sequence: int) -> str:
        who = self._identity
        # Twilio tells numbers only as custom parameters its customer has set.
        parameters = {"from": who.number, "to": who.to, **who.parameters}
        return self._numbered(
            "start",
            sequence,
            {
                "streamSid": who.stream_id,
                "accountSid": who.account_id,
                "callSid": who.call_id,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": parameters,
            },
        )

    def media(self, sequence: int, chunk: int, timestamp_ms: int, ulaw: bytes) -> str:
        payload = base64.b64encode(ulaw).decode()
        return self._numbered(
            "media",
            sequence,
            {"track": "inbound", "chunk": str(chunk), "timestamp": str(timestamp_ms), "payload": payload},
        )

    def dtmf(self, sequence: int, key: str) -> str:
        return self._numbered("dtmf", sequence, {"track": "inbound_track", "digit": key})

    def mark(self, sequence: int, name: str) -> str:
        return self._numbered("mark", sequence, {"name": name})

    def stop(self, sequence: int) -> str:
        who = self._identity
        return self._numbered("stop", sequence, {"accountSid": who.account_id, "callSid": who.call_id})

    def faults(self, message: Message) -> list[str]:
        """Name the rules of the carrier that a message of the server breaks."""
        if message.event in ("media", "mark", "clear") and message.stream_id != self._identity.stream_id:
            return ["wrong streamSid"]
        return []

    def _numbered(self, event: str, sequence: int, body: dict[str, Any]) -> str:
        return envelope(event, sequence, body, self._identity.stream_id)


def signature(auth_token: str, url: str) -> str:
    """Sign the address of a stream as Twilio does (`X-Twilio-Signature`): no parameters, so the address alone."""
    return base64.b64encode(hmac.digest(auth_token.encode(), url.encode(), hashlib.sha1)).decode()
