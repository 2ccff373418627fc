"""The pool of child processes: with fake processes on a fake clock, then with real ones."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tests.fake_processes import FakeReactor
from voicemedia.child import ALIVE, LONGEST, POOL, BrokenFrame, FrameReader, frame
from voicemedia.children import DEADLY, HOPELESS, STEADY_S, Children, Program, Seat
from voicemedia.errors import ProviderError

ADDING = Program(module="tests.adding_child", children=2)


@given(
    messages=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=50))),
    cuts=st.lists(st.integers(1, 40), min_size=1),
)
def test_frames_come_out_as_they_went_in_however_the_pipe_cuts_them(
    messages: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    sent = b"".join(frame(job, payload) for job, payload in messages)
    reader, received, at, turn = FrameReader(), [], 0, 0
    while at < len(sent):
        cut = cuts[turn % len(cuts)]
        received += reader.feed(sent[at : at + cut])
        at, turn = at + cut, turn + 1
    assert received == messages


def test_a_length_no_message_has_is_no_frame() -> None:
    with pytest.raises(BrokenFrame):
        FrameReader().feed(b"Segmentation fault\n")
    assert int.from_bytes(b"Segm") > LONGEST


class Sum:
    """A job that sends its numbers whenever it is begun."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.begun = 0
        self.answers: list[Any] = []
        self.error: ProviderError | None = None
        self.enough: Deferred[None] = Deferred()

    def begin(self, seat: Seat) -> None:
        self.begun += 1
        self.answers.clear()
        for number in self.numbers:
            seat.send(number)

    def told(self, payload: bytes) -> None:
        self.answers.append(msgspec.msgpack.decode(payload))
        if len(self.answers) == len(self.numbers) and not self.enough.called:
            self.enough.callback(None)

    def failed(self, error: ProviderError) -> None:
        self.error = error
        if not self.enough.called:
            self.enough.callback(None)


def started(program: Program = ADDING) -> tuple[FakeReactor, Children]:
    reactor = FakeReactor()
    pool = Children(reactor, program)
    pool.start()
    for process in reactor.processes:
        process.ready()
    return reactor, pool


def test_start_fires_when_a_child_is_ready() -> None:
    reactor = FakeReactor()
    pool = Children(reactor, ADDING)
    fired: list[None] = []
    pool.start().addCallback(fired.append)
    assert (len(reactor.processes), fired) == (2, [])
    assert "is starting" in pool.trouble
    reactor.processes[1].ready()
    assert (fired, pool.trouble, pool.pids) == ([None], "", [101])


def test_jobs_go_to_the_child_with_the_least_to_do() -> None:
    reactor, pool = started()
    seats = [pool.place(Sum(1)) for _ in range(3)]
    assert [len(process.jobs) for process in reactor.processes] == [2, 1]
    seats[0].leave()
    seats[2].leave()
    pool.place(Sum(1))
    assert [len(process.jobs) for process in reactor.processes] == [3, 1]


def test_a_job_beyond_the_limit_waits_for_a_seat_and_may_leave_the_queue() -> None:
    reactor, pool = started(Program(module="m", children=1, jobs_per_child=1))
    first, second, third = Sum(1), Sum(2), Sum(3)
    seat = pool.place(first)
    second_seat = pool.place(second)
    pool.place(third)
    assert (first.begun, second.begun, second_seat.taken) == (1, 0, False)
    second_seat.leave()
    seat.leave()
    assert (second.begun, third.begun) == (0, 1)
    assert [message for _, message in reactor.processes[0].told] == [1, 3]


def test_what_a_child_says_about_a_job_that_left_is_dropped() -> None:
    reactor, pool = started()
    job = Sum(1)
    seat = pool.place(job)
    number = reactor.processes[0].jobs[0]
    seat.leave()
    seat.send(5)
    reactor.processes[0].say(number, b"\x01")
    assert (job.answers, len(reactor.processes[0].told)) == ([], 1)


def test_jobs_of_a_dead_child_begin_again_in_another() -> None:
    reactor, pool = started()
    job = Sum(1, 2)
    pool.place(job)
    reactor.processes[0].end(9)
    assert job.begun == 2
    assert [message for _, message in reactor.processes[1].told] == [1, 2]
    assert pool.deaths == 1


def test_jobs_wait_in_order_for_the_only_child_to_be_replaced() -> None:
    reactor, pool = started(Program(module="m", children=1))
    for number in (1, 2):
        pool.place(Sum(number))
    reactor.processes[0].end(9)
    pool.place(Sum(3))
    reactor.advance(0.1)
    assert "restarted" in pool.trouble
    reactor.processes[1].ready()
    assert [message for _, message in reactor.processes[1].told] == [1, 2, 3]


def restart_times(reactor: FakeReactor, deaths: int) -> Iterator[float]:
    """Let the newest child die at once, again and again; yield how long each took to be replaced."""
    for _ in range(deaths):
        alive, waited = len(reactor.processes), 0.0
        reactor.processes[-1].end(1)
        while len(reactor.processes) == alive:
            reactor.advance(0.05)
            waited += 0.05
        yield waited


def test_restarts_slow_down_while_children_die_young() -> None:
    reactor, _ = started(Program(module="m", children=1))
    times = list(restart_times(reactor, 11))
    assert times[:6] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2], abs=0.11)
    assert times[-1] == pytest.approx(30, abs=0.2)


def test_a_child_that_served_long_is_replaced_at_once() -> None:
    reactor, _ = started(Program(module="m", children=1))
    list(restart_times(reactor, 4))
    reactor.processes[-1].ready()
    reactor.advance(STEADY_S / 2)
    reactor.processes[-1].say(POOL, ALIVE)
    reactor.advance(STEADY_S / 2)
    reactor.processes[-1].say(POOL, ALIVE)
    assert list(restart_times(reactor, 1)) == [0.05]


