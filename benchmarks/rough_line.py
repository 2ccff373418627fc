"""Measure what a bad network costs the recognizer: word errors over a SIP call's sound, disturbed and not.

    python -m benchmarks.rough_line [--speech FOLDER] [--seeds N] [--output FILE]

Sentences by flite, and the recordings of people where they are given, go as packets through the bad network of
`voicemedia call sip --loss 0.03 --burst 2.5 --jitter-ms 60` into what a leg of a SIP call hears with, and from there to
the offline recognizer's features and its free dictation. Takes some minutes.
"""

import argparse
import datetime
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.bars import Bar, bar_table, replace_section
from benchmarks.noise_table import Spoken, errors, noisy, speech
from voicemedia.audio.coding import Wish, make_encoding
from voicemedia.callers.impair import Impairments, Network
from voicemedia.sip_bridge.codec_wire import CODECS
from voicemedia.sip_bridge.rtp_receiver_wire import RtpReceiver
from voicemedia.sip_bridge.rtp_wire import Packet, read_rtp
from voicemedia.stt.pocketsphinx import Options
from voicemedia.stt.pocketsphinx_wire import Setup

NUMBERS: Final = {"PCMU": 0, "PCMA": 8, "G722": 9, "opus": 107}
LOSS, BURST, JITTER_MS = 0.03, 2.5, 60
MOST_POINTS: Final = 2.0
SENTENCES: Final = (
    "for lunch i had a chicken sandwich and a bowl of tomato soup",
    "i would like to speak with someone about my account",
    "the meeting was moved from tuesday to thursday afternoon",
    "what time does the bank open on saturday",
    "my number is five five seven two nine one",
    "her father was the captain of a large ship",
    "please tell me how much money is left on my card",
    "the government has asked for more time to decide",
    "we went to the beach and swam in the sea",
    "it is hard to say which of them was right",
    "i am calling because the package is still not here",
    "the old man walked slowly down the street with his dog",
    "there are three bedrooms and a small garden behind the house",
    "you can pay at the end of the month",
    "a young woman opened the door and smiled at us",
    "the company will hire two hundred workers next year",
    "he drank a cup of coffee and read the newspaper",
    "turn left at the next corner and go straight ahead",
    "my sister is going to be married in june",
    "no one had told them about the danger",
    "i think that we have lost our way",
    "the price of oil fell again yesterday",
)
"No constant was tuned with them."


@dataclass(frozen=True, slots=True)
class Result:
    """What one codec's calls came to."""

    codec: str
    words: Sequence[int]
    "Of each sentence."
    clean: Sequence[int]
    "Words of each sentence that were wrong without any disturbance."
    disturbed: Sequence[float]
    "The same with one, on average."
    made_up: float
    "Share of the sound."

    @property
    def rise(self) -> float:
        """Points of word error more."""
        return 100 * (sum(self.disturbed) - sum(self.clean)) / sum(self.words)

    @property
    def range(self) -> tuple[float, float]:
        """Where the rise lies in nine of ten sets of as many sentences (bootstrap)."""
        chance, rises = Random(1), list[float]()
        rows = list(zip(self.words, self.clean, self.disturbed, strict=True))
        for _ in range(2000):
            words, clean, disturbed = (sum(column) for column in zip(*chance.choices(rows, k=len(rows)), strict=True))
            rises.append(100 * (disturbed - clean) / words)
        rises.sort()
        return rises[100], rises[-100]


class Ears:
    """The offline recognizer's, without its child process."""

    def __init__(self) -> None:
        from voicemedia.stt.pocketsphinx_decoders import Decoders

        self._options = options = Options()
        self._decoders = Decoders(
            Setup(options.grammar_decoders, 1, options.interim_ms, options.reject_below, options.pronunciations)
        )

    def understand(self, pcm: bytes, rate_hz: int) -> list[str]:
        """Return the words of one utterance."""
        from voicemedia.stt.pocketsphinx_decoders import DICTATION
        from voicemedia.stt.pocketsphinx_worker import Front

        front, ears = Front(rate_hz), self._decoders.take(DICTATION)
        assert ears is not None
        front.begin()
        ears.hear(front.feed(pcm) + front.finish())
        answer = ears.finish(1)
        self._decoders.give_back(ears)
        return answer.text.split() if answer is not None else []


def rate(codec: str) -> int:
    """Return the rate of a leg that uses a codec."""
    return min(CODECS[codec.lower()].rate_hz, 16_000)


