"""The real gRPC servers on loopback, a recognizer that says how much it heard, and clients on the same thread."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, succeed

from tests.fakes import FakeEndpointer
from voicemedia.config import Config, Grpc, Limits, Stream
from voicemedia.gateway.service import Gateways
from voicemedia.interfaces import Expected, Hearing, Recognizer, Transcript
from voicemedia.proto import audio_stream_pb2 as pb
from voicemedia.threads import loop_thread
from voicemedia.transcribing.sessions import Sessions
from voicemedia.transcribing.setting import Setting

T = TypeVar("T")
LOUD: Final = b"\x10\x27" * 320
"20 ms at 16 kHz."
PATIENCE_S: Final = 60


class Measuring:
    """Says how many milliseconds of loud sound it has heard: an interim each 100 ms, a final at the end."""

    name = "measuring"
    trouble = ""

    def __init__(self) -> None:
        self.live = 0
        self.closed: DeferredQueue[None] = DeferredQueue()
        "Gets an entry whenever somebody has stopped listening."

    def start(self) -> Deferred[None]:
        return succeed(None)

    stop = start

    def listen(self, rate_hz: int, hearing: Hearing) -> "Listening":
        self.live += 1
        return Listening(self, hearing)


class Listening:
    def __init__(self, owner: Measuring, hearing: Hearing) -> None:
        self._owner, self._hearing = owner, hearing
        self._heard_ms = 0

    def feed(self, pcm: bytes) -> None:
        self._heard_ms += 20 * any(pcm)
        if any(pcm) and self._heard_ms % 100 == 0:
            self._hearing.heard(Transcript(f"{self._heard_ms} ms so far", final=False, confidence=0.5))

    def onset(self) -> None:
        pass

    def endpoint(self) -> None:
        heard_ms, self._heard_ms = self._heard_ms, 0
        self._hearing.heard(Transcript(f"{heard_ms} ms", final=True, confidence=0.75))

    def expect(self, expected: Expected) -> None:
        pass

    def close(self) -> None:
        self._owner.live -= 1
        self._owner.closed.put(None)


def clock_ms() -> int:
    seconds: float = reactor.seconds()
    return round(seconds * 1000)


def make_gateways(grpc: Grpc, recognizer: Recognizer | None = None, **stream: Any) -> Gateways:
    """Build the door without a media server around it."""
    config = Config(grpc=grpc, stream=Stream(max_sessions=grpc.max_sessions, **stream), limits=Limits(drain_s=1))
    endpointer: Callable[[int, int], Any] = lambda _rate_hz, _silence_ms: FakeEndpointer()  # noqa: E731
    setting = Setting(config.stream, endpointer, clock_ms, lambda: 0.0, lambda _summary: None)
    sessions = Sessions({"ear": recognizer or Measuring()}, lambda _name: "", setting)
    return Gateways(config, reactor, clock_ms, sessions)


@asynccontextmanager
async def open_door(recognizer: Recognizer | None = None, stream: dict[str, Any] | None = None, **grpc: Any) -> Any:
    """Serve on ports the system chooses."""
    options = {"enabled": True, "ingest_port": 0, "speech_port": 0, **grpc}
    door = make_gateways(Grpc(**options), recognizer, **(stream or {}))
    door.start()
    await door.opened
    try:
        yield door
    finally:
        await door.drain()
        await door.stop()


def on_loop(client: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
    """Run a client on the asyncio thread, where the servers are, too."""
    return loop_thread(reactor).ask(client).addTimeout(PATIENCE_S, reactor)


def segment(session_id: str, number: int, **fields: Any) -> pb.AudioSegment:
    """Make 20 ms of loud sound."""
    given = {"audio_format": pb.LINEAR16, "data": LOUD, **fields}
    return pb.AudioSegment(session_id=session_id, sequence_number=number, **given)


async def segments(count: int, session_id: str = "s1", **last: Any) -> AsyncIterator[pb.AudioSegment]:
    """Make a session of so many segments."""
    for number in range(count):
        yield segment(session_id, number, is_final=number == count - 1)
