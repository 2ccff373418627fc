"""One call of a trunk: the SIP call, its sound, and what can be done with both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger

from voicemedia.errors import Refused, Unable
from voicemedia.interfaces import Caller, Goodbye, Listener
from voicemedia.sip_bridge.call_wire import Call, CallState
from voicemedia.sip_bridge.desk import REASONS, Card
from voicemedia.sip_bridge.dtmf_wire import KEYS
from voicemedia.sip_bridge.flow_wire import Destination, KeyPressed, MediaChanged, MediaRefused
from voicemedia.sip_bridge.hop_wire import numbered
from voicemedia.sip_bridge.move import Move
from voicemedia.sip_bridge.offer_wire import Agreement
from voicemedia.sip_bridge.rtp_leg import RtpLeg
from voicemedia.sip_bridge.tone_detector_wire import ToneDetector
from voicemedia.sip_bridge.tones_wire import Source, key_tone
from voicemedia.sip_bridge.udp_ports import PortPair
from voicemedia.sip_bridge.uri_wire import Uri
from voicemedia.untold import untold

if TYPE_CHECKING:
    from voicemedia.sip_bridge.trunk_calls import TrunkCalls

MOST_KEYS: Final = 64
KEY_MS: Final = 160


@dataclass(frozen=True, slots=True)
class Order:
    """A call to be placed."""

    to: str
    "A number, or an address the trunk may call."
    taken: Callable[[TrunkCall], None]
    "Told once when it is answered: gives its leg a listener."
    changed: Callable[[TrunkCall], None] = lambda call: None
    "Told of everything that changes before the answer, and of the end."
    caller: str = ""
    "The number to call as; empty: the trunk's first."
    agent: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    ring_s: int = 0
    "0: as the trunk has it."
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    "Sent with the INVITE."


class Aside:
    """Stands for a listener that is not to hear anything for a while."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def hear(self, pcm: bytes, concealed: bool) -> None:
        """Keep it."""

    def digit(self, key: str) -> None:
        """Keep it."""

    def said(self, text: str) -> None:
        """Keep it."""

    def marked(self, number: int) -> None:
        """Pass it on: what was played before has been heard."""
        self.listener.marked(number)

    def gone(self, why: Goodbye) -> None:
        """Pass it on."""
        self.listener.gone(why)


class Keyed:
    """Hears keys in the sound for a listener."""

    def __init__(self, listener: Listener, rate_hz: int) -> None:
        self._listener, self._detector = listener, ToneDetector(rate_hz)
        self.digit, self.said = listener.digit, listener.said
        self.marked, self.gone = listener.marked, listener.gone

    def hear(self, pcm: bytes, concealed: bool) -> None:
        """Take 20 ms, and tell the keys in it."""
        self._listener.hear(pcm, concealed)
        for key in self._detector.feed(pcm):
            self._listener.digit(key)


