"""A request of ours and who waits for its responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from voicemedia.sip_bridge.dialog_wire import Dialog
from voicemedia.sip_bridge.flow_wire import Flow
from voicemedia.sip_bridge.sip_wire import Request, Response
from voicemedia.sip_bridge.uri_wire import Uri

if TYPE_CHECKING:
    from voicemedia.sip_bridge.call_wire import Call


class Exchange(msgspec.Struct):
    """A request of ours and what is to be done with its responses."""

    request: Request
    "As last sent: credentials and CSeq may have been added."
    flow: Flow
    hop: Uri | None
    tell: Tell
    "Takes every response but an answered challenge; 408 when none came, 503 when the transport broke."
    dialog: Dialog | None = None
    call: Call | None = None
    "Which ends, should what we do with a response meet a bug."
    tries: int = 0
    "How often a challenge was answered."
    enlarged: bool = False
    "Too long for a datagram, so it went over TCP."
    refused: int = 0
    "How often the network said that nobody took it."
    given_up: bool = False
    "Not to be tried again."


Tell = Callable[[Exchange, Response, int], None]
