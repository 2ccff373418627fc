"""Doubles for the seams: they record what they are told; tests compare lists."""

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, succeed

from voicemedia.audio.voice import Speech
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Caller, Expected, Floor, Goodbye, Hearing, Said, Transcript

SILENT = b"\0" * 320
VOICED = b"\x10\x27" * 160


class FakeLeg:
    """Records what the call plays; `gone` comes when the test says so."""

    def __init__(self, lead_ms: int = 200, call_id: str = "C1") -> None:
        self.caller = Caller(call_id, "fake", 8000, route="/fake", stream_id="S1")
        self.lead_ms = lead_ms
        self.last_message_ms = 0
        self.events: list[str] = []
        self.frames = 0
        self.marks: list[int] = []

    def __repr__(self) -> str:
        return "fake"

    def play(self, pcm: bytes) -> None:
        self.frames += len(pcm) // 320
        if not self.events or self.events[-1] != "play":
            self.events.append("play")

    def mark(self, number: int) -> None:
        self.marks.append(number)
        self.events.append(f"mark {number}")

    def clear(self) -> None:
        self.events.append("clear")

    def tick(self, now_ms: int) -> None:
        pass

    def hang_up(self, why: Goodbye) -> None:
        self.events.append(f"hang up {why.value}")

    def totals(self) -> Mapping[str, int]:
        return {"frames_out": self.frames}


class FakeEndpointer:
    """Speech is what is not silent; it stops after 300 ms of silence."""

    def __init__(self) -> None:
        self.speaking = False
        self.quiet = 0

    def hear(self, pcm: bytes) -> Speech | None:
        if any(pcm):
            self.quiet = 0
            if not self.speaking:
                self.speaking = True
                return Speech.STARTED
        elif self.speaking:
            self.quiet += 1
            if self.quiet == 15:
                return self.stop_now()
        return None

    def stop_now(self) -> Speech | None:
        was, self.speaking, self.quiet = self.speaking, False, 0
        return Speech.STOPPED if was else None


class FakeRecognizer:
    """Says what the test makes it say."""

    name = "fake"
    trouble = ""

    def __init__(self) -> None:
        self.hearing: Hearing | None = None
        self.events: list[str] = []
        self.listens = 0
        self.expected: list[Expected] = []

    def start(self) -> Deferred[None]:
        return succeed(None)

    stop = start

    def listen(self, rate_hz: int, hearing: Hearing) -> "FakeRecognizer":
        self.listens += 1
        self.hearing = hearing
        return self

    def feed(self, pcm: bytes) -> None:
        pass

    def onset(self) -> None:
        self.events.append("onset")

    def endpoint(self) -> None:
        self.events.append("endpoint")

    def expect(self, expected: Expected) -> None:
        self.expected.append(expected)

    def close(self) -> None:
        self.events.append("close")

    def say(self, text: str, *, final: bool = True) -> None:
        assert self.hearing is not None
        self.hearing.heard(Transcript(text, final=final, confidence=1.0))

    def fail(self, *, retryable: bool = True) -> None:
        assert self.hearing is not None
        self.hearing.deaf(ProviderError("it broke", retryable=retryable))


class FakeSynthesizer:
    """A word sounds for 200 ms; `instant` or when the test says `deliver`."""

    name = "fake"
    trouble = ""

    def __init__(self, *, instant: bool = True) -> None:
        self.instant = instant
        self.spoken: list[str] = []
        self.cancelled: list[str] = []
        self.waiting: list[tuple[str, Callable[[bytes], None], Deferred[None]]] = []

    def start(self) -> Deferred[None]:
        return succeed(None)

    stop = start

    def speak(
        self, text: str, rate_hz: int, put: Callable[[bytes], None], word: Callable[[int, int], None]
    ) -> Deferred[None]:
        self.spoken.append(text)
        done: Deferred[None] = Deferred(lambda _done: self.cancelled.append(text))
        self.waiting.append((text, put, done))
        if self.instant:
            self.deliver()
        return done

    def deliver(self, *, words: int | None = None, finish: bool = True) -> None:
        text, put, done = self.waiting[-1]
        for _ in text.split()[:words]:
            put(b"\x01\x02" * (rate_of(200)))
        if finish:
            self.waiting.pop()
            done.callback(None)

    def fail(self, error: Exception | None = None) -> None:
        self.waiting.pop()[2].errback(error or ProviderError("no voice"))


def rate_of(ms: int) -> int:
    """Samples of so many ms at 8 kHz."""
    return 8 * ms


class FakeConversation:
    """Answers with what the test has put into `answers`; records everything."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.answers: list[str | Deferred[None]] = ["Hello there."]
        self.floors: list[Floor] = []
        self.overheard = 0

    def greet(self, floor: Floor) -> Deferred[None]:
        self.events.append("greet")
        return self._answer(floor)

    def reply(self, said: Said, floor: Floor) -> Deferred[None]:
        self.events.append(f"asked {said.text}/{said.keys}")
        return self._answer(floor)

    def _answer(self, floor: Floor) -> Deferred[None]:
        self.floors.append(floor)
        answer = self.answers.pop(0) if self.answers else "Go on."
        if isinstance(answer, Deferred):
            return answer
        for sentence in answer.split("|"):
            if sentence == "bye":
                floor.hang_up()
            elif sentence == "bug":
                raise RuntimeError("a bug in the agent")
            else:
                floor.say(sentence.strip("!"), interruptible=not sentence.startswith("!"))
        return succeed(None)

    def heard(self, text: str, *, complete: bool) -> None:
        self.events.append(f"heard {text}" if complete else f"cut after {text}")

    def overhear(self, pcm: bytes) -> None:
        self.overheard += 1

    def over(self, why: Goodbye) -> None:
        self.events.append(f"over {why.value}")
