"""One caller in a realtime session of Scribe: what is sent, and what the answers mean.

Every endpoint is owed one final. The service answers commits in order, so the oldest debt is paid first; a commit
it refuses because there was too little sound is an empty final.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.audio.g711 import encode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.errors import ProviderError, WireError
from voicemedia.interfaces import Expected, Hearing, Transcript
from voicemedia.stt.language_names import code_of
from voicemedia.stt.preroll import Preroll
from voicemedia.stt.scribe_wire import PCM_RATES_HZ, Message, audio_message, error_of, read_message, words_of
from voicemedia.stt.words import transcript_of
from voicemedia.web.backoff import Backoff
from voicemedia.web.trouble import Trouble
from voicemedia.web.websocket_client import Link, Talk

LEAST_COMMIT_MS: Final = 320
"The service refuses to commit less than 300 ms."
IDLE_S: Final = 10.0
"Without a message for this long silence is sent, so that the session stays open."
SILENCE_MS: Final = 100
MOST_WAITING_MS: Final = 30_000
"Sound that may wait for the session to open."
FALLBACK_HZ: Final = 16_000
"What sound is converted to when the service does not take the caller's rate."


@dataclass(frozen=True, slots=True)
class Manners:
    """How a session is spoken with."""

    caller_hz: int
    compressed: bool
    "8 kHz sound is sent as mu-law."
    automatic: bool
    "The service ends utterances."
    timed: bool
    "The service tells the times of words."
    chunk_ms: int
    answer_s: float
    patience_s: float

    @property
    def rate_hz(self) -> int:
        """Give the rate of the sound sent: the caller's, where the service takes it."""
        return self.caller_hz if self.caller_hz in PCM_RATES_HZ else FALLBACK_HZ

    @property
    def mulaw(self) -> bool:
        """Tell whether sound is sent as mu-law."""
        return self.compressed and self.rate_hz == 8000

    @property
    def audio_format(self) -> str:
        """Name the form as the service does."""
        return "ulaw_8000" if self.mulaw else f"pcm_{self.rate_hz}"


@dataclass(slots=True)
class _Debt:
    """A final we owe, for the stretch of sound from `start_ms`."""

    start_ms: int
    end_ms: int
    due_s: float


class ScribeSession:
    """A caller's recognition; reconnects when the session ended while nothing was said.

    :param connect: opens a socket to the service.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        manners: Manners,
        connect: Callable[[Talk], Deferred[Link]],
        backoff: Backoff,
        hearing: Hearing,
    ) -> None:
        self._reactor = reactor
        self._manners = manners
        self._connect = connect
        self._backoff = backoff
        self._hearing: Hearing | None = hearing
        self._link: Link | None = None
        self._opening: Deferred[None] | None = None
        self._bytes_per_ms = manners.rate_hz * 2 // 1000
        self._resampler = Resampler(manners.caller_hz, manners.rate_hz)
        self._preroll = Preroll(manners.rate_hz)
        self._speaking = False
        self._taken = 0
        self._sent = 0
        "Bytes of PCM at the session's rate, since the start."
        self._uncommitted = 0
        self._start_ms = 0
        "Where the utterance being heard began."
        self._unsent = bytearray()
        self._commits: deque[int] = deque()
        "Places in `_unsent` at which to commit, while the session is not open."
        self._debts: deque[_Debt] = deque()
        self._partial = ""
        self._committed = False
        "The service has made a final since the utterance began."
        self._overdue: IDelayedCall | None = None
        self._idle: IDelayedCall | None = None
        self.news = Trouble(reactor.seconds)
        "Takes note of failures and of answers."
        self.on_close: Callable[[], None] = lambda: None

    # --- Recognition ---

    @property
    def backlog_ms(self) -> int:
        """Sound taken and not sent."""
        return len(self._unsent) // self._bytes_per_ms

    def begin(self) -> None:
        """Open the session."""
        self._open()

    def feed(self, pcm: bytes) -> None:
        """Take sound, of any length."""
        if self._hearing is None:
            return
        pcm = self._resampler.feed(pcm)
        self._taken += len(pcm)
        if not (self._speaking or self._manners.automatic):
            return self._preroll.keep(pcm)
        self._unsent += pcm
        if len(self._unsent) >= self._manners.chunk_ms * self._bytes_per_ms:
            self._send_all()

    def onset(self) -> None:
        """The caller has begun to speak."""
        if self._speaking or self._hearing is None:
            return
        self._speaking = True
        self._committed = False
        self._start(self._preroll.onset())

    def endpoint(self) -> None:
        """The utterance is over: a final is owed."""
        if self._hearing is None:
            return
        if not self._speaking:
            self._start(self._preroll.endpoint())
        self._speaking = False
        settled = self._manners.automatic and self._committed and not self._partial
        nothing = not self._manners.automatic and not self._uncommitted + len(self._unsent)
        if not self._debts and (settled or nothing):
            return self._tell(Transcript("", final=True, start_ms=self._now_ms, end_ms=self._now_ms))
        self._debts.append(_Debt(self._start_ms, self._now_ms, self._reactor.seconds() + self._manners.answer_s))
        self._watch()
        if self._manners.automatic:
            self._send_all()
        else:
            self._ask_for_final()

    def expect(self, expected: Expected) -> None:
        """Do nothing: the service is told what to prefer when a session begins."""

    def close(self) -> None:
        """Say goodbye."""
        self._hearing = None
        for call in (self._overdue, self._idle):
            if call is not None and call.active():
                call.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.close()
        if self._opening is not None:
            self._opening.cancel()
        self.on_close()

    # --- Talk ---

    def message(self, payload: bytes) -> None:
        """Take one message of the service."""
        if self._hearing is None:
            return
        try:
            message = read_message(payload)
        except WireError as error:
            return self._fail(ProviderError(f"cannot read a message: {error}", code=error.kind))
        if (refusal := error_of(message)) is not None:
            return self._refused(message.message_type, refusal)
        if message.message_type == "partial_transcript":
            self._guessed(message.text.strip())
        elif message.message_type == (
            "committed_transcript_with_timestamps" if self._manners.timed else "committed_transcript"
        ):
            self._finished(message)

    def lost(self, reason: str) -> None:
        """The socket is gone."""
        self._link = None
        if self._hearing is not None and (self._speaking or self._debts):
            self._fail(ProviderError(f"connection lost: {reason}", code="connection_lost"))

    # --- inside: the answers ---

    def _guessed(self, text: str) -> None:
        if text and text != self._partial:
            self._tell(Transcript(text, final=False, start_ms=self._start_ms, end_ms=self._now_ms))
        self._partial = text

    def _finished(self, message: Message) -> None:
        owed = bool(self._debts)
        debt = self._debts.popleft() if owed else _Debt(self._start_ms, self._now_ms, 0)
        self._partial, self._committed = "", True
        language = code_of(message.language_code)
        words = words_of(message.text, message.words, language, (debt.start_ms, debt.end_ms))
        heard = transcript_of(words, final=True)
        self._tell(
            # The session's clock stands still while nothing is sent, so its times of words are not ours.
            Transcript(
                message.text.strip(),
                final=True,
                confidence=heard.confidence,
                start_ms=debt.start_ms,
                end_ms=debt.end_ms,
                language=language,
                closes=owed,
                billed_s=self._sent / self._bytes_per_ms / 1000,
            )
        )
        self.news.served()
        self._watch()

    def _refused(self, kind: str, error: ProviderError) -> None:
        if kind == "commit_throttled" and self._debts:
            debt = self._debts.popleft()
            self._tell(Transcript("", final=True, start_ms=debt.start_ms, end_ms=debt.end_ms))
            return self._watch()
        if error.blameless and not self._speaking and not self._debts:
            # The service hangs up now; the next utterance opens a new session.
            return
        if error.retryable and not error.blameless:
            self._backoff.refused(error, self._reactor.seconds())
        self._fail(error)

    def _watch(self) -> None:
        """Wait for the oldest final that is owed."""
        if self._overdue is not None and self._overdue.active():
            self._overdue.cancel()
        if self._debts and self._hearing is not None:
            wait_s = max(0.0, self._debts[0].due_s - self._reactor.seconds())
            self._overdue = self._reactor.callLater(wait_s, self._late)

    def _late(self) -> None:
        if not self._manners.automatic:
            return self._fail(ProviderError(f"no final in {self._manners.answer_s:g} s", code="no_answer"))
        # Their detector may have heard no speech at all, and then never commits.
        debt = self._debts.popleft()
        self._tell(Transcript("", final=True, start_ms=debt.start_ms, end_ms=debt.end_ms))
        self._watch()

    def _tell(self, transcript: Transcript) -> None:
        if self._hearing is not None:
            self._hearing.heard(transcript)

    def _fail(self, error: ProviderError) -> None:
        hearing = self._hearing
        self.news.failed(error)
        self.close()
        if hearing is not None:
            hearing.deaf(error)

    # --- inside: the sound ---

    @property
    def _now_ms(self) -> int:
        return self._taken // self._bytes_per_ms

    def _start(self, before: bytearray) -> None:
        self._start_ms = (self._taken - len(before)) // self._bytes_per_ms
        self._unsent += before
        if self._link is None:
            self._open()

    def _ask_for_final(self) -> None:
        waiting = len(self._unsent) - self._commits[-1] if self._commits else self._uncommitted + len(self._unsent)
        self._unsent += bytes(max(0, LEAST_COMMIT_MS * self._bytes_per_ms - waiting))
        self._commits.append(len(self._unsent))
        self._send_all()

    def _send_all(self) -> None:
        """Send what waits, if there is somebody to send it to."""
        if self._link is None:
            if self.backlog_ms > MOST_WAITING_MS:
                return self._fail(
                    ProviderError(f"no session for {MOST_WAITING_MS // 1000} s of sound", code="too_slow")
                )
            return self._open()
        at = 0
        while self._commits:
            end = self._commits.popleft()
            self._send(bytes(self._unsent[at:end]))
            self._link.send(audio_message(b"", self._manners.rate_hz, commit=True))
            self._uncommitted = 0
            at = end
        self._send(bytes(self._unsent[at:]))
        self._unsent.clear()

    def _send(self, pcm: bytes) -> None:
        assert self._link is not None
        step = self._manners.chunk_ms * self._bytes_per_ms
        for at in range(0, len(pcm), step):
            piece = pcm[at : at + step]
            octets = encode_mulaw(piece) if self._manners.mulaw else piece
            self._link.send(audio_message(octets, self._manners.rate_hz))
        self._sent += len(pcm)
        self._uncommitted += len(pcm)
        self._stay_awake()

    def _stay_awake(self) -> None:
        if self._idle is not None and self._idle.active():
            self._idle.reset(IDLE_S)
        else:
            self._idle = self._reactor.callLater(IDLE_S, self._send_silence)

    def _send_silence(self) -> None:
        if self._link is not None and not self._speaking:
            self._send(bytes(SILENCE_MS * self._bytes_per_ms))
            # It is no speech to be committed, only a sign of life.
            self._uncommitted = 0

    # --- inside: the connection ---

    def _open(self) -> None:
        if self._opening is None and self._hearing is not None:
            opening = Deferred.fromCoroutine(self._insist())
            self._opening = None if opening.called else opening
            opening.addErrback(self._report_bug)

    async def _insist(self) -> None:
        """Open a session; try again until patience ends."""
        end_s = self._reactor.seconds() + self._manners.patience_s
        try:
            while True:
                wait_s = self._backoff.wait_s(self._reactor.seconds())
                if wait_s:
                    await deferLater(self._reactor, wait_s)
                try:
                    self._link = await self._connect(self)
                    break
                except ProviderError as error:
                    now_s = self._reactor.seconds()
                    if error.retryable:
                        self._backoff.refused(error, now_s)
                    if not error.retryable or now_s + self._backoff.wait_s(now_s) > end_s:
                        return self._fail(error)
        except CancelledError:
            return
        finally:
            self._opening = None
        self._backoff.served()
        self._stay_awake()
        if self._unsent or self._commits:
            self._send_all()

    def _report_bug(self, failure: Failure) -> None:
        self.log.failure("bug in a realtime session", failure=failure)
        self._fail(ProviderError("internal error"))
