"""What recording costs: `python -m benchmarks.recording`.

Calls whose both sides never are silent are recorded to files on the disk of the temporary folder, on a fake clock and
without a thread, so that all of it is measured: CPU time of what the reactor's thread does for each frame and each
second, and of what the thread of files does.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock

from voicemedia.config import Recording
from voicemedia.interfaces import Caller
from voicemedia.recording.recorder import Recorder
from voicemedia.recording.tape import Tape

FRAME_S = 0.02
FRAME = bytes(range(160)) * 2


class Meter:
    """Writes at once, and notes how long it took."""

    def __init__(self) -> None:
        self.took_s = 0.0

    def __call__(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> "Deferred[Any]":
        began_s = process_time()
        result = work(*args, **kwargs)
        self.took_s += process_time() - began_s
        return succeed(result)


def measure(folder: Path, calls: int, seconds: int, form: Any) -> tuple[float, float, float]:
    """Record; return us of CPU per call-second of the reactor and of the files, and the longest stop in ms."""
    reactor, meter = MemoryReactorClock(), Meter()  # type: ignore[no-untyped-call]
    settings = Recording(enabled=True, folder=str(folder), format=form, min_free_mb=0)
    recorder = Recorder(settings, 0, reactor, reactor.seconds)
    recorder.start()
    recorder.aside = meter
    reactor.advance(1)
    meter.took_s, stops = 0.0, [0.0]
    tapes: list[Tape] = []
    began_s = process_time()
    for frame in range(seconds * 50):
        if len(tapes) < calls:
            names = (f"C{frame}-{number}" for number in range(calls // 50))
            tapes += filter(None, (recorder.begin(Caller(name, "benchmark", 8000)) for name in names))
        for tape in tapes:
            tape.heard(FRAME)
            tape.played(FRAME)
        before_s, files_s = process_time(), meter.took_s
        reactor.advance(FRAME_S)
        stops.append(process_time() - before_s - (meter.took_s - files_s))
    for tape in tapes:
        tape.end()
    reactor.advance(0.5)
    total_s = process_time() - began_s
    length_s = recorder.read()["seconds"]
    return (total_s - meter.took_s) / length_s * 1e6, meter.took_s / length_s * 1e6, max(stops) * 1e3


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser("python -m benchmarks.recording", description=__doc__)
    parser.add_argument("--calls", type=int, default=500, help="at the same time, a multiple of 50")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args(arguments)
    for form in ("pcm", "mulaw"):
        with TemporaryDirectory() as folder:
            runs = [measure(Path(folder) / str(run), args.calls, args.seconds, form) for run in range(args.runs)]
        reactor, files, stop = (statistics.median(values) for values in zip(*runs, strict=True))
        print(
            f"{form}: {reactor + files:.0f} us of CPU per call-second, {reactor:.0f} of the reactor, {files:.0f} of "
            f"the thread of files; {args.calls} calls stop the reactor for at most {stop:.1f} ms"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
