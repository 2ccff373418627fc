"""How long does the offline voice take from a sentence to its first sound?

    python -m benchmarks.offline_voice [--sentences 100]

One sentence after the other through the pipes of the real child, on the clock of the wall: from the order to the first
sound in our hands. The server adds what `benchmarks.turn_latency` measures.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from twisted.internet.task import react

from benchmarks.bars import at_most, save
from voicemedia.ticker import MONOTONIC_S
from voicemedia.transcribing.tally import percentiles
from voicemedia.tts.espeak import Options, make


async def measure(reactor: Any, sentences: int) -> list[float]:
    """Let it speak; return what each first sound took, in ms."""
    voice = make(Options(), reactor)
    await voice.start()
    took_ms = []
    for number in range(sentences):
        began_s, first_s = MONOTONIC_S(), list[float]()
        await voice.speak(
            f"You had {number} eggs and a slice of toast for breakfast. " * (1 + number % 3),
            8000,
            lambda _pcm, first_s=first_s: first_s.append(MONOTONIC_S()),  # type: ignore[misc]
            lambda _at, _ms: None,
        )
        took_ms.append((first_s[0] - began_s) * 1000)
    await voice.stop()
    return took_ms


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--bars", type=Path, metavar="FILE", help="write the bars there")
    args = parser.parse_args()

    async def run(reactor: Any) -> None:
        took = percentiles(await measure(reactor, args.sentences))
        print(f"- {args.sentences} sentences, load {os.getloadavg()[0]:.1f}; order to first sound: ms {took}")
        save([at_most("espeak, sentence to first sound: at most 50 ms p99", took["p99"], 50, "ms")], args.bars)

    react(run)


if __name__ == "__main__":
    main()
