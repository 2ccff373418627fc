"""`voicemedia transcribe FILE.wav`: stream a file to `/stt/stream` as it would be spoken, and show what comes back.

Streams to a running server, or with `--in-process` to one started for the purpose.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
import numpy as np
from autobahn.twisted.websocket import WebSocketClientFactory
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.task import LoopingCall, deferLater

from voicemedia.audio.resample import Resampler
from voicemedia.callers.line import CallFailed, Destination, tls_options
from voicemedia.callers.sound import read_wav
from voicemedia.config import Config, Grpc, History, Server, config_path, decode_config
from voicemedia.errors import ConfigError
from voicemedia.one_shot import run_once
from voicemedia.service import MediaServer, make_service
from voicemedia.transcribing.events import RATES_HZ
from voicemedia.web.websocket_client import ClientProtocol

DEFAULT_URL: Final = "ws://127.0.0.1:8000/stt/stream"
CHUNK_MS: Final = 100
TICK_S: Final = 0.02
READY_S: Final = 60
"How long the recognizer of a server of our own may take to load."
EXAMPLE: Final = """
  voicemedia transcribe speech.wav --provider pocketsphinx --in-process
Lines with ~ are guesses, lines with = are final; the time is that since the file began.
Exit status: 0 the session has ended well, 1 it has failed, 2 there was none.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "Stream a WAV file to the server in real time and print what it understands."
    parser.epilog = EXAMPLE
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", type=Path, metavar="FILE.wav")
    parser.add_argument("--provider", default="", metavar="NAME", help="recognizer (default: the server's)")
    parser.add_argument("--language", default="en", help="BCP 47, or auto (default: en)")
    parser.add_argument("--words", action="store_true", help="ask for the times of words")
    parser.add_argument("--fast", action="store_true", help="send as fast as the server takes it")
    parser.add_argument("--summary", type=Path, metavar="OUT.json", help="default: FILE.summary.json")
    server = parser.add_argument_group("server")
    server.add_argument("--url", default=DEFAULT_URL, help=f"default: {DEFAULT_URL}")
    server.add_argument("--secret", help="of the streaming API, if it asks for one")
    server.add_argument("--insecure", action="store_true", help="wss:// with any certificate")
    server.add_argument("--in-process", action="store_true", help="start a server for this file only")
    server.add_argument("--config", metavar="FILE.toml", help="of that server (default: as the server's)")


class Speaker(ClientProtocol):
    """Speaks a recording into a session and prints what comes back.

    :param pcm: s16le.
    :param chunk: bytes in one message.
    """

    def __init__(self, reactor: Any, pcm: bytes, chunk: int, *, fast: bool) -> None:
        super().__init__()
        self._reactor, self._pcm, self._chunk, self._fast = reactor, pcm, chunk, fast
        self._sent = 0
        self._began_s = 0.0
        self._clock = LoopingCall(self._tick)
        self._clock.clock = reactor
        self.summary: dict[str, Any] | None = None
        self.ended: Deferred[str] = Deferred()
        "Fires with why the session ended; fails with `CallFailed` when there was none."
        self._session = False
        self._unread: BrokenPipeError | None = None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        message = json.loads(payload)
        match message["type"]:
            case "session_started":
                self._session = True
                self._show(f"session {message['session_id']}: {message['provider']}, {message['language']}")
                self._began_s = self._reactor.seconds()
                self._clock.start(TICK_S).addErrback(self.ended.errback)
            case "transcription" if message["text"]:
                mark = "=" if message["is_final"] else "~"
                self._show(f"{self._reactor.seconds() - self._began_s:7.2f} {mark} {message['text']}")
            case "error":
                print(f"voicemedia transcribe: {message['error']}", file=sys.stderr)
            case "session_ended":
                self.summary = message["summary"]

    def _show(self, line: str) -> None:
        try:
            print(line, flush=True)
        except BrokenPipeError as error:
            # Nobody reads: the session is of no use.
            self._unread = error
            self.sendClose(1000)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self._clock.running:
            self._clock.stop()
        if self._unread:
            self.ended.errback(self._unread)
        elif self._session:
            self.ended.callback(reason or f"close code {code}")
        else:
            self.ended.errback(CallFailed(f"{self.factory.url} began no session: {reason or code}"))

    def _tick(self) -> None:
        """Send what has been spoken by now, to a server that has not closed."""
        if self.state != self.STATE_OPEN:
            return
        per_second = self._chunk * 1000 / CHUNK_MS
        spoken = (self._reactor.seconds() - self._began_s) * per_second
        while self._sent < len(self._pcm) and (self._fast or self._sent + self._chunk <= spoken + self._chunk):
            self.sendMessage(self._pcm[self._sent : self._sent + self._chunk], isBinary=True)  # type: ignore[no-untyped-call]
            self._sent += self._chunk
        if self._sent >= len(self._pcm) and (self._fast or spoken >= len(self._pcm)):
            self._clock.stop()
            self.sendMessage(b'{"type":"end"}')  # type: ignore[no-untyped-call]


