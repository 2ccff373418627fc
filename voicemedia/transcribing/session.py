"""One listened-to stream: sound in pieces of any size goes to a recognizer, what was understood to whoever reads.

The session knows no transport and has no timer: sound, time (`sweep`, once a second) and the recognizer drive it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from voicemedia.audio.frames import Framer
from voicemedia.audio.resample import Resampler
from voicemedia.audio.voice import Speech
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Traits, Transcript
from voicemedia.transcribing.ear import Ear
from voicemedia.transcribing.events import Event, Heard, Over, Reader, Trouble, Wish
from voicemedia.transcribing.outbox import Outbox
from voicemedia.transcribing.setting import Provided, Setting
from voicemedia.transcribing.sound import Halves, Sound
from voicemedia.transcribing.totals import Totals

INNER_RATES_HZ: Final = (8000, 16000, 24000, 48000)
"What recognizers are given as it is; all else is brought to 16 kHz."
WAITING_EVENTS: Final = 64
"A client with so many unread events is not read from either."
FAILURES: Final = 5
"A recognizer that fails so often in a row is given up."
RETRY_MS: Final = 1000
STALL_MS: Final = 2000
"A live client's network may hold its sound up for so long in mid-word; then its silence is silence."


class Session:
    """One stream of sound and its transcripts.

    :param session_id: by which the client finds it again.
    :param gone: told once, when it is over.
    """

    def __init__(
        self, session_id: str, wish: Wish, provided: Provided, setting: Setting, gone: Callable[["Session"], None]
    ) -> None:
        self.session_id, self.wish = session_id, wish
        self._recognizer, self._tally = provided.recognizer, provided.tally
        self._setting, self._gone = setting, gone
        self._traits: Traits = getattr(provided.recognizer, "traits", None) or Traits()
        self._take_rate(wish.rate_hz)
        self.sound = Sound()
        "Makes samples for `hear` of what the client sends."
        self._halves = Halves()
        self._outbox = Outbox(setting.stream.keep_events)
        self._ears: list[Ear] = []
        "The last one listens; those before it owe a final."
        self._retry_at_ms = 0
        self._failures = 0
        self._waits = False
        "Whether the client has been told that the recognizer is away for now."
        self._unendpointed = False
        "Whether sound has come since the last endpoint."
        self._fast = False
        "Whether the client has been told that it is too fast."
        self._asked = 0
        "Finals the client has asked for: they are sent even if they are empty."
        self._final_due_ms: int | None = None
        self._endpoint_ms = 0
        self._closing = ""
        "Why it will end as soon as the last final has come; empty: it goes on."
        now_ms = setting.clock()
        self._began_ms = self.last_audio_ms = self._alive_ms = now_ms
        self._sound_until_ms = now_ms
        "When the sound so far would have been spoken, had its last chunk been spoken from when it came."
        self._detached_ms: int | None = now_ms
        self.totals = Totals(session_id, wish, setting.time_of_day(), self._traits.usd_per_hour)
        self.over: Over | None = None
        self.language = wish.language
        "That of what was heard last."
        self.attended = True
        "Whether somebody must read: a session without a reader for `resume_s` is abandoned."

    # --- sound ---

    def rate_is(self, rate_hz: int) -> bool:
        """Go by what the sound says of itself, before any of it has come; tell whether it fits the session now."""
        if rate_hz != self.wish.rate_hz and not self.totals.heard_ms:
            self.wish = replace(self.wish, rate_hz=rate_hz)
            self.totals.wish = self.wish
            self._take_rate(rate_hz)
        return rate_hz == self.wish.rate_hz

    def _take_rate(self, rate_hz: int) -> None:
        self._inner_hz = rate_hz if rate_hz in INNER_RATES_HZ else 16000
        self._resampler = Resampler(rate_hz, self._inner_hz)
        self._framer = Framer(self._inner_hz)
        self._silence_ms = self.wish.silence_ms or self._setting.stream.silence_ms
        self._endpointer = self._setting.endpointer(self._inner_hz, self._silence_ms)

    def hear(self, pcm: bytes) -> None:
        """Take sound at the wished rate, in a piece of any length; half samples too."""
        if self._closing or self.over is not None:
            return
        now_ms = self._setting.clock()
        self.last_audio_ms = self._alive_ms = now_ms
        stream = self._setting.stream
        if len(pcm) > stream.max_chunk_s * self.wish.rate_hz * 2:
            seconds = len(pcm) / self.wish.rate_hz / 2
            self.trouble("audio_too_large", f"a chunk of {seconds:.1f} s; the longest taken is {stream.max_chunk_s} s")
            return
        if not pcm:
            return
        self.totals.took(len(pcm))
        self._sound_until_ms = max(self._sound_until_ms, now_ms) + len(pcm) * 500 // self.wish.rate_hz
        if len(pcm) % 2:
            self.trouble("audio_format_error", f"a chunk of {len(pcm)} bytes: 16-bit samples have an even number")
        for frame in self._framer.feed(self._resampler.feed(self._halves.join(pcm))):
            self._hear_frame(frame)
        self._watch_speed(now_ms)

    def _watch_speed(self, now_ms: int) -> None:
        """Tell a client that is too fast, once until it has been slow again."""
        limit_s = self._setting.stream.max_ahead_s
        ahead_ms = self._ahead_ms(now_ms)
        if ahead_ms > limit_s * 1000 and not self._fast:
            self._fast = True
            self.trouble("too_fast", f"sound is more than {limit_s} s ahead of time; it is read slower now")
        elif ahead_ms < limit_s * 500:
            self._fast = False

    def _hear_frame(self, frame: bytes) -> None:
        ear = self._listening()
        speech = self._endpointer.hear(frame)
        self.totals.heard_ms += 20
        if ear is None:
            self.totals.dropped_ms += 20
            return
        self._unendpointed = True
        ear.recognition.feed(frame)
        if speech is Speech.STARTED:
            ear.recognition.onset()
        elif speech is Speech.STOPPED:
            self._endpoint()

    def _listening(self) -> Ear | None:
        """Return the recognition that listens; a new one if there is none, unless the last has just failed."""
        if self._ears and not (self._traits.one_utterance and self._ears[-1].finals_due):
            return self._ears[-1]
        if self._setting.clock() < self._retry_at_ms:
            return None
        try:
            ear = Ear(self, self._recognizer, self._inner_hz, self.totals.heard_ms)
        except ProviderError as error:
            self._failed(error)
            return None
        self._ears.append(ear)
        ear.recognition.expect(Expected(language=self.wish.language, words=self.wish.words))
        if self._endpointer.speaking:
            ear.recognition.onset()
        return ear

    # --- ends ---

    def finalize(self) -> None:
        """End the utterance now; a final follows, perhaps an empty one."""
        if self._closing or self.over is not None:
            return
        self._alive_ms = self._setting.clock()
        if self._end_utterance() or self._final_due_ms is not None:
            self._asked += 1
        else:
            self._say_final(Transcript("", final=True))

    def _end_utterance(self) -> bool:
        """Hear the rest of a frame, and end what is being said; tell whether a final follows."""
        for frame in self._framer.feed(self._resampler.flush()):
            self._hear_frame(frame)
        if last := self._framer.flush():
            self._hear_frame(last)
        self._endpointer.stop_now()
        if not self._ears or not self._unendpointed:
            return False
        self._endpoint()
        return True

    def end(self, reason: str = "ended") -> None:
        """No more sound comes: tell what is still to be told, then the summary."""
        if self._closing or self.over is not None:
            return
        if self._unendpointed and self._end_utterance() and not self.totals.text:
            # Who has heard nothing yet waits for a final, be it empty.
            self._asked += 1
        self._closing = reason
        if self._final_due_ms is None:
            self._close(reason)

    def _endpoint(self) -> None:
        now_ms = self._setting.clock()
        self._unendpointed = False
        self._endpoint_ms = now_ms
        # What was sent ahead of time takes its time to be understood.
        ahead_ms = max(0, self._ahead_ms(now_ms))
        self._final_due_ms = now_ms + ahead_ms + self._setting.stream.final_s * 1000
        ear = self._ears[-1]
        ear.finals_due += 1
        ear.recognition.endpoint()

    # --- from the recognizer ---

    def understood(self, ear: Ear, transcript: Transcript) -> None:
        """Take a transcript."""
        self._failures, self._waits = 0, False
        now_ms = self._setting.clock()
        transcript = self.totals.in_session_time(transcript, ear.begin_ms)
        if self._final_due_ms is not None:
            # Slow, but at work.
            self._final_due_ms = max(self._final_due_ms, now_ms + self._setting.stream.final_s * 1000)
        if transcript.final:
            self._take_final(ear, transcript, now_ms)
        elif self.wish.interim and not self._asked and not self._closing:
            self.totals.interims += 1
            self._tally.interims += 1
            self._tell(transcript)

    def _take_final(self, ear: Ear, transcript: Transcript, now_ms: int) -> None:
        if ear.finals_due:
            ear.finals_due -= 1
            self._tally.took(now_ms - self._endpoint_ms)
            self.totals.latencies_ms.append(now_ms - self._endpoint_ms)
        if ear is not self._ears[-1] and not ear.finals_due:
            ear.close()
            self._ears.remove(ear)
        answered = not any(each.finals_due for each in self._ears)
        if transcript.text or (self._asked and answered):
            self._say_final(transcript)
        if answered:
            self._asked, self._final_due_ms = 0, None
            if self._closing:
                self._close(self._closing)

    def deafened(self, ear: Ear, error: ProviderError) -> None:
        """Take the failure of a recognition."""
        if ear in self._ears:
            self._ears.remove(ear)
        ear.close()
        self._failed(error)

    def _failed(self, error: ProviderError) -> None:
        if not error.blameless:
            self._failures += 1
            self._tally.failures += 1
            self._retry_at_ms = self._setting.clock() + max(RETRY_MS * self._failures, int(error.retry_after_s * 1000))
            self.trouble("provider_unavailable", f"{self.wish.provider} has failed: {error}")
        if not any(each.finals_due for each in self._ears):
            self._asked, self._final_due_ms = 0, None
            if self._closing:
                self._close("failed")
                return
        if not error.retryable or self._failures >= FAILURES:
            self._close("failed")

    # --- what is told ---

    def trouble(self, code: str, message: str) -> None:
        """Tell the client that something is wrong; of many such messages some are left out."""
        if self.totals.may_complain(self._setting.clock()):
            self._say(Trouble(code, message, self._setting.time_of_day()))

    def _say_final(self, transcript: Transcript) -> None:
        if transcript.text:
            self._tally.finals += 1
        self.totals.final(transcript)
        self._tell(transcript, words=self.wish.words)

    def so_far(self) -> tuple[float, str, float]:
        """Return the time of day, everything that is final, and its mean confidence."""
        return self._setting.time_of_day(), self.totals.text, self.totals.confidence

    def _tell(self, transcript: Transcript, *, words: bool = False) -> None:
        self.language = self.wish.named(transcript.language)
        self._say(Heard(transcript, self.language, *self.so_far(), words=words))

    def _say(self, event: Event) -> None:
        self._outbox.put(event, self._setting.clock())

    # --- readers ---

    def attach(self, reader: Reader, after: int | None = None) -> None:
        """Let somebody read, who is told first what was missed: what came after event `after`, if it says so."""
        self._detached_ms = None
        self._outbox.attach(reader, after, self._alive_ms)

    def detach(self, reader: Reader) -> None:
        """Take note that the reader has lost its connection; within `resume_s` it may come back."""
        if self._outbox.detach(reader):
            self._detached_ms = self._setting.clock()

    def flush(self) -> None:
        """Send what waited for the reader."""
        self._outbox.flush()

    @property
    def renewing(self) -> bool:
        """Whether its sound waits for a new stream of the provider's."""
        return bool(self._ears) and self._ears[-1].renewing

    @property
    def deserted(self) -> bool:
        """Whether nobody reads, so that another client may take the room."""
        patience_ms = 0 if self.attended else self._setting.stream.resume_s * 1000
        return self._detached_ms is not None and self._setting.clock() - self.last_audio_ms >= patience_ms

    @property
    def lost_events(self) -> int:
        """Count what can no longer be told to whoever resumes."""
        return self._outbox.lost

    @property
    def congested(self) -> bool:
        """Whether to take no more from the client for now: it is too fast, or does not read."""
        ahead_ms = self._ahead_ms(self._setting.clock())
        return ahead_ms > self._setting.stream.max_ahead_s * 1000 or self._outbox.waiting > WAITING_EVENTS

    def _ahead_ms(self, now_ms: int) -> int:
        return self.totals.heard_ms - (now_ms - self._began_ms)

    # --- time ---

    def sweep(self, now_ms: int) -> None:
        """Let a second pass."""
        stream = self._setting.stream
        self._outbox.flush()
        if self.over is not None:
            return
        self._tell_of_trouble()
        # Silence between two bursts is no credit for the next one.
        self._began_ms = max(self._began_ms, now_ms - self.totals.heard_ms - 1000)
        if self._final_due_ms is not None and now_ms >= self._final_due_ms and not self._excused(now_ms):
            self._no_final()
        elif self._has_fallen_silent(now_ms):
            self._end_utterance()
        elif now_ms - self.last_audio_ms >= stream.idle_s * 1000:
            self.trouble("session_expired", f"no sound for {stream.idle_s} s")
            self._close("expired")
        elif self.attended and self._detached_ms is not None and now_ms - self._detached_ms >= stream.resume_s * 1000:
            self._close("abandoned")

    def _tell_of_trouble(self) -> None:
        """Tell once that the recognizer is away, long before it is given up."""
        if self._waits:
            return
        trouble = next(filter(None, (ear.trouble for ear in self._ears)), "")
        full: str = getattr(self._recognizer, "full", "") if self._final_due_ms is not None else ""
        if trouble or full:
            self._waits = True
            code, does = ("provider_unavailable", "fails") if trouble else ("server_full", "is behind")
            self.trouble(code, f"{self.wish.provider} {does}: {trouble or full}; your sound is kept for it")

    def _has_fallen_silent(self, now_ms: int) -> bool:
        """Tell whether a client that is there has stopped sending in mid-word; one that is away may go on with it."""
        here = self._detached_ms is None or not self.attended
        return here and self._endpointer.speaking and now_ms >= self._sound_until_ms + self._silence_ms + STALL_MS

    def _excused(self, now_ms: int) -> bool:
        """Tell whether a final is late because its sound waits for a provider, which is given up in its own time."""
        excused = any(ear.renewing for ear in self._ears)
        if excused:
            self._final_due_ms = now_ms + self._setting.stream.final_s * 1000
        return excused

    def _no_final(self) -> None:
        self._tally.timeouts += 1
        seconds = self._setting.stream.final_s
        self.trouble("transcription_timeout", f"{self.wish.provider} gave no final transcript within {seconds} s")
        for ear in self._ears:
            ear.finals_due = 0
        for ear in self._ears[:-1]:
            ear.close()
        del self._ears[:-1]
        self._asked, self._final_due_ms = 0, None
        if self._closing:
            self._close("failed")

    def close(self, reason: str) -> None:
        """End the session at once."""
        if self.over is None:
            self._close(reason)

    def _close(self, reason: str) -> None:
        """Say goodbye; nothing is said after it."""
        for ear in self._ears:
            # A recognition over streams that are renewed counts what became of them.
            if (tally := getattr(ear.recognition, "tally", None)) is not None:
                self.totals.continuity.update(tally.read())
            ear.close()
        self._ears.clear()
        summary = self.totals.summary(reason, self._setting.time_of_day(), self._setting.clock() - self.last_audio_ms)
        self.over = Over(reason, summary)
        self._say(self.over)
        self._setting.keep_summary(summary)
        self._gone(self)
