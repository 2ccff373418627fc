"""Tata Smartflo's side of its bi-directional audio streaming, as its official document shows the messages."""

import base64
from typing import Any, Final

from voicemedia.callers.dialect import CallIdentity, Message, envelope

DEFAULT_PATH: Final = "/vendor-stream"


class Smartflo:
    """Writes what the carrier sends and checks what it is sent."""

    name = "smartflo"
    default_path = DEFAULT_PATH

    def __init__(self, identity: CallIdentity) -> None:
        self._identity = identity
        self._expected_chunk = 1

    def connected(self) -> str:
        return '{"event":"connected"}'

    def start(self, sequence: int) -> str:
        who = self._identity
        return self._numbered(
            "start",
            sequence,
            {
                "accountSid": who.account_id,
                "streamSid": who.stream_id,
                "callSid": who.call_id,
                "from": who.number,
                "to": who.to,
                "direction": "inbound",
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "bitRate": 64, "bitDepth": 8},
                "customParameters": dict(who.parameters),
            },
        )

    def media(self, sequence: int, chunk: int, timestamp_ms: int, ulaw: bytes) -> str:
        payload = base64.b64encode(ulaw).decode()
        return self._numbered(
            "media", sequence, {"chunk": str(chunk), "timestamp": str(timestamp_ms), "payload": payload}
        )

    def dtmf(self, sequence: int, key: str) -> str:
        return self._numbered("dtmf", sequence, {"digit": key})

    def mark(self, sequence: int, name: str) -> str:
        return self._numbered("mark", sequence, {"name": name})

    def stop(self, sequence: int) -> str:
        who = self._identity
        return self._numbered(
            "stop",
            sequence,
            {"accountSid": who.account_id, "callSid": who.call_id, "reason": "The caller disconnected the call"},
        )

    def faults(self, message: Message) -> list[str]:
        """Name the rules of the carrier that a message of the server breaks."""
        faults = []
        if message.event in ("media", "mark", "clear") and message.stream_id != self._identity.stream_id:
            faults.append("wrong streamSid")
        if message.event == "media":
            if message.chunk != self._expected_chunk:
                faults.append("chunk out of step")
            self._expected_chunk = (message.chunk or self._expected_chunk) + 1
            if len(message.payload) < 160 or len(message.payload) % 160:
                faults.append("payload not a multiple of 160 bytes")
        return faults

    def _numbered(self, event: str, sequence: int, body: dict[str, Any]) -> str:
        return envelope(event, sequence, body, self._identity.stream_id)
