"""Hands events the dialect does not know to whoever has registered for them (`smartflo_wire.router`)."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.errors import WireError
from voicemedia.interfaces import Leg
from voicemedia.protocols.media_stream_wire import Custom
from voicemedia.protocols.smartflo_wire import parse_incoming_event, router

log = Logger()


def offer(event: Custom, leg: Leg | None, complain: Callable[[WireError], None]) -> None:
    """Call the handler registered for this event with the event and the leg.

    :param complain: told when nobody has registered, or the event is not what its handler may be given; also later,
        if the handler is `async` and finds that out itself.
    """
    work: Deferred[Any] = maybeDeferred(_dispatch, event, leg)
    work.addErrback(_failed, event.name, complain)


def _dispatch(event: Custom, leg: Leg | None) -> Deferred[Any]:
    return Deferred.fromCoroutine(router.dispatch(parse_incoming_event(event.fields), leg))


def _failed(failure: Failure, name: str, complain: Callable[[WireError], None]) -> None:
    if isinstance(failure.value, WireError):
        complain(failure.value)
    else:
        log.failure("the handler of event {event} failed", failure, event=name)
