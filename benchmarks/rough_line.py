"""Measure what a bad network costs the recognizer: word errors over a SIP call's sound, disturbed and not.

    python -m benchmarks.rough_line [--speech FOLDER] [--seeds N] [--output FILE]

Sentences by flite, and the recordings of people where they are given, go as packets through the bad network of
`voicemedia call sip --loss 0.03 --burst 2.5 --jitter-ms 60` into what a leg of a SIP call hears with, and from there to
PocketSphinx with its full language model.
"""

import argparse
import datetime
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.bars import Bar, bar_table, replace_section
from benchmarks.noise_table import Spoken, errors, noisy, speech, words_in
from voicemedia.audio.coding import Wish, make_encoding
from voicemedia.audio.resample import Resampler
from voicemedia.callers.impair import Impairments, Network
from voicemedia.sip_bridge.codec_wire import CODECS
from voicemedia.sip_bridge.rtp_receiver_wire import RtpReceiver
from voicemedia.sip_bridge.rtp_wire import Packet, read_rtp

NUMBERS: Final = {"PCMU": 0, "PCMA": 8, "G722": 9, "opus": 107}
LOSS, BURST, JITTER_MS = 0.03, 2.5, 60
MOST_POINTS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Result:
    """What one codec's calls came to."""

    codec: str
    clean: float
    "Share of words wrong without any disturbance."
    disturbed: float
    concealed: float
    "Share of the sound made up."


def through(pcm: bytes, codec: str, bad: Impairments) -> tuple[bytes, float]:
    """Send sound at 16 kHz through a call; return what the leg tells its call, at 16 kHz, and the share made up."""
    known, number = CODECS[codec.lower()], NUMBERS[codec]
    rate_hz = min(known.rate_hz, 16_000)
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
    return Resampler(rate_hz, 16_000).feed(b"".join(heard)), receiver.concealed_ms / (20 * len(heard))


def measure(codec: str, spoken: Sequence[Spoken], seeds: int, decoder: Any) -> Result:
    """Let every sentence be heard once undisturbed and with each seed disturbed."""
    total = sum(len(each.text.split()) for each in spoken)
    wrong = [0] * (seeds + 1)
    concealed = 0.0
    for number, each in enumerate(spoken):
        pcm = noisy(each, None, each.samples)
        for seed in range(seeds + 1):
            bad = Impairments(LOSS, JITTER_MS, burst=BURST, seed=1000 * number + seed) if seed else Impairments()
            sound, made_up = through(pcm, codec, bad)
            wrong[seed] += errors(each.text.split(), words_in(decoder, sound))
            concealed += made_up / (len(spoken) * seeds) if seed else 0.0
    print(f"{codec}: {wrong}", file=sys.stderr, flush=True)
    return Result(codec, wrong[0] / total, sum(wrong[1:]) / (seeds * total), concealed)


def main() -> int:
    """Measure and write; return the exit status."""
    from pocketsphinx import Decoder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", default="", help="folder with the three recordings of people")
    parser.add_argument("--seeds", type=int, default=5, help="disturbed calls of each sentence (5)")
    parser.add_argument("--output", type=Path, metavar="FILE")
    args = parser.parse_args()
    if shutil.which("flite") is None:
        print("nothing is measured: flite is not installed (apt-get install flite)", file=sys.stderr)
        return 0
    spoken = speech(args.speech)
    decoder = Decoder(samprate=16000, loglevel="FATAL", fwdflat=False, bestpath=False)
    results = [measure(codec, spoken, args.seeds, decoder) for codec in NUMBERS]
    words = sum(len(each.text.split()) for each in spoken)
    lines = [
        "# Speech on a rough line",
        "",
        f"Measured by `python -m benchmarks.rough_line`: {datetime.date.today().isoformat()}, {len(spoken)} sentences, "
        f"{words} words, {args.seeds} seeds each; {LOSS:.0%} of the packets lost, {BURST} in a row on average, each "
        f"delayed by 0 to {JITTER_MS} ms.",
        "",
        "| codec | wrong words, undisturbed | disturbed | sound made up |",
        "|---|---|---|---|",
        *(f"| {r.codec} | {r.clean:.1%} | {r.disturbed:.1%} | {r.concealed:.1%} |" for r in results),
        "",
    ]
    rise = 100 * (results[0].disturbed - results[0].clean)
    bars = [Bar(f"Word error rises by at most {MOST_POINTS:.0f} points (PCMU)", f"{rise:+.1f}", rise <= MOST_POINTS)]
    text = "\n".join([*lines, *bar_table(bars)])
    if args.output is None:
        print(text)
    else:
        args.output.write_text(replace_section(args.output.read_text() if args.output.exists() else "", text))
    return 1 if any(bar.met is False for bar in bars) else 0


if __name__ == "__main__":
    sys.exit(main())
