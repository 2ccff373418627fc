"""Hundreds of calls at once from one core, with an engine of its own: bare sockets, one epoll loop, frames made once.

Each 20 ms of each call carry a number (`numbered`); the server's agent `echo` sends them back, and the report says what
became of every one. Everything a packet says but the call's own name is the same for all calls, so a packet is
put together from two ready pieces. On one slow core this keeps up with some 400 calls of 50 packets a second.
"""

import gc
import heapq
import select
import socket
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

import numpy as np

from voicemedia.callers.dialect import Dialect, new_identity
from voicemedia.callers.numbered import FRAME_BYTES, NumberedReader
from voicemedia.callers.process_use import ProcessUse, read_use
from voicemedia.callers.storm_call import PacketPress, State, StormCall
from voicemedia.callers.storm_report import StormReport, spread
from voicemedia.errors import ConfigError

ANSWER_S: Final = 10.0
"A call not answered by then has failed."
DRAIN_S: Final = 1.0
"Frames that have not come back so long after the last was sent are lost."
CLOSE_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class StormPlan:
    """What to do to the server."""

    url: str
    "Where to call; a SIP storm has the address of the callee here."
    carrier: Callable[..., Dialect] | None
    "Whose dialect is spoken over WebSockets; None: it is a SIP storm."
    calls: int
    seconds: float
    "How long all calls are up together, after the ramp."
    packet_ms: int = 20
    ramp_per_s: float = 100.0
    "New calls a second."
    lead_ms: float = 0.0
    "What the server is configured to hold back; taken off every round trip."
    late_after_ms: float = 60.0
    "A round trip longer than this counts as late."
    pid: int | None = None
    "The server's process, to measure its use."
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a storm is."""

    phase: str
    share: float
    "0 to 1."
    up: int
    sent: int
    missing: int
    "Sent and not yet back."


class Talker(Protocol):
    """One call of a storm."""

    number: int
    fd: int
    "Its socket, or the one its sound comes by."
    watched: bool
    "The poll tells when the socket takes bytes."
    state: State
    answered: bool
    failure: str
    reader: NumberedReader
    round_trips_ms: "array[float]"
    frames_back: int
    duplicated: int

    @property
    def frames_sent(self) -> int:
        """Return how many frames it has sent."""

    @property
    def stalled(self) -> bool:
        """Tell whether bytes wait that the socket did not take."""

    def speak(self, now: float) -> None:
        """Send the next packet."""

    def receive(self, now: float) -> None:
        """Take what the socket has."""

    def flush(self) -> None:
        """Send what the socket did not take before."""

    def hang_up(self) -> None:
        """Say goodbye."""

    def fail(self, reason: str) -> None:
        """End the call before its time."""

    def close(self) -> None:
        """Close its socket."""


class Ground(Protocol):
    """How calls come about. What all of them share, such as a socket of signalling, is served here."""

    fds: tuple[int, ...]
    "Sockets the calls share; readable only."

    def dial(self, number: int) -> Talker:
        """Begin a call; one that failed at once is closed."""

    def serve(self, now: float) -> None:
        """Take what came by a shared socket, and let time pass; called every 20 ms at least."""

    def changed(self) -> list[Talker]:
        """Return the calls whose state `serve` has changed."""

    def close(self) -> None:
        """Close what is shared."""


class WebSocketGround:
    """Calls over WebSockets, each with all it needs.

    :raises ConfigError: the address is of no use.
    """

    fds: tuple[int, ...] = ()

    def __init__(self, plan: StormPlan) -> None:
        parts = urlsplit(plan.url)
        if parts.scheme != "ws" or not parts.hostname:
            raise ConfigError(f"--url {plan.url}: a storm needs ws:// and a host (no TLS: it would measure that)")
        self._plan = plan
        self._address = _resolve(parts.hostname, parts.port or 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host = parts.netloc.rpartition("@")[2]
        assert plan.carrier is not None
        self._carrier = plan.carrier
        self._press = PacketPress(plan.carrier, plan.packet_ms)

    def dial(self, number: int) -> Talker:
        """Begin to connect."""
        call = StormCall(number, self._carrier(new_identity()), self._press)
        call.dial(self._address, self._host, self._target, self._plan.headers)
        return call

    def serve(self, now: float) -> None:
        """Nothing is shared."""

    def changed(self) -> list[Talker]:
        """Nothing is shared."""
        return []

    def close(self) -> None:
        """Nothing is shared."""


def run_storm(
    plan: StormPlan, progress: Callable[[Progress], None] = lambda _: None, ground: Ground | None = None
) -> StormReport:
    """Place the calls, let them talk, hang up; blocks until done.

    :param ground: how calls come about; None: over WebSockets.
    :raises ConfigError: the address or the process id is of no use.
    """
    storm = _Storm(plan, progress, ground or WebSocketGround(plan))
    # Nothing in the loop makes reference cycles; a collection in mid-storm would show up as the server's latency.
    gc.collect()
    gc.disable()
    try:
        return storm.run()
    finally:
        gc.enable()
        storm.close()


class _Storm:
    def __init__(self, plan: StormPlan, progress: Callable[[Progress], None], ground: Ground) -> None:
        self._plan, self._progress, self._ground = plan, progress, ground
        self._progress_at = 0.0
        self._poll = select.epoll()
        for fd in ground.fds:
            self._poll.register(fd, select.EPOLLIN)
        self._calls: list[Talker] = []
        self._by_fd: dict[int, Talker] = {}
        self._schedule: list[tuple[float, int]] = []
        self._lateness_ms = array("d")
        self._failures: Counter[str] = Counter()
        self._talking = True

    def run(self) -> StormReport:
        before = self._use()
        began = time.monotonic()
        while len(self._calls) < self._plan.calls:
            self._dial()
            dialed_s = len(self._calls) / self._plan.ramp_per_s
            self._spin(began + dialed_s, "ramp")
        self._spin(time.monotonic() + ANSWER_S, "ramp", until=lambda: not self._count("dialing"))
        for call in self._in_state("dialing"):
            call.fail("not answered in time")
            self._ended(call)
        up, at_top, top_at = self._count("talking"), self._use(), time.monotonic()
        self._spin(top_at + self._plan.seconds, "storm", until=lambda: not self._by_fd)
        at_end, seconds = self._use(), time.monotonic() - top_at
        self._talking = False
        drain_s = DRAIN_S + self._plan.lead_ms / 1000
        self._spin(time.monotonic() + drain_s, "drain", until=lambda: not self._missing())
        for call in self._in_state("talking"):
            call.hang_up()
            self._settle(call)
        self._spin(time.monotonic() + CLOSE_S, "close", until=lambda: not self._by_fd)
        report = self._report(seconds)
        _meter(report, up, (before, at_top, at_end))
        return report

    def close(self) -> None:
        for call in self._calls:
            call.close()
        self._ground.close()
        self._poll.close()

    def _use(self) -> ProcessUse | None:
        return None if self._plan.pid is None else read_use(self._plan.pid)

    def _dial(self) -> None:
        call = self._ground.dial(len(self._calls))
        self._calls.append(call)
        if call.state == "closed":
            self._ended(call)
            return
        self._by_fd[call.fd] = call
        self._poll.register(call.fd, select.EPOLLIN | (select.EPOLLOUT if call.watched else 0))

    def _spin(self, until_s: float, phase: str, until: Callable[[], bool] = lambda: False) -> None:
        """Run the loop until a time, or until a condition that is looked at every 20 ms holds."""
        look_at = 0.0
        while True:
            now = time.monotonic()
            if now >= until_s:
                return
            if now >= look_at:
                self._serve_ground(now)
                if until():
                    return
                look_at = now + 0.02
                self._show(now, until_s, phase)
            next_s = min(until_s, look_at, self._speak(now))
            # epoll counts in whole milliseconds, rounded up: the rest is caught up in the next round.
            for fd, events in self._poll.poll(max(0.0, next_s - time.monotonic())):
                self._serve(fd, events)

    def _speak(self, now: float) -> float:
        """Send what is due; return when the next packet is."""
        schedule = self._schedule
        while schedule and schedule[0][0] <= now:
            due, number = schedule[0]
            call = self._calls[number]
            if not self._talking or call.state != "talking":
                heapq.heappop(schedule)
                continue
            self._lateness_ms.append((time.monotonic() - due) * 1000)
            call.speak(time.monotonic())
            self._settle(call)
            heapq.heapreplace(schedule, (due + self._plan.packet_ms / 1000, number))
        return schedule[0][0] if schedule else now + 1.0

    def _serve_ground(self, now: float) -> None:
        self._ground.serve(now)
        for call in self._ground.changed():
            if call.state == "talking":
                self._begin(call)
            self._settle(call)

    def _begin(self, call: Talker) -> None:
        # Calls begin at any time: spread over the packet by the golden ratio, as evenly as can be.
        phase_ms = self._plan.packet_ms * (1 + call.number * 0.618034 % 1)
        heapq.heappush(self._schedule, (time.monotonic() + phase_ms / 1000, call.number))

    def _serve(self, fd: int, events: int) -> None:
        if fd in self._ground.fds:
            self._serve_ground(time.monotonic())
            return
        call = self._by_fd.get(fd)
        if call is None:
            # Closed by what came just before.
            return
        was = call.state
        if events & select.EPOLLOUT:
            call.flush()
        if events & ~select.EPOLLOUT:
            call.receive(time.monotonic())
        if was == "dialing" and call.state == "talking":
            self._begin(call)
        self._settle(call)

    def _settle(self, call: Talker) -> None:
        if call.state == "closed":
            self._ended(call)
        else:
            self._watch(call)

    def _watch(self, call: Talker) -> None:
        """Ask to be told when a socket takes bytes again, but only while it has not taken all."""
        if call.stalled != call.watched:
            call.watched = call.stalled
            self._poll.modify(call.fd, select.EPOLLIN | (select.EPOLLOUT if call.stalled else 0))

    def _ended(self, call: Talker) -> None:
        if self._by_fd.pop(call.fd, None) is not None:
            self._poll.unregister(call.fd)
        call.close()

    def _in_state(self, state: str) -> list[Talker]:
        return [call for call in self._calls if call.state == state]

    def _count(self, state: str) -> int:
        return len(self._in_state(state))

    def _missing(self) -> int:
        return sum(call.frames_sent - call.frames_back for call in self._calls)

    def _show(self, now: float, until_s: float, phase: str) -> None:
        if now < self._progress_at:
            return
        self._progress_at = now + 0.5
        share = len(self._calls) / self._plan.calls
        if phase == "storm":
            share = 1 - (until_s - now) / self._plan.seconds
        sent = sum(call.frames_sent for call in self._calls)
        self._progress(Progress(phase, share, self._count("talking"), sent, self._missing()))

    def _report(self, seconds: float) -> StormReport:
        calls = self._calls
        trips = np.concatenate([np.zeros(0), *(np.frombuffer(call.round_trips_ms) for call in calls)])
        trips = trips - self._plan.lead_ms
        return StormReport(
            calls=self._plan.calls,
            answered=sum(call.answered for call in calls),
            failures=Counter(call.failure for call in calls if call.failure),
            seconds=round(seconds, 3),
            sent=sum(call.frames_sent for call in calls),
            received=sum(call.frames_back for call in calls),
            lost=self._missing(),
            duplicated=sum(call.duplicated for call in calls),
            late=int((trips > self._plan.late_after_ms).sum()),
            damaged=sum(call.reader.damaged for call in calls),
            foreign=sum(call.reader.foreign for call in calls),
            other_ms=sum(call.reader.other_bytes for call in calls) / FRAME_BYTES * 20,
            round_trip_ms=spread(trips),
            generator_late_ms=spread(np.frombuffer(self._lateness_ms)),
        )


def _meter(report: StormReport, up: int, uses: tuple[ProcessUse | None, ...]) -> None:
    """Add what the server used, when it was measured."""
    before, at_top, at_end = uses
    if before is None or at_top is None or at_end is None or not up or not report.seconds:
        return
    report.cpu_ms_per_call_second = round((at_end.cpu_ms - at_top.cpu_ms) / (up * report.seconds), 3)
    report.memory_bytes_per_call = round((at_end.resident_bytes - before.resident_bytes) / up)


def _resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ConfigError(f"--url: no such host {host}") from error
    return family, (str(address[0]), int(address[1]))
