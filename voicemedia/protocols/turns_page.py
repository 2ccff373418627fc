"""`GET /calls/CALL_ID/turns` and `/costs`: what was said in a call and what hearing it cost, for this machine only.

`voicemedia call` reads the turns to print the conversation. Words are personal: only a peer on loopback that comes
through no proxy may read them.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from twisted.web.resource import Resource

from voicemedia.config import is_loopback
from voicemedia.diary import Diary
from voicemedia.protocols.status import Refusal, answer

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")

READ: Final[dict[bytes, Callable[[Diary], object]]] = {b"turns": Diary.read, b"costs": Diary.costs}


class TurnsPage(Resource):
    """Answers below `/calls`.

    :param diary: finds what was said in a call by its id; None: no such call.
    """

    isLeaf = True

    def __init__(self, diary: Callable[[str], Diary | None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._diary = diary

    def render(self, request: Any) -> int:
        """Answer one request; whoever may not read learns not even that the page exists."""
        read = READ.get(request.postpath[1]) if len(request.postpath) == 2 else None
        if read is None or not _is_local(request):
            return Refusal(404).render(request)
        if request.method not in (b"GET", b"HEAD"):
            return Refusal(405, headers={"Allow": "GET, HEAD"}).render(request)
        diary = self._diary(request.postpath[0].decode("utf-8", "replace"))
        if diary is None:
            return Refusal(404).render(request)
        return answer(request, 200, msgspec.json.encode(read(diary)))


def _is_local(request: Any) -> bool:
    if any(request.getHeader(name) for name in FORWARDED):
        return False
    # A page in a browser on this machine may reach us under a name of its own (DNS rebinding).
    named = (request.getRequestHostname() or b"").decode("latin-1")
    return is_loopback(named.strip("[]")) and is_loopback(str(getattr(request.getClientAddress(), "host", "")))
