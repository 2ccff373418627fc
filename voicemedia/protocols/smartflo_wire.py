"""Tata Smartflo's bi-directional audio streaming: the differences from the common dialect.

Smartflo plays gaps unless a media message holds a multiple of 160 samples. Its document numbers media by `chunk`; the
servers it was first tried with number media and marks by `sequenceNumber`; a message that has both pleases both.

The names below are for programs written against the carrier's own: see `docs/smartflo.md`.
"""

from typing import Final

from voicemedia.errors import WireError
from voicemedia.protocols.media_stream_session_wire import Dialect
from voicemedia.protocols.smartflo_api import (
    ConnectedEvent,
    CustomEvent,
    DTMFEvent,
    EventRouter,
    MarkEvent,
    MediaEvent,
    StartEvent,
    StopEvent,
    decode_mulaw_from_base64,
    encode_pcm16_to_mulaw_base64,
    parse_incoming_event,
    router,
)
from voicemedia.protocols.smartflo_outgoing import (
    ClearEvent,
    EventBuilder,
    SessionRegistry,
    StreamSession,
    VendorMarkEvent,
    VendorMediaEvent,
    session_manager,
)

__all__ = [
    "SMARTFLO",
    "SMARTFLO_STRICT",
    "ClearEvent",
    "ConnectedEvent",
    "CustomEvent",
    "DTMFEvent",
    "EventBuilder",
    "EventRouter",
    "MarkEvent",
    "MediaEvent",
    "SessionRegistry",
    "StartEvent",
    "StopEvent",
    "StreamSession",
    "VendorMarkEvent",
    "VendorMediaEvent",
    "WireError",
    "decode_mulaw_from_base64",
    "encode_pcm16_to_mulaw_base64",
    "parse_incoming_event",
    "router",
    "session_manager",
]

SMARTFLO: Final = Dialect("smartflo", chunk=True, sequence=True, block_samples=160)

SMARTFLO_STRICT: Final = Dialect("smartflo", chunk=True, block_samples=160)
"To the letter of the carrier's document: without `sequenceNumber`."
