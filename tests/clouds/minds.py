"""What the stand-ins of language models have in common: what they answer, and how that goes wrong."""
# mypy: disallow-untyped-calls=False

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.clouds.web import Mishaps, answer, later, reset

Answer = str | Sequence[str] | dict[str, Any]
"""A text (written word by word), pieces as they are written, or a call, `{"name": ..., "arguments": {...}}`."""
Answering = Callable[[dict[str, Any]], Answer]


def scripted(answers: Iterable[Answer]) -> Answering:
    """Answer with one after the other; the last one again and again."""
    left = list(answers)
    return lambda _asked: left.pop(0) if len(left) > 1 else left[0]


def pieces_of(answered: Answer) -> list[str | dict[str, Any]]:
    """Cut an answer as a model writes it."""
    if isinstance(answered, dict):
        return [answered]
    if isinstance(answered, str):
        words = answered.split(" ")
        return [*(word + " " for word in words[:-1]), words[-1]]
    return list(answered)


class Mind(Resource):
    """A stand-in that writes server-sent events.

    :param gap_s: between two pieces of an answer.
    :param refusals: error answers by mishap.
    """

    isLeaf = True

    def __init__(
        self,
        reactor: Any,
        answering: Answering,
        *,
        key: str = "",
        mishaps: Iterable[str] = (),
        gap_s: float = 0.0,
        slow_s: float = 30,
    ) -> None:
        super().__init__()
        self.reactor, self.answering, self.key, self.gap_s, self.slow_s = reactor, answering, key, gap_s, slow_s
        self.mishaps = Mishaps(mishaps)
        self.asked: list[dict[str, Any]] = []
        self.left = 0
        "Requests whose client did not wait for the end of the answer."
        self.on_asked: Callable[[], object] = lambda: None

    def count_left(self, _failure: Any) -> None:
        self.left += 1
        self.on_asked()

    def read(self, request: Any) -> dict[str, Any]:
        """Read and count a question.

        :raises ValueError: it is no JSON object.
        """
        request.notifyFinish().addErrback(self.count_left)
        asked = json.loads(request.content.read())
        if not isinstance(asked, dict):
            raise ValueError("expected an object")
        self.asked.append(asked)
        self.on_asked()
        return asked

    def write(self, request: Any, events: list[bytes], mishap: str) -> int:
        """Write events, each on its own, with a mishap in their midst."""
        if mishap == "reset":
            return reset(request)
        if mishap == "html":
            return answer(request, b"<html>Bad Gateway</html>", 502, {"content-type": "text/html"})
        request.setHeader("content-type", "text/event-stream")
        if mishap == "slow":
            return later(self.reactor, self.slow_s, request, lambda: self._next(request, events, ""))
        if mishap == "garbage":
            events = [b"data: {not json\n\n"]
        elif mishap == "empty":
            events = []
        elif mishap in ("cut", "stalled"):
            events = events[: len(events) // 2]
        elif mishap == "split":
            # Bytes as they come over a bad network, within characters too.
            whole = b"".join(events).replace(b"\n", b"\r\n")
            events = [whole[at : at + 3] for at in range(0, len(whole), 3)]
        self._next(request, events, mishap)
        return NOT_DONE_YET

    def _next(self, request: Any, events: list[bytes], mishap: str) -> None:
        if request._disconnected:
            return
        if events and self.gap_s:
            request.write(events[0])
            self.reactor.callLater(self.gap_s, self._next, request, events[1:], mishap)
            return
        for event in events:
            request.write(event)
        if mishap == "cut":
            request.transport.abortConnection()
        elif mishap != "stalled":
            request.finish()


def sse(event: Any) -> bytes:
    """Write one event."""
    text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


def add_mind_arguments(parser: Any, default_port: int) -> None:
    """Describe the command line all minds share."""
    parser.add_argument("--port", type=int, default=default_port, help="TCP port on 127.0.0.1; 0: any")
    parser.add_argument("--say", action="append", help="an answer, one for each question; else an echo")
    parser.add_argument("--gap-s", type=float, default=0.05, help="time between two words, seconds")
    parser.add_argument("--key", default="", help="the API key asked for; empty: any")
    parser.add_argument("--mishaps", default="", help="comma-separated mishaps of the next questions")


def run_mind(args: Any, make: Callable[..., Mind], echo: Answering, tell: str) -> None:
    """Serve until interrupted."""
    from twisted.internet import reactor

    from tests.clouds.web import serve

    any_reactor: Any = reactor
    answering = scripted(args.say) if args.say else echo
    mishaps = filter(None, args.mishaps.split(","))
    mind = make(any_reactor, answering, key=args.key, mishaps=mishaps, gap_s=args.gap_s)
    port = serve(mind, any_reactor, args.port)
    print(tell.format(port=port.getHost().port), flush=True)
    any_reactor.run()
