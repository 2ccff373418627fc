"""Handing a caller over: the peer is asked to call somebody (REFER), or we call and join both."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.errors import Refused, Unable, WireError
from voicemedia.interfaces import Goodbye
from voicemedia.sip_bridge.flow_wire import TransferReport
from voicemedia.sip_bridge.joined import Joined, Passage
from voicemedia.sip_bridge.refer_wire import Replaces
from voicemedia.sip_bridge.rtp_leg import RtpLeg
from voicemedia.sip_bridge.tones_wire import ringing
from voicemedia.sip_bridge.uri_wire import Uri

if TYPE_CHECKING:
    from voicemedia.sip_bridge.trunk_call import TrunkCall

REPORT_S: Final = 90
"A peer that has taken our REFER and says nothing for so long has not done it."
NOT_TAKEN: Final = frozenset({403, 405, 420, 480, 488, 489, 500, 501, 503, 603})
"Answers to a REFER that say: not this way."


class Overheard:
    """Lets a caller hear what comes before the answer: it rings, or says why it does not."""

    def __init__(self, comes: RtpLeg, goes: RtpLeg) -> None:
        self._passage = Passage(comes, goes)

    def hear(self, pcm: bytes, concealed: bool) -> None:
        """Pass it on."""
        self._passage.feed(pcm)

    def digit(self, key: str) -> None:
        """Nobody is there yet."""

    def said(self, text: str) -> None:
        """Nobody is there yet."""

    def marked(self, number: int) -> None:
        """Nothing was marked."""

    def gone(self, why: Goodbye) -> None:
        """The call tells what becomes of it."""


class Move:
    """One call on its way to somebody else.

    :ivar done: fires when the person has been handed over, fails with `Unable`; then the call goes on as before.
    """

    log = Logger()

    def __init__(self, call: TrunkCall) -> None:
        self.call = call
        self.done: Deferred[None] = Deferred()
        self._other: TrunkCall | None = None
        self._instead: Callable[[], None] | None = None
        "What to do when the peer takes no REFER."
        self.referring = False
        self._set_aside = False
        "The caller hears what comes of it."
        self._timer = call.home.desk.reactor.callLater(REPORT_S, call.home.safely, call.sip, self._silent)

    # --- begin ---

    def to(self, target: str, by: str) -> None:
        """Hand over to a number or an address."""
        try:
            called = self.call.home.whom.plan.called(target)
            uri = self.call.home.whom.address_of(called, self.call.sip.flow)
        except Unable as error:
            self._failed(error)
            return
        if by == "bridge":
            self._dial(target)
        else:
            self._refer(uri, None, (lambda: self._dial(target)) if by == "auto" else None)

    def to_call(self, other: TrunkCall, by: str) -> None:
        """Hand over to the person of another call."""
        if not other.sip.up or other.moving is not None:
            self._failed(Unable("the other call is not up, or is being transferred", 409))
        elif self.call.card.joined == other.card.call_id:
            self._failed(Unable("the two calls are joined already", 409))
        elif by == "bridge":
            self._join(other)
        else:
            dialog = other.sip.dialog
            replaces = Replaces(dialog.call_id, dialog.remote_tag, dialog.local_tag)
            # Meanwhile it may end, or go elsewhere: it is looked at again.
            instead = (lambda: self.to_call(other, "bridge")) if by == "auto" else None
            self._refer(dialog.target.bare(), replaces, instead)

    # --- the peer calls ---

    def _refer(self, target: Uri, replaces: Replaces | None, instead: Callable[[], None] | None) -> None:
        self.referring, self._instead = True, instead
        try:
            self.call.sip.transfers.ask(target, self.call.home.now_ms, replaces)
        except WireError as error:
            self._failed(Unable(f"that is no address ({error.kind})", 400))

    def reported(self, report: TransferReport) -> None:
        """Take how the peer's new call goes."""
        if not self.referring or not report.last:
            return
        self.referring = False
        if 200 <= report.status < 300:
            self._succeeded()
            self.call.hang_up(Goodbye.TRANSFERRED)
        elif report.refused and self._instead is not None and report.status in NOT_TAKEN:
            self._instead()
            self.call.home.wake()
        else:
            self._failed(
                Refused("the transfer was refused" if report.refused else "nobody took the call", report.status)
            )

    def _silent(self) -> None:
        """A last report never came."""
        if self.referring:
            self._failed(Unable("the other side does not say what became of the transfer", 408))

    # --- we call ---

    def _dial(self, target: str) -> None:
        home, leg = self.call.home, self.call.leg
        self._set_aside = True
        self.call.set_aside(ringing(leg.caller.rate_hz))
        try:
            self._other = home.place(home.order(target, self._join, self._changed))
        except Unable as error:
            self._failed(error)

    def _changed(self, other: TrunkCall) -> None:
        """Take what becomes of our new call: sound before the answer is let through."""
        if other is not self._other:
            return
        if other.card.state == "early" and other.leg.listener is None:
            self.call.leg.music = None
            other.leg.begin(Overheard(other.leg, self.call.leg))
        elif other.card.state == "ended":
            self._other = None
            self._failed(Refused(other.card.reason or "nobody took the call", other.card.status))

    def _join(self, other: TrunkCall) -> None:
        self._other = None
        self._succeeded()
        Joined(self.call, other)
        for call in (self.call, other):
            if call.card.held:
                # They are to hear each other. Where the peer does not take it, somebody has to ask again.
                call.resume().addErrback(self._still_held, call)

    def _still_held(self, failure: Failure, call: TrunkCall) -> None:
        self.log.info("call {call}: joined, but on hold: {error}", call=call.card.call_id, error=str(failure.value))

    # --- the end ---

    def left(self) -> None:
        """The call has ended meanwhile."""
        other, self._other = self._other, None
        if other is not None:
            other.hang_up(Goodbye.CALLER_HUNG_UP)
        if self.referring:
            # Whoever hangs up on us after taking our REFER has taken the caller along.
            self.referring = False
            self._succeeded()
        elif not self.done.called:
            self._failed(Unable("the caller has hung up"))

    def _succeeded(self) -> None:
        self._finish()
        if not self.done.called:
            self.done.callback(None)

    def _failed(self, error: Unable) -> None:
        self._finish()
        if self._set_aside:
            self.call.play_on()
        if not self.done.called:
            self.done.errback(error)

    def _finish(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        if self.call.moving is self:
            self.call.moving = None
