"""Measure what an outage of PostgreSQL costs live sessions: turns lost, turns doubled, replies delayed.

    python -m benchmarks.history_outage [--outage-s 60] [--sessions 50]

Real calls on the real reactor: each session has a turn every two seconds, an agent and a voice that answer at once, and
the history of a server. PostgreSQL is frozen for the first half of the outage (SIGSTOP: connections are taken and
nothing is said), then killed (SIGQUIT), and started again at the end. A reply's delay is the time from the instant the
turn was due to its first sound on the leg: whatever keeps the reactor busy counts. Outages shorter than 60 s are
marked as such.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from benchmarks.bars import Bar, at_most, bar_table, replace_section
from tests.databases import Server
from tests.fakes import FakeEndpointer, FakeLeg, FakeSynthesizer
from voicemedia import config
from voicemedia.history.historian import History
from voicemedia.history.postgres import Postgres
from voicemedia.interfaces import Caller, Conversation, Floor, Goodbye, Listener, Said
from voicemedia.metrics import Metrics
from voicemedia.past import Past
from voicemedia.setting import Setting
from voicemedia.switchboard import Line, Switchboard
from voicemedia.ticker import MONOTONIC_S, Ticker

TURN_S: Final = 2.0
CALM_S: Final = 10.0
"Before the outage, to compare with, and after the database is back."
CATCH_UP_S: Final = 60.0


class Talker:
    """An agent that counts: every answer is another one."""

    name, trouble = "talker", ""

    def __init__(self, session: int) -> None:
        self.session, self.turns = session, 0

    def converse(self, _caller: Caller) -> Conversation:
        """Be the conversation too."""
        return self

    def recall(self, past: Past) -> None:
        """Remember nothing; but be asked, as real agents are."""

    def start(self) -> Deferred[None]:
        """Start nothing."""
        return succeed(None)

    stop = start

    def greet(self, floor: Floor) -> Deferred[None]:
        """Answer nothing in particular."""
        return self.reply(Said(), floor)

    def reply(self, _said: Said, floor: Floor) -> Deferred[None]:
        """Say which answer this is."""
        self.turns += 1
        floor.say(f"answer {self.turns}")
        return succeed(None)

    def heard(self, text: str, *, complete: bool) -> None:
        """Keep nothing."""

    def overhear(self, pcm: bytes) -> None:
        """Take no frame."""

    def over(self, why: Goodbye) -> None:
        """End."""


class TimedLeg(FakeLeg):
    """A leg that tells when the first sound of a reply leaves."""

    def __init__(self, session: int) -> None:
        super().__init__(call_id=f"C{session}")
        parameters = {"session_id": f"session {session}"}
        self.caller = Caller(f"C{session}", "benchmark", 8000, "/benchmark", parameters=parameters)
        self.asked_s: float | None = None
        self.took_ms: list[float] = []

    def play(self, pcm: bytes) -> None:
        """Take sound."""
        if self.asked_s is not None:
            self.took_ms.append((MONOTONIC_S() - self.asked_s) * 1000)
            self.asked_s = None
        super().play(pcm)


@dataclass
class Session:
    """One caller who presses a key every `TURN_S`."""

    number: int
    agent: Talker
    leg: TimedLeg
    listener: Listener
    keys: int = 0
    due_s: float = 0.0
    phases: dict[str, list[float]] = field(default_factory=dict)


class Bench:
    """The sessions, their history and its database."""

    def __init__(self, reactor: Any, folder: Path, server: Server, sessions: int) -> None:
        self._reactor, self._server = reactor, server
        self._database = Postgres(server.fresh_dsn(), reactor)
        options = config.History(path=str(folder / "unused.db"), resume_wait_ms=250)
        self.history = History(options, reactor, self._database)
        metrics = Metrics()
        self.lag_ms: list[float] = []
        self._ticker = Ticker(reactor, self.lag_ms.append)
        self._board = Switchboard(reactor, self._ticker, config.Limits(), self.history)
        self._setting = Setting(
            config.Limits(),
            config.Turns(),
            config.Voice(),
            metrics,
            self._ticker.now_ms,
            None,
            FakeSynthesizer(),
            "talker",
        )
        self.phase = "calm"
        self.sessions = [self._begin(number) for number in range(sessions)]
        self._running = True

    def _begin(self, number: int) -> Session:
        agent, leg = Talker(number), TimedLeg(number)
        endpointer: Any = FakeEndpointer()
        line = Line(config.Route("/benchmark", agent="talker"), agent, lambda _rate: endpointer, self._setting)
        session = Session(number, agent, leg, self._board.answer(leg, line))
        # Spread over the two seconds, as callers are.
        session.due_s = MONOTONIC_S() + 2 + number * TURN_S / 50
        self._reactor.callLater(session.due_s - MONOTONIC_S(), self._press, session)
        return session

    def _press(self, session: Session) -> None:
        """Press a key: a turn of its own, whose answer is due now."""
        if not self._running:
            return
        leg = session.leg
        leg.last_message_ms = self._ticker.now_ms()
        session.phases.setdefault(self.phase, []).extend(leg.took_ms)
        leg.took_ms.clear()
        leg.asked_s = session.due_s
        session.keys += 1
        session.listener.digit("1")
        session.due_s += TURN_S
        self._reactor.callLater(max(0.0, session.due_s - MONOTONIC_S()), self._press, session)

    async def wait(self, seconds: float) -> None:
        """Let the sessions talk."""
        await deferLater(self._reactor, seconds)

    async def hang_up(self) -> None:
        """End all calls."""
        self._running = False
        await self.wait(TURN_S)
        for session in self.sessions:
            session.phases.setdefault(self.phase, []).extend(session.leg.took_ms)
            session.listener.gone(Goodbye.CALLER_HUNG_UP)
        self._ticker.stop()

    def took_ms(self, phase: str) -> list[float]:
        """Return how long replies took, in order of size."""
        return sorted(took for session in self.sessions for took in session.phases.get(phase, []))

    async def account(self) -> tuple[int, int, int]:
        """Return how many turns are stored, missing and doubled."""
        rows = await self._database.read(
            ("SELECT s.name, m.who, m.text FROM messages m JOIN sessions s ON s.id = m.session_id", ())
        )
        stored = missing = doubled = 0
        for session in self.sessions:
            mine = [(who, text) for name, who, text in rows if name == f"session {session.number}"]
            answers = [text for who, text in mine if who == "ai"]
            wanted = {f"answer {turn}" for turn in range(1, session.agent.turns + 1)}
            keys = len(mine) - len(answers)
            stored += len(mine)
            missing += len(wanted - set(answers)) + max(0, session.keys - keys)
            doubled += len(answers) - len(set(answers)) + max(0, keys - session.keys)
        return stored, missing, doubled


async def measure(reactor: Any, args: argparse.Namespace) -> tuple[list[str], list[Bar]]:
    """Run the calm, the outage and the return; return what to tell of it, and the bars."""
    server = Server()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(reactor, Path(name), server, args.sessions)
        await bench.history.start()
        await bench.wait(CALM_S)
        bench.phase = "outage"
        with server.frozen():
            await bench.wait(args.outage_s / 2)
        # Beside the reactor: it is ours that would be late.
        await deferToThread(server.stop)
        await bench.wait(args.outage_s / 2)
        waiting = bench.history.writer.waiting_bytes
        bench.phase = "return"
        await deferToThread(server.start)
        began_s, caught_up_s = MONOTONIC_S(), 0.0
        while bench.history.writer.trouble and caught_up_s < CATCH_UP_S:
            await bench.wait(0.05)
            caught_up_s = MONOTONIC_S() - began_s
        await bench.wait(CALM_S)
        await bench.hang_up()
        await bench.history.writer.settled()
        stored, missing, doubled = await bench.account()
        await bench.history.stop()
    server.end()
    told = [
        f"{args.sessions} sessions, a turn every {TURN_S:g} s: {stored} turns; {waiting} bytes were spooled at "
        f"the end of the outage, and in the database {caught_up_s:.1f} s later.",
        "",
        "| phase | replies | p50 | slowest |",
        "|---|---|---|---|",
    ]
    for phase in ("calm", "outage", "return"):
        took = bench.took_ms(phase)
        told.append(f"| {phase} | {len(took)} | {took[len(took) // 2]:.1f} ms | {took[-1]:.1f} ms |")
    return told, bars(bench, args, missing, doubled)


def bars(bench: Bench, args: argparse.Namespace, missing: int, doubled: int) -> list[Bar]:
    """Compare with what is to be reached."""
    what = f"PostgreSQL stopped for {args.outage_s:g} s under {args.sessions} sessions"
    if args.outage_s < 60:
        what += " (shortened)"
    calm = bench.took_ms("calm")
    slowest = max(bench.took_ms("outage")[-1], bench.took_ms("return")[-1])
    return [
        at_most(f"{what}: no turn lost", missing, 0, "turns"),
        at_most(f"{what}: no turn doubled", doubled, 0, "turns"),
        at_most(f"{what}: no reply delayed by more than 50 ms", slowest - calm[len(calm) // 2], 50, "ms"),
    ]


def main() -> int:
    """Measure; return 1 if a bar is not met."""
    parser = argparse.ArgumentParser("python -m benchmarks.history_outage", description=__doc__)
    parser.add_argument("--outage-s", type=float, default=60.0)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--output", type=Path, metavar="FILE", help="put the section into this page; else print it")
    args = parser.parse_args()
    found: list[Bar] = []
    lines = ["# History", "", f"Measured by `python -m benchmarks.history_outage` on {date.today().isoformat()}.", ""]

    async def run(reactor: Any) -> None:
        told, bars = await measure(reactor, args)
        found.extend(bars)
        lines.extend([*told, "", *bar_table(bars)])

    try:
        react(run)
    except SystemExit as stopped:
        if stopped.code:
            return 1
    page = "\n".join(lines) + "\n"
    if args.output is None:
        print(page, end="")
    else:
        args.output.write_text(replace_section(args.output.read_text() if args.output.exists() else "", page))
    return 0 if all(bar.met for bar in found) else 1


if __name__ == "__main__":
    sys.exit(main())
