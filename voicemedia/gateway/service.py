"""Opens and closes the door of voice gateways. On the reactor."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from voicemedia import config as configuration
from voicemedia.config import Config, Grpc, Secret
from voicemedia.errors import ConfigError
from voicemedia.gateway.session import Setting
from voicemedia.gateway.sessions import GatewaySessions
from voicemedia.threads import LoopThread, loop_thread
from voicemedia.transcribing.events import Wish
from voicemedia.transcribing.sessions import Sessions


class Gateways:
    """The gRPC services of one server.

    :param sessions: the transcribing sessions, nobody else's.
    """

    log = Logger()

    def __init__(self, config: Config, reactor: Any, clock: Callable[[], int], sessions: Sessions) -> None:
        self._config, self._reactor, self._clock = config.grpc, reactor, clock
        self._max_s, self._drain_s = config.stream.max_chunk_s, config.limits.drain_s
        jitter = config.jitter
        setting = Setting(reactor, clock, jitter.deadline_min_ms, jitter.deadline_max_ms)
        grpc = config.grpc
        self.sessions = GatewaySessions(sessions, Wish(language=grpc.language, provider=grpc.stt), setting)
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

        :raises ConfigError: a port is taken, or a file cannot be read; with `enabled = "auto"` it is only logged.
        """
        config = self._config
        if not config.enabled:
            return
        try:
            self._start(config)
        except ConfigError as error:
            if config.enabled is True:
                raise
            self.log.error("no gRPC for voice gateways: {error}", error=str(error))

    def _start(self, config: Grpc) -> None:
        try:
            from voicemedia.gateway import servers
        except ImportError as error:
            raise ConfigError(
                f"grpc.enabled: {error.name} is not installed; pip install grpcio, or set false"
            ) from error
        keys = servers.Keys(
            token=_secret(config.token_env),
            speech_token=_secret(config.speech_token_env),
            certificate=_pem("certificate", config.certificate),
            private_key=_pem("private_key", config.private_key),
            client_ca=_pem("client_ca", config.client_ca),
            speech_ca=_pem("speech_ca", config.speech_ca),
            own_name=_name_in(config.certificate),
        )
        self._probe("ingest_port", config.ingest_port)
        self._probe("speech_port", config.speech_port)
        self._thread = loop_thread(self._reactor)
        self._thread.hold()
        self._servers = servers.Servers(config, keys, self._thread, self.sessions, self._max_s)
        self.opened = Deferred.fromCoroutine(self._open())

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
        drained = self.sessions.drain()
        drained.addTimeout(max(self._drain_s, 0.01), self._reactor, onTimeoutCancel=lambda _result, _s: None)
        await drained

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
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"grpc.{key}: {path}: {error.strerror}; give a readable PEM file") from error


def _name_in(path: str) -> str:
    """Return a name the certificate is good for; empty for no path.

    :raises ConfigError: it is none, or good for no name.
    """
    if not path:
        return ""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(_pem("certificate", path))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise ConfigError(f"grpc.certificate: {path}: {error}; give a PEM certificate with names") from error
    dns = names.get_values_for_type(x509.DNSName)
    return str((dns or names.get_values_for_type(x509.IPAddress) or [""])[0]).replace("*", "gateway")
