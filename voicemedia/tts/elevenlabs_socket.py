"""Voice `elevenlabs_socket`: ElevenLabs over WebSockets that stay open, a sentence a context.

No connection has to be made for a sentence, the service tells when each character sounds, and a caller who interrupts
closes the context.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

from msgspec import Meta
from twisted.internet.defer import Deferred, succeed

from voicemedia.interfaces import Synthesizer
from voicemedia.tts.account import LONGEST_SENTENCE, Retrying
from voicemedia.tts.cache import CachedVoice
from voicemedia.tts.elevenlabs import ElevenLabsAccount
from voicemedia.tts.elevenlabs_session import Sentence, Session
from voicemedia.tts.http_voice import identity_of

MOST_CONTEXTS: Final = 5
"Of one connection, as the service allows."


class Options(ElevenLabsAccount, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    inactivity_s: Annotated[int, Meta(ge=20, le=180)] = 180
    "The service closes a connection unused for so long, in seconds."


def missing(options: Options) -> str:
    """Say whether the key is absent."""
    return options.missing()


def make(options: Options, reactor: Any) -> Synthesizer:
    """Make the voice."""
    voice = ElevenLabsSocket(options, reactor)
    cache = options.cache(reactor)
    return CachedVoice(voice, cache, identity_of(voice.name, options)) if cache else voice


class ElevenLabsSocket:
    """Holds the connections of all callers."""

    name = "elevenlabs_socket"

    def __init__(self, options: Options, reactor: Any) -> None:
        self._options, self._reactor = options, reactor
        self._retrying = Retrying(reactor, options.patience_s)
        self._headers: dict[str, str] = {}
        self.sessions: dict[str, list[Session]] = {}
        "Connections by address: calls of another rate want another format."

    @property
    def trouble(self) -> str:
        """Why it cannot speak now."""
        return self._retrying.trouble

    def start(self) -> Deferred[None]:
        """Read the key; connections open when there is something to say."""
        key = self._options.key()
        self._headers = {"xi-api-key": key} if key else {}
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Close the connections."""
        for sessions in self.sessions.values():
            for session in tuple(sessions):
                session.close()
        self.sessions.clear()
        return succeed(None)

    def speak(
        self, text: str, rate_hz: int, put: Callable[[bytes], None], word: Callable[[int, int], None]
    ) -> Deferred[None]:
        """Speak one sentence."""
        return Deferred.fromCoroutine(self._speak(text[:LONGEST_SENTENCE], rate_hz, put, word))

    async def _speak(
        self, text: str, rate_hz: int, put: Callable[[bytes], None], word: Callable[[int, int], None]
    ) -> None:
        sentence = Sentence(text, rate_hz, put, word)

        def attempt() -> Deferred[None]:
            return self._session(rate_hz).say(sentence)

        await self._retrying.ask(attempt, lambda: sentence.given_ms > 0)

    def _session(self, rate_hz: int) -> Session:
        """Find a connection with room for one more context, or open one."""
        options = self._options
        query = {
            "model_id": options.model,
            **options.query(rate_hz),
            "auto_mode": "true",
            "inactivity_timeout": str(options.inactivity_s),
        }
        if options.language:
            query["language_code"] = options.language.split("-")[0]
        url = "ws" + options.address("multi-stream-input", query).removeprefix("http")
        sessions = self.sessions.setdefault(url, [])
        for session in sessions:
            if len(session.contexts) < MOST_CONTEXTS:
                return session
        session = Session(self._reactor, options.settings(), options.timeout_s, sessions.remove)
        sessions.append(session)
        session.open(url, self._headers)
        return session
