"""One session of a gateway: its segments in order to a transcribing session, what was understood back.

It has one timer at a time each for a hole in the numbers and for the last words; all else is driven from outside.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from voicemedia.audio.jitter import NEVER_MS, Delivery, Lost
from voicemedia.errors import WireError
from voicemedia.gateway.decoding import HoleFiller
from voicemedia.gateway.order import SegmentOrder
from voicemedia.gateway.segment_wire import Segment
from voicemedia.transcribing.events import Event, Heard, Over, Trouble
from voicemedia.transcribing.session import Session

REORDER_MAX_MS: Final = 1000
"Longest wait for a missing segment, unless `reorder_ms` is more."
EARLY: Final = 3
"The first segment to come may have overtaken so many."
FINAL_S: Final = 5
"How long a last segment waits for the last words."


class Refused(Exception):
    """A call is answered with an error.

    :param code: name of a gRPC status.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered to a segment."""

    session_id: str
    number: int
    transcript: str = field(default="", repr=False)
    final: bool = False
    confidence: float = 0.0
    lost: int = 0
    "Segments that never came."


class Listener(Protocol):
    """Who is told everything as it is understood: the stream of a session that comes as one. On the reactor."""

    @property
    def writable(self) -> bool:
        """Whether a final can be taken."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""

    def told(self, reply: Reply) -> None:
        """Take an interim transcript, or the final one of an utterance."""

    def over(self, error: Refused | None) -> None:
        """The session has ended; nothing follows."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all sessions of gateways share."""

    reactor: IReactorTime
    clock: Callable[[], int]
    "Monotonic, in ms."
    reorder_ms: int
    "Shortest wait for a missing segment."


