"""Which database a configuration means."""

from pathlib import Path
from typing import Any, Final

from voicemedia import config
from voicemedia.errors import ConfigError
from voicemedia.history.databases import Database
from voicemedia.history.sqlite import SQLite

CURE: Final = "install the extra: pip install 'voicemedia[postgres]'"


def make_database(options: config.History, reactor: Any) -> Database:
    """Make the database, without opening it.

    :raises ConfigError: the DSN's variable is not set, or psycopg2 is missing.
    """
    if not options.dsn_env:
        return SQLite(Path(options.path).absolute(), reactor)
    dsn = config.secret(options.dsn_env, "history.dsn_env").reveal()
    try:
        from voicemedia.history.postgres import Postgres
    except ImportError as error:
        raise ConfigError(f"history.dsn_env: {error.name} is not installed; {CURE}") from error
    return Postgres(dsn, reactor)


def spool_folder(options: config.History) -> Path:
    """Tell where waits what is not yet in the database."""
    return Path(options.spool or Path(options.path).parent / "spool").absolute()
