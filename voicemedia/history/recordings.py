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

    :raises OSError: one cannot be deleted.
    """
    there = [path for each in paths if (path := Path(each)).exists()]
    for path in there:
        path.unlink(missing_ok=True)
    return len(there)
