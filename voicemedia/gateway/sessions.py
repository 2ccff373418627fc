"""All sessions of gateways, by the ids the gateways gave them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voicemedia.errors import WireError
from voicemedia.gateway.decoding import make_decoder
from voicemedia.gateway.order import SegmentOrder
from voicemedia.gateway.segment_wire import Segment
from voicemedia.gateway.session import GatewaySession, Refused, Reply, Setting
from voicemedia.transcribing.events import Wish
from voicemedia.transcribing.sessions import Sessions

LOOK_AGAIN_S: Final = 0.1
"A recognizer that is loading, or a session that is ahead of time, is looked at again after this long."
LOADING_LOOKS: Final = 80
"How often, for a new session: for less than the deadline gateways have."
LULL_MS: Final = 1000
"A session without segments for so long is not waited for when the server stops."
OWNER: Final = "grpc"
REMEMBERED: Final = 1000
REMEMBERED_MS: Final = 60_000
"How long a gateway that did not get the last answer may ask again."


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that has ended well."""

    last: Segment
    reply: Reply
    at_ms: int

    def means(self, segment: Segment) -> bool:
        """Tell whether a segment belongs to it: the last one again, or one that came too late."""
        last = self.last
        if segment.last:
            return (segment.number, segment.timestamp_ms, segment.payload) == (
                last.number,
                last.timestamp_ms,
                last.payload,
            )
        return segment.number < last.number and 0 < segment.timestamp_ms < last.timestamp_ms


