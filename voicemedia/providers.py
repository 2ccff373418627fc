"""Finds the modules of recognizers, synthesizers and agents and decodes their tables of the configuration."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast

import msgspec
from twisted.internet.interfaces import IReactorCore

from voicemedia.config import Config, Table, convert
from voicemedia.errors import ConfigError
from voicemedia.interfaces import Provider

Kind = Literal["stt", "tts", "agents"]
"Kinds are named as their tables in the configuration."

ROOMS: Final[dict[Kind, str]] = {"stt": "voicemedia.stt", "tts": "voicemedia.tts", "agents": "voicemedia.agent"}
"Where the table `PROVIDERS` of each kind stands."

NOBODY: Final = "none"
"A route's name for: no provider of this kind."


class ProviderModule(Protocol):
    """The three names every provider's module has (`voicemedia.interfaces.Provider`)."""

    Options: type[msgspec.Struct]

    def missing(self, options: Any) -> str:
        """Say what is not installed or configured here and how to get it; empty when nothing is."""

    def make(self, options: Any, reactor: Any) -> Provider:
        """Make the provider; it is started later."""


@dataclass(frozen=True)
class Chosen:
    """A provider the configuration asks for."""

    kind: Kind
    name: str
    module: ProviderModule
    options: msgspec.Struct

    def missing(self) -> str:
        """Say what keeps it from working here; empty when nothing does."""
        return self.module.missing(self.options)

    def make(self, reactor: IReactorCore) -> Provider:
        """Make the provider; it is started later.

        :raises ConfigError: an option that only making it could tell to be wrong.
        """
        try:
            return self.module.make(self.options, reactor)
        except ConfigError as error:
            raise ConfigError(f"{self.kind}.{self.name}: {error}") from error


def load(kind: Kind, name: str, table: Table | None = None) -> tuple[ProviderModule, msgspec.Struct]:
    """Import the module of a provider and decode its options.

    :param table: its table of the configuration, with `provider` (default: the name itself) and options.
    :raises ConfigError: unknown provider, module that cannot be imported, or an option at fault.
    """
    options = dict(table or {})
    provider = options.pop("provider", name)
    key = f"{kind}.{name}"
    if not isinstance(provider, str):
        raise ConfigError(f"{key}.provider: expected str, got {type(provider).__name__}")
    module = _import(f"{key}.provider", _module_name(kind, key, provider))
    return module, convert(options, module.Options, key=key)


@dataclass(frozen=True)
class Wanted:
    """A provider by name, before anything is imported, and who asks for it."""

    kind: Kind
    name: str
    table: Table | None
    "None: only routes name it, with its default options."
    asked_by: tuple[str, ...]
    "Keys of the routes that name it, `routes[0].stt`."

    @property
    def key(self) -> str:
        """Its name in reports and logs, which is its key in the configuration."""
        return f"{self.kind}.{self.name}"

    def load(self) -> Chosen:
        """Import its module and decode its options.

        :raises ConfigError: as `load`; where no table has the name, the route that gave it is named.
        """
        try:
            return Chosen(self.kind, self.name, *load(self.kind, self.name, self.table))
        except ConfigError as error:
            if self.table is None and self.asked_by:
                raise ConfigError(f"{self.asked_by[0]}: {error}") from error
            raise


def wanted(config: Config) -> list[Wanted]:
    """List every provider that has a table or is named by a route or the streaming API, each once."""
    found = []
    for kind in ROOMS:
        tables: Mapping[str, Table] = getattr(config, kind)
        field = "agent" if kind == "agents" else kind
        asked: dict[str, list[str]] = {name: [] for name in tables}
        for key, route in config.answering:
            for name in {"stt": route.recognizers, "tts": route.voices, "agents": (route.agent,)}[kind]:
                if name != NOBODY or kind == "agents":
                    asked.setdefault(name, []).append(f"{key}.{field}")
        if kind == "stt":
            for key, name in _named_by_stream(config):
                asked.setdefault(name, []).append(key)
        found += [Wanted(kind, name, tables.get(name), tuple(keys)) for name, keys in asked.items()]
    return found


def _named_by_stream(config: Config) -> list[tuple[str, str]]:
    """List the recognizers the streaming API names, with their keys."""
    named = [("stream.provider", config.stream.provider)] if config.stream.provider else []
    if config.grpc.stt and config.grpc.enabled:
        named.append(("grpc.stt", config.grpc.stt))
    return named + [(f"stream.providers[{number}]", name) for number, name in enumerate(config.stream.providers)]


def load_all(config: Config) -> list[Chosen]:
    """Load every provider that has a table or is named by a route, each once.

    :raises ConfigError: as `Wanted.load`.
    """
    return [provider.load() for provider in wanted(config)]


def load_plugins(names: tuple[str, ...]) -> None:
    """Import the modules that register something of their own.

    :raises ConfigError: one of them cannot be imported.
    """
    for number, name in enumerate(names):
        try:
            importlib.import_module(name)
        except Exception as error:
            where = f"server.plugins[{number}]"
            raise ConfigError(f"{where}: cannot import {name}: {error}; install it, or put it on PYTHONPATH") from error


def _module_name(kind: Kind, key: str, provider: str) -> str:
    if "." in provider:
        return provider
    names: Mapping[str, str] = importlib.import_module(ROOMS[kind]).PROVIDERS
    if provider not in names:
        known = ", ".join(sorted(names))
        raise ConfigError(f"{key}: unknown provider {provider}; known are {known}, or give a dotted module")
    return names[provider]


def _import(key: str, name: str) -> ProviderModule:
    try:
        module = importlib.import_module(name)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(f"{key}: cannot import {name}: {error}; install it, or put it on PYTHONPATH") from error
    absent = [wanted for wanted in ("Options", "missing", "make") if not hasattr(module, wanted)]
    if absent:
        raise ConfigError(f"{key}: {name} has no {', '.join(absent)}; see voicemedia.interfaces.Provider")
    return cast(ProviderModule, module)