def load(path: Path) -> tuple[int, bytes]:
    """Read a WAV file as s16le mono at a rate the server takes.

    :raises ConfigError: it cannot be read.
    """
    rate_hz, samples = read_wav(path)
    pcm = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()
    if rate_hz in RATES_HZ:
        return rate_hz, pcm
    if rate_hz % 100:
        raise ConfigError(f"{path}: {rate_hz} Hz; convert it with: ffmpeg -i {path} -ar 16000 speech.wav")
    resampler = Resampler(rate_hz, 16000)
    return 16000, resampler.feed(pcm) + resampler.flush()


def chunk_bytes(rate_hz: int) -> int:
    """Return how much is sent at a time: whole samples, also of 11025 Hz."""
    return rate_hz * CHUNK_MS // 1000 * 2


def destination(args: argparse.Namespace, rate_hz: int, server: MediaServer | None) -> Destination:
    """Say where the session is begun: at a server of our own, if there is one."""
    parts = urlsplit(args.url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError(f"--url {args.url}: must begin with ws:// or wss:// and name a host")
    if server is not None:
        port: Any = server.port
        parts = urlsplit(f"ws://127.0.0.1:{port.getHost().port}/stt/stream")
    wished = {
        "language": args.language,
        "provider": args.provider,
        "sample_rate": rate_hz,
        "chunk_size": chunk_bytes(rate_hz),
        "words": "true" if args.words else "",
        "secret": args.secret or "",
    }
    query = urlencode({name: value for name, value in wished.items() if value})
    return Destination(urlunsplit(parts._replace(query=query)), insecure=args.insecure)


async def stream(reactor: Any, to: Destination, speaker: Speaker) -> str:
    """Speak the whole recording; return why the session ended.

    :raises CallFailed: there was none.
    """
    factory: Any = WebSocketClientFactory(to.url, reactor=reactor)  # type: ignore[no-untyped-call]
    factory.protocol = lambda: speaker
    factory.setProtocolOptions(openHandshakeTimeout=10, closeHandshakeTimeout=2, tcpNoDelay=True)
    endpoint: Any = HostnameEndpoint(reactor, to.host, to.port)
    if to.encrypted:
        endpoint = wrapClientTLS(tls_options(to), endpoint)
    try:
        await endpoint.connect(factory)
    except (ConnectError, DNSLookupError) as error:
        raise CallFailed(
            f"no server at {to.host}:{to.port} ({error}): start it with `make run`, or give --in-process"
        ) from error
    return await speaker.ended


async def start_server(reactor: Any, config: Config, provider: str) -> MediaServer:
    """Start a server that does nothing but transcribe, and wait for its recognizer.

    It opens no other port and writes nothing, so the real server may run with the same configuration meanwhile.

    :raises ConfigError: the recognizer cannot be had.
    """
    chosen = provider or config.stream.provider or "pocketsphinx"
    only = Config(
        server=Server(port=0),
        limits=config.limits,
        voice=config.voice,
        stream=msgspec.structs.replace(config.stream, provider=chosen, secret_env="", allow=(), summaries=""),
        grpc=Grpc(enabled=False),
        history=History(enabled=False),
        stt=config.stt,
        routes=(),
    )
    server = make_service(only, reactor)
    server.startService()
    name = f"stt.{only.stream.provider}"
    for _ in range(READY_S * 10):
        if not server.troubles()[name]:
            break
        await deferLater(reactor, 0.1, lambda: None)
    if trouble := server.troubles()[name]:
        await server.stopService()
        raise ConfigError(f"{name} cannot serve: {trouble}")
    return server


async def transcribe(reactor: Any, args: argparse.Namespace) -> int:
    """Do what the arguments say; return the exit status."""
    server = None
    try:
        rate_hz, pcm = load(args.file)
        if args.in_process:
            server = await start_server(reactor, decode_config(args.config or config_path()), args.provider)
        to = destination(args, rate_hz, server)
        speaker = Speaker(reactor, pcm, chunk_bytes(rate_hz), fast=args.fast)
        why = await stream(reactor, to, speaker)
    except (CallFailed, ConfigError) as error:
        print(f"voicemedia transcribe: {error}", file=sys.stderr)
        return 2
    finally:
        if server is not None:
            await server.stopService()
    if speaker.summary is None:
        print(f"voicemedia transcribe: the session broke off: {why}", file=sys.stderr)
        return 1
    out = args.summary or args.file.with_suffix(".summary.json").name
    print(f"\n{speaker.summary['results']['full_transcript']}\n")
    try:
        Path(out).write_text(json.dumps(speaker.summary, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        print(f"voicemedia transcribe: cannot write {out}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"The summary is in {out}.")
    return 0 if why == "ended" else 1


def run(args: argparse.Namespace) -> int:
    """Transcribe; return the exit status."""
    return run_once(lambda reactor: transcribe(reactor, args))
