"""The log: one line an event, as JSON or, on a terminal, as text for people.

What a caller said, pressed or is called comes in fields named `pii_...`; they are dropped here, from the fields
and from the message, unless the configuration allows them.
"""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import IO, Any, Final

import msgspec
from twisted.application.service import Service
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from txaio import tx as txaio_logs
from zope.interface import implementer

from voicemedia.config import Log
from voicemedia.errors import ConfigError

LEVELS: Final = {level: rank for rank, level in enumerate(LogLevel.iterconstants())}
OWN: Final = frozenset(("time", "level", "namespace", "message"))
"Keys of every line; a field of the same name is written as `field_NAME`."
LEGACY: Final = frozenset(("message", "time", "system", "isError", "failure", "why", "format", "logLevel"))
"Keys twisted.python.log puts into an event beside the caller's fields."


class Hidden(str):
    """Stands for a personal value in a message, whatever the format asks of it."""

    def __getattr__(self, _name: str) -> "Hidden":
        return self

    def __getitem__(self, _key: object) -> "Hidden":
        return self

    def __format__(self, _spec: str) -> str:
        return "-"


HIDDEN: Final = Hidden("-")
JSON: Final = frozenset({str, int, float, bool, type(None)})
"Written as they are; a line holds hardly anything else."


@implementer(ILogObserver)
class LineObserver:
    """Writes each event of twisted.logger as one line.

    :param out: where lines go: a binary file, or a text file over one.
    """

    def __init__(self, config: Log, out: IO[Any]) -> None:
        self._out = getattr(out, "buffer", out)
        self._least = LEVELS[LogLevel.lookupByName(config.level)]
        self._personal = config.personal
        self._as_text = config.format == "text" or (config.format == "auto" and out.isatty())
        self._encode = msgspec.json.Encoder().encode
        self._second = -1
        self._second_text = ""

    def __call__(self, event: LogEvent) -> None:
        """Write one event, or drop it."""
        level = event.get("log_level", LogLevel.info)
        namespace = event.get("log_namespace", "")
        if LEVELS[level] < self._least or (level is LogLevel.debug and namespace.startswith("autobahn")):
            # Autobahn's debug events hold whole frames: the callers' voices.
            return
        line = self._line(event, level.name, namespace)
        self._out.write(_as_text(line) if self._as_text else self._as_json(line))
        self._out.flush()

    def move_to(self, out: IO[Any]) -> None:
        """Write to another file from now on."""
        self._out = getattr(out, "buffer", out)

    def close(self) -> None:
        """Close the file."""
        self._out.close()

    def _line(self, event: LogEvent, level: str, namespace: str) -> dict[str, object]:
        personal, legacy = self._personal, namespace == "log_legacy"
        line: dict[str, object] = {
            "time": self._time(event.get("log_time", 0.0)),
            "level": level,
            "namespace": namespace,
            "message": _message(event, personal),
        }
        for key, value in event.items():
            kind = key[:4]
            if kind == "log_" or (kind == "pii_" and not personal) or (legacy and key in LEGACY):
                continue
            line[f"field_{key}" if key in OWN else key] = value if type(value) in JSON else _plain(value)
        if (failure := event.get("log_failure")) is not None:
            line["failure"] = failure.getTraceback()
            line["message"] = line["message"] or failure.type.__name__
        return line

    def _time(self, at: float) -> str:
        second, ms = divmod(int(at * 1000), 1000)
        if second != self._second:
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second
        return f"{self._second_text}.{ms:03d}Z"

    def _as_json(self, line: Mapping[str, object]) -> bytes:
        try:
            return self._encode(line) + b"\n"
        except (UnicodeEncodeError, OverflowError):
            # A lone surrogate or a number beyond 64 bits: rare, and no reason to lose the line.
            safe = {key: str(value).encode("utf-8", "backslashreplace").decode() for key, value in line.items()}
            return self._encode(safe) + b"\n"


def _without_personal(event: LogEvent) -> LogEvent:
    return {key: HIDDEN if key[:4] == "pii_" else value for key, value in event.items()}


def _message(event: LogEvent, personal: bool) -> str:
    template = event.get("log_format")
    if not template:
        return ""
    try:
        # Few messages have a personal field in them.
        return str.format_map(template, event if personal or "pii_" not in template else _without_personal(event))
    except Exception:
        # Bytes, formats with calls, values that fail to show themselves: Twisted's own formatter knows them all.
        return formatEvent(event if personal else _without_personal(event))


def _plain(value: object) -> object:
    """Reduce a field to what JSON has; objects are shown by repr, never opened."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Enum):
        return _plain(value.value)
    if type(value) is dict:
        return {str(k): v if type(v) in JSON else _plain(v) for k, v in value.items()}
    try:
        return repr(value)
    except Exception:  # whatever an object's own code raises: the line is not lost for it
        return f"<{type(value).__name__} without repr>"


def _as_text(line: Mapping[str, object]) -> bytes:
    text = f"{str(line['time'])[11:-1]} {line['level']:<8} {line['message']}\n{line.get('failure', '')}"
    return text.encode("utf-8", "backslashreplace")


def open_observer(config: Log, out: IO[Any] | None = None) -> LineObserver:
    """Make the observer of a configuration.

    :param out: where lines go when the configuration names no file; None: standard output.
    :raises ConfigError: the file cannot be opened.
    """
    if config.file:
        try:
            out = open(config.file, "ab")  # noqa: SIM115 - it stays open as long as the process lives
        except OSError as error:
            raise ConfigError(f"log.file: {config.file}: {error.strerror}; give a writable path") from error
    # Autobahn asks txaio, not twisted.logger, whether debug events are wanted.
    txaio_logs.set_global_log_level("info")  # type: ignore[no-untyped-call]
    return LineObserver(config, out or sys.stdout)


def json_lines() -> LineObserver:
    """Make an observer by the defaults, for `twistd --logger voicemedia.log.json_lines`."""
    return open_observer(Log(format="json"))


class Journal(Service):
    """Keeps the log going when twistd daemonizes: standard output is gone then, `twistd.log` takes its place."""

    def __init__(self, config: Log, observer: LineObserver) -> None:
        self._observer, self._file = observer, config.file
        self._may_move = not config.file and not _stdout_is_null()

    def startService(self) -> None:
        """Look where standard output goes now; twistd starts services after it has daemonized."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._may_move and _stdout_is_null():
            self._observer.move_to(open("twistd.log", "ab"))  # noqa: SIM115

    def reopen(self) -> str:
        """Go on in a new file of the same name, when somebody has moved the old one away; return the name.

        :raises OSError: it cannot be opened; the old one is kept.
        """
        if self._file:
            out = open(self._file, "ab")  # noqa: SIM115
            self._observer.close()
            self._observer.move_to(out)
        return self._file


def _stdout_is_null() -> bool:
    try:
        return os.fstat(1).st_rdev == os.stat(os.devnull).st_rdev
    except OSError:
        return True
