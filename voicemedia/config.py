"""The configuration: one TOML file, read once, checked whole, frozen.

`voicemedia.example.toml` shows every key. Secrets are never in the file: it holds the names of environment
variables, and this is the only module that reads the environment. Every fault is a `ConfigError` of one line:
the key, what is wrong with it, and the cure.
"""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from voicemedia.errors import ConfigError
from voicemedia.faults import explain
from voicemedia.secret import Secret as Secret
from voicemedia.sections import Browser as Browser
from voicemedia.sections import Calls as Calls
from voicemedia.sections import Count as Count
from voicemedia.sections import Grpc as Grpc
from voicemedia.sections import History as History
from voicemedia.sections import Network as Network
from voicemedia.sections import Positive as Positive
from voicemedia.sections import Recording as Recording
from voicemedia.sections import Section as Section
from voicemedia.sections import Sip as Sip
from voicemedia.sections import Stream as Stream
from voicemedia.sections import Trunk as Trunk
from voicemedia.sections import networks as networks

S = TypeVar("S", bound=msgspec.Struct)
Table = Mapping[str, object]
"Options of one provider, decoded by the provider's own `Options`."

OWN_PATHS: Final = ("/health", "/metrics", "/streaming/stats", "/calls", "/stt", "/playground")
"Pages of the server, which no route may cover."


class Server(Section, frozen=True):
    """The one port for WebSocket and HTTP."""

    host: str = "127.0.0.1"
    "Address to bind; elsewhere than loopback every route wants an access rule."
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    "TCP port; 0 lets the system choose."
    public_url: str = ""
    "Scheme and host as callers see them through a proxy, `https://voice.example.com`; Twilio signs this address."
    max_message_bytes: Annotated[int, Meta(ge=1024)] = 1 << 20
    "Longest WebSocket message or request body taken, in bytes."
    handshake_timeout_s: Positive = 10
    "How long a connection may take to become a WebSocket, in seconds."
    ping_s: Annotated[int, Meta(ge=5)] = 30
    "Seconds between WebSocket pings that find dead peers; at least 5."
    backlog: Positive = 1024
    "Connections the system queues before we accept them."
    trusted_proxies: tuple[str, ...] = ()
    "Networks (CIDR) whose `X-Forwarded-For` is believed."
    plugins: tuple[str, ...] = ()
    "Modules imported at the start, such as those that register handlers for custom events."

    def __post_init__(self) -> None:
        networks(self.trusted_proxies, "trusted_proxies")
        if self.public_url and not re.fullmatch(r"(https?|wss?)://[^/?#\s]+/?", self.public_url):
            raise ValueError("public_url: expected scheme and host only, such as https://voice.example.com")


class Limits(Section, frozen=True):
    """What a server and a call may take."""

    max_calls: Positive = 500
    "Calls at the same time; one more is refused."
    idle_s: Positive = 300
    "A call without any sound, key or message for this long ends, in seconds."
    max_call_s: Positive = 3600
    "A call ends after this many seconds in any case."
    provider_s: Positive = 30
    "A recognizer, agent or synthesizer silent for this many seconds has failed: apology, next turn."
    drain_s: Count = 30
    "How long calls may go on after SIGTERM, in seconds."


class Voice(Section, frozen=True):
    """When the caller speaks."""

    detector: Literal["webrtc", "energy", "silero"] = "webrtc"
    "Voice detector; `silero` needs the extra `silero`."
    aggressiveness: Annotated[int, Meta(ge=0, le=3)] = 2
    "How much `webrtc` takes for noise, 0 to 3."
    min_speech_ms: Annotated[int, Meta(ge=20)] = 60
    "Shorter sounds are no speech, in ms."
    hangover_ms: Annotated[int, Meta(ge=20)] = 600
    "An utterance is over after this much silence, in ms."
    ignore_first_ms: Count = 160
    "Clicks at the start of a call are no speech, in ms."


