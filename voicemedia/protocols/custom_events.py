"""Hands events the dialect does not know to whoever has registered for them (`smartflo_wire.router`)."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.errors import WireError
from voicemedia.interfaces import Leg
from voicemedia.protocols.media_stream_wire import Custom
from voicemedia.protocols.smartflo_wire import parse_incoming_event, router

log = Logger()


def offer(event: Custom, leg: Leg | None) -> bool:
    """Call the handler registered for this event with the event and the leg; say whether there is one.

    :raises WireError: the event is not what its handler may be given.
    """
    if not router.knows(event.name):
        return False
    work: Deferred[Any] = Deferred.fromCoroutine(router.dispatch(parse_incoming_event(event.fields), leg))
    work.addErrback(_failed, event.name)
    return True


def _failed(failure: Failure, name: str) -> None:
    if not isinstance(failure.value, WireError):
        log.failure("the handler of event {event} failed", failure, event=name)
