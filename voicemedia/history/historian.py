"""Listens to calls and has their history written; tells conversations what was before."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from secrets import token_bytes
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia import config
from voicemedia.aside import OneThread
from voicemedia.diary import Turn
from voicemedia.history.choosing import make_database, spool_folder
from voicemedia.history.databases import Away, Database, Refused
from voicemedia.history.forgetting import forget_old
from voicemedia.history.people import Identity, identify
from voicemedia.history.reading import read_past
from voicemedia.history.recordings import remove
from voicemedia.history.records import Answered, Ate, Ended, Said, clean
from voicemedia.history.remembering import Remembering
from voicemedia.history.spool import Spool
from voicemedia.history.write_behind import WriteBehind
from voicemedia.interfaces import Caller, CallRecord, Conversation, Goodbye, Served
from voicemedia.past import Day, Food, Past
from voicemedia.random_bytes import RandomBytes

STOP_S: Final = 5
"How long the database may take for the last records when the server stops."
SWEEP_S: Final = 24 * 3600
FIRST_SWEEP_S: Final = 60


class History:
    """The history of one server: built with the house, started after twistd has daemonized.

    :param database: where everything ends up.
    :raises ConfigError: the configured database cannot be used.
    """

    log = Logger()

    def __init__(self, options: config.History, reactor: Any, database: Database | None = None) -> None:
        self.options, self._reactor = options, reactor
        self.database = database or make_database(options, reactor)
        self.random = RandomBytes(token_bytes)
        self._aside = OneThread(reactor, "spool")
        spool = Spool(spool_folder(options), options.spool_mb << 20)
        self.writer = WriteBehind(self.database, spool, reactor, self._aside)
        self._sweeper: IDelayedCall | None = None

    @property
    def trouble(self) -> str:
        """Why nothing is remembered now, or only in the spool; empty: all is well."""
        return self.writer.trouble

    def start(self) -> Deferred[None]:
        """Open spool and database; the server need not wait for it."""
        self._aside.start()
        self._sweeper = self._reactor.callLater(FIRST_SWEEP_S, self._sweep)
        return self.writer.start()

    def stop(self) -> Deferred[None]:
        """Write what is in memory, to the database or the spool; then close both."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.writer.stop(STOP_S)
        self._aside.stop()

    def _sweep(self) -> None:
        self._sweeper = self._reactor.callLater(SWEEP_S, self._sweep)
        Deferred.fromCoroutine(self._forget_old()).addErrback(self._not_swept)

    async def _forget_old(self) -> None:
        recordings = await forget_old(self.database, self.now_ms(), self.options.keep_days)
        await self._aside(remove, recordings)

    def _not_swept(self, failure: Failure) -> None:
        """Old history stays for another day."""
        failure.trap(Away, Refused, OSError)
        self.log.warn("old history was not deleted: {reason}", reason=failure.getErrorMessage())

    def now_ms(self) -> int:
        """Tell the time since 1970."""
        return int(self._reactor.seconds() * 1000)

    def today(self) -> str:
        """Tell the server's date."""
        return datetime.fromtimestamp(self._reactor.seconds()).date().isoformat()

    # --- calls (Historian) ---

    def answered(self, caller: Caller, served: Served) -> CallRecord:
        """Begin the record of a call."""
        return _Call(self, caller, served)

    def recall(self, identity: Identity, call: str) -> Deferred[Past | None]:
        """Read what was known of a caller before this call; None when it takes too long or cannot be read."""
        past: Deferred[Past | None] = Deferred.fromCoroutine(self._recall(identity, call))
        past.addTimeout(self.options.resume_wait_ms / 1000, self._reactor)
        return past.addErrback(self._without)

    async def _recall(self, identity: Identity, call: str) -> Past | None:
        # Whoever comes back at once finds what was said last.
        await self.writer.settled()
        return await read_past(self.database, identity, call, self.now_ms(), self.options.resume_turns)

    def _without(self, failure: Failure) -> None:
        self.log.warn(
            "a call begins without its past: {reason}", reason=failure.getErrorMessage() or "it took too long"
        )


