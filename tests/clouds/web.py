"""What the HTTP stand-ins have in common: forms, planned mishaps, answers of any shape."""
# mypy: disallow-untyped-calls=False

import json
import wave
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import multipart
from twisted.internet.error import ConnectionDone
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.clouds.ears import Ear, ear_named

ODD_PIECE = 1_601
"Bytes written at once: a sample is split in every other piece."


@dataclass
class Form:
    """A multipart form as it came."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)

    def one(self, name: str, default: str = "") -> str:
        return self.fields.get(name, [default])[-1]


def read_form(request: Any) -> Form:
    """Read a form strictly.

    :raises ValueError: it is none.
    """
    content_type, options = multipart.parse_options_header(request.getHeader("content-type") or "")
    if content_type != "multipart/form-data" or "boundary" not in options:
        raise ValueError("expected multipart/form-data with a boundary")
    assert request.content is not None
    request.content.seek(0)
    form = Form()
    try:
        for part in multipart.MultipartParser(request.content, options["boundary"], strict=True, memfile_limit=1 << 26):
            if part.filename:
                form.files[part.name] = part
            else:
                form.fields.setdefault(part.name, []).append(part.value)
    except multipart.MultipartError as error:
        raise ValueError(str(error)) from error
    return form


def read_wav(octets: bytes) -> tuple[bytes, int]:
    """Give sound and rate of a mono 16-bit WAV file.

    :raises ValueError: it is none.
    """
    try:
        with wave.open(BytesIO(octets)) as file:
            if (file.getnchannels(), file.getsampwidth()) != (1, 2):
                raise ValueError("expected mono, 16 bits")
            return file.readframes(file.getnframes()), file.getframerate()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"no WAV file: {error}") from error


class Mishaps:
    """What goes wrong: the named mishap for each of the next requests, `""` or nothing more: all goes well."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = deque(names)

    def next(self) -> str:
        return self._names.popleft() if self._names else ""


def answer(request: Any, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> int:
    """Answer with JSON, or with bytes as they are."""
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    for name, value in (headers or {}).items():
        request.setHeader(name, value)
    request.write(body if isinstance(body, bytes) else json.dumps(body).encode())
    request.finish()
    return NOT_DONE_YET


def write_in_pieces(request: Any, octets: bytes, mishap: str) -> None:
    """Answer with sound, in pieces that respect no sample; `cut` and `stalled` end in the middle of it."""
    # With a length, a connection closed too early is not taken for the end.
    request.setHeader("content-length", str(len(octets)))
    end = len(octets) // 2 if mishap in ("cut", "stalled") else len(octets)
    for start in range(0, end, ODD_PIECE):
        request.write(octets[start : min(end, start + ODD_PIECE)])
    if mishap == "cut":
        request.channel.loseConnection()
    elif mishap != "stalled":
        request.finish()


def break_off(request: Any, *, close: bool) -> int:
    """Answer in part; then close the socket, or say nothing more and keep it open."""
    request.setHeader("content-type", "application/json")
    request.setHeader("content-length", "1000")
    request.write(b'{"text": "this is only the beg')
    if close:
        request.channel.loseConnection()
    return NOT_DONE_YET


def reset(request: Any) -> int:
    """Drop the connection without a word."""
    request.transport.abortConnection()
    return NOT_DONE_YET


def later(reactor: Any, delay_s: float, request: Any, do: Callable[[], Any]) -> int:
    """Answer later, unless the client has left by then."""
    call = reactor.callLater(delay_s, do)

    def left(failure: Any) -> None:
        failure.trap(ConnectionDone, Exception)
        if call.active():
            call.cancel()

    request.notifyFinish().addErrback(left)
    return NOT_DONE_YET


class Cloud(Resource):
    """A stand-in: counts requests, keeps what it was asked, has its mishaps."""

    isLeaf = True

    def __init__(
        self, reactor: Any, ear: Ear, *, key: str = "", mishaps: Iterable[str] = (), slow_s: float = 30
    ) -> None:
        super().__init__()
        self.reactor = reactor
        self.ear = ear
        self.key = key
        self.mishaps = Mishaps(mishaps)
        self.slow_s = slow_s
        self.asked: list[Form] = []
        self.on_asked: Callable[[], object] = lambda: None
        "Called when a request has come whole, or its client has left."
        self.left = 0
        "Requests whose client did not wait for the answer."
        self.connections: set[Any] = set()
        "Peers seen, by address and port."

    def see(self, request: Any) -> str:
        """Count a request; return its mishap."""
        self.connections.add(request.getClientAddress())
        request.notifyFinish().addErrback(self._count_left)
        return self.mishaps.next()

    def reply(self, request: Any, mishap: str, body: dict[str, Any]) -> int:
        """Answer with JSON, unless the mishap is one of those any service may have."""
        if mishap == "slow":
            return later(self.reactor, self.slow_s, request, lambda: answer(request, body))
        if mishap in ("half_closed", "stalled"):
            return break_off(request, close=mishap == "half_closed")
        if mishap == "reset":
            return reset(request)
        return answer(request, b"\x00{]garbage" if mishap == "garbage" else body)

    def _count_left(self, _failure: Any) -> None:
        self.left += 1
        self.on_asked()


def serve(cloud: Resource, reactor: Any, port: int = 0) -> Any:
    """Serve on loopback; return the listening port."""
    return reactor.listenTCP(port, Site(cloud), interface="127.0.0.1")


def add_common_arguments(parser: ArgumentParser, default_port: int) -> None:
    """Describe the command line all stand-ins share."""
    parser.add_argument("--port", type=int, default=default_port, help="TCP port on 127.0.0.1; 0: any")
    parser.add_argument("--ear", choices=("real", "script"), default="real", help="hear for real, or from --say")
    parser.add_argument("--say", action="append", help="a line to have heard, one for each request")
    parser.add_argument("--key", default="", help="the API key asked for; empty: any")
    parser.add_argument("--mishaps", default="", help="comma-separated mishaps of the next requests")


def ear_of(args: Namespace) -> Ear:
    """Make the ear the command line asks for."""
    return ear_named("script" if args.say else args.ear, args.say or ["hello"])


def mishaps_of(args: Namespace) -> list[str]:
    """Read the mishaps the command line asks for."""
    return args.mishaps.split(",") if args.mishaps else []
