"""Recognizer `google`: Cloud Speech-to-Text V2, one stream an utterance, all streams on the asyncio thread.

A recognition here is over with its first endpoint, as a stream of Google's is; `renewing` strings them together.
Google's packages are imported when the recognizer starts: whoever does not use it does not need them.
"""

import importlib.util
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from voicemedia.audio.g711 import encode_mulaw_once
from voicemedia.config import secret
from voicemedia.errors import ConfigError, ProviderError
from voicemedia.interfaces import Expected, Hearing, Recognition, Recognizer, Traits, Transcript
from voicemedia.stt.google_options import Options
from voicemedia.stt.stretches import joined
from voicemedia.threads import LoopThread, loop_thread

if TYPE_CHECKING:
    from voicemedia.stt.google_stream import Channels

__all__ = ["GoogleRecognizer", "Options", "make", "missing"]

EVENTS: Final = 16
PACKAGES = {"grpc": "grpcio", "google.cloud.speech_v2": "google-cloud-speech"}


def missing(options: Options) -> str:
    """Say what is not installed or configured."""
    for module, package in PACKAGES.items():
        if not _is_there(module):
            return f"{package} is not installed: pip install 'voicemedia[google]'"
    if unset := options.unset():
        return unset
    if options.api_key_env:
        try:
            secret(options.api_key_env, "api_key_env")
        except ConfigError as error:
            return str(error)
    return ""


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def make(options: Options, reactor: Any) -> Recognizer:
    """Make the recognizer; its thread and channels come with `start`."""
    return GoogleRecognizer(options, loop_thread(reactor))


class GoogleRecognizer:
    """Google's recognizer, for any number of callers."""

    name = "google"

    def __init__(self, options: Options, thread: LoopThread) -> None:
        self.options = options
        self.thread = thread
        self.trouble = "not started"
        self.languages = options.spoken
        self.channels: Channels | None = None
        self.traits = Traits(
            one_utterance=True,
            interims=options.interims,
            renew_from_s=options.renew_from_s,
            renew_s=options.renew_s,
            renew_forced_s=options.renew_forced_s,
            usd_per_hour=options.usd_per_hour,
            chunk_ms=options.chunk_ms,
        )

    def start(self) -> Deferred[None]:
        """Start the thread and look for credentials.

        :raises ProviderError: there are none.
        """
        from voicemedia.stt.google_stream import Channels

        key = secret(self.options.api_key_env, "api_key_env").reveal() if self.options.api_key_env else ""
        self.thread.hold()
        self.channels = Channels(self.options, key)
        return self.thread.ask(self.channels.prepare).addCallbacks(self._ready, self._unready)

    def _ready(self, _result: None) -> None:
        self.trouble = ""

    def _unready(self, failure: Failure) -> Failure:
        self.trouble = failure.getErrorMessage()
        return failure

    def stop(self) -> Deferred[None]:
        """Close the connections and let the thread go."""
        if self.channels is None:
            return succeed(None)
        channels, self.channels = self.channels, None
        self.trouble = "stopped"
        return self.thread.ask(channels.close).addBoth(lambda _result: self.thread.release())

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Listen to one utterance.

        :raises ProviderError: the recognizer has not started.
        """
        if self.channels is None or self.trouble:
            raise ProviderError(self.trouble, retryable=self.trouble == "not started", code="unready")
        return GoogleRecognition(self, self.channels, rate_hz, hearing)


class Nobody:
    """Is told what a stream says that nobody listens to any more."""

    def responded(self, transcripts: list[Transcript], events: list[tuple[str, int]], billed_s: float) -> None:
        """Take no response."""

    def ended(self, error: ProviderError | None) -> None:
        """Take no end."""


NOBODY: Final = Nobody()


class GoogleRecognition:
    """One utterance of one caller; the stream opens with the first sound."""

    __slots__ = (
        "_begun",
        "_chunk",
        "_chunk_bytes",
        "_expected",
        "_finals",
        "_finishing",
        "_guessed",
        "_hearing",
        "_most_bytes",
        "_mulaw",
        "_rate_hz",
        "_recognizer",
        "_sent",
        "_stream",
        "_thread",
        "billed_s",
        "events",
    )

    def __init__(self, recognizer: GoogleRecognizer, channels: "Channels", rate_hz: int, hearing: Hearing) -> None:
        from voicemedia.stt.google_stream import MAX_AUDIO_BYTES, GoogleStream

        options = recognizer.options
        self._recognizer = recognizer
        self._thread = recognizer.thread
        self._rate_hz = rate_hz
        self._hearing: Hearing | None = hearing
        self._mulaw = options.encoding_at(rate_hz) == "mulaw"
        self._most_bytes = MAX_AUDIO_BYTES * (2 if self._mulaw else 1)
        self._chunk_bytes = min(options.chunk_ms * rate_hz // 500, self._most_bytes)
        self._chunk = bytearray()
        self._sent = 0
        self._expected = Expected()
        self._finals: list[Transcript] = []
        "Given since the endpoint, when just one is due."
        self._begun = self._finishing = False
        self._guessed = False
        "Whether an interim transcript has come since the last final."
        self._stream = GoogleStream(self._thread, channels, self)
        self.billed_s = 0.0
        self.events = deque[tuple[str, int]](maxlen=EVENTS)
        "Google's latest voice activity: `speech_activity_begin` and the like, and when, in ms."

    @property
    def backlog_ms(self) -> int:
        """Sound that has not left yet."""
        waiting = (self._sent - self._stream.written) * (2 if self._mulaw else 1)
        return waiting * 500 // self._rate_hz

    # --- Recognition ---

    def feed(self, pcm: bytes) -> None:
        """Take some sound."""
        if not self._chunk and len(pcm) >= self._chunk_bytes:
            # As `renewing` gives it, who has put it into its ring.
            self._send(pcm)
            return
        self._chunk += pcm
        if len(self._chunk) >= self._chunk_bytes:
            self._send_chunk()

    def onset(self) -> None:
        """Nothing changes for Google, which hears everything."""

    def endpoint(self) -> None:
        """Half-close: Google says what is left, which becomes the one final."""
        if self._finishing:
            return
        self._finishing = True
        self._send_chunk()
        if self._begun:
            self._thread.tell(self._stream.finish, hurry=True)
        elif self._hearing is not None:
            self._hearing.heard(Transcript("", final=True))

    def expect(self, expected: Expected) -> None:
        """Prefer this; once the stream is open it is too late."""
        self._expected = expected

    def close(self) -> None:
        """Forget the caller."""
        if self._hearing is not None:
            self._hearing = None
            # We and the stream would wait for the garbage collector together.
            self._stream.listener = NOBODY
            if self._begun:
                self._thread.tell(self._stream.cancel)

    def _send_chunk(self) -> None:
        if self._chunk:
            pcm, self._chunk = bytes(self._chunk), bytearray()
            self._send(pcm)

    def _send(self, pcm: bytes) -> None:
        if not self._begun:
            from voicemedia.stt.google_stream import first_request

            self._begun = True
            request = first_request(self._recognizer.options, self._rate_hz, self._expected)
            self._thread.tell(self._stream.begin, request)
        for at in range(0, len(pcm), self._most_bytes):
            piece = pcm[at : at + self._most_bytes]
            audio = encode_mulaw_once(piece) if self._mulaw else piece
            self._sent += len(audio)
            self._thread.tell(self._stream.send, audio)

    # --- what the stream says ---

    def responded(self, transcripts: list[Transcript], events: list[tuple[str, int]], billed_s: float) -> None:
        """Take one response."""
        self.billed_s = max(self.billed_s, billed_s)
        self.events += events
        for transcript in transcripts:
            self._guessed = not transcript.final
            if transcript.final and self._finishing:
                self._finals.append(transcript)
            elif self._hearing is not None:
                self._hearing.heard(transcript)

    def ended(self, error: ProviderError | None) -> None:
        """Take the end of the stream."""
        hearing = self._hearing
        if hearing is None:
            return
        if error is None and (self._guessed or not (self._finishing and self._stream.half_closed)):
            # One of its timeouts: Google ends a stream so of its own accord, whatever it has not yet made final.
            error = ProviderError("Google has ended the stream", blameless=True, code="ended")
        if error is not None:
            hearing.deaf(error)
        else:
            hearing.heard(joined(self._finals, Transcript("", final=True, billed_s=self.billed_s)))
