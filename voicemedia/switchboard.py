"""All live calls: admits or refuses, answers, ticks, and lets them end when the server stops."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voicemedia import config
from voicemedia.account import Account
from voicemedia.audio.voice import Endpointer
from voicemedia.call import FAREWELL_MS, Call
from voicemedia.diary import Diary
from voicemedia.errors import CallRefused
from voicemedia.following import with_past_shown
from voicemedia.guards import GuardedConversation, GuardedRecognizer
from voicemedia.interfaces import Agent, Caller, CallRecord, Goodbye, Historian, Leg, Listener, Served
from voicemedia.last_words import LastWords
from voicemedia.metrics import Metrics
from voicemedia.setting import Setting
from voicemedia.taping import Recorded, Tape, put_on_tape
from voicemedia.ticker import Ticker

RETRY_AFTER_S: Final = 5
"What a refused caller is told to wait."
REMEMBERED: Final = 200
"Diaries of ended calls that can still be read."
LAST_WORD_S: Final = 4
"After the drain: how long a leg may take to close."


@dataclass(frozen=True, slots=True)
class Line:
    """What one configured route gives its calls."""

    route: config.Route
    agent: Agent
    endpointer: Callable[[int], Endpointer]
    "Makes the voice detection of one call, from its rate in Hz."
    setting: Setting


class Over:
    """Takes the place of a call that nothing is left of."""

    def tick(self, now_ms: int) -> None:
        """Take the tick that was under way."""

    sweep = tick

    def end(self) -> None:
        """It has ended."""


class Live:
    """One call among the live ones: a bug in it ends it and nothing else."""

    log = Logger()

    def __init__(self, leg: Leg, metrics: Metrics) -> None:
        self._leg, self._metrics = leg, metrics
        self._lost = False
        self.call: Call
        "Set as soon as it is made."
        self.record: CallRecord | None = None
        self.tape: Recorded | None = None
        self.last_words: LastWords | Over | None = None
        "Once the leg has gone."

    def begin(self) -> None:
        """Let the call say hello."""
        try:
            self.call.begin()
        except Exception:
            self.lose()

    def say_goodbye(self) -> None:
        """Let the call say goodbye, because the server stops."""
        if self.last_words is not None:
            return
        try:
            self.call.end(Goodbye.DRAINED)
        except Exception:
            self.lose()

    def hang_up(self) -> None:
        """End the call without another word, because the server stops."""
        self._leg.hang_up(Goodbye.DRAINED)

    def give_up(self) -> None:
        """Wait for nothing more of a caller who has gone, because the server stops."""
        if self.last_words is not None:
            self.last_words.end()

    def tick(self, now_ms: int) -> None:
        """Pass the tick on."""
        try:
            (self.last_words or self.call).tick(now_ms)
        except Exception:
            self.lose()

    def sweep(self, now_ms: int) -> None:
        """Pass the second on."""
        try:
            (self.last_words or self.call).sweep(now_ms)
        except Exception:
            self.lose()

    def over(self) -> None:
        """Forget the call, which knows us: so it needs not wait for the garbage collector."""
        self.last_words = Over()
        del self.call

    def lose(self) -> None:
        """Give the call up and log the bug that is being handled; those that follow from it are not logged."""
        if not self._lost:
            self._lost = True
            self._metrics.bugs += 1
            self.log.failure("call {call}: lost to a bug", call=self._leg.caller.call_id)
            self._leg.hang_up(Goodbye.FAILED)
            if self.last_words is not None:
                self.last_words.end()


class Nobody:
    """Takes a call that could not be made to its end.

    :param over: told why the leg has gone.
    """

    def __init__(self, over: Callable[[Goodbye], None]) -> None:
        self._over = over

    def hear(self, pcm: bytes, concealed: bool) -> None:
        """Hear nothing."""

    def digit(self, key: str) -> None:
        """Heed no key."""

    def said(self, text: str) -> None:
        """Heed no words."""

    def marked(self, number: int) -> None:
        """Nothing was played."""

    def gone(self, why: Goodbye) -> None:
        """Count the end."""
        self._over(why)


class Switchboard:
    """The live calls of one server."""

    log = Logger()

    def __init__(
        self, reactor: IReactorTime, ticker: Ticker, limits: config.Limits, historian: Historian | None = None
    ) -> None:
        self._reactor, self._ticker, self._limits, self._historian = reactor, ticker, limits, historian
        self._live: dict[Call, Live] = {}
        self._held: Counter[str] = Counter()
        "Connections by route; one is at most one call."
        self._ended: OrderedDict[str, Diary] = OrderedDict()
        self._empty: list[Deferred[None]] = []
        self.recorder: Callable[[Caller], Recorded | None] = lambda _caller: None
        "Begins to record a call, if it is to be recorded."
        self.draining = False
        self.total = 0
        self.refused = 0
        self.ended_by: Counter[str] = Counter()
        self.total_by_route: Counter[str] = Counter()

    # --- admission ---

    def refusal(self, route: config.Route) -> CallRefused | None:
        """Say why one more connection on this route is refused; None when it is welcome."""
        reason = self.full(route)
        if not reason:
            return None
        self.refused += 1
        return CallRefused(reason, RETRY_AFTER_S)

    def full(self, route: config.Route) -> str:
        """Say why there is no room for one more; empty when there is."""
        if self.draining:
            return "draining: this server is about to stop"
        if sum(self._held.values()) >= self._limits.max_calls:
            return f"full: limits.max_calls = {self._limits.max_calls}"
        if route.max_calls and self._held[route.path] >= route.max_calls:
            return f"full: max_calls = {route.max_calls} of {route.path}"
        return ""

    def hold(self, route: config.Route, change: int) -> None:
        """Count a connection that will be, is or was a call: +1 when it is there, -1 when it is gone."""
        self._held[route.path] += change

    # --- calls ---

    def answer(self, leg: Leg, line: Line) -> Listener:
        """Make a call of a leg that has started; the leg tells it everything from now on. Raises nothing."""
        self.total += 1
        self.total_by_route[line.route.path] += 1
        line.setting.metrics.calls_started += 1
        live = Live(leg, line.setting.metrics)
        try:
            live.call = call = self._make_call(leg, line, live)
        except Exception:
            live.lose()
            if live.tape is not None:
                live.tape.end()
            return Nobody(lambda why: self._never_was(why, line.setting.metrics))
        self._live[call] = live
        self._ticker.join(live)
        live.begin()
        return call

    def _make_call(self, leg: Leg, line: Line, live: Live) -> Call:
        setting = line.setting
        mind = line.agent.converse(leg.caller)
        live.tape = tape = self.recorder(leg.caller)
        if tape is not None:
            put_on_tape(leg, tape)
            setting = replace(setting, tape=tape)
        if self._historian is not None:
            live.record = self._historian.answered(leg.caller, _served(line, tape))
            mind = live.record.remembering(with_past_shown(mind, leg))
        conversation = GuardedConversation(mind, live.lose)
        accounts: list[Account] = []
        if setting.recognizer is not None:
            setting = replace(setting, recognizer=GuardedRecognizer(setting.recognizer, live.lose, accounts))
        call = Call(leg, conversation, line.endpointer(leg.caller.rate_hz), setting, lambda why: self._left(live, why))
        call.diary.accounts = accounts
        if live.record is not None:
            call.diary.readers.append(live.record.turn)
        return call

    def _never_was(self, why: Goodbye, metrics: Metrics) -> None:
        self.ended_by[why.value] += 1
        metrics.call_ended(why.value)

    def _left(self, live: Live, why: Goodbye) -> None:
        """The leg has gone; the call is over with its last words."""
        if live.last_words is None:
            now_ms = self._ticker.now_ms()
            live.last_words = LastWords(live.call, why, now_ms, lambda why: self._over(live, why))
            live.tick(now_ms)

    def _over(self, live: Live, why: Goodbye) -> None:
        call = live.call
        if self._live.pop(call, None) is None:
            return
        self.ended_by[why.value] += 1
        if live.record is not None:
            live.record.ended(why, call.leg.totals())
        self._ticker.leave(live)
        live.over()
        self._ended[call.caller.call_id] = call.diary
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        if not self._live:
            waiting, self._empty = self._empty, []
            for deferred in waiting:
                deferred.callback(None)

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Call]:
        return iter([call for call, live in self._live.items() if live.last_words is None])

    def live_by_route(self) -> Counter[str]:
        """Count the live calls of each route."""
        return Counter(call.caller.route for call in self)

    def diary(self, call_id: str) -> Diary | None:
        """Find what was said in a live call or one that ended not long ago."""
        # The newest first: who comes back by the same name may do so before the last words are answered.
        for call in reversed(self._live):
            if call.caller.call_id == call_id:
                return call.diary
        return self._ended.get(call_id)

    def tape(self, call_id: str) -> Tape | None:
        """Find the recording of a live call, to pause it."""
        return next((live.tape for call, live in reversed(self._live.items()) if call.caller.call_id == call_id), None)

    # --- the end ---

    async def drain(self) -> None:
        """Refuse new calls, let those on end within `drain_s`, say goodbye to the rest; return when all are gone."""
        self.draining = True
        if not self._live:
            return
        self.log.info(
            "draining: {calls} calls may go on for {drain_s} s", calls=len(self), drain_s=self._limits.drain_s
        )
        farewell_s = max(self._limits.drain_s - FAREWELL_MS / 1000, self._limits.drain_s / 2)
        timers = [
            self._reactor.callLater(farewell_s, self._everybody, Live.say_goodbye),
            self._reactor.callLater(self._limits.drain_s, self._everybody, Live.hang_up),
        ]
        empty: Deferred[None] = Deferred()
        self._empty.append(empty)
        timers.append(self._reactor.callLater(self._limits.drain_s + LAST_WORD_S, self._give_up, empty))
        await empty
        for timer in timers:
            if timer.active():
                timer.cancel()

    def hasten(self) -> None:
        """Say goodbye to all who are still on, whatever `drain_s` allows them."""
        self._everybody(Live.say_goodbye)

    def _everybody(self, act: Callable[[Live], None]) -> None:
        for live in tuple(self._live.values()):
            act(live)

    def _give_up(self, empty: Deferred[None]) -> None:
        """Somebody's leg did not say `gone` in time, or the last words of somebody have no answer yet."""
        self._everybody(Live.give_up)
        if empty in self._empty:
            self._empty.remove(empty)
            self.log.warn("{calls} calls did not end in time", calls=len(self))
            empty.callback(None)


def _served(line: Line, tape: Recorded | None) -> Served:
    ears, voice = line.setting.recognizer, line.setting.synthesizer
    return Served(
        line.agent.name, ears.name if ears else "", voice.name if voice else "", str(tape.path) if tape else ""
    )
