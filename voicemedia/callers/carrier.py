"""One simulated call as the carrier sees it: media in real time, a playback buffer, marks, keys. Without I/O.

Times are milliseconds since the socket opened; that is also the media time of the caller. `due` wants to be called
at least every 10 ms.
"""

from collections import Counter
from dataclasses import dataclass, field

from voicemedia.callers.dialect import Dialect, Message, read
from voicemedia.callers.impair import Impairments, Network
from voicemedia.callers.playback import Playback
from voicemedia.callers.script import Line, Manners, Script, Stage, Turn
from voicemedia.callers.sound import SAMPLES_PER_MS


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What a simulated caller does."""

    lines: list[Line]
    packet_ms: int = 20
    manners: Manners = field(default_factory=Manners)
    impairments: Impairments = field(default_factory=Impairments)


class CarrierCall:
    """Speaks one carrier's dialect for one caller."""

    def __init__(self, dialect: Dialect, plan: CallPlan) -> None:
        self._dialect = dialect
        self._packet_ms = plan.packet_ms
        self._network = Network[str](plan.impairments, plan.packet_ms)
        self._hanging_up = False
        self._outbox: list[str] = []
        self._sequence = 0
        self._chunk = 0
        self._turns_over: list[Turn] = []
        self.script = Script(list(plan.lines), plan.manners, packet_ms=plan.packet_ms)
        self.playback = Playback()
        self.faults: Counter[str] = Counter()
        "Rules of the carrier the server broke, and how often."
        self.received: Counter[str] = Counter()
        "Messages of the server, by event."
        self.over = False
        "`stop` has been sent."

    @property
    def done(self) -> bool:
        """Everything has been said and answered, or waited for long enough."""
        return self.script.stage is Stage.DONE

    @property
    def packets_sent(self) -> int:
        return self._chunk

    @property
    def packets_lost(self) -> int:
        return self._network.lost

    def open(self) -> None:
        """Begin the call: the socket has just opened."""
        self._outbox += [self._dialect.connected(), self._dialect.start(self._next())]

    def receive(self, text: str | bytes, now_ms: float) -> None:
        """Take a message of the server."""
        try:
            message = read(text)
        except ValueError as error:
            self.faults[str(error)] += 1
            return
        self.received[message.event] += 1
        self.faults.update(self._dialect.faults(message))
        self._obey(message, now_ms)

    def receive_binary(self, _octets: bytes, _now_ms: float) -> None:
        """Take note of what a carrier would not understand."""
        self.faults["binary message"] += 1

    def _obey(self, message: Message, now_ms: float) -> None:
        match message.event:
            case "media":
                first_ms = self.playback.play(message.payload, now_ms)
                self.script.hear(first_ms, self.playback.last_audible_ms, now_ms)
            case "mark":
                self.playback.mark(message.name, now_ms)
            case "clear":
                self._return_marks(self.playback.clear(now_ms))
                self.script.cleared(self.playback.last_audible_ms, now_ms)
            case "connected":
                # The carrier's own word; some servers say it too, and the carrier does not mind.
                pass
            case _:
                self.faults[f"unknown event {message.event[:20]!r}"] += 1

    def due(self, now_ms: float) -> list[str]:
        """Let time pass; return the messages to send now, in order."""
        if self.over:
            return []
        turn = self.script.due(now_ms)
        if turn is not None:
            self._turns_over.append(turn)
        self._outbox += [self._dialect.dtmf(self._next(), key) for key in self.script.keys_due(now_ms)]
        self._return_marks(self.playback.due(now_ms))
        # A packet leaves when the last of its sound has been spoken.
        while not self._hanging_up and (self._chunk + 1) * self._packet_ms <= now_ms:
            self._speak(now_ms)
        self._outbox += self._network.due(now_ms)
        if self._hanging_up and self._network.empty:
            self._outbox.append(self._dialect.stop(self._next()))
            self.over = True
        outbox, self._outbox = self._outbox, []
        return outbox

    def take_turns_over(self) -> list[Turn]:
        """Return the turns that have ended since the last time."""
        turns, self._turns_over = self._turns_over, []
        return turns

    def hang_up(self) -> None:
        """End the call: `stop` follows when nothing is under way any more."""
        self._hanging_up = True

    def lost_connection(self, now_ms: float) -> None:
        """Take note that the server has ended the call."""
        self.over = True
        turn = self.script.give_up(now_ms)
        if turn is not None:
            self._turns_over.append(turn)

    def _speak(self, now_ms: float) -> None:
        ulaw = self.script.mouth.take(self._packet_ms * SAMPLES_PER_MS)
        self._network.scene(self.script.mouth.begun)
        timestamp_ms = self._chunk * self._packet_ms
        self._chunk += 1
        self._network.send(self._dialect.media(self._next(), self._chunk, timestamp_ms, ulaw), now_ms)

    def _return_marks(self, names: list[str]) -> None:
        self._outbox += [self._dialect.mark(self._next(), name) for name in names]

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence
