"""A session that comes as one stream (`IngestAudio`) and goes on, segment by segment, to another speech service.

Segments go one at a time, for calls that are under way together may overtake one another, and the last one must not.
Those that wait meanwhile go as one longer segment, so that a service far away keeps up. Flow control: no more than
`WAITING` segments wait here, nor sound far ahead of time; the rest waits in HTTP/2, at the gateway's end.
Everything here runs on the asyncio thread.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc

from voicemedia.gateway.joining import Joiner
from voicemedia.gateway.segment_wire import Segment, read_segment
from voicemedia.gateway.session import Refused
from voicemedia.proto import audio_stream_pb2 as pb

WAITING: Final = 64
EARLY_S: Final = 1.0
"Sound may come so much ahead of time; a service that answers segment by segment has no way to say that it is full."
OURS: Final = frozenset(("UNAUTHENTICATED", "PERMISSION_DENIED"))
"It is our token that the other service refuses, not that of the gateway."

Forward = Callable[[pb.AudioSegment], Awaitable[Any]]


class Relay:
    """One stream.

    :param forward: hands a segment to the other service.
    :param part: does so when nobody waits for the answer any more.
    :param max_s: longest sound taken in one segment, in seconds.
    """

    def __init__(self, forward: Forward, part: Callable[[pb.AudioSegment], None], max_s: int) -> None:
        self._forward, self._part, self._max_s = forward, part, max_s
        self._joiner = Joiner()
        self._room = asyncio.Semaphore(WAITING)
        self._more = asyncio.Event()
        self._last: pb.AudioSegment | None = None
        self._text = ""
        self._early_s, self._timed_s = 0.0, asyncio.get_running_loop().time()
        "How much ahead of time the sound is, and when this was so."

    async def run(self, requests: AsyncIterator[pb.AudioSegment], write: Callable[[Any], Awaitable[None]]) -> None:
        """Serve until the session is over.

        :raises Refused: the other service has failed.
        :raises WireError: a segment is not taken.
        """
        reading = asyncio.create_task(self._read(requests))
        reading.add_done_callback(lambda _reading: self._more.set())
        answered = False
        try:
            while len(self._joiner) or not reading.done():
                await self._more.wait()
                while len(self._joiner):
                    await self._hand_on(write)
                self._more.clear()
            await reading
            answered = True
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            message = f"the speech service: {error.details()}"
            raise Refused("UNAVAILABLE" if code in OURS else code, message) from error
        finally:
            reading.cancel()
            if self._last is not None and not answered:
                # The gateway has gone: the other service need not wait for it until the session expires.
                self._part(_end_after(self._last))

    async def _hand_on(self, write: Callable[[Any], Awaitable[None]]) -> None:
        segment, made_of = self._joiner.take()
        for _ in made_of:
            self._room.release()
        reply = await self._forward(segment)
        reply.sequence_number = made_of[-1].sequence_number
        # Most segments bring no new word.
        known, self._text = self._text, reply.transcript
        if reply.is_final or reply.transcript not in ("", known):
            await write(reply)

    async def _read(self, requests: AsyncIterator[pb.AudioSegment]) -> None:
        async for request in requests:
            segment = self._check(request)
            await self._keep_pace(segment)
            await self._put(request, segment.duration_ms)
            if request.is_final:
                return
        if self._last is not None:
            await self._put(_end_after(self._last), 0)

    async def _put(self, request: pb.AudioSegment, duration_ms: int) -> None:
        await self._room.acquire()
        self._last = request
        self._joiner.put(request, duration_ms)
        self._more.set()

    def _check(self, request: pb.AudioSegment) -> Segment:
        segment = read_segment(request, self._max_s)
        if self._last is not None and segment.session_id != self._last.session_id:
            message = f"session_id: {segment.session_id} in the stream of {self._last.session_id}"
            raise Refused("INVALID_ARGUMENT", message)
        return segment

    async def _keep_pace(self, segment: Segment) -> None:
        now_s = asyncio.get_running_loop().time()
        self._early_s = max(0.0, self._early_s - (now_s - self._timed_s)) + segment.duration_ms / 1000
        self._timed_s = now_s
        if self._early_s > EARLY_S:
            await asyncio.sleep(self._early_s - EARLY_S)


def _end_after(last: pb.AudioSegment) -> pb.AudioSegment:
    """Word that no more follows."""
    return pb.AudioSegment(session_id=last.session_id, sequence_number=last.sequence_number + 1, is_final=True)
