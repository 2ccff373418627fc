"""Session timers: a call whose peer has vanished ends by itself (RFC 4028)."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from voicemedia.errors import WireError
from voicemedia.sip_bridge.grammar_wire import Params, natural
from voicemedia.sip_bridge.sip_wire import Message, Request, Response


@dataclass(frozen=True, slots=True)
class SessionTerms:
    """What we want of session timers."""

    interval_s: int = 1800
    "0: we do not ask for one; a peer's wish is followed all the same."
    min_s: int = 90
    "The shortest we take; the RFC allows no less than 90."


SESSION: Final = SessionTerms()


class Wake(Enum):
    """What a due session timer asks for."""

    REFRESH = auto()
    EXPIRED = auto()


@dataclass(slots=True)
class SessionTimer:
    """The timer of one session, started anew by every refresh."""

    interval_s: int
    refreshing: bool
    "It is ours to refresh."
    since_ms: int
    asked: bool = False
    "A refresh is under way."

    @property
    def next_due_ms(self) -> int:
        """When to refresh, or to give the session up."""
        if self.refreshing and not self.asked:
            return self.since_ms + self.interval_s * 500
        # A third, at most 32 s, before the end: the BYE shall still find the proxies knowing the call (section 10).
        return self.since_ms + self.interval_s * 1000 - min(32_000, self.interval_s * 1000 // 3)

    def due(self, now_ms: int) -> Wake | None:
        """Tell what has to be done now."""
        if now_ms < self.next_due_ms:
            return None
        if self.refreshing and not self.asked:
            self.asked = True
            return Wake.REFRESH
        return Wake.EXPIRED


_SHORTEST_S: Final = 90


def wanted(message: Message) -> tuple[int, str] | None:
    """Return (seconds, refresher) of a Session-Expires, None when there is none that can be read."""
    value = message.headers.first("session-expires")
    if value is None:
        return None
    seconds, _, params = value.partition(";")
    try:
        return natural(seconds.strip()), (Params.parse(params).get("refresher") or "").lower()
    except WireError:
        return None


def ask(request: Request, terms: SessionTerms, running: SessionTimer | None = None, at_least_s: int = 0) -> None:
    """Put our wish into an INVITE or UPDATE of ours.

    :param running: the session's timer: a refresh keeps interval and roles.
    :param at_least_s: the Min-SE of a 422 that refused our last.
    """
    interval_s = running.interval_s if running else terms.interval_s
    if not interval_s:
        return
    refresher = "" if running is None else f";refresher={'uac' if running.refreshing else 'uas'}"
    request.headers.add("Session-Expires", f"{max(interval_s, at_least_s)}{refresher}")
    if at_least_s or terms.min_s > _SHORTEST_S:
        request.headers.add("Min-SE", str(max(at_least_s, terms.min_s)))


def too_short(request: Request, terms: SessionTerms) -> bool:
    """Tell whether a request must be refused with 422 and our Min-SE; only who knows timers understands one."""
    asked = wanted(request)
    return asked is not None and asked[0] < terms.min_s and "timer" in request.headers.tokens("supported")


def agree(request: Request, response: Response, terms: SessionTerms, now_ms: int) -> SessionTimer | None:
    """Settle the timer of a session we accept, and write it into our 2xx (section 9)."""
    asked = wanted(request)
    peer_knows = "timer" in request.headers.tokens("supported")
    if asked is None and not (terms.interval_s and peer_knows):
        return None
    interval_s, refresher = asked or (terms.interval_s, "")
    floor_s = max(request.number("min-se", _SHORTEST_S), terms.min_s)
    if terms.interval_s:
        interval_s = min(interval_s, max(terms.interval_s, floor_s))
    interval_s = max(interval_s, floor_s if asked is None else _SHORTEST_S)
    if not peer_knows:
        # A proxy asked for it; its caller cannot refresh, so we do.
        refresher = "uas"
    elif refresher not in ("uac", "uas"):
        refresher = "uac"
    response.headers.add("Session-Expires", f"{interval_s};refresher={refresher}")
    if refresher == "uac":
        response.headers.add("Require", "timer")
    return SessionTimer(interval_s, refresher == "uas", now_ms)


def agreed(response: Response, now_ms: int) -> SessionTimer | None:
    """Read the timer out of the 2xx to our request; None: the session has none (section 7.2)."""
    found = wanted(response)
    if found is None:
        return None
    interval_s, refresher = found
    return SessionTimer(max(interval_s, _SHORTEST_S), refresher != "uas", now_ms)
