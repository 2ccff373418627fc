"""`/calls`: placing, watching, moving and ending calls over HTTP, with a token; and what was said in them.

`GET /calls`, `POST /calls`, `GET|DELETE /calls/ID`, `POST /calls/ID/transfer|hold|resume|dtmf|recording`. Errors are
JSON: `{"error": {"code", "message"}}`, with `status` and `cause` (Q.850) where a telephone network has refused.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from voicemedia.config import Secret
from voicemedia.errors import Refused, Unable
from voicemedia.protocols.answers import CODES
from voicemedia.protocols.status import Refusal, answer
from voicemedia.protocols.turns_page import TurnsPage

Card = Mapping[str, object]
T = TypeVar("T")
HTTP: Final = frozenset({400, 403, 404, 409, 503})
"Statuses of `Unable` that mean the same in HTTP; all others are what a network or a peer has answered."
OFF: Final = "Nobody may place or move calls here: set calls.token_env to the name of a variable that holds a token."


class Placing(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /calls`."""

    to: str
    "A number, or a `sip:` address of a trunk's peer."
    trunk: str = ""
    "Name of the trunk; empty: the first that may call this number."
    agent: str = ""
    "Name of the agent that talks; empty: the trunk's."
    caller: str = ""
    "The number to call as, one of the trunk's `callers`; empty: the first."
    parameters: dict[str, str] = {}
    "Given to the agent, as a carrier's custom parameters are."
    headers: dict[str, str] = {}
    "Sent with the call: `X-...`, `Identity`, `Diversion`, `User-to-User` ..."
    ring_s: int = 0
    "How long it may ring, in seconds; 0: as the trunk has it."
    wait: bool = False
    "Answer when the call is answered or has failed, and not at once."

    def __post_init__(self) -> None:
        if not 0 <= self.ring_s <= 300:
            raise ValueError("ring_s: 0 to 300 seconds")