class GatewaySession:
    """Reads a transcribing session (`Reader`) on behalf of a gateway.

    :param listener: None: the gateway asks segment by segment.
    :param gone: told once, when it is over.
    """

    log = Logger()

    def __init__(
        self,
        session: Session,
        first: Segment,
        decoder: HoleFiller,
        setting: Setting,
        gone: Callable[["GatewaySession"], None],
    ) -> None:
        self.name = first.session_id
        self._format, self._rate_hz, self._language = first.format, first.rate_hz, first.language
        self._session, self._decoder, self._setting, self._gone = session, decoder, setting, gone
        # A segment that changed places with the next one is as late as the next one is long.
        wait_ms = max(setting.reorder_ms, min(2 * first.duration_ms, REORDER_MAX_MS))
        self._order = SegmentOrder(wait_ms, max(wait_ms, REORDER_MAX_MS), 0 if first.last else EARLY)
        self._sounded = False
        self._missing = 0
        "Segments that are missing before the next one."
        self.lost = 0
        "Segments that never came, or too late: sound was made up for them."
        self._unnumbered = 0
        "Segments so far of a gateway that numbers none of them."
        self._first = first
        self._number = 0
        self._hole: IDelayedCall | None = None
        self._patience: IDelayedCall | None = None
        self._waiting: list[tuple[int, Deferred[Reply]]] = []
        self._guess: Heard | None = None
        self._text, self._confidence = "", 0.0
        self._trouble = ""
        self._late = False
        "Whether the last words did not come in time."
        self.error: Refused | None = None
        "Why it has ended, unless it has ended well."
        self.last: Segment | None = None
        "The segment that said it is the last one."
        self.listener: Listener | None = None
        self.heard_ms = setting.clock()
        "When the last segment came."
        self.finished = False
        session.attach(self)

    # --- segments ---

    @property
    def counts(self) -> Counter[str]:
        """What became of the segments (`SegmentOrder.counts`), and how many never came."""
        return Counter({**self._order.counts, "lost_segments": self.lost})

    @property
    def congested(self) -> bool:
        """Whether the gateway sends faster than people speak, or does not read."""
        return self._session.congested

    def hear(self, segment: Segment) -> None:
        """Take a segment, in any order.

        :raises WireError: its sound cannot be decoded, or is unlike that of the session.
        """
        self._check(segment)
        self.heard_ms = self._setting.clock()
        if self.last is None:
            number = self._number_of(segment)
            self._number = max(self._number, segment.number)
            if segment.last:
                self.last = segment
            self._deliver(self._order.put(number, segment.payload, self._setting.clock()))
        elif segment.number < self.last.number:
            self._deliver(self._order.put(segment.number, segment.payload, self._setting.clock()))
        self._look_ahead()

    def _check(self, segment: Segment) -> None:
        if segment.format is None:
            return
        if segment.format is not self._format or segment.rate_hz != self._rate_hz:
            assert self._format is not None
            began = f"{self._format.name} at {self._rate_hz} Hz"
            message = (
                f"audio_format: {segment.format.name} at {segment.rate_hz} Hz in a session that began with {began}"
            )
            raise WireError("bad_format", message)
        if segment.language not in ("", self._language):
            message = f"language_code: {segment.language} in a session that began with {self._language or 'none'}"
            raise WireError("bad_language", message)

    def _number_of(self, segment: Segment) -> int:
        """Return the number; one of our own when a gateway leaves all at zero, which proto3 cannot tell from set."""
        if self._unnumbered and segment.number == 0:
            self._unnumbered += 1
        elif self._is_new_zero(segment):
            self._unnumbered = 1
        else:
            return segment.number
        return self._unnumbered

    def _is_new_zero(self, segment: Segment) -> bool:
        if segment.number or self._first.number or self._number or segment is self._first:
            return False
        first = self._first
        return (segment.timestamp_ms, segment.payload) != (first.timestamp_ms, first.payload)

    def _deliver(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            if isinstance(delivery, Lost):
                # What was missing before the first one need never have been sent.
                # What waits behind the others comes next, and helps to make them up.
                self._missing += delivery.samples if self._sounded else 0
            else:
                self._hear(delivery)

    def _hear(self, payload: bytes) -> None:
        missing, self._missing = self._missing, 0
        self.lost += missing
        made_up, pcm = self._decoder.decode(payload, missing)
        self._session.totals.concealed_ms += len(made_up) * 500 // self._decoder.rate_hz
        self._sounded = self._sounded or bool(pcm)
        self._session.hear(made_up + pcm)

    def _look_ahead(self) -> None:
        """Set the timer of the first hole; without one, the last segment ends the session."""
        if self._hole is not None and self._hole.active():
            self._hole.cancel()
        if self.finished:
            return
        due_ms = self._order.next_due_ms
        if due_ms != NEVER_MS:
            wait_s = max(0, due_ms - self._setting.clock()) / 1000
            self._hole = self._setting.reactor.callLater(wait_s, self._give_up_hole)
        elif self.last is not None:
            self.end()

    def _give_up_hole(self) -> None:
        self._deliver_late(self._order.due(self._setting.clock()))
        self._look_ahead()

    def _deliver_late(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            try:
                self._deliver([delivery])
            except WireError as error:
                # Whoever sent it has been answered.
                self.log.info("session {session}: {error}", session=self.name, error=str(error))

    # --- the end ---

    def end(self) -> None:
        """No more sound comes; the last words are waited for."""
        if self._patience is None and not self.finished:
            self._deliver_late(self._order.flush())
            self._patience = self._setting.reactor.callLater(FINAL_S, self._give_up)
            self._session.end()

    def close(self, reason: str) -> None:
        """End at once."""
        self._session.close(reason)

    def _give_up(self) -> None:
        self._late, self._trouble = True, f"no final transcript within {FINAL_S} s"
        self._session.close("failed")

    def answer(self, number: int) -> Deferred[Reply]:
        """Answer what is understood now or, once the last segment is there, in the end or after `FINAL_S`.

        The Deferred fails with `Refused` if the session does.
        """
        done: Deferred[Reply] = Deferred()
        if self.finished:
            # The recognizer was quicker than this question, or has failed over it.
            done.callback(self.result(number)) if self.error is None else done.errback(self.error)
        elif self.last is None:
            done.callback(self.so_far(number))
        else:
            self._waiting.append((number, done))
        return done

    def so_far(self, number: int) -> Reply:
        """Return everything that is final, and the guess about what is not."""
        guess = self._guess
        if guess is None:
            return Reply(self.name, number, self._text, confidence=self._confidence, lost=self.lost)
        text = f"{self._text} {guess.transcript.text}" if self._text else guess.transcript.text
        return Reply(self.name, number, text, confidence=guess.transcript.confidence, lost=self.lost)

    # --- from the transcribing session (`Reader`) ---

    @property
    def writable(self) -> bool:
        """Whether a final can be told."""
        return self.listener is None or self.listener.writable

    @property
    def idle(self) -> bool:
        """Whether a guess is worth telling."""
        return self.listener is None or self.listener.idle

    def flush(self) -> None:
        """Tell what waited for the listener."""
        self._session.flush()

    def dismissed(self) -> None:
        """Nobody else can resume the session."""

    def take(self, number: int, event: Event, *, replayed: bool) -> None:
        """Take an event."""
        match event:
            case Heard():
                self._take_words(event)
            case Trouble():
                self._trouble = event.message
            case Over():
                self._over(event.reason)

    def _take_words(self, heard: Heard) -> None:
        transcript = heard.transcript
        if transcript.final:
            self._guess, self._text, self._confidence = None, heard.text, heard.confidence
        else:
            self._guess = heard
        if self.listener is not None and transcript.text:
            said = Reply(self.name, self._number, transcript.text, transcript.final, transcript.confidence, self.lost)
            self.listener.told(said)

    def _over(self, reason: str) -> None:
        self.finished = True
        for timer in (self._hole, self._patience):
            if timer is not None and timer.active():
                timer.cancel()
        error = self.error = self._error(reason)
        self._gone(self)
        waiting, self._waiting = self._waiting, []
        for number, done in waiting:
            if error is None:
                done.callback(self.result(number))
            elif self._late:
                # What has been understood is worth more than an error; that it is not final shows.
                done.callback(self.so_far(number))
            else:
                done.errback(error)
        if self.listener is not None:
            self.listener.over(error)

    def _error(self, reason: str) -> Refused | None:
        if reason == "ended":
            return None
        if reason == "drained":
            return Refused("UNAVAILABLE", "this server is about to stop")
        if reason == "expired":
            return Refused("ABORTED", f"the session has expired: {self._trouble}")
        return Refused(
            "DEADLINE_EXCEEDED" if self._late else "UNAVAILABLE", self._trouble or f"the session has ended: {reason}"
        )

    def result(self, number: int) -> Reply:
        """Return the whole text, once the session is over."""
        return Reply(self.name, number, self._text, final=True, confidence=self._confidence, lost=self.lost)
