"""The HTTP side of the one port: health, statistics, metrics, and clear answers to everything else."""
# twisted.web carries few types.
# mypy: disallow-untyped-calls=False

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

import msgspec
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource, Resource

from voicemedia import __version__
from voicemedia.errors import CallRefused
from voicemedia.interfaces import Goodbye
from voicemedia.metrics import Metrics
from voicemedia.protocols.answers import CODES, HEADERS, JSON, error_body, error_response

LINGER_BYTES: Final = 32 << 20
"""Of a body that has been refused, so much is read and thrown away: many clients read no answer before they have sent
everything, and closing on them would take it from them."""


class Sessions(Protocol):
    """What the switchboard knows of its calls."""

    draining: bool
    total: int
    refused: int
    ended_by: Counter[str]
    "By the word of `Goodbye`."
    total_by_route: Counter[str]

    def __len__(self) -> int:
        """Count the calls that are on."""

    def live_by_route(self) -> Counter[str]:
        """Count the calls that are on, by route."""


class Recognizers(Protocol):
    """What is known of the recognizers."""

    def read(self) -> Mapping[str, Any]:
        """Return what each has done and cost, in calls and streams."""

    def costs(self) -> Mapping[str, Any]:
        """Return what each has cost, by the way in."""

    def continuity(self) -> Mapping[str, Any]:
        """Return how often streams were replaced, by the way in."""


@dataclass(frozen=True)
class World:
    """What the pages tell about."""

    sessions: Sessions
    metrics: Metrics
    troubles: Callable[[], Mapping[str, str]]
    "For every provider, as `stt.pocketsphinx`: why it cannot serve; empty when it can."
    transcribing: Callable[[], Mapping[str, Any]] = dict
    "Counts of the streaming API: its sessions, and by provider what it did."
    recognizers: Recognizers | None = None


def health(world: World, uptime_s: float) -> tuple[int, dict[str, object]]:
    """Tell whether calls should be sent here: 503 while draining, so that a balancer looks elsewhere."""
    troubles = world.troubles()
    draining = world.sessions.draining
    transcribing = world.transcribing()
    status = "draining" if draining else "degraded" if any(troubles.values()) else "ok"
    return 503 if draining else 200, {
        "status": status,
        "version": __version__,
        "uptime_s": round(uptime_s, 3),
        "draining": draining,
        "service": "voicemedia",
        "active_calls": len(world.sessions),
        "active_sessions": len(world.sessions) + transcribing.get("active_sessions", 0),
        "streaming": transcribing,
        "providers": _availability(troubles),
    }


