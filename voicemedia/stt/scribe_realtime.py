"""Recognizer `scribe_realtime`: ElevenLabs' Scribe over its WebSocket, one session a caller.

With `commit = "manual"` only speech is sent, and our endpointing says where an utterance ends. With `"vad"` all
sound is sent and theirs does; our endpoint then waits for their final.
"""

import random
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from msgspec import Meta
from twisted.internet.defer import Deferred, succeed

from voicemedia.interfaces import Hearing, Recognition, Recognizer, Traits
from voicemedia.stt.scribe import Account
from voicemedia.stt.scribe_session import Manners, ScribeSession
from voicemedia.stt.scribe_wire import realtime_url
from voicemedia.stt.spoken import SCRIBE, first
from voicemedia.web.backoff import Backoff
from voicemedia.web.trouble import Trouble
from voicemedia.web.websocket_client import Link, Talk, open_websocket

VAD_GRACE_S: Final = 1.5


class Options(Account, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    model: str = "scribe_v2_realtime"
    commit: Literal["manual", "vad"] = "manual"
    "Who says where an utterance ends: our endpointing, or the service."
    mulaw: bool = True
    "Send 8 kHz sound as mu-law: half the bytes, and nothing lost that the carrier had not lost before."
    word_times: bool = True
    "Ask for the times and doubts of words."
    keyterms: tuple[str, ...] = ()
    "Words and names to prefer."
    vad_silence_s: Annotated[float, Meta(ge=0.3, le=3)] = 0.6
    "Silence after which the service ends an utterance, with `vad`."
    vad_threshold: Annotated[float, Meta(ge=0.1, le=0.9)] = 0.4
    "How sure the service must be of speech, with `vad`."
    chunk_ms: Annotated[int, Meta(ge=20, le=1000)] = 100
    "Sound in one message."
    answer_s: Annotated[float, Meta(gt=0)] = 5.0
    "How long a final may take before the recognition fails, in seconds."


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    return options.missing()


def make(options: Options, reactor: Any) -> Recognizer:
    """Make the recognizer."""
    return ScribeRealtimeRecognizer(options, reactor, random.random)


class ScribeRealtimeRecognizer:
    """Opens a session for every caller.

    :param random: for the jitter of waits after refusals, 0 to 1.
    """

    name = "scribe_realtime"

    def __init__(self, options: Options, reactor: Any, random: Callable[[], float]) -> None:
        self._options = options
        self._reactor = reactor
        self._news = Trouble(reactor.seconds)
        self._backoff = Backoff(random)
        self._headers: dict[str, str] = {}
        self._sessions: set[ScribeSession] = set()
        self.traits = Traits(usd_per_hour=options.usd_per_hour)
        self.languages = first(options.language, SCRIBE)

    @property
    def trouble(self) -> str:
        """Why it cannot serve: what went wrong a short while ago; empty: it may be tried."""
        return self._news.text

    def start(self) -> Deferred[None]:
        """Read the key."""
        key = self._options.key()
        self._headers = {"xi-api-key": key} if key else {}
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Close the sessions that are still open."""
        for session in list(self._sessions):
            session.close()
        return succeed(None)

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller; the session is opened at once."""
        options = self._options
        automatic = options.commit == "vad"
        manners = Manners(
            caller_hz=rate_hz,
            compressed=options.mulaw,
            automatic=automatic,
            timed=options.word_times,
            chunk_ms=options.chunk_ms,
            # Their detector has heard the same silence as ours by then, or no speech at all.
            answer_s=min(options.answer_s, options.vad_silence_s + VAD_GRACE_S) if automatic else options.answer_s,
            patience_s=options.patience_s,
        )
        url = realtime_url(options.base_url, self._query(manners))

        def connect(talk: Talk) -> Deferred[Link]:
            return open_websocket(self._reactor, url, self._headers, talk)

        session = ScribeSession(self._reactor, manners, connect, self._backoff, hearing)
        session.news = self._news
        session.on_close = lambda: self._sessions.discard(session)
        self._sessions.add(session)
        session.begin()
        return session

    def _query(self, manners: Manners) -> list[tuple[str, str]]:
        options = self._options
        query = [
            ("model_id", options.model),
            ("audio_format", manners.audio_format),
            ("commit_strategy", options.commit),
            ("include_timestamps", "true" if options.word_times else "false"),
        ]
        if options.commit == "vad":
            query.append(("vad_silence_threshold_secs", f"{options.vad_silence_s:g}"))
            query.append(("vad_threshold", f"{options.vad_threshold:g}"))
        if options.language:
            query.append(("language_code", options.language.split("-")[0]))
        return query + [("keyterms", term) for term in options.keyterms]
