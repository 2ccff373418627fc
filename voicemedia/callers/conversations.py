"""A call under way, the server's texts and their showing, kept in step; one class for each way to call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from voicemedia.callers.browser_call import BrowserCall
from voicemedia.callers.carrier import CallPlan, CarrierCall
from voicemedia.callers.dialect import Dialect
from voicemedia.callers.line import CarrierLine, Destination, dial
from voicemedia.callers.recorder import RECORDERS
from voicemedia.callers.script import Turn
from voicemedia.callers.sip_line import SipCall, SipLine, SipWish
from voicemedia.callers.talk import Talk
from voicemedia.callers.told import Told, ToldTurn


class Telling(Protocol):
    """What the server says it understood and said."""

    @property
    def turns(self) -> list[ToldTurn]: ...

    def ask(self) -> Deferred[None]:
        """Bring `turns` up to date."""


class Conversation:
    """What all have in common.

    :param call: what is said and heard, without I/O.
    :param line: its sockets, told of every turn by `turn_over`.
    """

    title: str
    "Whom we call, and as what."
    call: Any
    told: Telling
    _line: Any
    ended_ms = 0.0
    details: Mapping[str, object] = {}
    "What `--json` tells besides."

    def __init__(self) -> None:
        self._shown = succeed(None)

    @property
    def complaints(self) -> Sequence[str]:
        """What the server called an error."""
        return ()

    async def hold(self, talk: Talk) -> str:
        """Place the call, return why it ended.

        :raises CallFailed: it did not come about.
        """
        self._talk = talk
        await self._dial()
        why: str = await self._line.ended
        await self._shown
        await self.told.ask()
        talk.complete(self.told.turns)
        self.ended_ms = self._line.now_ms
        return why

    async def _dial(self) -> None:
        raise NotImplementedError

    def turn_over(self, turn: Turn) -> None:
        """Show a turn that has ended."""
        # One turn after the other, in order, however long the server takes to tell.
        self._shown.addCallback(lambda _: Deferred.fromCoroutine(self._show(turn)))

    async def _show(self, turn: Turn) -> None:
        await self.told.ask()
        if turn.line is not None or turn.answered:
            self._talk.show(turn, self.told.turns)
        if self.call.done:
            self._line.hang_up()


class CarrierConversation(Conversation):
    """As a carrier's WebSocket."""

    def __init__(self, reactor: Any, to: Destination, dialect: Dialect, call_id: str, plan: CallPlan) -> None:
        super().__init__()
        self._reactor, self._to = reactor, to
        self.call = CarrierCall(dialect, plan)
        self.told = Told(reactor, to, call_id)
        self.title = f"{to.url} as {dialect.name}, {plan.packet_ms} ms packets, call {call_id}"
        self.details = {"call_id": call_id}
        self._line = CarrierLine(reactor, self.call, self.turn_over)

    async def _dial(self) -> None:
        await dial(self._reactor, self._to, self._line)


class SipConversation(Conversation):
    """As a SIP telephone."""

    def __init__(self, reactor: Any, to: Destination, wish: SipWish, plan: CallPlan) -> None:
        super().__init__()
        self.call = SipCall(plan)
        self.told = Told(reactor, to, wish.call_id)
        self.title = f"{wish.to} as sip, {plan.packet_ms} ms packets, call {wish.call_id}"
        self.details = {"call_id": wish.call_id}
        self._line = SipLine(reactor, self.call, wish, self.turn_over)

    async def _dial(self) -> None:
        await self._line.dial()


@dataclass(frozen=True, slots=True)
class Page:
    """What a page is like."""

    session: str
    container: str
    "A key of `RECORDERS`."
    chunk_ms: int
    whole: bool
    "It takes answers in one piece."


class BrowserConversation(Conversation):
    """As a page in a browser, which is told by the protocol itself what was understood."""

    def __init__(self, reactor: Any, to: Destination, page: Page, plan: CallPlan) -> None:
        super().__init__()
        self._reactor, self._to = reactor, to
        self.call = BrowserCall(plan, RECORDERS[page.container](), page.chunk_ms)
        self.told = PageTold(self.call, Told(reactor, to, page.session) if page.whole else None)
        url = to.url.partition("?")[0]
        self.title = f"{url} as browser, {page.container} every {page.chunk_ms} ms, session {page.session}"
        self._session = page.session
        self._line = CarrierLine(reactor, self.call, self.turn_over)

    @property
    def complaints(self) -> Sequence[str]:
        return self.call.complaints  # type: ignore[no-any-return]

    @property
    def details(self) -> Mapping[str, object]:  # type: ignore[override]
        return {"session": self._session, "errors": list(self.complaints)}

    async def _dial(self) -> None:
        await dial(self._reactor, self._to, self._line)


class PageTold:
    """What the page was told.

    :param asked: where it was told the answers only, who can say more.
    """

    def __init__(self, call: BrowserCall, asked: Told | None) -> None:
        self._call, self._asked = call, asked

    @property
    def turns(self) -> list[ToldTurn]:
        """Return the turns so far."""
        return (self._asked.turns if self._asked else []) or self._call.told

    def ask(self) -> Deferred[None]:
        """Ask, where that is needed."""
        return self._asked.ask() if self._asked else succeed(None)
