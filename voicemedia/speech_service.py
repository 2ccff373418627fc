"""Builds speech to text as a service: its sessions, and the two doors to them, `WS /stt/stream` and HTTP."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource

from voicemedia import config as configuration
from voicemedia.audio.voice import Endpointer, make_detector
from voicemedia.config import Config, Secret, Stream
from voicemedia.interfaces import Provider
from voicemedia.metrics import Metrics
from voicemedia.protocols import stt_chunk, stt_stream
from voicemedia.protocols.access import Access
from voicemedia.protocols.door import Door
from voicemedia.protocols.fast_websocket import FastWebSocketFactory, WebSocketLimits
from voicemedia.protocols.stt_stream import Service, StreamSocket
from voicemedia.protocols.websocket_resource import FastWebSocketResource
from voicemedia.recognizers import Recognizers
from voicemedia.transcribing.sessions import Sessions
from voicemedia.transcribing.setting import Setting
from voicemedia.transcribing.summaries import Summaries

HIGH_WATER_BYTES: Final = 8192
"A transcript is worth little when it is late: a client that does not read is noticed early."


class SpeechService:
    """Sessions and their doors.

    :param troubles: why a provider cannot serve, by its key such as `stt.google`; empty when it can.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        clock: Callable[[], int],
        recognizers: Recognizers,
        troubles: Callable[[], Mapping[str, str]],
    ) -> None:
        self._config, self._reactor = config, reactor
        self._recognizers, self._troubles, self._clock = recognizers, troubles, clock
        self.sessions = self._sessions(stt_stream.PATH, offered(config, recognizers.providers), config.stream)
        self.sockets: dict[StreamSocket, None] = {}

    def streams(self, limits: WebSocketLimits, metrics: Metrics) -> dict[str, IResource]:
        """Build what is behind the WebSocket path."""
        limits = replace(limits, high_water_bytes=HIGH_WATER_BYTES)
        service = Service(self.sessions, metrics, self._reactor.seconds, self.sockets)
        factory = FastWebSocketFactory(lambda: StreamSocket(service), self._reactor, limits)
        admit = stt_stream.make_admit(self._door(stt_stream.PATH, metrics), self.sessions)
        return {stt_stream.PATH: FastWebSocketResource(factory, admit)}

    def pages(self, metrics: Metrics) -> dict[str, IResource]:
        """Build what is behind the HTTP path."""
        door = self._door(stt_chunk.PATH, metrics)
        config = self._config
        trusted = configuration.networks(config.server.trusted_proxies)
        return {stt_chunk.PATH: stt_chunk.ChunkPage(self.sessions, door, self._reactor, config.stream, trusted)}

    def gateway_sessions(self) -> Sessions:
        """Make the sessions of voice gateways, with limits of their own."""
        config = self._config
        grpc, names = config.grpc, offered(config, self._recognizers.providers)
        if grpc.stt:
            names = [grpc.stt, *(name for name in names if name != grpc.stt)]
        limits = msgspec.structs.replace(config.stream, max_sessions=grpc.max_sessions, idle_s=grpc.idle_s)
        return self._sessions("grpc", names, limits)

    def sweep(self) -> None:
        """Let a second pass."""
        self.sessions.sweep(self._clock())
        for socket in tuple(self.sockets):
            socket.sweep()

    def close(self) -> list[Deferred[None]]:
        """Let all sessions end with their last final; the Deferreds fire when their sockets are closed."""
        self.sessions.drain()
        for socket in tuple(self.sockets):
            socket.hang_up()
        return [socket.is_gone for socket in self.sockets]

    def stop(self) -> None:
        """End what is left, whatever it still waits for."""
        self.sessions.close()

    # --- inside ---

    def _sessions(self, path: str, names: list[str], stream: Stream) -> Sessions:
        """Make sessions; the first of the recognizers named is the default one."""
        # A stream of the provider's that ends, fails or stalls in the middle of a session costs no word.
        by_name = {name: self._recognizers.of_session(path, name) for name in names}
        keep_summary = Summaries(stream.summaries).keep
        setting = Setting(stream, self._endpointer, self._clock, self._reactor.seconds, keep_summary)
        return Sessions(by_name, lambda name: self._troubles().get(f"stt.{name}", ""), setting)

    def _door(self, path: str, metrics: Metrics) -> Door:
        stream, server = self._config.stream, self._config.server
        access = Access(_secret(stream.secret_env), configuration.networks(stream.allow))
        trusted = configuration.networks(server.trusted_proxies)
        return Door(path, access, None, server.public_url, trusted, lambda: None, metrics)

    def _endpointer(self, rate_hz: int, silence_ms: int) -> Endpointer:
        voice = self._config.voice
        return Endpointer(
            make_detector(voice.detector, rate_hz, voice.aggressiveness),
            min_speech_ms=voice.min_speech_ms,
            hangover_ms=silence_ms,
            # A stream has no line that clicks when it is taken up: a word may stand at its very beginning.
            ignore_first_ms=0,
        )


def offered(config: Config, providers: Mapping[tuple[str, str], Provider]) -> list[str]:
    """List the recognizers a session may name, the default one first."""
    stream = config.stream
    names = list(stream.providers) or [name for kind, name in providers if kind == "stt"]
    if stream.provider:
        names = [stream.provider, *(name for name in names if name != stream.provider)]
    return names


def _secret(name: str) -> Secret | None:
    return configuration.secret(name) if name else None