class Turns(Section, frozen=True):
    """How a talk goes back and forth."""

    transcript_wait_ms: Positive = 5000
    "How long a final transcript may take after the end of an utterance, in ms; thrice that while it is decoded here."
    barge_in: bool = True
    "Whether the caller may interrupt by voice or key."
    key_wait_ms: Positive = 2000
    "Keys are gathered until `#` or this long a pause, in ms."
    apology: str = "Sorry, something went wrong. Please say that again."
    "Said when a provider failed."
    goodbye: str = "We have to end this call now. Goodbye."
    "Said to calls still on when the server stops."


class Playout(Section, frozen=True):
    """How speech leaves."""

    lead_ms: Annotated[int, Meta(ge=0, le=5000)] = 200
    "How far ahead of real time sound is sent, in ms."
    packet_ms: Annotated[int, Meta(ge=20, le=1000, multiple_of=20)] = 20
    "Sound in one message, in ms; a multiple of 20."


class Jitter(Section, frozen=True):
    """How long a missing packet is waited for."""

    deadline_min_ms: Annotated[int, Meta(ge=0, le=1000)] = 20
    "Shortest wait before a hole is concealed, in ms."
    deadline_max_ms: Annotated[int, Meta(ge=0, le=1000)] = 120
    "Longest wait before a hole is concealed, in ms."

    def __post_init__(self) -> None:
        if self.deadline_min_ms > self.deadline_max_ms:
            raise ValueError("deadline_min_ms: must not exceed deadline_max_ms")


class Log(Section, frozen=True):
    """What is logged, and where."""

    level: Literal["debug", "info", "warn", "error"] = "info"
    "The least level that is written."
    format: Literal["auto", "json", "text"] = "auto"
    "One JSON object a line, or text for people; `auto`: text on a terminal, JSON elsewhere."
    personal: bool = False
    "Whether callers' words and numbers (`pii_` fields) are written too."
    file: str = ""
    "File to append to; empty: standard output, or twistd's own log file."


class Route(Section, frozen=True):
    """Where a call that comes in by one path goes."""

    path: str
    "Path of the WebSocket; parts after it are the secret, if one is asked for."
    carrier: Literal["smartflo", "twilio", "browser"] = "smartflo"
    "Whose protocol is spoken."
    agent: str = "diet"
    "Name of an agent: a table `[agents.NAME]`, a built-in one, or a dotted module."
    stt: str | tuple[str, ...] = "pocketsphinx"
    "Name of a recognizer, the same way, or several: the next is asked when one fails; `none`: nothing is understood."
    tts: str | tuple[str, ...] = "espeak"
    "Name of a synthesizer, or several, the same way; `none`: nothing is said."
    language: str = "en"
    "Language of the talk (BCP 47)."
    secret_env: str = ""
    "Environment variable with the secret the caller must give in path or query; empty: none."
    allow: tuple[str, ...] = ()
    "Networks (CIDR) that may call; empty: whoever reaches the port."
    connected: Literal["immediate", "adaptive", "never"] = "immediate"
    "When Smartflo's `connected` is sent."
    strict_official: bool = False
    "Leave `sequenceNumber` out of Smartflo's media, as the carrier's document does."
    implicit_start: bool = False
    "Take Smartflo media before any `start` as an 8 kHz mu-law call."
    binary_audio: bool = False
    "Take binary messages as Smartflo audio."
    token_env: str = ""
    "Environment variable with Twilio's auth token; empty: signatures are not checked."
    max_calls: Count = 0
    "Calls at the same time by this route; 0: only `limits.max_calls`."

    def __post_init__(self) -> None:
        networks(self.allow)
        for key, names in (("stt", self.recognizers), ("tts", self.voices)):
            if not names:
                raise ValueError(f'{key}: name at least one, or "none"')
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", self.path):
            raise ValueError("path: expected plain segments such as /vendor-stream")
        if any(self.path == own or self.path.startswith(own + "/") for own in OWN_PATHS):
            raise ValueError(f"path: {self.path} is a page of the server itself; choose another")
        if self.token_env and self.carrier != "twilio":
            raise ValueError("token_env: only carrier twilio signs its requests; use secret_env or allow")

    @property
    def recognizers(self) -> tuple[str, ...]:
        """The names of its recognizers, in the order of preference."""
        return (self.stt,) if isinstance(self.stt, str) else self.stt

    @property
    def voices(self) -> tuple[str, ...]:
        """The names of its synthesizers, in the order of preference."""
        return (self.tts,) if isinstance(self.tts, str) else self.tts

    @property
    def guarded(self) -> bool:
        """Whether anything but reaching the port is asked of a caller."""
        return bool(self.secret_env or self.token_env or self.allow)


