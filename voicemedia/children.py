"""A small pool of child processes, for libraries that would hold up the reactor (`child.py` is their end).

The one idea: a *job* (an utterance to hear, a sentence to speak) has a *seat* in some child and can be begun
again from its start in another. So a child that dies, hangs or talks nonsense costs time and nothing else.
"""

import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia.child import ALIVE, PING, POOL, READY, BrokenFrame, FrameReader, frame
from voicemedia.errors import ProviderError

CODE: Final = str(Path(__file__).parent.parent)
"Children run here, so that `-m` finds the same code as the parent, installed or not."

STEADY_S: Final = 10.0
"A child that served this long and then died is replaced at once."
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 30.0
HOPELESS: Final = 4
"Deaths in a row after which waiting jobs are told, instead of waiting for the next attempt."
DEADLY: Final = 3
"A job in whose company so many children died is given up: it is the likely reason."


class Reactor(Protocol):
    """What of the reactor a pool uses."""

    def seconds(self) -> float:
        """Return the time, in seconds since anything."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object) -> IDelayedCall:
        """Call later."""

    @property
    def spawnProcess(self) -> Callable[..., IProcessTransport]:
        """Start a process."""


class Job(Protocol):
    """Work that is done in a child."""

    def begin(self, seat: "Seat") -> None:
        """Start from the beginning: the first time, or again because the child before has died."""

    def told(self, payload: bytes) -> None:
        """Take one message of the child, in msgpack."""

    def failed(self, error: ProviderError) -> None:
        """No child can do this job; the seat is gone."""


@dataclass(frozen=True, slots=True)
class Program:
    """What the children of one pool run, and how patient we are with them."""

    module: str
    "Run with `python -m`; it makes one `child.Parent`."
    arguments: tuple[str, ...] = ()
    children: int = 1
    jobs_per_child: int = 64
    "Further jobs wait, first come, first served."
    start_s: float = 20.0
    "To load everything and say `ready`."
    hang_s: float = 10.0
    "Longest silence of a child that was asked for a sign of life."
    stop_s: float = 2.0
    "To leave by itself once its stdin is closed."


class Seat:
    """The place of one job: in a child, or in the queue while there is none."""

    def __init__(self, pool: "Children", job: Job) -> None:
        self.job = job
        self.deaths = 0
        self._pool = pool
        self._child: _Child | None = None
        self._number = 0

    @property
    def taken(self) -> bool:
        """Whether the job is with a child now."""
        return self._child is not None

    def send(self, message: object) -> None:
        """Send one message, anything msgspec can encode, to the child; nothing happens when there is none."""
        if self._child is not None:
            self._child.send(self._number, self._pool.encoder.encode(message))

    def leave(self) -> None:
        """Give the seat up: the job is done or no longer wanted, and nothing more is told about it."""
        child, self._child = self._child, None
        self._pool.left(self, child, self._number)

    def take(self, child: "_Child", number: int) -> None:
        """Sit down (the pool's call)."""
        self._child, self._number = child, number
        self.job.begin(self)

    def lose(self) -> None:
        """Stand up because the child has died (the pool's call)."""
        self._child = None


class Children:
    """Keeps `program.children` children alive and gives each job to the one with the least to do."""

    log = Logger()

    def __init__(self, reactor: Reactor, program: Program) -> None:
        self.reactor = reactor
        self.program = program
        self.encoder = msgspec.msgpack.Encoder()
        self.deaths = 0
        "Children that ended without being asked to, since the start."
        self.last_words = ""
        "The last line of stderr of any of them: usually says why they die."
        self._children: list[_Child] = []
        self._waiting: deque[Seat] = deque()
        self._restarts: list[IDelayedCall] = []
        self._misfortunes = 0
        self._last_number = POOL
        self._started: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None

    @property
    def trouble(self) -> str:
        """Why no job can be done now; empty when one can."""
        if any(child.ready for child in self._children):
            return ""
        if not self._misfortunes:
            return f"{self.program.module} is starting"
        return f"{self.program.module} dies and is being restarted: {self.last_words or 'no reason given'}"

    @property
    def pids(self) -> list[int]:
        """The process ids of the children that are ready."""
        return [child.pid for child in self._children if child.ready]

    def start(self) -> Deferred[None]:
        """Start all children; fires when one is ready, fails with `ProviderError` when they keep dying."""
        self._started, self._stopped = Deferred(), None
        started = self._started
        for _ in range(self.program.children):
            self._spawn()
        return started

    def stop(self) -> Deferred[None]:
        """End all children; fires when none is left. Jobs not finished by then are not told."""
        self._stopped = stopped = Deferred[None]()
        self._waiting.clear()
        for restart in self._restarts:
            restart.cancel()
        self._restarts.clear()
        if self._started is not None:
            started, self._started = self._started, None
            started.errback(ProviderError(f"{self.program.module} was stopped while starting"))
        if not self._children:
            return succeed(None)
        for child in list(self._children):
            child.leave()
        return stopped

    def place(self, job: Job) -> Seat:
        """Find a seat for a job; `job.begin` is called as soon as there is one, perhaps at once."""
        seat = Seat(self, job)
        self._waiting.append(seat)
        if self._misfortunes >= HOPELESS and self.trouble:
            self.reactor.callLater(0, self._give_up)
        self._fill()
        return seat

    # --- what a child tells ---

    def is_ready(self) -> None:
        """Give jobs to a child that has just become ready."""
        if self._started is not None:
            started, self._started = self._started, None
            started.callback(None)
        self._fill()

    def has_died(self, child: "_Child", reason: str) -> None:
        """Replace a child that has ended and find other seats for its jobs."""
        self._children.remove(child)
        if self._stopped is not None:
            if not self._children:
                self._stopped.callback(None)
            return
        self.deaths += 1
        steady = child.served_s >= STEADY_S
        self._misfortunes = 0 if steady else self._misfortunes + 1
        delay = 0.0 if steady else min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (self._misfortunes - 1))
        self.log.warn(
            "a child running {module} has died: {reason}; {jobs} jobs to hand over, next one in {delay} s",
            module=self.program.module,
            pid=child.pid,
            reason=reason,
            jobs=len(child.seats),
            delay=delay,
        )
        self._spawn_in(delay)
        self._hand_over(list(child.seats.values()))

    def left(self, seat: Seat, child: "_Child | None", number: int) -> None:
        """Forget a seat given up."""
        if child is not None:
            child.seats.pop(number, None)
            self._fill()
        elif seat in self._waiting:
            self._waiting.remove(seat)

    # --- inside ---

    def _hand_over(self, seats: list[Seat]) -> None:
        doomed = []
        for seat in reversed(seats):
            seat.lose()
            seat.deaths += 1
            if seat.deaths >= DEADLY:
                doomed.append(seat)
            else:
                self._waiting.appendleft(seat)
        for seat in doomed:
            seat.job.failed(ProviderError(f"{self.program.module} died {DEADLY} times at this job", retryable=False))
        if self._misfortunes >= HOPELESS and self.trouble:
            self._give_up()
        self._fill()

    def _give_up(self) -> None:
        if not self.trouble:
            return
        error = ProviderError(self.trouble)
        if self._started is not None:
            started, self._started = self._started, None
            started.errback(error)
        while self._waiting:
            self._waiting.popleft().job.failed(error)

    def _fill(self) -> None:
        while self._waiting:
            free = [child for child in self._children if child.ready and len(child.seats) < self.program.jobs_per_child]
            if not free:
                return
            child = min(free, key=lambda each: len(each.seats))
            seat = self._waiting.popleft()
            self._last_number = self._last_number % 0xFFFFFFFF + 1
            child.seats[self._last_number] = seat
            seat.take(child, self._last_number)

    def _spawn_in(self, delay: float) -> None:
        def spawn() -> None:
            self._restarts.remove(restart)
            self._spawn()

        restart = self.reactor.callLater(delay, spawn)
        self._restarts.append(restart)

    def _spawn(self) -> None:
        child = _Child(self)
        self._children.append(child)
        arguments = [sys.executable, "-m", self.program.module, *self.program.arguments]
        try:
            self.reactor.spawnProcess(child, sys.executable, arguments, env=None, path=CODE)
        except OSError as error:  # no memory, no process number, no pipe: as if it had died at once
            child.processEnded(Failure(error))  # type: ignore[no-untyped-call]


