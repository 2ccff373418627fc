"""All sessions: opens, finds, sweeps and counts them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final
from uuid import uuid4

from twisted.logger import Logger

from voicemedia.errors import CallRefused
from voicemedia.interfaces import Recognizer
from voicemedia.transcribing.events import Trouble, Wish
from voicemedia.transcribing.session import Session
from voicemedia.transcribing.setting import Provided, Setting
from voicemedia.transcribing.tally import Tally

RETRY_AFTER_S: Final = 5
NAMED: Final = 5
"So many languages are named to a client that asked for none of them."
TOMBSTONES: Final = 1000
"Sessions that are over and still known by name."

Key = tuple[str, str]
"Who may find a session (empty: whoever knows its id), and its id."


class Sessions:
    """The sessions of one server.

    :param recognizers: by name; the first is the default.
    :param troubles: why a recognizer cannot serve now, by name; empty when it can.
    """

    log = Logger()

    def __init__(self, recognizers: Mapping[str, Recognizer], troubles: Callable[[str], str], setting: Setting) -> None:
        self._recognizers = {name: Provided(recognizer, Tally()) for name, recognizer in recognizers.items()}
        self._troubles, self._setting = troubles, setting
        self._live: dict[Key, Session] = {}
        self._ended: dict[Key, str] = {}
        self.draining = False
        self.total = self.refused = self.resumed = 0
        self.ended_by: Counter[str] = Counter()

    # --- admission ---

    def refusal(self) -> CallRefused | None:
        """Say why one more session is refused; None when it is welcome."""
        limit = self._setting.stream.max_sessions
        if len(self._live) >= limit:
            self._make_room()
        if self.draining:
            reason = "draining: this server is about to stop"
        elif len(self._live) >= limit:
            reason = f"full: stream.max_sessions = {limit}"
        else:
            return None
        self.refused += 1
        return CallRefused(reason, RETRY_AFTER_S)

    def crowded(self, provider: str) -> CallRefused | None:
        """Say why a session would not be heard in time by a provider; None when it would."""
        if not (reason := self._full(provider)):
            return None
        self.refused += 1
        return CallRefused(f"full: {provider} is behind, {reason}", RETRY_AFTER_S)

    def _full(self, provider: str) -> str:
        full: str = getattr(self._recognizers[provider].recognizer, "full", "")
        return full

    def _make_room(self) -> None:
        """Give up the session that has waited longest for a client that may not come back."""
        waiting = [session for session in self if session.deserted]
        if waiting:
            min(waiting, key=lambda session: session.last_audio_ms).close("abandoned")

    def choose(self, wish: Wish) -> tuple[Wish | None, list[Trouble]]:
        """Make a wish that can be fulfilled of one that perhaps cannot; None when no recognizer works.

        :returns: the wish, and what was changed in it and why.
        """
        now_s = self._setting.time_of_day()
        troubles = []
        name = self._own_name(wish.provider)
        if name and (reason := self._unusable(name)):
            troubles.append(Trouble("provider_unavailable", reason, now_s))
            name = ""
        if not name:
            usable = [each for each in self._recognizers if not self._unusable(each)]
            name = next((each for each in usable if not self._full(each)), usable[0] if usable else "")
        if not name:
            if not troubles:
                troubles.append(Trouble("provider_unavailable", self._nobody(), now_s))
            return None, troubles
        spoken: tuple[str, ...] = getattr(self._recognizers[name].recognizer, "languages", ())
        language = wish.language if not spoken or _speaks(spoken, wish.language) else spoken[0]
        # Who leaves the choice to us is content with the language the provider is set to.
        if language != wish.language and wish.language != "auto":
            message = f"{name} does not hear {wish.language}, but hears {_listed(spoken)}"
            troubles.append(Trouble("unsupported_language", message, now_s))
        return replace(wish, provider=name, language=language), troubles

    def knows(self, provider: str) -> bool:
        """Tell whether a client may name a provider, be it one that cannot serve now; without a name: it may."""
        return not provider or self._own_name(provider) in self._recognizers

    def _own_name(self, provider: str) -> str:
        """Name a provider as we do: it may be written in capitals."""
        lower = provider.lower()
        return lower if provider not in self._recognizers and lower in self._recognizers else provider

    def _unusable(self, name: str) -> str:
        if name not in self._recognizers:
            return f"no provider {name}; there are {', '.join(self._recognizers) or 'none'}"
        trouble = self._troubles(name)
        return f"{name} cannot serve: {trouble}" if trouble else ""

    def _nobody(self) -> str:
        if not self._recognizers:
            return "this server has no recognizer; configure one as [stt.NAME]"
        return "; ".join(self._unusable(name) for name in self._recognizers)

    @property
    def hopeful(self) -> bool:
        """Whether a recognizer may serve later, where none does now: one may be loading its model."""
        return bool(self._recognizers)

    # --- sessions ---

    def open(self, wish: Wish, key: Key = ("", ""), *, attended: bool = True) -> Session:
        """Begin a session.

        :param wish: as `choose` has returned it.
        :param key: without an id: a new one, which nobody can guess.
        :param attended: whether it ends some time after its reader has gone; else only when no sound comes.
        """
        owner, session_id = key[0], key[1] or str(uuid4())
        provided = self._recognizers[wish.provider]
        session = Session(session_id, wish, provided, self._setting, lambda over: self._over((owner, session_id), over))
        session.attended = attended
        self._live[owner, session_id] = session
        self.total += 1
        provided.tally.sessions += 1
        return session

    def find(self, key: Key) -> Session | None:
        """Find a session that is not over."""
        return self._live.get(key)

    def was(self, key: Key) -> str:
        """Say why a session of not long ago has ended; empty: there was none."""
        return self._ended.get(key, "")

    def _over(self, key: Key, session: Session) -> None:
        assert session.over is not None
        del self._live[key]
        self._ended[key] = session.over.reason
        if len(self._ended) > TOMBSTONES:
            del self._ended[next(iter(self._ended))]
        self.ended_by[session.over.reason] += 1
        tally, totals = self._recognizers[session.wish.provider].tally, session.totals
        tally.audio_ms += totals.heard_ms
        tally.cost_usd += totals.cost_usd
        self.log.info(
            "session {session}: {reason} after {audio_s} s of sound by {provider}, {finals} finals",
            session=session.session_id,
            reason=session.over.reason,
            audio_s=totals.heard_ms / 1000,
            provider=session.wish.provider,
            finals=session.over.summary["results"]["total_final_results"],
        )

    def sweep(self, now_ms: int) -> None:
        """Let a second pass: a bug in one session ends it and nothing else."""
        for session in self:
            try:
                session.sweep(now_ms)
            except Exception:
                self.log.failure("session {session}: lost to a bug", session=session.session_id)
                session.close("failed")

    def drain(self) -> None:
        """Begin no more sessions, and let each end with its last final."""
        self.draining = True
        for session in self:
            session.end("drained")

    def close(self) -> None:
        """End those that are still there."""
        for session in self:
            session.close("drained")

    # --- counts ---

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._live.values()))

    def live_by_provider(self) -> Counter[str]:
        """Count the sessions of each recognizer, those without any too."""
        active = Counter(dict.fromkeys(self._recognizers, 0))
        active.update(session.wish.provider for session in self)
        return active

    def read(self) -> dict[str, object]:
        """Return all counts."""
        active = self.live_by_provider()
        return {
            "active_sessions": len(self),
            "total_sessions": self.total,
            "expired_sessions": self.ended_by["expired"],
            "refused_sessions": self.refused,
            "resumed_sessions": self.resumed,
            "ended_sessions": dict(self.ended_by),
            "max_sessions": self._setting.stream.max_sessions,
            "providers": {
                name: {
                    "available": not self._troubles(name),
                    "reason": self._troubles(name),
                    "active_sessions": active[name],
                    **provided.tally.read(),
                }
                for name, provided in self._recognizers.items()
            },
        }


def _listed(spoken: tuple[str, ...]) -> str:
    """Name a few languages, and count the others."""
    named = [each for each in spoken if each != "auto"]
    others = len(named) - NAMED
    return ", ".join(named[:NAMED]) + (f" and {others} others" if others > 0 else "")


def _speaks(spoken: tuple[str, ...], language: str) -> bool:
    """Tell whether a language, or one that differs in its region only, is among those spoken."""
    return language.partition("-")[0].lower() in {each.partition("-")[0].lower() for each in spoken}
