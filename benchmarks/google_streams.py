"""Many streams to Google at once: what they cost the server, against the stand-in in a process of its own.

    python -m benchmarks.google_streams [--streams 50 500] [--seconds 20]

Every caller speaks marked sound in frames of 20 ms, with onsets and endpoints as voice detection gives them, through
renewal and recognizer; each utterance is a stream. What comes back must be what was said, word for word.
"""

import argparse
import asyncio
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from benchmarks import bare_google_client
from benchmarks.bars import Bar, at_most, save
from tests.clouds.google import GoogleCloud, Switches
from tests.clouds.marked import WORDS, frames, silence, speak
from voicemedia.errors import ProviderError
from voicemedia.interfaces import Transcript
from voicemedia.protocols.fast_websocket import install_lean_poll, tune_garbage_collector
from voicemedia.stt.failover import Place
from voicemedia.stt.google import GoogleRecognizer, Options
from voicemedia.stt.renewing import RenewingRecognizer
from voicemedia.threads import loop_thread

reactor: Any = _reactor
SLOT_S = 0.02
PARTS = 4
"The callers' frames do not come all at once: a slot has so many parts."
SPEECH, PAUSE = 40, 100
"Words of an utterance of 8 s, and frames of silence after it."


def serve(pipe: Connection) -> None:
    """Run the stand-in; say its port."""

    async def run() -> None:
        cloud = GoogleCloud(switches=Switches(pause_ms=0))
        pipe.send(await cloud.start())
        await cloud.serve()

    asyncio.run(run())


def speeches(count: int) -> list[tuple[str, list[bytes]]]:
    """Make utterances: their words and frames. Callers share them, for their memory is not what is measured.

    Nor is the time to fetch it: a frame that comes from a socket is in the processor's cache, so few different ones do.
    """
    made = []
    same: dict[bytes, bytes] = {}
    for number in range(count):
        text = " ".join(Random(number).choices(WORDS, k=SPEECH))
        said = (same.setdefault(frame, frame) for frame in frames(speak(text) + silence(PAUSE * 20)))
        made.append((text, list(said)))
    return made


SPEECHES = speeches(50)


class Talker:
    """One caller who speaks one utterance after the other, and knows what must be understood."""

    def __init__(self, number: int, listen: Callable[[Any], Any]) -> None:
        self._random = Random(number)
        self._recognition = listen(self)
        self._frames: list[bytes] = []
        # Callers begin anywhere in their utterance.
        self._at = 0
        self._wait = self._random.randrange(SPEECH * 10 + PAUSE)
        self._said: list[str] = []
        self.right = self.wrong = 0
        self.final_ms: list[float] = []
        self._ended_at: list[float] = []

    def slot(self) -> None:
        """Speak 20 ms."""
        if self._wait:
            self._wait -= 1
            return
        if self._at == len(self._frames):
            if self._frames:
                self._ended_at.append(time.perf_counter())
                self._recognition.endpoint()
            text, self._frames = self._random.choice(SPEECHES)
            self._said.append(text)
            self._at = 0
        if self._at == 5:
            self._recognition.onset()
        self._recognition.feed(self._frames[self._at])
        self._at += 1

    def heard(self, transcript: Transcript) -> None:
        """Compare."""
        if transcript.final:
            self.final_ms.append((time.perf_counter() - self._ended_at.pop(0)) * 1000)
            right = transcript.text == self._said.pop(0)
            self.right += right
            self.wrong += not right

    def deaf(self, error: ProviderError) -> None:
        """Count."""
        self.wrong += 1

    def close(self) -> None:
        """End."""
        self._recognition.close()


class Nobody:
    """Hears nothing: what the benchmark itself costs."""

    def feed(self, pcm: bytes) -> None: ...
    def onset(self) -> None: ...
    def endpoint(self) -> None: ...
    def close(self) -> None: ...


def cpu_s() -> float:
    """Processor time of this process, all threads."""
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def rss_kb() -> int:
    """Memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


class Lag:
    """How late a timer of 5 ms comes."""

    def __init__(self) -> None:
        self.ms: list[float] = []
        self._due = 0.0
        self._tick()

    def _tick(self) -> None:
        now = time.perf_counter()
        if self._due:
            self.ms.append((now - self._due) * 1000)
        self._due = now + 0.005
        self.call = reactor.callLater(0.005, self._tick)


async def speak_for(talkers: list[Talker], seconds: float) -> tuple[float, list[float]]:
    """Let them speak; return the processor time per second and the lags."""
    lag = Lag()
    began, used, part = time.perf_counter(), cpu_s(), 0
    while (now := time.perf_counter()) < began + seconds:
        for talker in talkers[part % PARTS :: PARTS]:
            talker.slot()
        part += 1
        await deferLater(reactor, max(0.0, began + part * SLOT_S / PARTS - time.perf_counter()), lambda: None)
    lag.call.cancel()
    return (cpu_s() - used) / (now - began), lag.ms


def percentile(values: list[float], per_cent: int) -> float:
    """Give a percentile."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, len(ordered) * per_cent // 100)]