def through(pcm: bytes, codec: str, bad: Impairments) -> tuple[bytes, float]:
    """Send sound at 16 kHz through a call; return what the leg tells its call, and the share made up."""
    known, number, rate_hz = CODECS[codec.lower()], NUMBERS[codec], rate(codec)
    heard: list[bytes] = []
    receiver = RtpReceiver((20, 120), lambda frame, _: heard.append(frame))
    receiver.begin(rate_hz)
    receiver.agree({number: known})
    network: Network[bytes] = Network(bad, 20)
    encoding, timestamp, sequence = make_encoding(codec, Wish(16_000, fmtp={"useinbandfec": "1"})), 0, 0
    frames = [pcm[at : at + 640].ljust(640, b"\0") for at in range(0, len(pcm), 640)]
    for now_ms in range(0, 20 * len(frames) + 400):
        if now_ms % 20 == 0 and now_ms // 20 < len(frames):
            for payload, ticks in encoding.feed(frames[now_ms // 20]):
                network.send(Packet(number, sequence, timestamp, 1, payload).encode(), now_ms)
                sequence, timestamp = sequence + 1, timestamp + ticks
        for datagram in network.due(now_ms):
            receiver.sound(read_rtp(datagram), known, now_ms)
        if now_ms % 5 == 0:
            receiver.due(now_ms)
    receiver.end()
    return b"".join(heard), receiver.concealed_ms / (20 * len(heard))


def measure(codec: str, spoken: Sequence[Spoken], seeds: int, ears: Ears) -> Result:
    """Let every sentence be heard once undisturbed and with each seed disturbed."""
    clean, disturbed, made_up = list[int](), list[float](), 0.0
    for number, each in enumerate(spoken):
        pcm, words, wrong = noisy(each, None, each.samples), each.text.split(), list[int]()
        for seed in range(seeds + 1):
            bad = Impairments(LOSS, JITTER_MS, burst=BURST, seed=1000 * number + seed) if seed else Impairments()
            sound, share = through(pcm, codec, bad)
            wrong.append(errors(words, ears.understand(sound, rate(codec))))
            made_up += share / (len(spoken) * seeds)
        clean.append(wrong[0])
        disturbed.append(sum(wrong[1:]) / seeds)
    print(f"{codec} done", file=sys.stderr, flush=True)
    return Result(codec, [len(each.text.split()) for each in spoken], clean, disturbed, made_up)


def table(results: Sequence[Result]) -> Iterator[str]:
    """Write the table."""
    yield "| codec | wrong words, undisturbed | disturbed | rise, points (90 %) | sound made up |"
    yield "|---|---|---|---|---|"
    for each in results:
        words, (low, high) = sum(each.words), each.range
        clean, disturbed = sum(each.clean) / words, sum(each.disturbed) / words
        rise = f"{each.rise:+.1f} ({low:+.1f} to {high:+.1f})"
        yield f"| {each.codec} | {clean:.1%} | {disturbed:.1%} | {rise} | {each.made_up:.1%} |"


def main() -> int:
    """Measure and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", default="", help="folder with the three recordings of people")
    parser.add_argument("--seeds", type=int, default=4, help="disturbed calls of each sentence (4)")
    parser.add_argument("--output", type=Path, metavar="FILE")
    args = parser.parse_args()
    if shutil.which("flite") is None:
        print("nothing is measured: flite is not installed (apt-get install flite)", file=sys.stderr)
        return 0
    spoken, ears = speech(args.speech, SENTENCES), Ears()
    results = [measure(codec, spoken, args.seeds, ears) for codec in NUMBERS]
    words = sum(len(each.text.split()) for each in spoken)
    lines = [
        "# Speech on a rough line",
        "",
        f"Measured by `python -m benchmarks.rough_line`: {datetime.date.today().isoformat()}, {len(spoken)} sentences, "
        f"{words} words, {args.seeds} seeds each, PocketSphinx {version('pocketsphinx')}; {LOSS:.0%} of the "
        f"packets lost, {BURST} in a row on average, each delayed by 0 to {JITTER_MS} ms.",
        "",
        *table(results),
        "",
    ]
    bars = [
        Bar(
            f"Word error rises by at most {MOST_POINTS:.0f} points ({each.codec})",
            f"{each.rise:+.1f}",
            each.rise <= MOST_POINTS,
        )
        for each in results
    ]
    text = "\n".join([*lines, *bar_table(bars)])
    if args.output is None:
        print(text)
    else:
        args.output.write_text(replace_section(args.output.read_text() if args.output.exists() else "", text))
    return 1 if any(bar.met is False for bar in bars) else 0


if __name__ == "__main__":
    sys.exit(main())
