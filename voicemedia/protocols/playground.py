"""The playground's files, as they lie in `voicemedia/pages`: nothing is built, nothing comes from elsewhere."""

import re
from pathlib import Path
from typing import Any, Final

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from voicemedia.protocols.status import Refusal

PAGES: Final = Path(__file__).parent.parent / "pages"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Playground(Resource):
    """Serves the files.

    :param page: the one file served here; empty: all of them, by name.
    """

    isLeaf = True

    def __init__(self, page: str = "") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._page = page
        self._files = {path.name: path for path in PAGES.iterdir() if path.suffix in TYPES}

    def render(self, request: Any) -> int:
        """Answer GET and HEAD with one file."""
        if request.method not in (b"GET", b"HEAD"):
            return Refusal(405, headers={"Allow": "GET, HEAD"}).render(request)
        names = [part.decode("latin-1") for part in request.postpath] or [self._page]
        path = self._files.get(names[0]) if len(names) == 1 else None
        if path is None:
            return Refusal(404).render(request)
        body = path.read_bytes()
        request.setHeader("Content-Type", TYPES[path.suffix])
        request.setHeader("Content-Length", str(len(body)))
        request.setHeader("Content-Security-Policy", POLICY.format(sockets=_sockets(request)))
        request.setHeader("Permissions-Policy", "microphone=(self), camera=(), geolocation=()")
        request.setHeader("Cache-Control", "no-cache")
        request.write(body)
        request.finish()
        return NOT_DONE_YET


def _sockets(request: Any) -> str:
    """Name our own WebSockets: not every browser takes them for 'self'."""
    host = request.getHeader("Host") or ""
    return f" ws://{host} wss://{host}" if re.fullmatch(r"[A-Za-z0-9.\[\]:-]+", host) else ""