DEFAULT_ROUTES: Final = (
    Route("/vendor-stream"),
    Route("/vendor-stream/echo", agent="echo", stt="none", tts="none"),
    Route("/vendor-stream/repeat", agent="repeat"),
    Route("/twilio", "twilio"),
    Route("/twilio/echo", "twilio", agent="echo", stt="none", tts="none"),
    Route("/twilio/repeat", "twilio", agent="repeat"),
    Route("/audio-stream", "browser"),
)


class Config(Section, frozen=True):
    """Everything that can be set; each part of the house is handed its own section."""

    server: Server = Server()
    limits: Limits = Limits()
    voice: Voice = Voice()
    turns: Turns = Turns()
    playout: Playout = Playout()
    jitter: Jitter = Jitter()
    stream: Stream = Stream()
    browser: Browser = Browser()
    grpc: Grpc = Grpc()
    sip: Sip = Sip()
    calls: Calls = Calls()
    history: History = History()
    recording: Recording = Recording()
    log: Log = Log()
    stt: Mapping[str, Table] = msgspec.field(default_factory=dict)
    "Recognizers by name: `provider` (default: the name) and the provider's options."
    tts: Mapping[str, Table] = msgspec.field(default_factory=dict)
    "Synthesizers by name, the same way."
    agents: Mapping[str, Table] = msgspec.field(default_factory=dict)
    "Agents by name, the same way."
    routes: tuple[Route, ...] = DEFAULT_ROUTES
    "Where calls go; given routes replace all of the default ones."
    trunks: tuple[Trunk, ...] = (Trunk("local"),)
    "Who may call over SIP; given trunks replace the default one, which is this machine."

    def __post_init__(self) -> None:
        seen: dict[str, int] = {}
        for number, route in enumerate(self.routes):
            if (first := seen.setdefault(route.path, number)) != number:
                raise ValueError(f"routes[{number}].path: {route.path} is already routes[{first}]; remove one")
        names = [trunk.name for trunk in self.trunks]
        for number, name in enumerate(names):
            if (first := names.index(name)) != number:
                raise ValueError(f"trunks[{number}].name: {name} is already trunks[{first}]; choose another")
        if unknown := {*self.recording.routes} - {*seen, *(f"/sip/{name}" for name in names)}:
            raise ValueError(f"recording.routes: {min(unknown)} is no route; name paths of routes, or /sip/TRUNK")

    @property
    def answering(self) -> Iterator[tuple[str, Route]]:
        """Yield (key, route) of everything that is answered by an agent; a trunk is the route `/sip/NAME`."""
        for number, route in enumerate(self.routes):
            yield f"routes[{number}]", route
        if self.sip.enabled:
            for number, trunk in enumerate(self.trunks):
                yield f"trunks[{number}]", route_of_trunk(trunk)


def route_of_trunk(trunk: Trunk) -> Route:
    """Return the route that the calls of a trunk go by."""
    return Route(
        f"/sip/{trunk.name}",
        agent=trunk.agent,
        stt=trunk.stt,
        tts=trunk.tts,
        language=trunk.language,
        max_calls=trunk.max_calls,
    )


