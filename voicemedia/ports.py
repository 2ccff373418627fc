"""What to do about a port that cannot be had."""

import errno
from typing import Final

_CURES: Final = {
    errno.EADDRINUSE: "free it, or take another",
    errno.EACCES: "take one above 1023, or give the server CAP_NET_BIND_SERVICE",
}
_ELSEWHERE: Final = "name an address of this machine in {section}.host"


def cure(error: OSError, section: str) -> str:
    """Say what helps; `section` of the configuration has the port."""
    return _CURES.get(error.errno or 0, _ELSEWHERE.format(section=section))