class _Child(ProcessProtocol):
    """One child process, from its birth to its end."""

    log = Logger()
    transport: IProcessTransport

    def __init__(self, pool: Children) -> None:
        self.pool = pool
        self.ready = False
        self.pid = 0
        self.served_s = 0.0
        "How long it had been ready when it died."
        self._ready_at: float | None = None
        self._heard = pool.reactor.seconds()
        self.seats: dict[int, Seat] = {}
        self._reader = FrameReader()
        self._stderr = b""
        self._reason = ""
        self._asked = False
        self._watch: IDelayedCall | None = None

    def send(self, job: int, payload: bytes) -> None:
        """Send one frame; what cannot be delivered any more comes to nothing."""
        self.transport.write(frame(job, payload))

    def leave(self) -> None:
        """Ask the child to end, and insist when it does not."""
        self._unwatch()
        self.ready = False
        self.transport.closeStdin()
        self._watch = self.pool.reactor.callLater(self.pool.program.stop_s, self._kill, "did not leave when asked")

    # --- ProcessProtocol ---

    def connectionMade(self) -> None:
        """Expect the child to become ready."""
        self.pid = self.transport.pid
        self._watch = self.pool.reactor.callLater(self.pool.program.start_s, self._kill, "did not become ready")

    def outReceived(self, received: bytes) -> None:
        """Hand the child's frames to their jobs."""
        self._heard = self.pool.reactor.seconds()
        self._asked = False
        try:
            frames = self._reader.feed(received)
        except BrokenFrame as broken:
            return self._kill(f"sent no frame: {broken}")
        for job, payload in frames:
            if job == POOL:
                self._about_itself(payload)
            elif job in self.seats:
                self._tell(self.seats[job].job, payload)

    def errReceived(self, received: bytes) -> None:
        """Log what the child or its libraries complain about, line by line."""
        *lines, self._stderr = (self._stderr + received).split(b"\n")
        for line in lines:
            self._say(line)
        if len(self._stderr) > 4096:
            self._say(self._stderr)
            self._stderr = b""

    def processEnded(self, reason: Failure) -> None:
        """Tell the pool; by now everything the child has still said was taken."""
        self._unwatch()
        if self._ready_at is not None:
            self.served_s = self.pool.reactor.seconds() - self._ready_at
        self.ready = False
        self._say(self._stderr)
        self.pool.has_died(self, self._reason or reason.getErrorMessage())

    # --- inside ---

    def _tell(self, job: Job, payload: bytes) -> None:
        try:
            job.told(payload)
        except Exception:
            # A bug in one job must not close the pipe all of them share.
            self.log.failure("a job of {module} failed at a message", module=self.pool.program.module)

    def _about_itself(self, payload: bytes) -> None:
        if payload == READY and not self.ready and self._watch is not None:
            self._unwatch()
            self.ready = True
            self._ready_at = self.pool.reactor.seconds()
            self._watch = self.pool.reactor.callLater(self.pool.program.hang_s / 4, self._look_after)
            self.pool.is_ready()
        elif payload not in (READY, ALIVE):
            self._kill("sent a message for no job")

    def _look_after(self) -> None:
        hang_s = self.pool.program.hang_s
        if self._asked and self.pool.reactor.seconds() - self._heard >= hang_s:
            return self._kill(f"gave no sign of life for {hang_s:g} s")
        if not self._asked:
            # Silence counts from the question: a child without work has nothing to say.
            self._heard = self.pool.reactor.seconds()
            self._asked = True
            self.send(POOL, PING)
        self._watch = self.pool.reactor.callLater(hang_s / 4, self._look_after)

    def _say(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()
        if text:
            self.pool.last_words = text[:200]
            self.log.info("{module}: {line}", module=self.pool.program.module, pid=self.pid, line=text)

    def _unwatch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None and watch.active():
            watch.cancel()

    def _kill(self, reason: str) -> None:
        self._unwatch()
        self.ready = False
        self._reason = reason
        with suppress(ProcessExitedAlready):  # then `processEnded` is on its way
            self.transport.signalProcess("KILL")