@dataclass(frozen=True)
class Row:
    """What so many streams cost."""

    streams: int
    interims: bool
    load: float
    "Of one core, the benchmark's own work taken off."
    harness: float
    lag_ms: tuple[float, float]
    "Median and 99th percentile."
    more_threads: int
    more_kb: float
    final_ms: tuple[float, float]
    right: int
    wrong: int

    @property
    def name(self) -> str:
        """Tell what was measured."""
        return str(self.streams) if self.interims else f"{self.streams}, finals only"

    @property
    def frame_us(self) -> float:
        """Tell what one frame costs."""
        return self.load * 1e6 / self.streams / 50

    def __str__(self) -> str:
        return (
            f"| {self.name} | {self.load:.1%} | {self.harness:.1%} | {self.frame_us:.1f} us"
            f" | {self.lag_ms[0]:.1f} / {self.lag_ms[1]:.1f} ms | {self.more_threads} | {self.more_kb:.0f} KB"
            f" | {self.final_ms[0]:.0f} / {self.final_ms[1]:.0f} ms | {self.right} of {self.right + self.wrong} |"
        )


def bars(rows: Sequence[Row], bare: float) -> list[Bar]:
    """Hold the most streams, and the fewest, against what is wanted of them, and against a bare client."""
    few, many = rows[0], rows[-1]
    name = f"{many.streams} Google streams"
    return [
        at_most(f"{name}: at most 35 % of one core", many.load * 100, 35, "%"),
        at_most(f"{name}: at most a tenth more than a bare grpc.aio client", many.load / bare, 1.1, "times"),
        at_most(f"{name}: reactor lag p99 at most 10 ms", many.lag_ms[1], 10, "ms"),
        at_most(f"{name}: one thread more, not one per stream", many.more_threads, 1, "threads"),
        at_most(f"{name}: at most 100 KB each", many.more_kb, 100, "KB"),
        at_most(f"{name}: every final right", many.wrong, 0, "wrong"),
        at_most(
            f"a frame among {many.streams} streams costs no more than among {few.streams} (to 5 %)",
            many.frame_us,
            few.frame_us * 1.05,
            "us",
        ),
        at_most(f"endpoint to final, {few.streams} Google streams: at most 20 ms p99", few.final_ms[1], 20, "ms"),
    ]


async def measure(port: int, streams: int, seconds: float, *, interims: bool = True) -> Row:
    """Measure one number of streams."""
    idle = [Talker(number, lambda _owner: Nobody()) for number in range(streams)]
    harness, _ = await speak_for(idle, 3)
    options = Options(endpoint=f"127.0.0.1:{port}", plaintext=True, interims=interims)
    recognizer = GoogleRecognizer(options, loop_thread(reactor))
    await recognizer.start()
    renewing = RenewingRecognizer([Place(recognizer)], reactor)
    # As the service does when it has started.
    tune_garbage_collector()
    threads, memory = threading.active_count(), rss_kb()
    talkers = [Talker(number, lambda owner: renewing.listen(8000, owner)) for number in range(streams)]
    await speak_for(talkers, 10.5)
    load, lags = await speak_for(talkers, seconds)
    more_threads, more_kb = threading.active_count() - threads, (rss_kb() - memory) / streams
    for talker in talkers:
        talker.close()
    await recognizer.stop()
    finals = [ms for talker in talkers for ms in talker.final_ms]
    right, wrong = sum(talker.right for talker in talkers), sum(talker.wrong for talker in talkers)
    return Row(
        streams=streams,
        interims=interims,
        load=load - harness,
        harness=harness,
        lag_ms=(percentile(lags, 50), percentile(lags, 99)),
        more_threads=more_threads,
        more_kb=more_kb,
        final_ms=(percentile(finals, 50), percentile(finals, 99)),
        right=right,
        wrong=wrong,
    )


def bare_client(port: int, streams: int, seconds: float) -> float:
    """Measure the bare client in a process of its own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    client = context.Process(target=bare_google_client.measure, args=(theirs, port, SPEECHES, streams, seconds))
    client.start()
    load, wrong = ours.recv()
    client.terminate()
    client.join()
    print(f"A bare grpc.aio client of {streams} such streams: {load:.1%} of a core, {wrong} finals wrong.\n")
    return float(load)


async def main(_reactor: Any, port: int, bare: float, arguments: argparse.Namespace) -> None:
    """Measure all numbers of streams."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print(
        "| streams | CPU of one core | harness, taken off | a frame | lag p50 / p99 | threads more | memory each",
        end="",
    )
    print(" | endpoint to final p50 / p99 | finals right |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for streams in arguments.streams:
        rows.append(await measure(port, streams, arguments.seconds))
        print(rows[-1], flush=True)
    # What interims cost, four a second to each who speaks: providers differ in how often they guess.
    print(await measure(port, arguments.streams[-1], arguments.seconds, interims=False), flush=True)
    save(bars(rows, bare), arguments.bars)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, nargs="*", default=[50, 500])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--bars", type=Path, metavar="FILE", help="write the bars there")
    chosen = parser.parse_args()
    # Before the reactor runs and any thread is there.
    ours, theirs = get_context("spawn").Pipe()
    server = get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        port_number = ours.recv()
        load_before = bare_client(port_number, chosen.streams[-1], chosen.seconds)
        install_lean_poll(reactor)
        react(lambda running: Deferred.fromCoroutine(main(running, port_number, load_before, chosen)))
    finally:
        server.terminate()