def test_waiting_jobs_are_told_when_children_keep_dying() -> None:
    reactor, pool = started(Program(module="m", children=1))
    reactor.processes[0].protocol.childDataReceived(2, b"ImportError: no such thing\n")
    job = Sum(1)
    reactor.processes[0].end(1)
    reactor.advance(0.1)
    pool.place(job)
    list(restart_times(reactor, HOPELESS - 1))
    assert job.error is not None and job.error.retryable
    assert "ImportError: no such thing" in str(job.error)
    late = Sum(2)
    pool.place(late)
    assert late.error is None
    reactor.advance(0)
    assert late.error is not None


def test_start_fails_when_no_child_ever_gets_ready() -> None:
    reactor = FakeReactor()
    reactor.can_fork = False
    pool = Children(reactor, Program(module="m", children=1))
    failures: list[Failure] = []
    pool.start().addErrback(failures.append)
    reactor.pump([0.1] * 20)
    assert isinstance(failures[0].value, ProviderError)
    reactor.can_fork = True
    reactor.pump([1] * 10)
    reactor.processes[-1].ready()
    assert pool.trouble == ""


def test_a_job_in_whose_company_children_die_is_given_up() -> None:
    reactor, pool = started(Program(module="m", children=1))
    poison = Sum(1)
    pool.place(poison)
    for death in range(DEADLY):
        assert poison.begun == death + 1
        reactor.processes[-1].end(11)
        reactor.advance(1)
        reactor.processes[-1].ready()
    assert poison.error is not None and not poison.error.retryable
    assert reactor.processes[-1].told[1:] == []


def test_a_silent_child_is_killed_and_a_slow_one_is_not() -> None:
    reactor, pool = started(Program(module="m", children=1, hang_s=10))
    child = reactor.processes[0]
    for _ in range(5):
        reactor.pump([1] * 9)
        child.say(POOL, ALIVE)
    assert (child.told, child.signals) == ([(POOL, "ping")] * 5, [])
    reactor.pump([1] * 15)
    assert child.signals == ["KILL"]
    assert pool.pids == []
    child.end(9)
    assert pool.deaths == 1


def test_a_child_that_does_not_get_ready_is_killed() -> None:
    reactor = FakeReactor()
    Children(reactor, Program(module="m", start_s=20)).start()
    reactor.advance(20)
    assert reactor.processes[0].signals == ["KILL"]


@pytest.mark.parametrize("nonsense", [b"Segmentation fault\n", frame(POOL, b"what?")])
def test_a_child_that_talks_nonsense_is_killed(nonsense: bytes) -> None:
    reactor, _ = started()
    reactor.processes[0].protocol.childDataReceived(1, nonsense)
    assert reactor.processes[0].signals == ["KILL"]


def test_stop_asks_children_to_leave_and_kills_who_stays() -> None:
    reactor, pool = started(Program(module="m", children=2, stop_s=2))
    fired: list[None] = []
    pool.stop().addCallback(fired.append)
    assert [process.stdin_open for process in reactor.processes] == [False, False]
    reactor.processes[0].end()
    reactor.advance(2)
    assert [process.signals for process in reactor.processes] == [[], ["KILL"]]
    assert fired == []
    reactor.processes[1].end(9)
    assert (fired, pool.deaths) == ([None], 0)
    reactor.advance(60)
    assert len(reactor.processes) == 2


def test_stop_while_no_child_lives_cancels_the_restart() -> None:
    reactor, pool = started(Program(module="m", children=1))
    reactor.processes[0].end(1)
    fired: list[None] = []
    pool.stop().addCallback(fired.append)
    reactor.advance(60)
    assert (fired, len(reactor.processes)) == ([None], 1)


# --- real processes ---


def real_pool() -> Children:
    from twisted.internet import reactor

    return Children(cast(Any, reactor), ADDING)


def turn_of(job: Sum, act: Callable[[], object]) -> Deferred[None]:
    """Do something and wait until the job has all its answers again."""
    job.enough = Deferred()
    act()
    return job.enough


def test_real_children_work_survive_a_kill_and_leave() -> Deferred[None]:
    # pytest-twisted runs tests on the reactor and waits for the Deferred they return.
    return Deferred.fromCoroutine(work_survive_a_kill_and_leave())


async def work_survive_a_kill_and_leave() -> None:
    pool = real_pool()
    await pool.start()
    try:
        job = Sum(1, 2, 3)
        await turn_of(job, lambda: pool.place(job))
        assert [total for _, total in job.answers] == [1, 3, 6]
        first = job.answers[0][0]
        os.kill(first, signal.SIGINT)
        os.kill(first, signal.SIGTERM)
        assert first in pool.pids
        await turn_of(job, lambda: os.kill(first, signal.SIGKILL))
        assert [total for _, total in job.answers] == [1, 3, 6]
        assert job.answers[0][0] != first
        assert pool.last_words == "a library prints to stdout"
        pids = pool.pids
    finally:
        await pool.stop()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_child_ends_when_its_parent_was_killed(tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from twisted.internet import reactor\n"
        "from voicemedia.children import Children, Program\n"
        "pool = Children(reactor, Program(module='tests.adding_child'))\n"
        "def killed(_): print(pool.pids[0], flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        "reactor.callWhenRunning(lambda: pool.start().addCallback(killed))\n"
        "reactor.run()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    with parent, parent.stdout as stdout:
        child = int(stdout.readline())
    # A descriptor of the process waits for its end without a sleep.
    try:
        descriptor = os.pidfd_open(child)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([descriptor], [], [], 10)
    os.close(descriptor)
    assert ended
