"""The asyncio thread, on the real reactor."""

import asyncio
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from tests.in_reactor import in_reactor
from voicemedia.threads import DrainingLoop, LoopThread, loop_thread

PATIENCE_S = 60.0


class CountingReactor:
    """The real reactor, and how often somebody hopped to it."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.hops = 0

    def seconds(self) -> float:
        return float(self._real.seconds())

    def callLater(self, delay: float, callable: Any, *args: object) -> Any:
        return self._real.callLater(delay, callable, *args)

    def callFromThread(self, callable: Any, *args: object) -> None:
        self.hops += 1
        self._real.callFromThread(callable, *args)


async def whose() -> threading.Thread:
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    loop.call_soon(turn.set_result, None)
    await turn
    return threading.current_thread()


async def broken() -> None:
    raise LookupError("not here")


@in_reactor
async def test_a_coroutine_runs_on_the_other_thread_and_its_answer_comes_home() -> None:
    thread = LoopThread(reactor)  # type: ignore[arg-type]
    thread.hold()
    there = await thread.ask(whose)
    assert there is not threading.current_thread()
    with pytest.raises(LookupError, match="not here"):
        await thread.ask(broken)
    await thread.release()
    # Not its identity, which the next thread that begins may be given; and it has said its last word a moment before
    # the interpreter has buried it.
    there.join(PATIENCE_S)
    assert not there.is_alive()


@in_reactor
async def test_the_thread_lives_while_anybody_holds_it_and_starts_again() -> None:
    thread = LoopThread(reactor)  # type: ignore[arg-type]
    thread.hold()
    thread.hold()
    await thread.release()
    assert await thread.ask(whose)
    await thread.release()
    thread.hold()
    assert await thread.ask(whose)
    await thread.release()


@in_reactor
async def test_a_thousand_messages_are_few_hops_and_stay_in_order() -> None:
    counting = CountingReactor(reactor)
    thread = LoopThread(counting)
    thread.hold()
    received: list[int] = []
    done: Deferred[None] = Deferred()

    def home(number: int) -> None:
        received.append(number)
        if number == 999:
            done.callback(None)

    for number in range(1000):
        thread.tell(thread.tell_reactor, home, number)
    await done
    assert received == list(range(1000))
    assert counting.hops <= 2
    await thread.release()


@in_reactor
async def test_the_loop_may_ask_the_reactor_for_a_value_or_a_deferred() -> None:
    thread = LoopThread(reactor)  # type: ignore[arg-type]
    thread.hold()

    def later() -> Deferred[int]:
        return deferLater(reactor, 0, threading.get_ident)

    def refuse() -> Deferred[int]:
        raise LookupError("no")

    async def questions() -> list[object]:
        try:
            await thread.ask_reactor(refuse)
        except LookupError as error:
            return [await thread.ask_reactor(later), str(error)]
        return []

    here = threading.get_ident()
    assert await thread.ask(questions) == [here, "no"]
    await thread.release()


@in_reactor
async def test_nobody_is_asked_when_the_thread_is_gone() -> None:
    thread = LoopThread(reactor)  # type: ignore[arg-type]
    thread.tell(threading.get_ident, hurry=True)
    with pytest.raises(CancelledError):
        await thread.ask(whose)


@in_reactor
async def test_cancelling_here_cancels_there() -> None:
    thread = LoopThread(reactor)  # type: ignore[arg-type]
    thread.hold()
    cancelled: Deferred[str] = Deferred()
    waiting: Deferred[None] = Deferred()

    async def forever() -> None:
        try:
            thread.tell_reactor(waiting.callback, None)
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            thread.tell_reactor(cancelled.callback, "cancelled")
            raise

    asked = thread.ask(forever)
    await waiting
    asked.cancel()
    assert await cancelled == "cancelled"
    with pytest.raises(CancelledError):
        await asked
    await thread.release()


@in_reactor
async def test_what_still_runs_is_cancelled_at_the_end_and_says_so() -> None:
    thread = LoopThread(reactor)  # type: ignore[arg-type]
    thread.hold()
    waiting: Deferred[None] = Deferred()

    async def forever() -> None:
        thread.tell_reactor(waiting.callback, None)
        await asyncio.get_running_loop().create_future()

    asked = thread.ask(forever)
    await waiting
    await thread.release()
    with pytest.raises(CancelledError):
        await asked


class PollerCompletionQueue:
    """Woken as gRPC's is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.waker, self.alarm = socket.socketpair()
        self.waker.setblocking(False)
        self.turns = 0
        loop.add_reader(self.waker, self.handle)

    def handle(self) -> None:
        assert self.waker.recv(1)
        self.turns += 1


@pytest.mark.parametrize("operations", [1, 2, 300])
def test_however_many_operations_grpc_has_done_the_loop_turns_once(operations: int) -> None:
    loop = DrainingLoop()
    queue = PollerCompletionQueue(loop)
    queue.alarm.send(bytes(operations))
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert queue.turns == 1
    with pytest.raises(BlockingIOError):
        queue.waker.recv(1)
    queue.alarm.send(b"1")
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert queue.turns == 2
    loop.remove_reader(queue.waker)
    loop.close()
    queue.waker.close()
    queue.alarm.close()


def test_the_loop_knows_the_poller_of_the_grpc_that_is_installed() -> None:
    # In a process of its own: grpc.aio has one poller, which belongs to the loop that came first.
    script = """
import asyncio, grpc
from voicemedia.threads import DrainingLoop

class Loop(DrainingLoop):
    drained = 0
    def _drain(self, waker, take_all):
        self.drained += 1
        super()._drain(waker, take_all)

async def serve():
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a", {"b": echo}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await channel.unary_unary("/a/b")(b"said") == b"said"
    await server.stop(None)

loop = Loop()
loop.run_until_complete(serve())
print(loop.drained)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) > 0


def test_a_reactor_has_one_thread() -> None:
    assert loop_thread(reactor) is loop_thread(reactor)
