"""Google's streams on the asyncio thread: everything here runs there, and reports to the reactor.

Wire: `google.cloud.speech.v2.Speech/StreamingRecognize`, first a request with the configuration only, then requests
with sound only, then half-close. The client library's `streaming_recognize` waits for the first response before it
lets go; its types over grpc.aio do not.
"""

import asyncio
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import google.auth
import google.auth.exceptions
import google.oauth2.credentials as oauth2
import grpc
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcAsyncIOTransport
from google.cloud.speech_v2.types import cloud_speech as cs
from google.oauth2 import service_account
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from voicemedia.errors import ProviderError
from voicemedia.interfaces import Expected, Transcript, Word
from voicemedia.stt.google_options import Options, language_codes
from voicemedia.stt.google_writer import Writer
from voicemedia.threads import LoopThread

METHOD: Final = "/google.cloud.speech.v2.Speech/StreamingRecognize"
SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
MAX_AUDIO_BYTES: Final = 15_360
"In one request, as the library's documentation says; newer servers take 25,600."

_Response = type(cs.StreamingRecognizeResponse.pb(cs.StreamingRecognizeResponse()))

ENCODINGS: Final = {
    "mulaw": cs.ExplicitDecodingConfig.AudioEncoding.MULAW,
    "linear16": cs.ExplicitDecodingConfig.AudioEncoding.LINEAR16,
}
_Sensitivity = cs.StreamingRecognitionFeatures.EndpointingSensitivity
SENSITIVITIES: Final[dict[str, Any]] = {
    "standard": _Sensitivity.ENDPOINTING_SENSITIVITY_STANDARD,
    "short": _Sensitivity.ENDPOINTING_SENSITIVITY_SHORT,
    "supershort": _Sensitivity.ENDPOINTING_SENSITIVITY_SUPERSHORT,
}
CHANNEL_OPTIONS: Final = (
    # Without its own pool every channel to one host shares one connection.
    ("grpc.use_local_subchannel_pool", 1),
    # A connection that died without a word is found in 40 s at most; a stream on it stalls before that.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
FATAL: Final = frozenset(
    ("INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED")
)
"Codes that come again until somebody mends something."
BUSY_S: Final = 10.0
"How long a project over its quota is left alone."


def failure_of(code: str, details: str) -> ProviderError:
    """Say what the end of a stream means.

    ABORTED and OUT_OF_RANGE are the limits of one stream: 5 minutes, 10 s without a request, sound too fast.
    """
    return ProviderError(
        f"{code}: {details}",
        retryable=code not in FATAL,
        blameless=code in ("ABORTED", "OUT_OF_RANGE"),
        retry_after_s=BUSY_S if code == "RESOURCE_EXHAUSTED" else 0.0,
        code=code.lower(),
    )


def first_request(options: Options, rate_hz: int, expected: Expected) -> bytes:
    """Write the request with the configuration."""
    config = cs.RecognitionConfig(
        explicit_decoding_config=cs.ExplicitDecodingConfig(
            encoding=ENCODINGS[options.encoding_at(rate_hz)], sample_rate_hertz=rate_hz, audio_channel_count=1
        ),
        model=options.model,
        language_codes=language_codes(options, expected.language),
        features=cs.RecognitionFeatures(
            enable_automatic_punctuation=options.punctuation,
            enable_word_time_offsets=options.words or expected.words,
            enable_word_confidence=options.words or expected.words,
            profanity_filter=options.profanity_filter,
        ),
    )
    # "Recognizer does not support feature: speech_adaptation_boost", say the telephony models, and end the stream.
    if expected.phrases and options.phrase_boost and not options.model.startswith("telephony"):
        phrases = [cs.PhraseSet.Phrase(value=phrase, boost=options.phrase_boost) for phrase in expected.phrases]
        inline = cs.SpeechAdaptation.AdaptationPhraseSet(inline_phrase_set=cs.PhraseSet(phrases=phrases))
        config.adaptation = cs.SpeechAdaptation(phrase_sets=[inline])
    streaming = cs.StreamingRecognitionConfig(config=config, streaming_features=_features(options))
    request = cs.StreamingRecognizeRequest(recognizer=options.recognizer_path, streaming_config=streaming)
    written: bytes = cs.StreamingRecognizeRequest.serialize(request)
    return written


def _features(options: Options) -> cs.StreamingRecognitionFeatures:
    timed = bool(options.speech_start_timeout_s or options.speech_end_timeout_s)
    features = cs.StreamingRecognitionFeatures(
        interim_results=options.interims,
        # Timeouts are counted from these events, so they come along.
        enable_voice_activity_events=options.voice_activity or timed,
    )
    if timed:
        timeout = cs.StreamingRecognitionFeatures.VoiceActivityTimeout()
        if options.speech_start_timeout_s:
            timeout.speech_start_timeout = _duration(options.speech_start_timeout_s)
        if options.speech_end_timeout_s:
            timeout.speech_end_timeout = _duration(options.speech_end_timeout_s)
        features.voice_activity_timeout = timeout
    if options.endpointing:
        features.endpointing_sensitivity = SENSITIVITIES[options.endpointing]
    return features


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


class Listener(Protocol):
    """What is told, on the reactor."""

    def responded(self, transcripts: list[Transcript], events: list[tuple[str, int]], billed_s: float) -> None:
        """Take what one response holds; an event is its name and when it was, in ms."""

    def ended(self, error: ProviderError | None) -> None:
        """Take the end; None: the server has said everything."""


class Channels:
    """Connections to Google, each with as many streams as it takes well.

    :param api_key: sent with each stream in place of credentials.
    """

    def __init__(self, options: Options, api_key: str = "") -> None:
        self._options = options
        self.metadata = (("x-goog-api-key", api_key),) if api_key else None
        self._keyed = bool(api_key)
        self._credentials: Any = None
        self._channels: list[Channel] = []

    async def prepare(self) -> None:
        """Find the credentials.

        :raises ProviderError: there are none.
        """
        options = self._options
        if options.plaintext or self._keyed:
            return
        loop = asyncio.get_running_loop()
        try:
            # Looking for them may ask files and the machine's metadata server, and block.
            self._credentials = await loop.run_in_executor(None, _find_credentials, options)
        except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
            raise ProviderError(f"no credentials: {error}", retryable=False, code="credentials") from error

    def lend(self) -> "Channel":
        """Give a channel that can take one more stream."""
        limit = self._options.streams_per_channel
        channel = next((channel for channel in self._channels if channel.streams < limit), None)
        if channel is None:
            channel = Channel(self._open())
            self._channels.append(channel)
        channel.streams += 1
        return channel

    def _open(self) -> Any:
        host = self._options.host
        if self._options.plaintext:
            return grpc.aio.insecure_channel(host, options=CHANNEL_OPTIONS)
        if self._keyed:
            return grpc.aio.secure_channel(host, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)
        return SpeechGrpcAsyncIOTransport.create_channel(host, credentials=self._credentials, options=CHANNEL_OPTIONS)

    async def close(self) -> None:
        """Close all connections and what still streams over them."""
        channels, self._channels = self._channels, []
        for channel in channels:
            await channel.close()


def _find_credentials(options: Options) -> Any:
    if options.credentials in ("", "machine"):
        return google.auth.default(scopes=SCOPES, quota_project_id=options.project or None)[0]
    described = json.loads(Path(options.credentials).read_bytes())
    kinds: dict[str, Any] = {
        "service_account": service_account.Credentials.from_service_account_info,
        "authorized_user": oauth2.Credentials.from_authorized_user_info,
    }
    kind = described.get("type")
    if kind not in kinds:
        # Other kinds may name commands to run: only the environment is trusted with those.
        raise ValueError(f"{options.credentials} is of type {kind}; name it in $GOOGLE_APPLICATION_CREDENTIALS")
    return kinds[kind](described, scopes=SCOPES)


class Channel:
    """One connection and the number of streams over it."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.streams = 0
        self.open_stream = channel.stream_stream(METHOD, request_serializer=None, response_deserializer=None)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


@dataclass(slots=True, eq=False, weakref_slot=True)
class GoogleStream:
    """One stream. Made on the reactor, then told everything on the loop."""

    thread: LoopThread
    channels: Channels
    listener: Listener
    _writer: Writer | None = None
    _task: "asyncio.Task[None] | None" = None

    @property
    def written(self) -> int:
        """Bytes of sound that have left."""
        return self._writer.written if self._writer is not None else 0

    @property
    def half_closed(self) -> bool:
        """Whether all of it has left, and its end was told."""
        return self._writer is not None and self._writer.half_closed

    def begin(self, config: bytes) -> None:
        """Open the stream and send its first request."""
        channel = self.channels.lend()
        call = channel.open_stream(metadata=self.channels.metadata)
        self._writer = Writer(call, config)
        self._task = asyncio.get_running_loop().create_task(self._live(call))
        # A task that is cancelled before its first turn never runs.
        self._task.add_done_callback(partial(_let_go, channel, call, self._writer))

    def send(self, audio: bytes) -> None:
        """Send sound, at most `MAX_AUDIO_BYTES`."""
        if self._task is not None and self._writer is not None:
            self._writer.put(audio)

    def finish(self) -> None:
        """Half-close: the server says the rest."""
        if self._task is not None and self._writer is not None:
            self._writer.put(None)

    def cancel(self) -> None:
        """Forget the stream."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _live(self, call: Any) -> None:
        error: ProviderError | None = None
        try:
            # The first time it waits for the stream to be there; what it calls beneath is all that is needed then.
            octets, read = await call.read(), call._cython_call.receive_serialized_message
            while octets is not grpc.aio.EOF:
                self.thread.tell_reactor(self.listener.responded, *read_response(_Response.FromString(octets)))
                octets = await read()
            code = await call.code()
            if code is not grpc.StatusCode.OK:
                error = failure_of(code.name, await call.details())
        except grpc.aio.AioRpcError as failed:
            error = failure_of(failed.code().name, failed.details() or "")
        except DecodeError:
            error = ProviderError("a response that is no protobuf", code="internal")
        finally:
            # The task refers to us by its last traceback.
            self._task = None
        self.thread.tell_reactor(self.listener.ended, error)


def _let_go(channel: Channel, call: Any, writer: Writer, _task: object) -> None:
    writer.close()
    call.cancel()
    channel.streams -= 1


def read_response(response: Any) -> tuple[list[Transcript], list[tuple[str, int]], float]:
    """Read one response: transcripts, events, and the seconds billed so far."""
    transcripts: list[Transcript] = []
    guesses: list[Transcript] = []
    for result in response.results:
        if result.alternatives:
            (transcripts if result.is_final else guesses).append(_transcript(result))
    if guesses:
        # Google gives a guess in parts: what is likely to stay, and the rest.
        transcripts.append(_whole(guesses) if len(guesses) > 1 else guesses[0])
    events = []
    if response.speech_event_type:
        name = cs.StreamingRecognizeResponse.SpeechEventType(response.speech_event_type).name.lower()
        events.append((name, _ms(response.speech_event_offset)))
    billed = response.metadata.total_billed_duration
    return transcripts, events, billed.seconds + billed.nanos / 1e9


def _whole(guesses: list[Transcript]) -> Transcript:
    return Transcript(
        " ".join(guess.text for guess in guesses),
        final=False,
        stability=guesses[0].stability,
        end_ms=guesses[-1].end_ms,
        language=guesses[0].language,
        words=tuple(word for guess in guesses for word in guess.words),
    )


def _transcript(result: Any) -> Transcript:
    best = result.alternatives[0]
    words = tuple(Word(word.word, _ms(word.start_offset), _ms(word.end_offset), word.confidence) for word in best.words)
    return Transcript(
        best.transcript.strip(),
        final=result.is_final,
        confidence=best.confidence,
        start_ms=words[0].start_ms if words else 0,
        end_ms=_ms(result.result_end_offset),
        language=result.language_code,
        stability=result.stability,
        words=words,
        closes=False,
    )


def _ms(offset: Any) -> int:
    return int(offset.seconds * 1000 + offset.nanos // 1_000_000)
