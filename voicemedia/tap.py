"""The command line of `twist voicemedia` and `twistd voicemedia`, and the start they share with `voicemedia.tac`."""
# twisted.application carries few types.
# mypy: disallow-untyped-calls=False

import sys
from collections.abc import MutableMapping
from typing import Any, ClassVar, NoReturn

import msgspec
from twisted.application.service import MultiService
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.python import usage
from twisted.python.components import Componentized

from voicemedia import ports
from voicemedia.config import Config, Log, config_path, read_config
from voicemedia.errors import ConfigError
from voicemedia.log import Journal, LineObserver, open_observer
from voicemedia.service import make_service
from voicemedia.signals import Hangup, heed_impatience


class Options(usage.Options):
    """What may follow `twist voicemedia`."""

    optParameters: ClassVar[list[list[object]]] = [
        ["config", "c", None, "TOML file; else $VOICEMEDIA_CONFIG, ./voicemedia.toml, or the defaults."]
    ]


class House(MultiService):
    """Everything that runs: the journal first, then the service."""

    log = Logger()

    def __init__(self, config: Config, observer: LineObserver, reactor: Any) -> None:
        super().__init__()
        self._config, self.observer = config, observer
        journal = Journal(config.log, observer)
        journal.setServiceParent(self)
        Hangup(journal.reopen, reactor).setServiceParent(self)
        self._reactor, self._server = reactor, make_service(config, reactor)
        self._server.setServiceParent(self)

    def setServiceParent(self, parent: Any) -> None:
        """Give the application our log observer on the way in: twistd asks it for one."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start everything; a port that is taken is the operator's affair, not a bug."""
        try:
            super().startService()
        except CannotListenError as error:
            self._give_up(self._not_heard(error), error)
        except ConfigError as error:
            self._give_up(str(error), error)

    def stopService(self) -> Any:
        """Stop everything, once calls have ended."""
        heed_impatience(self._server.switchboard.hasten, self._reactor)
        return super().stopService()

    def _not_heard(self, error: CannotListenError) -> str:
        sip, why = self._config.sip, error.socketError
        of_sip = {sip.tls_port: "sip.tls_port", sip.port: "sip.port"} if sip.enabled else {}
        key = "server.port" if error.port == self._config.server.port else of_sip.get(error.port, "server.port")
        cure = ports.cure(why, key.partition(".")[0])
        return f"{key}: cannot listen on {error.interface}:{error.port}: {why.strerror or why}; {cure}"

    def _give_up(self, fault: str, error: Exception) -> NoReturn:
        self.log.error("{fault}", fault=fault)
        # twistd has turned sys.stderr into a log by now.
        print(f"voicemedia: {fault}", file=sys.__stderr__)
        raise SystemExit(1) from error


def make_house(path: str | None, command: MutableMapping[str, Any] | None = None) -> House:
    """Read the configuration and build what it asks for; nothing runs yet.

    A fault of the configuration is one line on standard error and exit status 1.

    :param command: options of twist or twistd; theirs about the log are followed.
    """
    from twisted.internet import reactor

    command = {} if command is None else command
    try:
        config = read_config(path or config_path())
        observer = open_observer(_log_asked_for(config.log, command), command.get("logFile"))
        return House(config, observer, reactor)
    except ConfigError as error:
        sys.exit(f"voicemedia: {error}")


def _log_asked_for(log: Log, command: MutableMapping[str, Any]) -> Log:
    if logfile := command.get("logfile"):
        log = msgspec.structs.replace(log, file="" if logfile == "-" else logfile)
    if log.format == "auto" and "logFormat" in command:
        log = msgspec.structs.replace(log, format=command["logFormat"])
    return log


def makeService(options: Options) -> House:
    """Build the service; twist and twistd call this by its name."""
    command = options.parent
    assert command is not None
    house = make_house(options["config"], command)
    if "fileLogObserverFactory" in command:
        # twist would make its own observer and filter its events by level first; both are decided already.
        command["fileLogObserverFactory"] = lambda _out: house.observer
        command["logLevel"] = LogLevel.debug
    return house
