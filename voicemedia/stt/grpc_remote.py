"""Recognizer `grpc`: a server with `real_time_processing.SpeechToText`, such as another voicemedia.

An utterance is a session there. Its segments go one at a time, for the service promises no order; what comes
meanwhile is in the next one, so a slow server gets fewer and longer segments. When a segment fails nobody knows
whether it was taken, so the utterance is said again from its start, as a new session.
"""

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import uuid4

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred, succeed

from voicemedia.config import Secret, secret
from voicemedia.errors import ConfigError, ProviderError
from voicemedia.interfaces import Hearing, Recognition, Recognizer, Traits
from voicemedia.stt.segments import Segment, SegmentRecognition, Understood
from voicemedia.threads import LoopThread, loop_thread
from voicemedia.web.backoff import Backoff
from voicemedia.web.trouble import Trouble

METHOD: Final = "/real_time_processing.SpeechToText/TranscribeAudioSegment"
FATAL: Final = frozenset(
    ("INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED")
)
"Codes that come again until somebody mends something."
CHANNEL_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    # A connection that died without a word is found before a call ends.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that comes back is found within a second or two.
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator may set."""

    target: str = "127.0.0.1:50052"
    "Host and port."
    tls: bool = False
    ca_file: str = ""
    "PEM file with the authority that signed the server's certificate; empty: those of the system."
    token_env: str = ""
    "Environment variable with a token sent as `authorization: Bearer`; empty: none."
    language: str = ""
    "BCP 47; empty: as the server is configured."
    languages: tuple[str, ...] = ()
    "What the server hears (BCP 47, `auto` if it finds out); empty: not known here, it says so when it does not."
    segment_ms: Annotated[int, Meta(ge=20, le=5000)] = 200
    "Sound in one segment, at least."
    deadline_s: Annotated[float, Meta(gt=0)] = 10.0
    "For one segment and its answer, in seconds."
    patience_s: Annotated[float, Meta(gt=0)] = 10.0
    "How long an utterance is tried again when the server fails, in seconds."
    usd_per_hour: Annotated[float, Meta(ge=0)] = 0.0
    "Price of an hour of sound, in US dollars."


def missing(options: Options) -> str:
    """Say what is not installed or configured."""
    if importlib.util.find_spec("grpc") is None:
        return "grpcio is not installed: pip install grpcio"
    if options.ca_file and not Path(options.ca_file).is_file():
        return f"ca_file: {options.ca_file} is no file; give a readable one, or remove the key"
    try:
        _token(options)
    except ConfigError as error:
        return str(error)
    return ""


def make(options: Options, reactor: Any) -> Recognizer:
    """Make the recognizer; its thread and its channel come with `start`."""
    return GrpcRecognizer(options, reactor, loop_thread(reactor), random.random)


def _token(options: Options) -> Secret | None:
    return secret(options.token_env, "token_env") if options.token_env else None


class GrpcRecognizer:
    """One channel to one server, for all callers.

    :param random: for the jitter of waits after failures, 0 to 1.
    """

    name = "grpc"

    def __init__(self, options: Options, reactor: Any, thread: LoopThread, random: Callable[[], float]) -> None:
        self._options = options
        self._reactor = reactor
        self._thread = thread
        self._backoff = Backoff(random)
        self._remote: Remote | None = None
        self.languages = self._languages()
        self._news = Trouble(reactor.seconds)
        self.traits = Traits(usd_per_hour=options.usd_per_hour)

    @property
    def trouble(self) -> str:
        """Why it cannot serve: what went wrong a short while ago; empty: it may be tried."""
        return self._news.text

    def _languages(self) -> tuple[str, ...]:
        default, known = self._options.language, self._options.languages
        return (default, *(code for code in known if code != default)) if default and known else known

    def start(self) -> Deferred[None]:
        """Start the thread and make the channel, which connects when it is used."""
        token = _token(self._options)
        self._remote = Remote(self._options, token.reveal() if token else "")
        self._thread.hold()
        return self._thread.ask(self._remote.open)

    def stop(self) -> Deferred[None]:
        """Close the channel and let the thread go."""
        remote, self._remote = self._remote, None
        if remote is None:
            return succeed(None)
        return self._thread.ask(remote.close).addBoth(lambda _result: self._thread.release())

    def listen(self, rate_hz: int, hearing: Hearing) -> Recognition:
        """Begin to listen to one caller.

        :raises ProviderError: the recognizer has not started.
        """
        if self._remote is None:
            raise ProviderError("not started", code="unready")
        recognition = SegmentRecognition(
            self._reactor, rate_hz, self._transcribe, self._backoff, self._options.segment_ms
        )
        return recognition.begin(hearing, uuid4().hex, self._options.patience_s)

    def _transcribe(self, segment: Segment) -> Deferred[Understood]:
        return Deferred.fromCoroutine(self._ask(segment))

    async def _ask(self, segment: Segment) -> Understood:
        if self._remote is None:
            raise ProviderError("stopped", code="unready")
        try:
            answer = await self._thread.ask(self._remote.transcribe, segment)
        except ProviderError as error:
            self._news.failed(error)
            raise
        self._news.served()
        return answer


class Remote:
    """The channel. Everything but the making of it happens on the asyncio thread."""

    def __init__(self, options: Options, token: str) -> None:
        self._options = options
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._channel: Any = None
        self._call: Any = None

    async def open(self) -> None:
        """Make the channel."""
        import grpc

        from voicemedia.proto import audio_stream_pb2 as pb

        options = self._options
        if options.tls:
            authority = Path(options.ca_file).read_bytes() if options.ca_file else None
            credentials = grpc.ssl_channel_credentials(authority)
            self._channel = grpc.aio.secure_channel(options.target, credentials, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(options.target, CHANNEL_OPTIONS)
        self._call = self._channel.unary_unary(
            METHOD,
            request_serializer=pb.AudioSegment.SerializeToString,
            response_deserializer=pb.TranscriptionResponse.FromString,
        )

    async def close(self) -> None:
        """Close the channel; what is under way fails."""
        await self._channel.close()

    async def transcribe(self, segment: Segment) -> Understood:
        """Send one segment and wait for what the server has understood.

        :raises ProviderError: it answered with an error, or not in time.
        """
        import grpc

        from voicemedia.proto import audio_stream_pb2 as pb

        request = pb.AudioSegment(
            session_id=segment.session,
            timestamp=segment.unix_ms,
            audio_format=pb.AudioFormat.Value(segment.codec),
            sequence_number=segment.number,
            data=segment.octets,
            is_final=segment.last,
            sample_rate_hertz=segment.rate_hz,
            language_code=segment.language or self._options.language,
        )
        try:
            answer = await self._call(request, timeout=self._options.deadline_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            message = f"{code}: {error.details()}"
            raise ProviderError(message, retryable=code not in FATAL, code=code.lower()) from None
        return Understood(answer.transcript, answer.is_final, answer.confidence)