def _availability(troubles: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """List who can serve: each by its key, recognizers by the name alone that clients of the streaming API use, too."""
    recognizers = {key.removeprefix("stt."): trouble for key, trouble in troubles.items() if key.startswith("stt.")}
    named = {**recognizers, **troubles}
    return {name: {"available": not trouble, "reason": trouble} for name, trouble in named.items()}


def stats(world: World) -> dict[str, object]:
    """Count calls, frames and errors since the start."""
    sessions, metrics = world.sessions, world.metrics
    live, streams = sessions.live_by_route(), world.transcribing()
    expired = sum(sessions.ended_by[why.value] for why in (Goodbye.IDLE, Goodbye.TOO_LONG))
    errors: dict[str, dict[str, int]] = {}
    for (carrier, kind), count in metrics.wire_errors.items():
        errors.setdefault(carrier, {})[kind] = count
    return {
        # Calls and streams together; what is of the streams alone stands below `streaming`.
        "active_sessions": len(sessions) + streams.get("active_sessions", 0),
        "total_sessions": sessions.total + streams.get("total_sessions", 0),
        "expired_sessions": expired + streams.get("expired_sessions", 0),
        "refused_sessions": sessions.refused + streams.get("refused_sessions", 0),
        "active_calls": len(sessions),
        "streaming": streams,
        "providers": streams.get("providers", {}),
        "ended_sessions": dict(sessions.ended_by),
        "routes": {
            path: {"active": live[path], "total": total} for path, total in sorted(sessions.total_by_route.items())
        },
        "frames": {
            "in": metrics.frames_in,
            "out": metrics.frames_out,
            "concealed": metrics.frames_concealed,
            "late": metrics.frames_late,
            "dropped": metrics.frames_dropped,
        },
        "recognizers": world.recognizers.read() if world.recognizers else {},
        "costs": world.recognizers.costs() if world.recognizers else {},
        "continuity": world.recognizers.continuity() if world.recognizers else {},
        "voices": metrics.voices(),
        "history": metrics.history(),
        "turns": metrics.turns,
        "errors": errors,
        "provider_failures": dict(metrics.providers_failed),
    }


# --- resources ---


def answer(request: server.Request, status: int, body: bytes, content_type: str = JSON) -> int:
    """Answer a request; HEAD gets the same header and no body."""
    # Twisted has no words of its own for 426.
    request.setResponseCode(status, HTTPStatus(status).phrase.encode())
    request.setHeader("Content-Type", content_type)
    request.setHeader("Content-Length", str(len(body)))
    request.setHeader("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    request.write(body)
    request.finish()
    return server.NOT_DONE_YET


class Page(Resource):
    """A page to read.

    :param read: gives status and body.
    """

    isLeaf = True

    def __init__(self, read: Callable[[], tuple[int, bytes]], content_type: str = JSON) -> None:
        super().__init__()
        self._read, self._content_type = read, content_type

    def render(self, request: server.Request) -> int:
        """Answer GET and HEAD; below a page there is nothing."""
        if request.postpath:
            return Refusal(404).render(request)
        if request.method not in (b"GET", b"HEAD"):
            return Refusal(405, headers={"Allow": "GET, HEAD"}).render(request)
        status, body = self._read()
        return answer(request, status, body, self._content_type)


class Refusal(Resource):
    """An error, as JSON."""

    isLeaf = True

    def __init__(self, status: int, message: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.status, self.message, self._headers = status, message or CODES[status][1], headers or {}

    def render(self, request: server.Request) -> int:
        """Answer with the error, whatever was asked."""
        for name, value in self._headers.items():
            request.setHeader(name, value)
        return answer(request, self.status, error_body(self.status, self.message))


def no_room(refused: CallRefused) -> Refusal:
    """Tell whoever comes when the server is full or about to stop when to come again."""
    return Refusal(503, refused.reason, {"Retry-After": str(refused.retry_after_s)})


class Front(Resource):
    """Finds what a request belongs to: whatever has the longest path that begins the one asked for.

    What follows that path stays in `request.postpath`, decoded: the secret of a route, the name of a call.
    """

    def __init__(self, streams: Mapping[str, IResource], pages: Mapping[str, IResource]) -> None:
        super().__init__()
        self._resources = {_segments(path): resource for path, resource in (*pages.items(), *streams.items())}
        self._streams = frozenset(map(_segments, streams))

    def too_long(self, path: bytes, most: int) -> bytes:
        """Word, as its page does, that the body for a path is longer than what is taken."""
        page = self._resources.get(_segments(path.decode("latin-1")))
        wording: Callable[[int], bytes] | None = getattr(page, "too_long", None)
        return error_body(413) if wording is None else wording(most)

    def getChildWithDefault(self, _name: bytes, request: Any) -> IResource:
        """Find the resource of the whole path."""
        segments = [*request.prepath, *request.postpath]
        while len(segments) > 1 and not segments[-1]:
            segments.pop()
        for length in range(len(segments), 0, -1):
            key = tuple(segments[:length])
            if resource := self._resources.get(key):
                request.prepath, request.postpath = segments[:length], segments[length:]
                refusal = unfit_for_websocket(request) if key in self._streams else None
                return refusal or resource
        request.prepath, request.postpath = segments, []
        return Refusal(404)


def _segments(path: str) -> tuple[bytes, ...]:
    return tuple(path.strip("/").encode().split(b"/"))


def unfit_for_websocket(request: server.Request) -> Refusal | None:
    """Refuse what does not even ask for a WebSocket."""
    if request.method != b"GET":
        return Refusal(405, headers={"Allow": "GET"})
    if "websocket" not in (request.getHeader("upgrade") or "").lower():
        return Refusal(426, headers={"Upgrade": "websocket", "Connection": "Upgrade"})
    return None


# --- the site ---


class Channel(http.HTTPChannel):
    """One HTTP connection. A peer that sends its request a byte at a time gains no time by it."""

    site: Any
    _path: Any
    _asked = False
    "Whether there ever was a whole request."

    @property
    def requested(self) -> bytes:
        """The path of the request whose body comes in, without its query; the request itself learns it later."""
        path: bytes = self._path
        return path.partition(b"?")[0]

    def allContentReceived(self) -> None:
        """Take a whole request."""
        self._asked = True
        super().allContentReceived()

    def timeoutConnection(self) -> None:
        """Count a connection that never became a request; one that asks for nothing more has done no wrong."""
        if not self._asked:
            self.site.metrics.wire_error("http", "request_timeout")
        super().timeoutConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; only those of a body make the time-out begin anew."""
        if not self.line_mode:
            self.resetTimeout()
        LineReceiver.dataReceived(self, data)


class BoundedRequest(server.Request):
    """A request with a limited body, and an answer that does not say which software gave it."""

    log = Logger()
    _taken = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """Refuse a body that is announced too long before any of it is read."""
        self._refuse_beyond(length or 0)
        # In memory where the length is unknown: it is bounded, and a file would have to be closed.
        super().gotLength(0 if self._refused or length is None else length)

    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of the body, as long as it is not too long."""
        self._taken += len(data)
        self._refuse_beyond(self._taken)
        if not self._refused:
            super().handleContentChunk(data)
        elif self._taken > LINGER_BYTES:
            self.channel.loseConnection()

    def _refuse_beyond(self, length: int) -> None:
        channel: Any = self.channel
        if self._refused or length <= channel.site.max_body_bytes:
            return
        self._refused = True
        channel.transport.write(error_response(413, body=channel.site.too_long(channel.requested)))
        if length > LINGER_BYTES:
            channel.loseConnection()

    def process(self) -> None:
        """Answer, unless the request was refused while it came in."""
        if self._refused:
            self.channel.loseConnection()
        else:
            super().process()

    def render(self, resource: IResource) -> None:
        """Set what all answers share."""
        self.responseHeaders.removeHeader("Server")
        for name, value in HEADERS.items():
            self.setHeader(name, value)
        super().render(resource)

    def processingFailed(self, reason: Failure) -> Failure:
        """Log a bug and own up to it."""
        self.log.failure("an HTTP request met a bug", reason)
        if self.channel.transport is None:
            # A WebSocket has taken the connection over.
            return reason
        if self.startedWriting:
            self.channel.loseConnection()
        else:
            answer(self, 500, error_body(500))
        return reason


class StatusSite(server.Site):
    """The port's factory: no access log, for addresses and secrets stand in paths."""

    protocol: Any = Channel
    requestFactory = BoundedRequest
    displayTracebacks = False
    noisy = False

    def __init__(self, root: Front, metrics: Metrics, *, timeout_s: int, max_body_bytes: int, reactor: Any) -> None:
        # Forms are read by the pages that take them, with limits, and answered with more than a bare 400.
        super().__init__(root, timeout=timeout_s, reactor=reactor, parsePOSTFormSubmission=False)
        self.metrics, self.max_body_bytes = metrics, max_body_bytes
        self._front = root

    def too_long(self, path: bytes) -> bytes:
        """Word that a body is longer than what is taken."""
        return self._front.too_long(path, self.max_body_bytes)

    def log(self, request: http.Request) -> None:
        """Write no access log."""

    def acceptableProtocols(self) -> list[bytes]:
        """Offer HTTP/1.1 only: a browser on HTTP/2 could not open a WebSocket here."""
        return [b"http/1.1"]


def make_site(  # noqa: PLR0913 - the last three have defaults that fit tests
    streams: Mapping[str, IResource],
    world: World,
    reactor: Any,
    *,
    pages: Mapping[str, IResource] | None = None,
    timeout_s: int = 10,
    max_body_bytes: int = 1 << 20,
) -> StatusSite:
    """Make the factory of the one port.

    :param streams: WebSocket resources by path; each takes its path and everything below.
    :param pages: further pages by path; each takes its path and everything below.
    :param timeout_s: how long a request may take to arrive (`server.handshake_timeout_s`).
    :param max_body_bytes: longest body taken (`server.max_message_bytes`).
    """
    began_s = reactor.seconds()

    def read_health() -> tuple[int, bytes]:
        status, body = health(world, reactor.seconds() - began_s)
        return status, msgspec.json.encode(body)

    own_pages = {
        "/health": Page(read_health),
        "/streaming/stats": Page(lambda: (200, msgspec.json.encode(stats(world)))),
        "/metrics": Page(lambda: (200, world.metrics.text()), CONTENT_TYPE_PLAIN_0_0_4),
    }
    front = Front(streams, {**(pages or {}), **own_pages})
    return StatusSite(front, world.metrics, timeout_s=timeout_s, max_body_bytes=max_body_bytes, reactor=reactor)