class GatewaySessions:
    """Opens sessions, finds them, and answers segments.

    :param sessions: the transcribing sessions, nobody else's.
    :param wish: what a session gets unless its segments say otherwise.
    """

    log = Logger()

    def __init__(self, sessions: Sessions, wish: Wish, setting: Setting) -> None:
        self.transcribing = sessions
        self._wish, self._setting = wish, setting
        self._live: dict[str, GatewaySession] = {}
        self._ended: dict[str, Ended] = {}
        self._counts: Counter[str] = Counter({**SegmentOrder(0, 0, 0).counts, "lost_segments": 0})
        "Of sessions that are over."
        self.draining = False
        "Whether no more sessions are begun."

    def __len__(self) -> int:
        return len(self._live)

    # --- segments ---

    def transcribe(self, segment: Segment) -> Deferred[Reply]:
        """Hear one segment of a session that comes call by call; a recognizer that is still loading is waited for.

        The Deferred fails with `Refused` if the segment is not taken.
        """
        if segment.session_id in self._live or not self.loading:
            return maybeDeferred(self._transcribe, segment)
        return Deferred.fromCoroutine(self._transcribe_later(segment))

    @property
    def loading(self) -> bool:
        """Whether no recognizer can serve now, but one may later."""
        return self.transcribing.hopeful and self.transcribing.choose(self._wish)[0] is None

    async def _transcribe_later(self, segment: Segment) -> Reply:
        for _ in range(LOADING_LOOKS):
            await deferLater(self._setting.reactor, LOOK_AGAIN_S)
            if not self.loading:
                break
        return await self._transcribe(segment)

    def _transcribe(self, segment: Segment) -> Deferred[Reply]:
        session = self._live.get(segment.session_id)
        if session is None:
            ended = self._ended.get(segment.session_id)
            if ended is not None and self._is_fresh(ended) and ended.means(segment):
                return succeed(replace(ended.reply, number=segment.number, final=segment.last))
            if segment.format is None:
                return succeed(Reply(segment.session_id, segment.number, final=True))
            session = self._begin(segment)
        elif session.listener is not None:
            raise Refused("ALREADY_EXISTS", f"session_id: {segment.session_id} is being streamed")
        elif session.congested:
            raise Refused("RESOURCE_EXHAUSTED", "sound comes faster than it is spoken; slow down")
        else:
            self.feed(session, segment)
        return session.answer(segment.number)

    def _begin(self, first: Segment) -> GatewaySession:
        session = self.open(first)
        try:
            self.feed(session, first)
        except Refused:
            # Nobody need ever come back to a session that began with what is no sound.
            session.close("failed")
            raise
        return session

    def feed(self, session: GatewaySession, segment: Segment) -> None:
        """Give a session its next segment.

        :raises Refused: it is not taken.
        """
        try:
            session.hear(segment)
        except WireError as error:
            raise refusal_of(error) from error
        except Exception as error:
            self.log.failure("session {session}: lost to a bug", session=session.name)
            session.close("failed")
            raise Refused("INTERNAL", "the session was lost to a bug of the server; its log says more") from error

    def open(self, first: Segment) -> GatewaySession:
        """Begin a session; its first segment is not heard yet.

        :raises Refused: it is not taken.
        """
        if first.session_id in self._live:
            raise Refused("ALREADY_EXISTS", f"session_id: {first.session_id} is in use")
        if first.format is None:
            raise Refused("INVALID_ARGUMENT", "audio_format: not given, and there is no such session yet")
        if self.draining:
            raise Refused("UNAVAILABLE", "this server is about to stop")
        if self.transcribing.refusal() is not None:
            raise Refused("RESOURCE_EXHAUSTED", f"{len(self)} sessions are open; grpc.max_sessions allows no more")
        try:
            decoder = make_decoder(first.format, first.rate_hz)
        except WireError as error:
            raise refusal_of(error) from error
        wish = self._choose(first.language, decoder.rate_hz)
        inner = self.transcribing.open(wish, (OWNER, first.session_id), attended=False)
        session = GatewaySession(inner, first, decoder, self._setting, self._gone)
        self._live[first.session_id] = session
        self._ended.pop(first.session_id, None)
        return session

    def _choose(self, language: str, rate_hz: int) -> Wish:
        asked = replace(self._wish, language=language or self._wish.language, rate_hz=rate_hz)
        wish, troubles = self.transcribing.choose(asked)
        if wish is None:
            raise Refused("UNAVAILABLE", troubles[0].message)
        if language and wish.language != language and troubles:
            raise Refused("INVALID_ARGUMENT", f"language_code: {troubles[-1].message}")
        return wish

    def _is_fresh(self, ended: Ended) -> bool:
        return self._setting.clock() - ended.at_ms < REMEMBERED_MS

    def _gone(self, session: GatewaySession) -> None:
        del self._live[session.name]
        self._counts.update(session.counts)
        if session.last is not None and session.error is None:
            ended = Ended(session.last, session.result(session.last.number), self._setting.clock())
            self._ended[session.name] = ended
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]

    def segments(self) -> Counter[str]:
        """Tell what became of all segments."""
        counts = Counter(self._counts)
        for session in self._live.values():
            counts.update(session.counts)
        return counts

    def read(self) -> dict[str, object]:
        """Return all counts."""
        return {**self.transcribing.read(), **self.segments()}

    # --- time ---

    def later(self, delay_s: float, act: Callable[[], None]) -> IDelayedCall:
        """Call on the reactor after a while."""
        return self._setting.reactor.callLater(delay_s, act)

    def sweep(self, now_ms: int) -> None:
        """Let a second pass."""
        self.transcribing.sweep(now_ms)

    @property
    def busy(self) -> bool:
        """Whether somebody speaks or waits for last words; who fell silent may never say that a session is over."""
        since_ms = self._setting.clock() - LULL_MS
        return any(session.last is not None or session.heard_ms > since_ms for session in self._live.values())

    def close(self) -> None:
        """End all sessions."""
        self.transcribing.drain()


def refusal_of(error: WireError) -> Refused:
    """Say in gRPC's terms what is wrong with a segment."""
    code = "UNIMPLEMENTED" if error.kind == "no_opus" else "INVALID_ARGUMENT"
    return Refused(code, error.detail)
