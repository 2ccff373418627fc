"""One caller heard by a service that takes segments, one at a time, and answers each with what it has so far."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.audio.g711 import encode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Hearing, Transcript
from voicemedia.stt.preroll import Preroll
from voicemedia.web.backoff import Backoff

WIDEBAND_HZ: Final = 16_000
"What a server takes LINEAR16 for that does not read our field with the rate."
NARROWBAND_HZ: Final = 8000
MOST_WAITING_MS: Final = 120_000
LONGEST_SEGMENT_MS: Final = 20_000
"One message of gRPC has at most 4 MB."


@dataclass(frozen=True, slots=True)
class Segment:
    """One request."""

    session: str
    number: int
    "From 1 on."
    octets: bytes = field(repr=False)
    codec: str
    "`PCMU` or `LINEAR16`."
    rate_hz: int
    unix_ms: int
    last: bool
    language: str = ""


@dataclass(frozen=True, slots=True)
class Understood:
    """One answer."""

    text: str = field(repr=False)
    final: bool
    confidence: float


@dataclass(slots=True)
class _Utterance:
    """An utterance and how much of it the service has."""

    start_ms: int
    pcm: bytearray
    sent: int = 0
    "Bytes."
    number: int = 0
    "Of the last segment sent."
    session: str = ""
    ended: bool = False
    told: str = ""


class SegmentRecognition:
    """Sends one caller's utterances; of each it keeps all sound until its final has come.

    :param ask: sends one segment; fails with `ProviderError` only.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        caller_hz: int,
        ask: Callable[[Segment], Deferred[Understood]],
        backoff: Backoff,
        segment_ms: int,
    ) -> None:
        self._reactor = reactor
        self._ask = ask
        self._backoff = backoff
        self._rate_hz = caller_hz if caller_hz == NARROWBAND_HZ else WIDEBAND_HZ
        self._resampler = Resampler(caller_hz, self._rate_hz)
        self._bytes_per_ms = self._rate_hz * 2 // 1000
        self._segment_bytes = segment_ms * self._bytes_per_ms
        self._preroll = Preroll(self._rate_hz)
        self._taken = 0
        self._speaking: _Utterance | None = None
        self._utterances: deque[_Utterance] = deque()
        self._hearing: Hearing | None = None
        self._language = ""
        self._name = ""
        self._sessions = 0
        self._patience_s = 0.0
        self._failing_since_s: float | None = None
        self._asking: Deferred[None] | None = None
        self._billed_ms = 0

    def begin(self, hearing: Hearing, name: str, patience_s: float) -> "SegmentRecognition":
        """Tell `hearing` from now on; sessions begin with `name`."""
        self._hearing, self._name, self._patience_s = hearing, name, patience_s
        return self

    @property
    def backlog_ms(self) -> int:
        """Sound of utterances that the service does not have."""
        return sum(len(each.pcm) - each.sent for each in self._utterances) // self._bytes_per_ms

    def feed(self, pcm: bytes) -> None:
        """Take sound, of any length."""
        if self._hearing is None:
            return
        pcm = self._resampler.feed(pcm)
        self._taken += len(pcm)
        if self._speaking is None:
            return self._preroll.keep(pcm)
        self._speaking.pcm += pcm
        if self.backlog_ms > MOST_WAITING_MS:
            return self._fail(ProviderError(f"no answer for {MOST_WAITING_MS // 1000} s of sound", code="too_slow"))
        self._go_on()

    def onset(self) -> None:
        """The caller has begun to speak."""
        if self._speaking is None:
            self._begin(self._preroll.onset())

    def endpoint(self) -> None:
        """The utterance is over: its last segment is due."""
        utterance = self._speaking or self._begin(self._preroll.endpoint())
        utterance.ended = True
        self._speaking = None
        self._go_on()

    def expect(self, expected: Expected) -> None:
        """Tell the service the language."""
        self._language = expected.language

    def close(self) -> None:
        """Send nothing more and tell nothing more."""
        self._hearing = None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    # --- inside ---

    def _begin(self, before: bytearray) -> _Utterance:
        utterance = _Utterance((self._taken - len(before)) // self._bytes_per_ms, before)
        self._utterances.append(utterance)
        self._speaking = utterance
        return utterance

    def _go_on(self) -> None:
        """Send the next segment, if there is one and none is under way."""
        if self._asking is not None or self._hearing is None:
            return
        while self._utterances and self._utterances[0].ended and not self._utterances[0].pcm:
            self._finish(self._utterances[0], "", 0.0)
        if not self._utterances:
            return
        utterance = self._utterances[0]
        if not utterance.ended and len(utterance.pcm) - utterance.sent < self._segment_bytes:
            return
        asking = Deferred.fromCoroutine(self._send(utterance))
        if not asking.called:
            self._asking = asking
        asking.addErrback(self._report_bug)

    async def _send(self, utterance: _Utterance) -> None:
        """Send what there is of an utterance, segment by segment."""
        try:
            while self._hearing is not None:
                wait_s = self._backoff.wait_s(self._reactor.seconds())
                if wait_s:
                    await deferLater(self._reactor, wait_s)
                segment, end = self._segment(utterance)
                try:
                    answer = await self._ask(segment)
                except ProviderError as error:
                    if not self._once_more(utterance, error):
                        return self._fail(error)
                    continue
                self._backoff.served()
                self._failing_since_s = None
                utterance.sent, utterance.number = end, segment.number
                if self._answered(utterance, segment, answer):
                    break
        except CancelledError:
            return
        finally:
            self._asking = None
        self._go_on()

    def _segment(self, utterance: _Utterance) -> tuple[Segment, int]:
        if not utterance.session:
            self._sessions += 1
            utterance.session = f"{self._name}-{self._sessions}"
        end = min(len(utterance.pcm), utterance.sent + LONGEST_SEGMENT_MS * self._bytes_per_ms)
        pcm = bytes(utterance.pcm[utterance.sent : end])
        self._billed_ms += len(pcm) // self._bytes_per_ms
        narrow = self._rate_hz == NARROWBAND_HZ
        segment = Segment(
            utterance.session,
            utterance.number + 1,
            encode_mulaw(pcm) if narrow else pcm,
            "PCMU" if narrow else "LINEAR16",
            self._rate_hz,
            round(self._reactor.seconds() * 1000),
            utterance.ended and end == len(utterance.pcm),
            self._language,
        )
        return segment, end

    def _answered(self, utterance: _Utterance, segment: Segment, answer: Understood) -> bool:
        """Tell what was understood; return whether nothing more is to be sent now."""
        text = answer.text.strip()
        if segment.last:
            self._finish(utterance, text, answer.confidence)
            return True
        if text and text != utterance.told:
            utterance.told = text
            self._tell(utterance, text, answer.confidence, final=False)
        return not utterance.ended and len(utterance.pcm) - utterance.sent < self._segment_bytes

    def _finish(self, utterance: _Utterance, text: str, confidence: float) -> None:
        self._utterances.popleft()
        self._tell(utterance, text, confidence, final=True)

    def _tell(self, utterance: _Utterance, text: str, confidence: float, *, final: bool) -> None:
        if self._hearing is None:
            return
        end_ms = utterance.start_ms + len(utterance.pcm) // self._bytes_per_ms
        confidence = min(1.0, max(0.0, confidence))
        billed_s = self._billed_ms / 1000
        self._hearing.heard(
            Transcript(text, final, confidence, utterance.start_ms, end_ms, self._language, billed_s=billed_s)
        )

    def _once_more(self, utterance: _Utterance, error: ProviderError) -> bool:
        """Decide whether an utterance is tried again, from its start."""
        now_s = self._reactor.seconds()
        if self._failing_since_s is None:
            self._failing_since_s = now_s
        if not error.retryable:
            return False
        self._backoff.refused(error, now_s)
        if now_s + self._backoff.wait_s(now_s) > self._failing_since_s + self._patience_s:
            return False
        utterance.session, utterance.sent, utterance.number = "", 0, 0
        return True

    def _fail(self, error: ProviderError) -> None:
        hearing, self._hearing = self._hearing, None
        if hearing is not None:
            hearing.deaf(error)

    def _report_bug(self, failure: Failure) -> None:
        self.log.failure("bug while sending segments", failure=failure)
        self._fail(ProviderError("internal error"))