class _Call:
    """The record of one call."""

    log = Logger()

    def __init__(self, history: History, caller: Caller, served: Served) -> None:
        self._history, self._served = history, served
        self._key = history.random(16).hex()
        "A carrier may use the same name of a call again."
        self._identity = who = identify(caller, self._key)
        self._answered_ms = history.now_ms()
        self._turns = 0
        self._conversation: Any = None
        self._day: Day | None = None
        self._recalled: tuple[str, ...] = ()
        "Dates the conversation knows from earlier sessions."
        named = history.options.store_numbers
        history.writer.put(
            Answered(
                who.session,
                self._answered_ms,
                self._key,
                name=who.name,
                user=who.user,
                number=who.number if named else "",
                email=who.email if named else "",
                first_name=who.first_name if named else "",
                carrier=caller.carrier,
                carrier_call_id=clean(caller.call_id),
                route=caller.route,
                direction=clean(caller.direction),
                to=clean(caller.to) if named else "",
                agent=served.agent,
                recognizer=served.recognizer,
                synthesizer=served.synthesizer,
                recording=clean(served.recording),
            )
        )

    def remembering(self, conversation: Conversation) -> Conversation:
        """Let the conversation know of earlier ones, if it can and there may be any."""
        self._conversation = conversation
        if (
            getattr(conversation, "recall", None) is None
            or not self._history.options.resume
            or not self._identity.may_have_a_past
        ):
            return conversation
        return Remembering(conversation, self._recall, lambda: self._history.recall(self._identity, self._key))

    def _recall(self, past: Past) -> None:
        self._conversation.recall(past)
        self._recalled = tuple(day.date for day in past.days)
        self._day = self._logged()

    def turn(self, turn: Turn) -> None:
        """Take a turn that has begun or changed."""
        try:
            self._turn(turn)
        except Exception:  # of an agent's `logged`, or ours: no call is lost because it could not be written down
            self.log.failure("a turn was not recorded")

    def _turn(self, turn: Turn) -> None:
        self._turns = max(self._turns, turn.number)
        ours = turn.who == "agent"
        words = self._history.options.store_words
        text, heard = clean(turn.text), clean(turn.heard_text)
        self._history.writer.put(
            Said(
                self._identity.session,
                self._answered_ms + turn.at_ms,
                self._key,
                turn.number,
                "ai" if ours else "user",
                text=text if words else "",
                keys=turn.keys if words else "",
                heard=heard if words else "",
                unheard=unheard(text, heard) if words and ours and turn.complete else "",
                interrupted=turn.interrupted,
                complete=turn.complete,
                provider=self._served.agent if ours else self._served.recognizer,
                voice=self._served.synthesizer if ours else "",
                latency_ms=turn.latency_ms,
            )
        )
        if ours:
            self._take_meals()

    def ended(self, why: Goodbye, totals: Mapping[str, int]) -> None:
        """Take the end of the call."""
        try:
            self._take_meals()
            writer, now_ms = self._history.writer, self._history.now_ms()
            counts = {name: int(total) for name, total in totals.items()}
            writer.put(Ended(self._identity.session, now_ms, self._key, why.value, self._turns, counts))
        except Exception:  # as above
            self.log.failure("the end of a call was not recorded")

    def _logged(self) -> Day | None:
        logged = getattr(self._conversation, "logged", None)
        day: Day | None = logged() if logged is not None else None
        return day

    def _take_meals(self) -> None:
        """Write what the agent knows of the day, if that has changed."""
        day = self._logged()
        if day is None or day == self._day or not self._history.options.store_words:
            return
        if self._day is None and not day.foods and not day.complete:
            return
        self._day = day
        date = day.date or self._history.today()
        self._history.writer.put(
            Ate(
                self._identity.session,
                self._history.now_ms(),
                self._key,
                self._identity.owner,
                date,
                foods=tuple(map(_cleaned, day.foods)),
                complete=day.complete,
                recalled=day.date in self._recalled,
            )
        )


def _cleaned(food: Food) -> Food:
    return replace(
        food,
        food=clean(food.food),
        unit=clean(food.unit),
        vague=clean(food.vague),
        preparation=clean(food.preparation),
        without=clean(food.without),
    )


def unheard(text: str, heard: str) -> str:
    """Return what of our text the caller did not hear."""
    return text[len(heard) :].strip() if text.startswith(heard) else text
