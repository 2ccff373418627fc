"""What we say on one of Google's streams: requests that leave one after the other. Everything here is on the loop.

A task that waits for more, and wakes for each request, costs a third of what sending the request does. So the call's
coroutine is taken by hand to where it waits for gRPC, and once more when gRPC is done.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

import grpc
from google.cloud.speech_v2.types import cloud_speech as cs

_Request = type(cs.StreamingRecognizeRequest.pb(cs.StreamingRecognizeRequest()))
_ENDED: Final = (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError)
"The stream has ended; whoever reads from it learns why."


class Writer:
    """Sends the configuration, then sound, then half-closes.

    :param call: a stream just opened.
    """

    __slots__ = ("_busy", "_call", "_operation", "_queue", "_sending", "_task", "half_closed", "written")

    def __init__(self, call: Any, config: bytes) -> None:
        self._call = call
        self._queue: deque[bytes | None] = deque()
        self._busy = True
        "Whether a request is on its way, or none can be sent any more."
        self._operation: Coroutine[Any, Any, None] | None = None
        self._sending = 0
        self.written = 0
        "Bytes of sound that have left."
        self.half_closed = False
        "Whether all of it has left, and its end was told."
        self._task: asyncio.Task[None] | None = asyncio.get_running_loop().create_task(self._open(config))

    def put(self, item: bytes | None) -> None:
        """Send sound after what was put before; None: half-close."""
        self._queue.append(item)
        if not self._busy:
            self._next()

    def close(self) -> None:
        """Send nothing more; the stream has ended."""
        self._busy = True
        self._queue.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _open(self, config: bytes) -> None:
        try:
            await self._call.wait_for_connection()
        except _ENDED:
            return
        self._task = None
        self._send(config)

    def _next(self) -> None:
        self._busy = bool(self._queue)
        if not self._queue:
            return
        item = self._queue.popleft()
        if item is None:
            self.half_closed = True
            self._task = asyncio.get_running_loop().create_task(self._call.done_writing())
            return
        self._sending = len(item)
        self._send(_Request(audio=item).SerializeToString())

    def _send(self, request: bytes) -> None:
        # `call.write` takes a stream's end for an internal error, and the status that the server gave is lost
        # (grpcio 1.85); what it calls beneath fails alike, and the reader then gets the status.
        self._operation = self._call._cython_call.send_serialized_message(request)
        self._step()

    def _step(self, _batch: "asyncio.Future[None] | None" = None) -> None:
        """Take the operation on until it waits, or is done."""
        assert self._operation is not None
        try:
            batch: asyncio.Future[None] = self._operation.send(None)
        except StopIteration:
            self._operation = None
            self.written += self._sending
            self._next()
        except _ENDED:
            self._operation = None
        else:
            batch.add_done_callback(self._step)
