"""Which sound goes to which stream, so that every word is heard once. Free of I/O and clocks.

A caller's sound is a row of stretches, each from one endpoint to the next. A stretch keeps its sound from the end
of its last final on. A stream, one recognition of a provider, works on one stretch or on several in a row. When a
stream fails, stalls or grows too old, its stretches go to another with all the sound they still have: no final
covers that sound, so nothing is said twice, and it is all there, so nothing is lost. While an old stream finishes
its stretch a new one hears what comes: finals are said in the order of the stretches.
"""

from collections import deque
from dataclasses import replace
from typing import Final

from voicemedia.errors import ProviderError
from voicemedia.interfaces import FRAME_MS, Transcript
from voicemedia.stt.stretches import MARGIN_MS, NOTHING, Patience, Speech, Stream, Streams, Stretch, Tally, joined

UNREACHED: Final = "unavailable"
"Code of the error when a provider's server is not there: it has heard nothing of the sound."
TOLD_MS: Final = 3000
"Trouble that lasts as long is worth a word; a failure so long ago, that no other has followed, is none any more."
DOUBLINGS: Final = 3
"So often the wait for a final grows."
STEADY_MS: Final = 5000
"A stream that lived this long was no failure to begin with."


class Continuity:
    """One caller's recognition over any number of streams."""

    def __init__(self, rate_hz: int, patience: Patience, streams: Streams) -> None:
        self._rate_hz = rate_hz
        self._frame = rate_hz * FRAME_MS // 1000
        self._patience = patience
        self._out = streams
        self._row = deque([Stretch(0, rate_hz)])
        self._streams: dict[int, Stream] = {}
        self._opened = 0
        self._end = 0
        "Samples so far."
        self._speech = Speech(rate_hz)
        self._onset_ms = 0.0
        self._failures = self._unheard = 0
        "Streams that failed, and that fell silent, in a row."
        self._retry_at_ms = self._failed_at_ms = 0.0
        self._troubled_since_ms: float | None = None
        "Since when no provider is to be had, or none that lives."
        self._last_error = ProviderError("no recognizer can be reached")
        self.over = False
        self.tally = Tally()

    @property
    def idle(self) -> bool:
        """Whether no final is owed."""
        return len(self._row) == 1

    @property
    def waiting(self) -> bool:
        """Whether there is sound that no stream has."""
        return any(self._unserved(each) for each in self._row)

    def trouble(self, now_ms: float) -> str:
        """Say why nobody has been heard for a while, if there is something to hear; empty: somebody is."""
        failing = self.waiting or now_ms - self._failed_at_ms < TOLD_MS
        return str(self._last_error) if failing and now_ms - (self._troubled_since_ms or now_ms) >= TOLD_MS else ""

    # --- what the owner says ---

    def feed(self, pcm: bytes) -> bool:
        """Take whole frames of the caller; return whether somebody has to be found who hears them (`serve`)."""
        tail = self._row[-1]
        tail.ring.add(pcm)
        samples = len(pcm) // 2
        self._end += samples
        stream = tail.stream
        if stream is None:
            return True
        if not stream.held:
            stream.sent = self._end
            stream.fed += samples
            self._out.feed(stream.number, pcm)
        return False

    def onset(self, now_ms: float) -> None:
        """The caller has begun to speak."""
        self._speech.begin(self._end)
        self._onset_ms = now_ms
        tail = self._row[-1]
        if tail.onset is None:
            tail.onset = self._end
            if tail.stream is not None and not tail.stream.held:
                self._tell_onset(tail.stream)

    def endpoint(self, now_ms: float) -> None:
        """The utterance is over: exactly one final is owed for it."""
        self._speech.end(self._end)
        self._close_tail(now_ms)
        self.serve(now_ms)

    def close(self) -> None:
        """Let go of everything."""
        self.over = True
        for stream in tuple(self._streams.values()):
            self._drop(stream, None)
            # They refer to one another, and the garbage collector seldom comes to find it out.
            stream.stretches.clear()

    # --- what the streams say ---

    def heard(self, number: int, transcript: Transcript, now_ms: float) -> None:
        """Take a transcript of a stream, with its own times."""
        stream = self._streams.get(number)
        if stream is None or not stream.stretches:
            return
        stream.heard_ms = now_ms
        stream.billed_s = max(stream.billed_s, transcript.billed_s)
        self._failures, self._unheard, self._troubled_since_ms = 0, 0, None
        transcript = stream.on_our_clock(transcript)
        if transcript.final:
            self._final(stream, transcript, now_ms)
            return
        stream.stretches[0].guess = transcript
        if stream.stretches[0] is self._row[0]:
            self.tally.interims += 1
            self._out.say(transcript)

    def _final(self, stream: Stream, transcript: Transcript, now_ms: float) -> None:
        stretch = stream.stretches[0]
        stretch.guess = NOTHING
        if stretch.closed_ms is not None and transcript.closes:
            return self._done(stream, stretch, transcript, now_ms - stretch.closed_ms)
        sample = transcript.end_ms * self._rate_hz // 1000
        stretch.ring.forget(self._aligned(sample))
        stretch.tries = 0
        if stretch.closed_ms is not None:
            return stretch.parts.append(transcript)
        stretch.finals.append(transcript)
        self._flush()
        if stream.traits.renew_s and now_ms - stream.opened_ms >= stream.traits.renew_s * 1000:
            self._replace(stream, None, now_ms)

    def _done(self, stream: Stream, stretch: Stretch, closing: Transcript, took_ms: float) -> None:
        stretch.closing = closing
        self.tally.final_ms.append(took_ms)
        stream.stretches.popleft()
        stretch.stream = None
        if not stream.stretches:
            self._drop(stream, None)
        self._flush()

    def failed(self, number: int, why: ProviderError, now_ms: float) -> None:
        """A stream is dead."""
        if (stream := self._streams.get(number)) is not None:
            self._replace(stream, why, now_ms)

    # --- time ---

    def tick(self, now_ms: float) -> None:
        """Let time pass; some four times a second."""
        for stream in tuple(self._streams.values()):
            if not self.over and stream.number in self._streams:
                self._watch(stream, now_ms)
        if not self.over:
            self.serve(now_ms)
            self._bound(self._row[-1])

    def _watch(self, stream: Stream, now_ms: float) -> None:
        if why := self._stalled(stream, now_ms) or self._too_slow(stream):
            return self._replace(stream, why, now_ms)
        traits, age_s = stream.traits, (now_ms - stream.opened_ms) / 1000
        tail = self._row[-1]
        if tail.stream is not stream or not traits.renew_from_s or age_s < traits.renew_from_s:
            return
        # In a pause only a second of silence, and a word voice detection has not noticed yet, is heard again.
        pause = self._speech.known and not self._speech.on and not tail.guess.text and stream.stretches[0] is tail
        if pause or age_s >= traits.renew_forced_s:
            self._replace(stream, None, now_ms)

    def _stalled(self, stream: Stream, now_ms: float) -> ProviderError | None:
        patience, first, blameless = self._patience, stream.stretches[0], False
        if first.closed_ms is not None:
            waiting_ms = now_ms - max(first.closed_ms, stream.opened_ms, stream.heard_ms)
            # Whoever decodes here, at some times real time, needs longer for long utterances.
            limit_ms = patience.final_ms + (first.ring.end - first.ring.start) * 250 // self._rate_hz
            # Who is asked again because it was slow does the same work once more: it will not be faster.
            limit_ms <<= min(first.tries, DOUBLINGS)
        elif stream.traits.interims and self._speech.on:
            # It may be noise, of which there is nothing to say: asked again later and later, and nobody is blamed.
            waiting_ms = now_ms - max(self._onset_ms, stream.heard_ms)
            limit_ms, blameless = patience.stall_ms << min(self._unheard, 5), True
        else:
            return None
        if waiting_ms < limit_ms:
            return None
        self._unheard += 1
        return ProviderError(f"silent for {waiting_ms:.0f} ms", blameless=blameless, code="stalled")

    def _too_slow(self, stream: Stream) -> ProviderError | None:
        stream.held = self._out.backlog_ms(stream.number) > self._patience.hold_ms
        waiting = stream.stretches[-1]
        if not stream.held:
            if stream.sent < waiting.ring.end:
                self._send_rest(stream, waiting)
            return None
        parts = self._speech.within(stream.sent, waiting.ring.end)
        waiting_ms = sum(end - start for start, end in parts) * 1000 // self._rate_hz
        if waiting_ms < self._patience.backlog_ms:
            return None
        return ProviderError(f"{waiting_ms} ms of speech behind", code="slow")

    # --- streams and their stretches ---

    def _close_tail(self, now_ms: float) -> None:
        tail, fresh = self._row[-1], Stretch(self._end, self._rate_hz)
        tail.closed_ms = now_ms
        self._row.append(fresh)
        stream = tail.stream
        if stream is None:
            self._orphan(tail)
            return self._flush()
        self._send_rest(stream, tail)
        self._out.endpoint(stream.number)
        if not stream.traits.one_utterance and not self._out.better(stream.number):
            self._give(stream, fresh)

    def serve(self, now_ms: float) -> None:
        """Give every stretch a stream, if there are any."""
        if self.over or now_ms < self._retry_at_ms:
            return
        last: Stream | None = None
        for stretch in tuple(self._row):
            if self._unserved(stretch):
                if last is None or last.traits.one_utterance or last.number not in self._streams:
                    last = self._open(stretch, now_ms)
                if last is None:
                    return
                self._give(last, stretch)
            else:
                last = None

    def _unserved(self, stretch: Stretch) -> bool:
        return stretch.stream is None and stretch.closing is None and stretch.ring.start < stretch.ring.end

    def _open(self, stretch: Stretch, now_ms: float) -> Stream | None:
        self._opened += 1
        start = stretch.ring.start
        stream = Stream(self._opened, self._rate_hz, now_ms, base=start, sent=start, heard_ms=now_ms)
        try:
            traits = self._out.open(stream.number)
        except ProviderError as error:
            self._give_up(error)
            return None
        if traits is None:
            self._alone(now_ms)
            return None
        stream.traits = traits
        self._streams[stream.number] = stream
        return stream

    def _alone(self, now_ms: float) -> None:
        self._retry_at_ms = now_ms + self._patience.retry_ms
        if self._troubled_ms(now_ms) >= self._patience.give_up_ms:
            self._give_up(self._last_error)

    def _troubled_ms(self, now_ms: float) -> float:
        if self._troubled_since_ms is None:
            self._troubled_since_ms = now_ms
        return now_ms - self._troubled_since_ms

    def _give(self, stream: Stream, stretch: Stretch) -> None:
        """Let a stream work on a stretch, from what no final covers on."""
        stretch.stream = stream
        stream.stretches.append(stretch)
        stream.told_onset = False
        stream.skip_to(stretch.ring.start)
        self.tally.replayed_ms += (stretch.ring.end - stream.sent) * 1000 // self._rate_hz
        self._send(stream, stretch, stretch.ring.end)
        if stretch.closed_ms is not None:
            self._out.endpoint(stream.number)

    def _send_rest(self, stream: Stream, stretch: Stretch) -> None:
        """Send what was held back, without most of its silence."""
        margin = self._rate_hz * MARGIN_MS // 1000
        for start, end in self._speech.within(stream.sent, stretch.ring.end):
            skipped = stream.skip_to(self._aligned(start)) if start - stream.sent > margin else 0
            self.tally.dropped_ms += skipped * 1000 // self._rate_hz
            self._send(stream, stretch, end)
        if stretch.ring.end - stream.sent > margin:
            self.tally.dropped_ms += stream.skip_to(stretch.ring.end) * 1000 // self._rate_hz
        self._send(stream, stretch, stretch.ring.end)

    def _send(self, stream: Stream, stretch: Stretch, up_to: int) -> None:
        stream.skip_to(stretch.ring.start)
        while stream.sent < up_to:
            if stretch.onset is not None and stretch.onset <= stream.sent:
                self._tell_onset(stream)
            pcm = stretch.ring.cut(stream.sent, stream.sent + self._frame)
            stream.sent += len(pcm) // 2
            stream.fed += len(pcm) // 2
            self._out.feed(stream.number, pcm)
        if stretch.onset is not None and stretch.onset <= stream.sent:
            self._tell_onset(stream)

    def _tell_onset(self, stream: Stream) -> None:
        if not stream.told_onset:
            stream.told_onset = True
            self._out.onset(stream.number)

    def _replace(self, stream: Stream, why: ProviderError | None, now_ms: float) -> None:
        """Take a stream's stretches away from it and give them to another."""
        self._drop(stream, why)
        if now_ms - stream.opened_ms >= STEADY_MS:
            self._failures, self._troubled_since_ms = 0, None
        for stretch in stream.stretches:
            self._orphan(stretch, tried=why is None or why.code != UNREACHED)
        if why is None:
            self.tally.renewals += 1
        else:
            self.tally.recoveries += 1
            self._note_failure(why, now_ms)
        self._flush()
        self.serve(now_ms)

    def _orphan(self, stretch: Stretch, *, tried: bool = True) -> None:
        stretch.stream = None
        self.tally.lost_ms += stretch.forgotten * 1000 // self._rate_hz
        stretch.forgotten = 0
        stretch.tries += tried
        # Sound that no stream survives, or that is a guess for ever, is not sent again without end.
        tired = stretch.tries > self._patience.tries
        if tired and self._settle(stretch):
            return
        if stretch.closed_ms is not None and (tired or stretch.ring.start == stretch.ring.end):
            stretch.closing = replace(stretch.guess, final=True)

    def _settle(self, stretch: Stretch) -> bool:
        """Take the guess for final and go on behind it; return whether there is a guess, and sound behind it.

        A provider whose streams live too short for a final gets through a long utterance in this way.
        """
        guess, end = stretch.guess, self._aligned(stretch.guess.end_ms * self._rate_hz // 1000)
        if not guess.text or not stretch.ring.start < end < stretch.ring.end:
            return False
        part = replace(guess, final=True, closes=False)
        (stretch.finals if stretch.closed_ms is None else stretch.parts).append(part)
        stretch.ring.forget(end)
        stretch.guess, stretch.tries = NOTHING, 0
        return True

    def _note_failure(self, why: ProviderError, now_ms: float) -> None:
        self._last_error, self._failed_at_ms = why, now_ms
        self._failures += 1
        troubled_ms = self._troubled_ms(now_ms)
        if self._failures > 1:
            self._retry_at_ms = now_ms + min(2000, self._patience.retry_ms << (self._failures - 2))
        if self._failures >= self._patience.failures and troubled_ms >= self._patience.give_up_ms:
            self._give_up(why)

    def _drop(self, stream: Stream, why: ProviderError | None) -> None:
        if self._streams.pop(stream.number, None) is not None:
            self._out.drop(stream, why)

    def _give_up(self, why: ProviderError) -> None:
        if not self.over:
            self.close()
            self._out.give_up(why)

    # --- the row ---

    def _flush(self) -> None:
        """Say what is known, in the order of the stretches."""
        while self._row:
            head = self._row[0]
            finals, head.finals = head.finals, []
            for transcript in finals:
                self._say(transcript)
            if head.closing is None:
                return
            self._row.popleft()
            self._say(joined(head.parts, head.closing))

    def _say(self, transcript: Transcript) -> None:
        self.tally.finals += 1
        self._out.say(transcript)

    def _bound(self, tail: Stretch) -> None:
        """Forget silence nobody has to hear again, and what is too old in any case."""
        length = tail.ring.end - tail.ring.start
        if self._speech.known and tail.onset is None and not tail.guess.text and tail.stream is not None:
            keep = self._rate_hz
            if length > 2 * keep:
                tail.ring.forget(self._aligned(min(tail.ring.end - keep, tail.stream.sent)))
        elif length * 1000 > self._patience.ring_ms * self._rate_hz:
            tail.forgotten += tail.ring.forget(
                self._aligned(tail.ring.end - self._patience.ring_ms * self._rate_hz // 1000)
            )

    def _aligned(self, sample: int) -> int:
        """Give the beginning of the frame a sample is in: sound is replayed in whole frames."""
        return sample - sample % self._frame
