"""`voicemedia doctor`: what of a configuration works on this machine, and what the missing parts would unlock."""

import argparse
import errno
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from shutil import disk_usage
from socket import SocketKind
from typing import Final, Literal
from urllib.error import URLError
from urllib.request import urlopen

import msgspec
from autobahn.websocket import USES_NVX

from voicemedia import __version__
from voicemedia.audio.voice import make_detector
from voicemedia.config import Config, config_path, decode_config, exposure_warnings, secret, secrets_named
from voicemedia.errors import ConfigError
from voicemedia.ports import cure
from voicemedia.providers import ROOMS, Chosen, Wanted, load, wanted

OLDEST_PYTHON: Final = (3, 11)
PACKAGES: Final = ("twisted", "autobahn", "msgspec", "numpy", "prometheus-client", "webrtcvad-wheels")
FILES_PER_CALL: Final = 1
GRPC_PACKAGES: Final = {
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
}
OPUS_CURE: Final = "pip install 'voicemedia[opus]'"
SPARE_FILES: Final = 100
"Descriptors for everything but calls: log, listening port, children's pipes."


@dataclass(frozen=True)
class Finding:
    """What one look found."""

    state: Literal["ok", "note", "warn", "fail"]
    "`note`: not configured, nothing to worry about; `fail`: a configured part cannot work."
    name: str
    text: str
    cure: str = ""


def examine(path: str | None) -> Iterator[Finding]:
    """Look at everything a configuration needs; the defaults where `path` is None."""
    yield from _machine()
    try:
        config = decode_config(path)
    except ConfigError as error:
        yield Finding("fail", "configuration", str(error))
        return
    yield Finding("ok", "configuration", path or "none given: the defaults, which need no network")
    yield from _secrets(config)
    yield from _providers(config)
    yield from _detector(config)
    yield from _unused(config)
    yield from _port(config)
    yield from _grpc(config)
    yield from _sip(config)
    yield from _opus()
    yield from _limits(config)
    yield from _log(config)
    yield from _history(config)
    yield from _recording(config)


def _machine() -> Iterator[Finding]:
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        yield Finding("fail", "python", f"{running} is older than 3.11", "install python3.11")
    else:
        yield Finding("ok", "python", running)
    for package in PACKAGES:
        try:
            yield Finding("ok", package, version(package))
        except PackageNotFoundError:
            yield Finding("fail", package, "not installed", f"pip install {package}")
    if not USES_NVX:
        cure = "install the autobahn wheel for this platform, or unset AUTOBAHN_USE_NVX"
        yield Finding("warn", "autobahn NVX", "off: a WebSocket costs about half as much again", cure)


def _secrets(config: Config) -> Iterator[Finding]:
    for key, name in secrets_named(config):
        try:
            secret(name, key)
            yield Finding("ok", key, f"${name} is set")
        except ConfigError:
            yield Finding("fail", key, f"${name} is not set", f"export {name}=..., or remove the key")


def _providers(config: Config) -> Iterator[Finding]:
    for provider in wanted(config):
        try:
            trouble = provider.load().missing()
        except ConfigError as error:
            yield Finding("fail", provider.key, str(error))
            continue
        users = ", ".join(_paths(config, provider)) or "no route"
        if trouble:
            yield Finding("fail", provider.key, f"{trouble} (used by {users})")
        else:
            yield Finding("ok", provider.key, f"works; used by {users}")


def _paths(config: Config, provider: Wanted) -> list[str]:
    field = "agent" if provider.kind == "agents" else provider.kind
    return [route.path for _, route in config.answering if getattr(route, field) == provider.name]


def _unused(config: Config) -> Iterator[Finding]:
    """Name the built-in providers nobody asks for, and what they would need."""
    asked_for = {(provider.kind, provider.name) for provider in wanted(config)}
    for kind, room in ROOMS.items():
        for name in import_module(room).PROVIDERS:
            if (kind, name) in asked_for:
                continue
            try:
                trouble = Chosen(kind, name, *load(kind, name)).missing()
            except ConfigError as error:
                trouble = str(error)
            yield Finding("note", f"{kind}.{name}", f"not used; {trouble or 'would work here'}")


def _detector(config: Config) -> Iterator[Finding]:
    for detector in ("webrtc", "energy", "silero"):
        configured = detector == config.voice.detector
        try:
            make_detector(detector, 8000, config.voice.aggressiveness)
            trouble = ""
        except ConfigError as error:
            trouble = str(error)
        if configured and trouble:
            cure = 'or set voice.detector = "energy", which needs nothing'
            yield Finding("fail", "voice.detector", trouble, cure)
        elif configured:
            yield Finding("ok", "voice.detector", detector)
        else:
            yield Finding("note", f"voice.detector {detector}", f"not used; {trouble or 'would work here'}")


def _port(config: Config) -> Iterator[Finding]:
    server = config.server
    where = f"{server.host}:{server.port}"
    trouble = _trouble_with(server.host, server.port)
    if trouble is None:
        yield Finding("ok", "server.port", f"{where} is free")
    elif trouble.errno == errno.EADDRINUSE and (running := _running(server.host, server.port)):
        yield Finding("ok", "server.port", f"{where} is taken by voicemedia {running}, which is running")
    else:
        yield Finding("fail", "server.port", f"{where}: {trouble.strerror}", cure(trouble, "server"))
    for warning in exposure_warnings(config):
        yield Finding("warn", "server.host", warning)


def _grpc(config: Config) -> Iterator[Finding]:
    """Look at the door of voice gateways."""
    grpc = config.grpc
    if not grpc.enabled:
        yield Finding("note", "grpc", "off; voice gateways cannot send segments")
        return
    # "auto" goes without what it cannot have.
    worst: Literal["warn", "fail"] = "fail" if grpc.enabled is True else "warn"
    absent = [package for module, package in GRPC_PACKAGES.items() if not _installed(module)]
    if absent:
        yield Finding(worst, "grpc", f"{', '.join(absent)} not installed", f"pip install {' '.join(absent)}")
        return
    for key, number in (("ingest_port", grpc.ingest_port), ("speech_port", grpc.speech_port)):
        yield _door(config, f"grpc.{key}", (grpc.host, number), worst)


def _sip(config: Config) -> Iterator[Finding]:
    """Look at the doors of trunks, PBXs and softphones."""
    sip = config.sip
    if not sip.enabled:
        yield Finding("note", "sip", "off; no trunk, PBX or softphone can call")
        return
    for kind in (SocketKind.SOCK_DGRAM, SocketKind.SOCK_STREAM):
        name = "sip.port (UDP)" if kind == SocketKind.SOCK_DGRAM else "sip.port (TCP)"
        yield _door(config, name, (sip.host, sip.port), "fail", kind)
    if sip.certificate:
        yield _door(config, "sip.tls_port", (sip.host, sip.tls_port), "fail")
    else:
        yield Finding("note", "sip.tls_port", "not served; TLS wants sip.certificate and sip.private_key")
    for key in ("certificate", "private_key", "ca", "hold_music"):
        file = getattr(sip, key)
        if file and not os.access(file, os.R_OK):
            yield Finding("fail", f"sip.{key}", f"{file} cannot be read", "give a readable file")


def _door(
    config: Config,
    name: str,
    where: tuple[str, int],
    worst: Literal["warn", "fail"],
    kind: SocketKind = SocketKind.SOCK_STREAM,
) -> Finding:
    """Tell whether a port beside the server's can be had; one that our running server may have is well."""
    text = "{}:{}".format(*where)
    if (trouble := _trouble_with(*where, kind)) is None:
        return Finding("ok", name, f"{text} is free")
    if running := _running(config.server.host, config.server.port):
        return Finding("ok", name, f"{text}: {trouble.strerror} (voicemedia {running} is running)")
    return Finding(worst, name, f"{text}: {trouble.strerror}", cure(trouble, name.partition(".")[0]))


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _opus() -> Iterator[Finding]:
    if _installed("av"):
        yield Finding("ok", "opus", "gateways and browsers may send Opus")
    else:
        yield Finding("note", "opus", f"not taken: {OPUS_CURE}", OPUS_CURE)


def _trouble_with(host: str, port: int, kind: SocketKind = SocketKind.SOCK_STREAM) -> OSError | None:
    """Tell why a port cannot be had; None when it can."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host or None, port, type=kind)[0]
        with socket.socket(family, kind) as listener:
            if kind == SocketKind.SOCK_STREAM:
                # For UDP it would let two have one port.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return error
    return None


def _running(host: str, port: int) -> str:
    """Return the version of the voicemedia that answers there; empty when none does."""
    to = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    try:
        with urlopen(f"http://{to}:{port}/health", timeout=2) as answer:
            return str(msgspec.json.decode(answer.read(), type=dict[str, object]).get("version", ""))
    except (URLError, OSError, msgspec.MsgspecError):
        return ""


def _limits(config: Config) -> Iterator[Finding]:
    try:
        from resource import RLIMIT_NOFILE, getrlimit
    except ImportError:
        return
    allowed, _ = getrlimit(RLIMIT_NOFILE)
    files = FILES_PER_CALL + config.recording.enabled
    needed = config.limits.max_calls * files + SPARE_FILES
    if allowed < needed:
        text = f"{config.limits.max_calls} calls want {needed} open files, {allowed} are allowed"
        yield Finding("warn", "limits.max_calls", text, f"ulimit -n {needed}, or LimitNOFILE={needed} in the unit")
    else:
        yield Finding("ok", "limits.max_calls", f"{config.limits.max_calls} calls; {allowed} open files are allowed")


def _log(config: Config) -> Iterator[Finding]:
    if config.log.personal:
        yield Finding("warn", "log.personal", "callers' words and numbers are written to the log", "set it to false")
    if not config.log.file:
        return
    file = Path(config.log.file)
    if os.access(file if file.exists() else file.parent, os.W_OK):
        yield Finding("ok", "log.file", str(file))
    else:
        yield Finding("fail", "log.file", f"{file} cannot be written", "give a writable path")


def _history(config: Config) -> Iterator[Finding]:
    history = config.history
    if not history.enabled:
        yield Finding("note", "history", "nothing is remembered")
        return
    if history.dsn_env and find_spec("txpostgres") is None:
        yield Finding("fail", "history.dsn_env", "txpostgres is not installed", "pip install 'voicemedia[postgres]'")
    folder = Path(history.spool or Path(history.path).parent).absolute()
    while not folder.exists():
        folder = folder.parent
    if os.access(folder, os.W_OK):
        where = f"PostgreSQL, ${history.dsn_env}" if history.dsn_env else history.path
        yield Finding("ok", "history", f"{where}; kept {history.keep_days or 'all'} days")
    else:
        yield Finding("fail", "history.path", f"{folder} cannot be written", "give a writable path")


def _recording(config: Config) -> Iterator[Finding]:
    recording = config.recording
    if not recording.enabled:
        yield Finding("note", "recording", "off; no call is recorded")
        return
    folder = there = Path(recording.folder).absolute()
    while not there.exists():
        there = there.parent
    free_mb = disk_usage(there).free >> 20
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        yield Finding("fail", "recording.folder", f"{there} cannot be written", "give a writable folder")
    elif free_mb < recording.min_free_mb:
        text = f"{free_mb} MiB are free at {there}, {recording.min_free_mb} are to be left: nothing would be recorded"
        yield Finding("fail", "recording.min_free_mb", text, "make room, or give another folder")
    else:
        hours = (free_mb - recording.min_free_mb) / (110 if recording.format == "pcm" else 55)
        yield Finding("ok", "recording", f"{folder}; room for {hours:.0f} hours of calls at 8 kHz")


# --- the command ---


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what may follow `voicemedia doctor`."""
    parser.add_argument("--config", help="TOML file; else $VOICEMEDIA_CONFIG, ./voicemedia.toml, or the defaults")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 when a configured part cannot work."""
    findings = list(examine(args.config or config_path()))
    failed = [finding for finding in findings if finding.state == "fail"]
    if args.json:
        print(msgspec.json.encode({"ok": not failed, "findings": [asdict(f) for f in findings]}).decode())
    else:
        _show(findings, len(failed))
    return 1 if failed else 0


def _show(findings: list[Finding], failed: int) -> None:
    print(f"voicemedia {__version__}")
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        cure = f"\n{'':{width + 8}}cure: {finding.cure}" if finding.cure else ""
        print(f"{finding.state:<5} {finding.name:<{width}}  {finding.text}{cure}")
    warned = sum(finding.state == "warn" for finding in findings)
    print(f"{failed} of the configured parts cannot work, {warned} warnings")