class TrunkCall:
    """One call.

    :param sip: changes when another dialog takes the place of this one (RFC 3891); sound and listener stay.
    """

    log = Logger()

    def __init__(self, sip: Call, home: TrunkCalls, pair: PortPair, caller: Caller, card: Card) -> None:
        self.sip, self.home, self.pair, self.card = sip, home, pair, card
        self.leg = RtpLeg(caller, pair, home.desk.room, self._known, self.hang_up)
        self.leg.switching, self.leg.lose = self, self.lose
        self.order: Order | None = None
        self.destination: Destination | None = None
        "Whom an outgoing call is placed to."
        self.redirections = 0
        self.choices: list[Uri] = []
        "Whom else it may be placed to, as those say who have sent it on; the best first."
        self.why: Goodbye | None = None
        "We hang up, and this is why."
        self.moving: Move | None = None
        self.successor: Call | None = None
        "The call the peer wants us to go on with (REFER); not answered yet."
        self.begun = False
        "Its agent has been told that it is there."
        self.timers: list[Any] = []
        self._misfit = False
        "Said that answers do not fit."
        self._settling: Deferred[None] | None = None
        "Fires when the peer has taken our hold or resume."

    def _known(self, source: str) -> bool:
        """Tell who may send sound: the signalling peer, its trunk, and whom its SDP names."""
        agreement = self.sip.media.agreement if self.sip.media else None
        named = agreement is not None and source == agreement.address
        return source == self.sip.flow.peer[0] or named or self.home.knows(source)

    @property
    def silent(self) -> bool:
        """Nobody is to hear anybody, for now."""
        agreement = self.sip.media.agreement if self.sip.media else None
        return agreement is not None and agreement.silent

    # --- what the trunk tells ---

    def told(self, event: MediaChanged | MediaRefused | KeyPressed) -> None:
        """Take what has to do with sound and keys."""
        match event:
            case MediaChanged(_, agreement):
                self.agreed(agreement)
            case MediaRefused(_, status):
                self._refused(status)
            case KeyPressed(_, key) if self.leg.listener is not None:
                self.leg.listener.digit(key.key)

    def agreed(self, agreement: Agreement) -> None:
        """Take what has been agreed on."""
        if agreement.misfit and not self._misfit:
            self._misfit = True
            self.log.warn("call {call}: answers have other lines than our offers", call=self.card.call_id)
        self.leg.agree(numbered(agreement, self.sip.flow.peer[0]))
        self._settle(None)

    def _refused(self, status: int) -> None:
        """The peer did not take our change: everything is as before."""
        if self._settling is not None:
            self.card.held = not self.card.held
            self.play_on()
        self._settle(Refused("the other side refused", status))

    def later(self, delay_s: float, act: Callable[..., None], *args: object) -> None:
        """Do something after a while, if the call is not over by then."""
        reactor, home = self.home.desk.reactor, self.home
        self.timers.append(reactor.callLater(delay_s, lambda: home.safely(self.sip, act, *args)))

    def over(self) -> None:
        """Nothing more will come of what is under way."""
        for timer in self.timers:
            if timer.active():
                timer.cancel()
        self._settle(Unable("the call is over"))
        if self.moving is not None:
            self.moving.left()
        self.home.succession.abandon(self)
        self.leg.hang_up, self.leg.lose, self.leg.switching = untold, untold, None

    def _settle(self, error: Unable | None) -> None:
        settling, self._settling = self._settling, None
        if settling is not None and not settling.called:
            settling.callback(None) if error is None else settling.errback(error)

    # --- what can be done with it (Switching) ---

    def transfer(self, target: str, by: str = "") -> Deferred[None]:
        """Hand the person at the other end over to somebody else."""
        return self._move(lambda move: move.to(target, by or self.home.trunk.transfer_by))

    def join(self, other: TrunkCall, by: str = "") -> Deferred[None]:
        """Hand the person over to somebody we talk to already."""
        if other is self:
            return fail(Unable("a call cannot be joined with itself", 409))
        return self._move(lambda move: move.to_call(other, by or self.home.trunk.transfer_by))

    def _move(self, begin: Callable[[Move], None]) -> Deferred[None]:
        if not self.sip.up:
            return fail(Unable("the call is not up", 409))
        if self.moving is not None:
            return fail(Unable("the call is being transferred already", 409))
        self.moving = move = Move(self)
        begin(move)
        self.home.wake()
        return move.done

    def hold(self) -> Deferred[None]:
        """Let the person wait."""
        return self._turn(held=True)

    def resume(self) -> Deferred[None]:
        """Talk again."""
        return self._turn(held=False)

    def _turn(self, *, held: bool) -> Deferred[None]:
        media = self.sip.media
        if not self.sip.up or media is None:
            return fail(Unable("the call is not up", 409))
        if self.card.held is held:
            return succeed(None)
        if self._settling is not None or self.moving is not None:
            return fail(Unable("the call is being changed already", 409))
        self.card.held = held
        self.play_on()
        settled: Deferred[None] = Deferred()
        self._settling = settled
        self.sip.session.reoffer(self.home.now_ms)
        self.home.wake()
        return settled

    def press(self, keys: str) -> None:
        """Press keys towards the person's end.

        :raises Unable: there is no such key, or the call is not up.
        """
        if not keys or len(keys) > MOST_KEYS or set(keys) - set(KEYS):
            raise Unable("keys are 0-9 * # A B C D", 400)
        if not self.sip.up:
            raise Unable("the call is not up", 409)
        for key in keys:
            self._press(key, self.home.trunk.keys_by)
        self.home.wake()

    def _press(self, key: str, by: str) -> None:
        if by == "inband":
            self.leg.play(key_tone(key, KEY_MS, self.leg.caller.rate_hz))
        elif by == "info" or not self.leg.press(key):
            self.sip.send_key(key, self.home.now_ms)

    # --- blocks ---

    def begin(self, listener: Listener) -> None:
        """Let a listener hear the person, and keys in the sound where the trunk sends them so."""
        inband = self.home.trunk.keys_by == "inband"
        self.leg.begin(Keyed(listener, self.leg.caller.rate_hz) if inband else listener)

    def set_aside(self, music: Source) -> None:
        """Let the listener neither hear nor be heard, and the person hear this."""
        listener = self.leg.listener
        if listener is not None and not isinstance(listener, Aside):
            self.leg.listener = Aside(listener)
        self.leg.clear()
        self.leg.music = music

    def bring_back(self) -> None:
        """Let the listener hear and speak again."""
        self.leg.music = None
        if isinstance(self.leg.listener, Aside):
            self.leg.listener = self.leg.listener.listener

    def play_on(self) -> None:
        """Give the person music or the listener, as the call stands."""
        media = self.sip.media
        if media is not None:
            media.direction = "sendonly" if self.card.held else "sendrecv"
        if self.card.held:
            self.set_aside(self.home.desk.music(self.leg.caller.rate_hz))
        else:
            self.bring_back()

    def take_over(self, listener: Listener) -> None:
        """Give the leg another listener; the one it had is told that the person was handed over."""
        self.bring_back()
        before = self.leg.listener
        self.leg.clear()
        self.leg.begin(listener)
        if before is not None:
            before.gone(Goodbye.TRANSFERRED)

    def hang_up(self, why: Goodbye) -> None:
        """End the call in whatever state it is."""
        if self.sip.state is CallState.OVER:
            return
        if why is Goodbye.PEER_VANISHED and self.sip.state is CallState.STARTING:
            # Who has handed us over has gone, and whom we are to go on with has not answered yet.
            return
        self.why = self.why or why
        if why is Goodbye.FAILED:
            self.sip.fail(self.home.now_ms)
        else:
            self.sip.hang_up(self.home.now_ms, REASONS.get(why))
        # In its own turn: the leg is in the middle of something.
        self.home.desk.reactor.callLater(0, self.home.wake)

    def lose(self) -> None:
        """End the call for a bug that is being handled."""
        self.home.agent.give_up(self.sip, self.home.now_ms)
        self.home.desk.reactor.callLater(0, self.home.wake)
