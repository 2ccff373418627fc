"""What one session adds up to: its text, its confidence, its summary."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from voicemedia.account import Account, together
from voicemedia.interfaces import Transcript
from voicemedia.transcribing.events import Wish
from voicemedia.transcribing.tally import percentiles

COMPLAINTS: Final = 20
"So many error messages in a row; then one a second."
RESULTS: Final = 1000
"Finals the summary lists; the full transcript has all of them."


class Totals:
    """Counts and text of one session."""

    def __init__(self, key: str, wish: Wish, created_s: float, usd_per_hour: float) -> None:
        self.wish = wish
        self._key, self._created_s, self._usd_per_hour = key, created_s, usd_per_hour
        self.heard_ms = 0
        self.dropped_ms = 0
        "Sound nobody listened to, because the recognizer had failed."
        self.concealed_ms = 0
        "Sound made up, because what a gateway sent did not come."
        self.interims = 0
        self.latencies_ms: list[float] = []
        self.accounts: list[Account] = []
        "Of recognitions that keep one and have ended."
        self.continuity: Counter[str] = Counter()
        "Of recognitions that have ended: how often streams were replaced, and the sound that cost, in ms."
        self._chunks = self._bytes = 0
        self.text = ""
        "Everything that is final."
        self.last_final_text = ""
        self.confidence = 0.0
        "Mean of the finals that have one."
        self._confident = self._said = 0
        self._finals: list[Transcript] = []
        self._complaints_left = float(COMPLAINTS)
        self._complained_ms = 0
        self.complaints = 0

    def took(self, size: int) -> None:
        """Count a chunk."""
        self._chunks += 1
        self._bytes += size

    def final(self, transcript: Transcript) -> None:
        """Count a final."""
        if not transcript.text:
            return
        self._said += 1
        self.last_final_text = transcript.text
        self.text = f"{self.text} {transcript.text}" if self.text else transcript.text
        if transcript.confidence > 0:
            self._confident += 1
            self.confidence += (transcript.confidence - self.confidence) / self._confident
        if len(self._finals) < RESULTS:
            self._finals.append(transcript)

    def in_session_time(self, transcript: Transcript, begin_ms: int) -> Transcript:
        """Count a transcript's times from the beginning of the session."""
        if not begin_ms:
            return transcript
        words = tuple(
            replace(word, start_ms=word.start_ms + begin_ms, end_ms=word.end_ms + begin_ms) for word in transcript.words
        )
        end_ms = transcript.end_ms and transcript.end_ms + begin_ms
        return replace(transcript, start_ms=transcript.start_ms + begin_ms, end_ms=end_ms, words=words)

    @property
    def cost_usd(self) -> float:
        """What the provider takes for the sound, by the configured price."""
        return together(self.accounts).usd if self.accounts else self.heard_ms / 1000 / 3600 * self._usd_per_hour

    def may_complain(self, now_ms: int) -> bool:
        """Tell whether one more error message may be sent."""
        self.complaints += 1
        refill = max(0, now_ms - self._complained_ms) / 1000
        self._complained_ms = now_ms
        self._complaints_left = min(COMPLAINTS, self._complaints_left + refill)
        if self._complaints_left < 1:
            return False
        self._complaints_left -= 1
        return True

    def summary(self, reason: str, now_s: float, since_audio_ms: int) -> dict[str, Any]:
        """Tell the whole session."""
        return {
            "session": {
                "session_id": self._key,
                "created_at": datetime.fromtimestamp(self._created_s, UTC).isoformat(),
                "duration": round(now_s - self._created_s, 3),
                "status": "error" if reason == "failed" else "closed",
                "reason": reason,
                "provider": self.wish.provider,
                "language": self.wish.language,
                "sample_rate": self.wish.rate_hz,
                "renewal_count": self.continuity["renewals"],
                "total_chunks_sent": self._chunks,
                "total_bytes_sent": self._bytes,
                "time_since_last_audio": round(since_audio_ms / 1000, 3),
            },
            "results": {
                "total_final_results": self._said,
                "total_interim_results": self.interims,
                "full_transcript": self.text,
                "average_confidence": round(self.confidence, 4),
                "results": [
                    {
                        "text": each.text,
                        "confidence": each.confidence,
                        "start_ms": each.start_ms,
                        "end_ms": each.end_ms,
                    }
                    for each in self._finals
                ],
            },
            "audio_metrics": {
                "audio_s": round(self.heard_ms / 1000, 3),
                "dropped_s": round(self.dropped_ms / 1000, 3),
                "concealed_s": round(self.concealed_ms / 1000, 3),
                "recoveries": self.continuity["recoveries"],
                "replayed_s": round(self.continuity["replayed_ms"] / 1000, 3),
                "skipped_silence_s": round(self.continuity["dropped_ms"] / 1000, 3),
                "lost_s": round(self.continuity["lost_ms"] / 1000, 3),
                "errors": self.complaints,
                "latency_ms": percentiles(self.latencies_ms),
                "cost_usd": round(self.cost_usd, 6),
                "costs": together(self.accounts).read(),
            },
        }
