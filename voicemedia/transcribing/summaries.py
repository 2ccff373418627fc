"""The summaries of sessions, as files in a folder."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

LONGEST: Final = 128
"Characters of a file's name that come from the name of its session."


class Summaries:
    """Keeps each summary in a file named after its session.

    :param folder: made when it is needed; empty: nothing is kept.
    """

    log = Logger()

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def keep(self, summary: Mapping[str, Any]) -> None:
        """Write one; what cannot be written is in the log."""
        if not self._folder:
            return
        file = Path(self._folder) / f"{file_name(summary['session']['session_id'])}.json"
        try:
            # What was said is nobody else's business.
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file.write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")
        except OSError as error:
            self.log.error("{file}: the summary cannot be written: {reason}", file=str(file), reason=error.strerror)


def file_name(session_id: str) -> str:
    """Make a file's name of what a client has called its session: one that is no plain name gets a hash behind it."""
    plain = re.sub(r"[^A-Za-z0-9_~.-]", "_", session_id[:LONGEST]).lstrip(".")
    if plain == session_id:
        return plain
    return f"{plain}-{hashlib.sha256(session_id.encode()).hexdigest()[:8]}"