def secret(name: str, key: str = "") -> Secret:
    """Read a secret from the environment variable `name`.

    :param key: the configuration key that holds the name, for the error.
    :raises ConfigError: the variable is unset or empty.
    """
    value = os.environ.get(name, "")
    if not value:
        where = f"{key}: " if key else ""
        raise ConfigError(f"{where}environment variable {name} is not set; export it, or remove the key")
    return Secret(name, value)


def secrets_named(config: Config) -> Iterator[tuple[str, str]]:
    """Yield (key, environment variable) for every secret that is named."""
    named = [("stream.secret_env", config.stream.secret_env), ("calls.token_env", config.calls.token_env)]
    yield from (each for each in named if each[1])
    for key in ("token_env", "speech_token_env"):
        if name := getattr(config.grpc, key):
            yield f"grpc.{key}", name
    if config.history.enabled and config.history.dsn_env:
        yield "history.dsn_env", config.history.dsn_env
    for number, route in enumerate(config.routes):
        for key in ("secret_env", "token_env"):
            if name := getattr(route, key):
                yield f"routes[{number}].{key}", name
    named = [(f"trunks[{number}].secret_env", trunk.secret_env) for number, trunk in enumerate(config.trunks)]
    yield from (each for each in named if each[1] and config.sip.enabled)


def config_path() -> str | None:
    """Tell where the configuration is when nobody says: $VOICEMEDIA_CONFIG, ./voicemedia.toml, or nowhere."""
    named = os.environ.get("VOICEMEDIA_CONFIG", "")
    return named or ("voicemedia.toml" if Path("voicemedia.toml").exists() else None)


def read_config(path: str | None) -> Config:
    """Read and check the file at `path`; None gives the defaults, a server that needs no network.

    :raises ConfigError: in one line, the key at fault and the cure.
    """
    config = decode_config(path)
    for key, name in secrets_named(config):
        secret(name, key)
    return config


def decode_config(path: str | None) -> Config:
    """Read the file at `path` without looking for its secrets."""
    if path is None:
        return Config()
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; give a readable file, or none for defaults") from error
    return decode(text, Config, source=path)


def decode(text: bytes, wanted: type[S], *, source: str) -> S:
    """Decode TOML into a struct; `source` is named where no key is."""
    try:
        return msgspec.toml.decode(text, type=wanted)
    except msgspec.ValidationError as error:
        raise ConfigError(explain(error, wanted)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: not TOML: {error}; mend that line".replace("\n", " ")) from error


def convert(table: Table, wanted: type[S], *, key: str) -> S:
    """Decode a table that was read before, such as a provider's options; errors name `key.field`."""
    try:
        return msgspec.convert(table, wanted)
    except msgspec.ValidationError as error:
        raise ConfigError(explain(error, wanted, key)) from error


def exposure_warnings(config: Config) -> list[str]:
    """Say who on the network may come in without being asked for anything."""
    return [*_open_grpc(config), *_open_trunks(config), *_open_routes(config)]


def _open_grpc(config: Config) -> list[str]:
    grpc = config.grpc
    guarded = not grpc.enabled or is_loopback(grpc.host) or grpc.token_env or grpc.client_ca
    return [] if guarded else [f"grpc hears anybody who reaches {grpc.host}: set token_env or client_ca of grpc"]


def _open_trunks(config: Config) -> Iterator[str]:
    for trunk in config.trunks if config.sip.enabled and not is_loopback(config.sip.host) else ():
        if trunk.open:
            yield f"trunk {trunk.name} takes calls from the whole network: narrow its peers"
        if "" in trunk.dial_prefixes:
            yield f"trunk {trunk.name} may call every number there is: name prefixes in dial_prefixes"


def _open_routes(config: Config) -> Iterator[str]:
    host, stream = config.server.host, config.stream
    if is_loopback(host):
        return
    if not (stream.secret_env or stream.allow):
        yield f"/stt/stream hears anybody who reaches {host}: set allow or secret_env of stream"
    for route in config.routes:
        if not route.guarded:
            yield f"{route.path} takes calls from anybody who reaches {host}: set allow or secret_env of the route"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address to bind."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
