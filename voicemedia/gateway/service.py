"""Opens and closes the door of voice gateways. On the reactor."""

import importlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voicemedia import config as configuration
from voicemedia.config import Config, Secret
from voicemedia.errors import ConfigError
from voicemedia.gateway.session import Setting
from voicemedia.gateway.sessions import LOOK_AGAIN_S, GatewaySessions
from voicemedia.threads import LoopThread, loop_thread
from voicemedia.transcribing.events import Wish
from voicemedia.transcribing.sessions import Sessions

PEM_FILES: Final = ("certificate", "private_key", "client_ca", "speech_ca")
"Keys of the configuration."


class Gateways:
    """The gRPC services of one server.

    :param sessions: the transcribing sessions, nobody else's.
    :raises ConfigError: a file cannot be read.
    """

    log = Logger()

    def __init__(self, config: Config, reactor: Any, clock: Callable[[], int], sessions: Sessions) -> None:
        self._config, self._reactor, self._clock = config.grpc, reactor, clock
        self._max_s, self._drain_s = config.stream.max_chunk_s, config.limits.drain_s
        grpc = config.grpc
        setting = Setting(reactor, clock, grpc.reorder_ms)
        self.sessions = GatewaySessions(sessions, Wish(language=grpc.language, provider=grpc.stt), setting)
        self._pem = {key: _pem(key, getattr(grpc, key)) for key in PEM_FILES}
        self._thread: LoopThread | None = None
        self._servers: Any = None
        self.opened: Deferred[None] = succeed(None)
        "Fires once the servers listen, or cannot."

    @property
    def ports(self) -> tuple[int, int]:
        """Ports of `StreamIngest` and `SpeechToText`; zeros while they do not listen."""
        return (self._servers.ingest_port, self._servers.speech_port) if self._servers is not None else (0, 0)

    # --- opening ---

    def start(self) -> None:
        """Begin to listen: after twistd has daemonized, for threads and channels do not survive it.

        :raises ConfigError: gRPC cannot be served; with `enabled = "auto"` that is only logged.
        """
        if not self._config.enabled:
            return
        try:
            servers = self._import_servers()
            self._probe("ingest_port", self._config.ingest_port)
            self._probe("speech_port", self._config.speech_port)
        except ConfigError as error:
            if self._config.enabled is True:
                raise
            self.log.error("no gRPC for voice gateways: {error}", error=str(error))
            return
        self._thread = loop_thread(self._reactor)
        self._servers = servers.Servers(self._config, self._keys(servers), self._thread, self.sessions, self._max_s)
        self._thread.hold()
        self.opened = Deferred.fromCoroutine(self._open())

    def _import_servers(self) -> Any:
        """Import what needs gRPC, once it is wanted."""
        try:
            return importlib.import_module("voicemedia.gateway.servers")
        except ImportError as error:
            cure = "pip install grpcio grpcio-health-checking grpcio-reflection, or set false"
            raise ConfigError(f"grpc.enabled: {error.name} is not installed; {cure}") from error

    def _keys(self, servers: Any) -> Any:
        config = self._config
        return servers.Keys(
            token=_secret(config.token_env),
            speech_token=_secret(config.speech_token_env),
            certificate=self._pem["certificate"],
            private_key=self._pem["private_key"],
            client_ca=self._pem["client_ca"],
            speech_ca=self._pem["speech_ca"],
        )

    def _probe(self, key: str, number: int) -> None:
        """Take a port for a moment: gRPC's own words when it is taken do not say why."""
        host = self._config.host
        try:
            socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            cure = "free it, take another, or set grpc.enabled = false"
            raise ConfigError(f"grpc.{key}: cannot listen on {host}:{number}: {reason}; {cure}") from error

    async def _open(self) -> None:
        assert self._thread is not None
        try:
            ingest_port, speech_port = await self._thread.ask(self._servers.open)
        except OSError as error:
            self.log.error("no gRPC for voice gateways: {error}", error=str(error))
            return
        self.log.info(
            "voice gateways send segments to {host}:{ingest_port}; SpeechToText is on {host}:{speech_port}",
            host=self._config.host,
            ingest_port=ingest_port,
            speech_port=speech_port,
        )

    # --- while it runs ---

    def sweep(self) -> None:
        """Let a second pass."""
        self.sessions.sweep(self._clock())

    # --- closing ---

    async def drain(self) -> None:
        """Begin no more sessions, and let those that live end, for some time."""
        if self._thread is None:
            return
        await self.opened
        await self._thread.ask(self._servers.unready)
        self.sessions.draining = True
        until_ms = self._clock() + self._drain_s * 1000
        while self.sessions.busy and self._clock() < until_ms:
            await deferLater(self._reactor, LOOK_AGAIN_S)

    async def stop(self) -> None:
        """End what is left, and the servers."""
        self.sessions.close()
        if self._thread is not None:
            await self._thread.ask(self._servers.close)
            await self._thread.release()


def _secret(name: str) -> Secret | None:
    return configuration.secret(name) if name else None


def _pem(key: str, path: str) -> bytes:
    """Read a certificate or a key; empty for no path.

    :raises ConfigError: it cannot be read.
    """
    if not path:
        return b""
    try:
        pem = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"grpc.{key}: {path}: {error.strerror}; give a readable PEM file") from error
    if b"-----BEGIN " not in pem:
        raise ConfigError(f"grpc.{key}: {path}: is no PEM file; convert it with openssl")
    return pem
