"""The gRPC servers; everything here runs on the asyncio thread, except where it says otherwise.

Two servers, as gateways know them: `StreamIngest` takes segments and hands them over one channel to `SpeechToText`,
which may be ours or somebody else's.
"""
# grpc carries no types, and generated code few.
# mypy: disallow-untyped-calls=False

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from voicemedia.config import Grpc, Secret
from voicemedia.errors import WireError
from voicemedia.gateway.relay import Forward, Relay
from voicemedia.gateway.segment_wire import read_segment
from voicemedia.gateway.session import Refused, Reply
from voicemedia.gateway.sessions import GatewaySessions, refusal_of
from voicemedia.gateway.stream import StreamCall
from voicemedia.proto import audio_stream_pb2 as pb
from voicemedia.proto import audio_stream_pb2_grpc as pb_grpc
from voicemedia.threads import LoopThread

FORWARD_S: Final = 10
"How long the speech service may take, as gateways expect it."
GRACE_S: Final = 2
"How long calls that are on may take when the servers stop."
INGEST: Final = pb.DESCRIPTOR.services_by_name["StreamIngest"].full_name
SPEECH: Final = pb.DESCRIPTOR.services_by_name["SpeechToText"].full_name
STREAM_WINDOW_BYTES: Final = 65536
OPEN_TO_ALL: Final = f"/{health.SERVICE_NAME}/"
"Health is asked by machines that have no token."
CHANNEL_OPTIONS: Final = (
    # A speech service that comes back is found within 2 s, not within the 2 minutes of the default.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

Context = Any
"`grpc.aio.ServicerContext`; grpc has no types."


def message_of(reply: Reply) -> pb.TranscriptionResponse:
    """Write a reply."""
    return pb.TranscriptionResponse(
        session_id=reply.session_id,
        sequence_number=reply.number,
        transcript=reply.transcript,
        is_final=reply.final,
        confidence=reply.confidence,
        lost_segments=reply.lost,
    )


async def refuse(context: Context, refused: Refused) -> None:
    """End a call with an error."""
    await context.abort(grpc.StatusCode[refused.code], str(refused))


class SpeechToText(pb_grpc.SpeechToTextServicer):
    """Transcribes session by session, segment by segment."""

    def __init__(self, thread: LoopThread, sessions: GatewaySessions, max_s: int) -> None:
        self._thread, self._sessions, self._max_s = thread, sessions, max_s

    async def TranscribeAudioSegment(self, request: pb.AudioSegment, context: Context) -> Any:
        """Answer what is understood so far; after the last segment, everything."""
        try:
            segment = read_segment(request, self._max_s)
            return message_of(await self._thread.ask_reactor(self._sessions.transcribe, segment))
        except WireError as error:
            await refuse(context, refusal_of(error))
        except Refused as refused:
            await refuse(context, refused)


class StreamIngest(pb_grpc.StreamIngestServicer):
    """Takes segments in.

    :param forward: hands one to the speech service.
    :param stream: answers a session that comes as one stream.
    """

    def __init__(
        self,
        forward: Forward,
        stream: Callable[[AsyncIterator[pb.AudioSegment], Context], Awaitable[None]],
    ) -> None:
        self._forward, self._stream = forward, stream

    async def IngestAudioSegment(self, request: pb.AudioSegment, context: Context) -> pb.IngestResponse:
        """Forward the segment; that this failed is told in words, the call itself has not failed."""
        return pb.IngestResponse(
            session_id=request.session_id,
            sequence_number=request.sequence_number,
            status_message=await self._status(request),
        )

    async def _status(self, request: pb.AudioSegment) -> str:
        # The sentences are those of the gateways' own ingest service; programs compare them.
        try:
            response = await self._forward(request)
        except grpc.RpcError as error:
            return f"Segment received, but failed to forward to STT: {error.details()}"
        except Exception as error:
            return f"Segment received, but an unexpected error occurred during STT call: {error}"
        if not isinstance(response, pb.TranscriptionResponse):
            return "Segment received, but no response from STT service."
        return f"Segment received and forwarded to STT. STT Response: {response.transcript}"

    async def IngestAudio(self, request_iterator: AsyncIterator[pb.AudioSegment], context: Context) -> None:
        """Transcribe a session that comes as one stream."""
        await self._stream(request_iterator, context)


class TokenCheck(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets nobody in without `authorization: Bearer` and the token."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Look at the metadata of a call before its handler is found."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN_TO_ALL) or self._is_known(details.invocation_metadata):
            return handler

        async def turn_away(_request: Any, context: Context) -> None:
            message = "the metadata lacks authorization: Bearer, with the right token"
            await refuse(context, Refused("UNAUTHENTICATED", message))

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(turn_away)
        return grpc.unary_unary_rpc_method_handler(turn_away)

    def _is_known(self, metadata: Any) -> bool:
        for key, value in metadata or ():
            scheme, _, offered = value.partition(" ") if isinstance(value, str) else ("", "", "")
            if key == "authorization" and scheme.lower() == "bearer":
                return self._token.matches(offered.strip())
        return False


@dataclass(frozen=True)
class Keys:
    """Certificates and tokens, read from where the configuration says."""

    token: Secret | None = None
    speech_token: Secret | None = None
    certificate: bytes = field(default=b"", repr=False)
    private_key: bytes = field(default=b"", repr=False)
    client_ca: bytes = field(default=b"", repr=False)
    speech_ca: bytes = field(default=b"", repr=False)


class PrivateSocket:
    """Where our two servers meet when the ports speak TLS: neither names nor client certificates matter there."""

    def __init__(self) -> None:
        # Its mode is 0700.
        self._folder = TemporaryDirectory(prefix="voicemedia-")
        self.address = f"unix:{self._folder.name}/speech"

    def remove(self) -> None:
        """Remove the socket."""
        self._folder.cleanup()


class Servers:
    """Both servers and the channel between them.

    :param sessions: on the reactor's side.
    """

    def __init__(self, config: Grpc, keys: Keys, thread: LoopThread, sessions: GatewaySessions, max_s: int) -> None:
        self._config, self._keys, self._thread = config, keys, thread
        self._sessions, self._max_s = sessions, max_s
        self._running: list[Any] = []
        self._health: list[health.aio.HealthServicer] = []
        self._channel: Any = None
        self._hand_on: Forward
        self._partings: set[asyncio.Task[None]] = set()
        "What nobody waits for, and would be forgotten half done."
        self._private: PrivateSocket | None = None
        self._streams = 0
        self.ingest_port = self.speech_port = 0

    async def open(self) -> tuple[int, int]:
        """Listen; return the ports of `StreamIngest` and `SpeechToText`.

        :raises OSError: a port cannot be had; nothing listens then.
        """
        async with AsyncExitStack() as unless_both_listen:
            unless_both_listen.push_async_callback(self.close)
            speech = SpeechToText(self._thread, self._sessions, self._max_s)
            self.speech_port = await self._serve(
                SPEECH,
                self._config.speech_port,
                lambda server: pb_grpc.add_SpeechToTextServicer_to_server(speech, server),
            )
            self._hand_on = self._forward()
            ingest = StreamIngest(self._hand_on, self._stream)
            self.ingest_port = await self._serve(
                INGEST,
                self._config.ingest_port,
                lambda server: pb_grpc.add_StreamIngestServicer_to_server(ingest, server),
            )
            unless_both_listen.pop_all()
        return self.ingest_port, self.speech_port

    async def _serve(self, name: str, port: int, add: Callable[[Any], None]) -> int:
        config, keys = self._config, self._keys
        server = grpc.aio.server(
            interceptors=[TokenCheck(keys.token)] if keys.token is not None else [],
            options=(
                # Two servers on one port would share its calls by chance.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", config.max_message_bytes),
                ("grpc.max_concurrent_streams", config.max_concurrent_streams),
                # What a stream may have sent that we have not read; the default grows to megabytes, minutes of sound.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", STREAM_WINDOW_BYTES),
                # Gateways whose keep-alive is brisk are not sent away.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
            ),
        )
        add(server)
        checks = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        reflection.enable_server_reflection((name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        host = f"[{config.host}]" if ":" in config.host else config.host
        address = f"{host}:{port}"
        try:
            if keys.private_key:
                credentials = grpc.ssl_server_credentials(
                    [(keys.private_key, keys.certificate)], keys.client_ca or None, bool(keys.client_ca)
                )
                bound = server.add_secure_port(address, credentials)
                if name == SPEECH and self._private is None:
                    self._private = PrivateSocket()
                    server.add_insecure_port(self._private.address)
            else:
                bound = server.add_insecure_port(address)
        except RuntimeError as error:
            hint = "; see whether private_key is that of certificate" if keys.private_key else ""
            raise OSError(f"cannot listen on {address}: {error}{hint}") from error
        await server.start()
        self._running.append(server)
        self._health.append(checks)
        for each in ("", name):
            await checks.set(each, health_pb2.HealthCheckResponse.SERVING)
        return int(bound)

    def _forward(self) -> Forward:
        """Open the one channel to the speech service."""
        config, keys = self._config, self._keys
        target = config.speech_target or self._own_address()
        options = [*CHANNEL_OPTIONS, ("grpc.max_send_message_length", -1)]
        if config.speech_target and keys.speech_ca:
            credentials = grpc.ssl_channel_credentials(keys.speech_ca)
            self._channel = grpc.aio.secure_channel(target, credentials, options)
        else:
            self._channel = grpc.aio.insecure_channel(target, options)
        token = keys.speech_token if config.speech_target else keys.token
        metadata = (("authorization", f"Bearer {token.reveal()}"),) if token is not None else None
        call = pb_grpc.SpeechToTextStub(self._channel).TranscribeAudioSegment
        return lambda request: call(request, timeout=FORWARD_S, metadata=metadata)

    def _own_address(self) -> str:
        if self._private is not None:
            return self._private.address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._config.host, self._config.host)
        return f"[{host}]:{self.speech_port}" if ":" in host else f"{host}:{self.speech_port}"

    async def _stream(self, requests: AsyncIterator[pb.AudioSegment], context: Context) -> None:
        if self._streams >= self._config.max_streams:
            message = f"{self._streams} streams are open; grpc.max_streams is {self._config.max_streams}"
            await refuse(context, Refused("RESOURCE_EXHAUSTED", message))
        self._streams += 1
        try:
            if self._config.speech_target:
                await Relay(self._hand_on, self._part, self._max_s).run(requests, context.write)
                return
            call = StreamCall(self._thread, self._sessions)
            await call.run(
                (read_segment(request, self._max_s) async for request in requests), context.write, message_of
            )
        except WireError as error:
            await refuse(context, refusal_of(error))
        except Refused as refused:
            await refuse(context, refused)
        finally:
            self._streams -= 1

    def _part(self, last: pb.AudioSegment) -> None:
        async def hand_on() -> None:
            with suppress(grpc.aio.AioRpcError):
                await self._hand_on(last)

        parting = asyncio.create_task(hand_on())
        self._partings.add(parting)
        parting.add_done_callback(self._partings.discard)

    async def unready(self) -> None:
        """Let health checks say that no new sessions are welcome."""
        for checks in self._health:
            await checks.enter_graceful_shutdown()

    async def close(self) -> None:
        """Stop listening; calls that are on may end."""
        await asyncio.gather(*(server.stop(GRACE_S) for server in self._running))
        self._running.clear()
        if self._channel is not None:
            await self._channel.close()
        if self._private is not None:
            self._private.remove()
