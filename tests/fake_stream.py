"""A streaming API with scripted recognizers, on a clock of the test's own."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.task import Clock

from tests.fakes import FakeEndpointer, FakeRecognizer
from voicemedia.config import Stream
from voicemedia.transcribing.events import Event, Heard, Over, Trouble, Wish
from voicemedia.transcribing.session import Session
from voicemedia.transcribing.sessions import Sessions
from voicemedia.transcribing.setting import Setting

SECOND = b"\x10\x27" * 16000
"Of a loud voice at 16 kHz."
QUIET = bytes(32000)


class FakeReader:
    """Writes down what it reads."""

    def __init__(self) -> None:
        self.writable = self.idle = True
        self.events: list[Event] = []
        self.numbers: list[int] = []
        self.replayed: list[int] = []
        self.is_dismissed = False

    def take(self, number: int, event: Event, *, replayed: bool) -> None:
        self.events.append(event)
        self.numbers.append(number)
        if replayed:
            self.replayed.append(number)

    def dismissed(self) -> None:
        self.is_dismissed = True

    @property
    def told(self) -> list[str]:
        """What was read, a short line each."""
        return [brief(event) for event in self.events]


def brief(event: Event) -> str:
    match event:
        case Heard():
            return f"{'final' if event.transcript.final else 'interim'} {event.transcript.text}".strip()
        case Trouble():
            return f"error {event.code}"
        case Over():
            return f"over {event.reason}"


class FakeService:
    """Sessions whose recognizers say what the test makes them say."""

    def __init__(
        self, stream: Stream | None = None, recognizers: Mapping[str, FakeRecognizer] | None = None, **options: Any
    ) -> None:
        self.clock = Clock()
        self.ear = FakeRecognizer()
        self.troubles: dict[str, str] = {}
        self.summaries: list[dict[str, Any]] = []
        endpointer: Callable[[int, int], Any] = lambda _rate_hz, _silence_ms: FakeEndpointer()  # noqa: E731
        setting = Setting(stream or Stream(**options), endpointer, self.now_ms, self.time_of_day, self.summaries.append)
        ears = recognizers if recognizers is not None else {"fake": self.ear}
        self.sessions = Sessions(ears, lambda name: self.troubles.get(name, ""), setting)

    def now_ms(self) -> int:
        return round(self.clock.seconds() * 1000)

    def time_of_day(self) -> float:
        return 1_758_305_652.5 + self.clock.seconds()

    def begin(self, wish: Wish | None = None) -> tuple[Session, FakeReader]:
        chosen, _ = self.sessions.choose(wish or Wish())
        assert chosen is not None
        session, reader = self.sessions.open(chosen), FakeReader()
        session.attach(reader)
        return session, reader

    def wait(self, seconds: int) -> None:
        """Let time pass, swept once a second."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.sessions.sweep(self.now_ms())
