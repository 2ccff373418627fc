"""What to do about a disk that does not take what it is given."""

import errno
import os
from typing import Final

_CURES: Final = {
    errno.EACCES: "make it writable for the user of the server (uid {uid})",
    errno.EPERM: "make it writable for the user of the server (uid {uid})",
    errno.EROFS: "give it a place that is not mounted read-only",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in the quota of the user of the server (uid {uid})",
}


def with_cure(error: BaseException | None) -> str:
    """Say what is wrong, and what helps where that is known."""
    cure = _CURES.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    return f"{error}; {cure.format(uid=os.geteuid())}" if cure else str(error)