class Transferring(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /calls/ID/transfer`."""

    to: str = ""
    "A number or an address."
    call: str = ""
    "In place of `to`: the id of another call; its person and this one's talk then."
    by: str = ""
    "`refer`, `bridge` or `auto`; empty: as the trunk has it."

    def __post_init__(self) -> None:
        if bool(self.to) == bool(self.call):
            raise ValueError("to, call: give one of them")
        if self.by not in ("", "refer", "bridge", "auto"):
            raise ValueError("by: refer, bridge or auto")


class Pressing(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /calls/ID/dtmf`."""

    keys: str


class Recorded(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of `POST /calls/ID/recording`."""

    paused: bool
    "Silence is written from now on, or no more."


class Exchange(Protocol):
    """Who knows all calls and can move them; what cannot be done is `Unable`, with a status."""

    def cards(self) -> list[Card]:
        """Return all live calls."""

    def card(self, call_id: str) -> Card | None:
        """Return one call, live or over not long ago."""

    def place(self, wanted: Placing) -> tuple[Card, Deferred[Card]]:
        """Place a call; the Deferred fires when it is answered, or is over."""

    def hang_up(self, call_id: str) -> bool:
        """End a call; False: there is none."""

    def transfer(self, call_id: str, wanted: Transferring) -> Deferred[None]:
        """Hand somebody over."""

    def hold(self, call_id: str) -> Deferred[None]:
        """Let somebody wait."""

    def resume(self, call_id: str) -> Deferred[None]:
        """Talk to somebody again."""

    def press(self, call_id: str, keys: str) -> None:
        """Press keys towards somebody's end."""

    def pause_recording(self, call_id: str, paused: bool) -> None:
        """Leave what is said out of the recording, or no more."""


class CallsPage(Resource):
    """Answers at and below `/calls`.

    :param token: what a client must know; None: calls are neither placed nor moved.
    """

    log = Logger()
    isLeaf = True

    def __init__(self, exchange: Exchange, turns: TurnsPage, token: Secret | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._exchange, self._turns, self._token = exchange, turns, token
        self._acts: dict[str, Callable[[str, Any], Deferred[None]]] = {
            "transfer": lambda call_id, request: exchange.transfer(call_id, _body(request, Transferring)),
            "hold": lambda call_id, _request: exchange.hold(call_id),
            "resume": lambda call_id, _request: exchange.resume(call_id),
            "dtmf": lambda call_id, request: maybeDeferred(exchange.press, call_id, _body(request, Pressing).keys),
            "recording": lambda call_id, request: maybeDeferred(
                exchange.pause_recording, call_id, _body(request, Recorded).paused
            ),
        }

    def render(self, request: Any) -> int:
        """Answer one request."""
        rest = [segment.decode("utf-8", "replace") for segment in request.postpath]
        if len(rest) == 2 and rest[1] not in self._acts:
            return self._turns.render(request)
        if len(rest) > 2:
            return Refusal(404).render(request)
        methods = [("GET", "POST"), ("GET", "DELETE"), ("POST",)][len(rest)]
        method = request.method.decode("latin-1").replace("HEAD", "GET")
        if method not in methods:
            return Refusal(405, headers={"Allow": ", ".join(methods)}).render(request)
        refusal = self._stranger(request)
        if refusal is not None:
            return refusal.render(request)
        try:
            return self._serve(request, method, rest)
        except Unable as error:
            return refuse(request, error)

    def _stranger(self, request: Any) -> Refusal | None:
        if self._token is None:
            return Refusal(403, OFF)
        scheme, _, offered = (request.getHeader("authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and self._token.matches(offered.strip()):
            return None
        return Refusal(401, headers={"WWW-Authenticate": 'Bearer realm="calls"'})

    def _serve(self, request: Any, method: str, rest: list[str]) -> int:
        match method, rest:
            case "GET", []:
                return answer(request, 200, msgspec.json.encode({"calls": self._exchange.cards()}))
            case "POST", []:
                return self._place(request)
            case "GET", [call_id]:
                return answer(request, 200, msgspec.json.encode({"call": self._known(call_id)}))
            case "DELETE", [call_id]:
                return self._hang_up(request, call_id)
            case _:
                call_id, act = rest
                self._known(call_id)
                done = self._acts[act](call_id, request)
                return self._later(request, done.addCallback(lambda _: (200, {"call": self._exchange.card(call_id)})))

    def _known(self, call_id: str) -> Card:
        card = self._exchange.card(call_id)
        if card is None:
            raise Unable("There is no such call.", 404)
        return card

    def _place(self, request: Any) -> int:
        wanted = _body(request, Placing)
        card, settled = self._exchange.place(wanted)
        request.setHeader("Location", f"/calls/{card['id']}")
        if not wanted.wait:
            return answer(request, 201, msgspec.json.encode({"call": card}))
        return self._later(request, settled.addCallback(_answered))

    def _hang_up(self, request: Any, call_id: str) -> int:
        if not self._exchange.hang_up(call_id):
            self._known(call_id)
            raise Unable("The call is over already.", 409)
        return answer(request, 200, msgspec.json.encode({"call": self._exchange.card(call_id)}))

    def _later(self, request: Any, done: Deferred[tuple[int, Mapping[str, object]]]) -> int:
        """Answer when it is known what came of it, if the client is still there."""
        gone: list[Failure] = []
        request.notifyFinish().addErrback(_note, gone)

        def came(result: tuple[int, Mapping[str, object]]) -> None:
            if not gone:
                answer(request, result[0], msgspec.json.encode(result[1]))

        def failed(failure: Failure) -> None:
            if not isinstance(failure.value, Unable):
                self.log.failure("a call could not be moved for a bug", failure)
            error = failure.value if isinstance(failure.value, Unable) else Unable(CODES[500][1], 500)
            if not gone:
                refuse(request, error)

        done.addCallbacks(came, failed)
        return int(NOT_DONE_YET)


def refuse(request: Any, error: Unable) -> int:
    """Answer with what could not be done."""
    ours = not isinstance(error, Refused) and (error.status in HTTP or error.status == 500)
    status = error.status if ours else 502 if error.status else 409
    told: dict[str, object] = {"code": CODES[status][0], "message": str(error)}
    if status == 502:
        told["status"] = error.status
    return answer(request, status, msgspec.json.encode({"error": told}))


def _answered(card: Card) -> tuple[int, Mapping[str, object]]:
    """Return the answer to one who has waited until a call was up, or over before it ever was."""
    if card["state"] != "ended":
        return 201, {"call": card}
    told = {"code": CODES[502][0], "message": card["reason"], "status": card["status"], "cause": card["cause"]}
    return 502, {"error": told, "call": card}


def _note(failure: Failure, gone: list[Failure]) -> None:
    gone.append(failure)


def _body(request: Any, wanted: type[T]) -> T:
    """Read a JSON body.

    :raises Unable: 400.
    """
    try:
        return msgspec.json.decode(request.content.read(), type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unable(f"The body is not what is wanted: {error}.", 400) from error
