"""The sound of calls, as far as history is concerned: files it knows the paths of, deleted when their calls are."""

from collections.abc import Sequence
from pathlib import Path

from voicemedia.history.databases import Database
from voicemedia.history.reading import ids


async def recordings_of(database: Database, sessions: Sequence[str]) -> list[str]:
    """Find the files of all calls of sessions."""
    found: list[str] = []
    for session in sessions:
        found += await ids(
            database, ("SELECT recording FROM calls WHERE session_id = ? AND recording != ''", (session,))
        )
    return found


def remove(paths: Sequence[str]) -> int:
    """Delete files; return how many there still were. One that is being written goes on into nothing.

    :raises OSError: one cannot be deleted; all others are.
    """
    there = sum(Path(each).exists() for each in paths)
    for error in undeleted(paths).values():
        raise error
    return there


def undeleted(paths: Sequence[str]) -> dict[str, OSError]:
    """Delete files; return those that cannot be, and why."""
    left: dict[str, OSError] = {}
    for path in paths:
        try:
            Path(path).unlink(missing_ok=True)
        except OSError as error:
            left[path] = error
    return left
