"""A session that comes as one stream (`IngestAudio`): one half on the asyncio thread, one on the reactor.

Flow control: the loop takes at most `WINDOW` segments that the reactor has not heard, so that what is more waits in
HTTP/2; the reactor gives out at most `UNWRITTEN` replies that have not been written, and of guesses only the newest.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from voicemedia.gateway.segment_wire import Segment
from voicemedia.gateway.session import GatewaySession, Refused, Reply
from voicemedia.gateway.sessions import LOADING_LOOKS, LOOK_AGAIN_S, GatewaySessions
from voicemedia.threads import LoopThread

WINDOW: Final = 64
UNWRITTEN: Final = 64


class StreamCall:
    """The half on the loop."""

    def __init__(self, thread: LoopThread, sessions: GatewaySessions) -> None:
        self._thread = thread
        self._window = asyncio.Semaphore(WINDOW)
        self._replies: asyncio.Queue[Reply | None] = asyncio.Queue()
        self._error: Exception | None = None
        self._intake = Intake(thread, sessions, self)

    async def run(
        self,
        segments: AsyncIterator[Segment],
        write: Callable[[Any], Awaitable[None]],
        message_of: Callable[[Reply], Any],
    ) -> None:
        """Serve until the session is over.

        :raises Refused: it has failed.
        :raises WireError: from `segments`.
        """
        reading = asyncio.create_task(self._read(segments))
        reading.add_done_callback(self._has_read)
        try:
            while (reply := await self._replies.get()) is not None:
                await write(message_of(reply))
                self._thread.tell_reactor(self._intake.written)
            if self._error is not None:
                raise self._error
        finally:
            reading.cancel()
            self._thread.tell_reactor(self._intake.leave)

    async def _read(self, segments: AsyncIterator[Segment]) -> None:
        async for segment in segments:
            await self._window.acquire()
            self._thread.tell_reactor(self._intake.take, segment)
        self._thread.tell_reactor(self._intake.end)

    def _has_read(self, reading: "asyncio.Task[None]") -> None:
        if not reading.cancelled() and (error := reading.exception()) is not None:
            assert isinstance(error, Exception)
            self.over(error)

    def has_heard(self, segments: int) -> None:
        """Let so many more segments come."""
        for _ in range(segments):
            self._window.release()

    def told(self, reply: Reply) -> None:
        """Write a reply."""
        self._replies.put_nowait(reply)

    def over(self, error: Exception | None) -> None:
        """Write what is to be written, then end."""
        self._error = self._error or error
        self._replies.put_nowait(None)


class Intake:
    """The half on the reactor, listener of the session."""

    log = Logger()

    def __init__(self, thread: LoopThread, sessions: GatewaySessions, call: StreamCall) -> None:
        self._thread, self._sessions, self._call = thread, sessions, call
        self._session: GatewaySession | None = None
        self._waiting: deque[Segment] = deque()
        self._again: IDelayedCall | None = None
        self._ended = self._is_over = False
        self._unwritten = 0
        self._looks = LOADING_LOOKS

    # --- from the loop ---

    def take(self, segment: Segment) -> None:
        """Hear a segment as soon as the session can."""
        self._waiting.append(segment)
        self._hear()

    def end(self) -> None:
        """No more segments come."""
        self._ended = True
        self._hear()

    def written(self) -> None:
        """One reply less waits to be written."""
        self._unwritten -= 1
        if self._session is not None and not self._is_over:
            self._session.flush()

    def leave(self) -> None:
        """Forget the gateway, which may have gone before its session was over."""
        over, self._is_over = self._is_over, True
        self._waiting.clear()
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._session is not None and not over:
            self._session.close("abandoned")

    # --- hearing ---

    def _hear(self) -> None:
        if self._again is not None and self._again.active():
            return
        heard = 0
        try:
            while self._waiting and not self._is_over and not self._must_wait():
                segment = self._waiting.popleft()
                heard += 1
                self._hear_one(segment)
        except Refused as refused:
            self._fail(refused)
        if heard:
            self._thread.tell(self._call.has_heard, heard)
        if self._is_over:
            return
        if self._waiting:
            self._again = self._sessions.later(LOOK_AGAIN_S, self._hear)
        elif self._ended:
            self._end()

    def _must_wait(self) -> bool:
        """Tell whether the next segment cannot be heard yet."""
        if self._session is not None:
            return self._session.congested
        self._looks -= 1
        return self._looks >= 0 and self._sessions.loading

    def _hear_one(self, segment: Segment) -> None:
        session = self._session
        if session is None:
            session = self._session = self._sessions.open(segment)
            session.listener = self
        elif segment.session_id != session.name:
            raise Refused("INVALID_ARGUMENT", f"session_id: {segment.session_id} in the stream of {session.name}")
        self._sessions.feed(session, segment)

    def _end(self) -> None:
        if self._session is None:
            self.over(None)
        else:
            self._session.end()

    def _fail(self, refused: Refused) -> None:
        session = self._session
        self.over(refused)
        if session is not None and not session.finished:
            session.close("failed")

    # --- from the session (`Listener`) ---

    @property
    def writable(self) -> bool:
        """Whether a final can be taken."""
        return self._unwritten < UNWRITTEN

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return self._unwritten == 0

    def told(self, reply: Reply) -> None:
        """Take words."""
        self._unwritten += 1
        self._thread.tell(self._call.told, reply, hurry=reply.final)

    def over(self, error: Refused | None) -> None:
        """Tell the loop; nothing follows."""
        if not self._is_over:
            self._is_over = True
            self._thread.tell(self._call.over, error, hurry=True)
