"""Word errors in noise, with and without each step before recognition: `python -m benchmarks.noise_table`.

Needs sox, flite and the extras offline and dsp; the recordings of people are used where they are given with
`--speech FOLDER`. Takes some minutes, and writes the table into `docs/stt/noise.md` between its marks.
"""

import argparse
import subprocess
import sys
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from voicemedia.audio.g711 import decode_mulaw, encode_mulaw
from voicemedia.audio.resample import Resampler
from voicemedia.audio.voice import Endpointer, Speech, WebrtcDetector
from voicemedia.stt.prepared import Options, Preparation

PAGE = Path(__file__).parent.parent / "docs" / "stt" / "noise.md"
BEGIN, END = "<!-- table: python -m benchmarks.noise_table -->\n", "<!-- end of table -->\n"

PEOPLE = {
    "go_forward.wav": "go forward ten meters",
    "austen_0880.wav": "he was not an ill disposed young man",
    "austen_0930.wav": "he might even have been made amiable himself",
}
SENTENCES = (
    "the weather will be sunny in the morning",
    "please call me back before ten o'clock",
    "i would like two cups of rice and a glass of milk",
    "can you tell me where the station is",
)
VOICES = ("rms", "slt")
SNRS_DB = (None, 20, 10, 5)
MARGIN_S = 0.5
"Noise alone before and after each sentence."

STEPS = {
    "nothing": Options(high_pass_hz=0),
    "high-pass 100 Hz": Options(high_pass_hz=100),
    "noise suppression 2": Options(high_pass_hz=0, noise_suppression=2),
    "noise suppression 4": Options(high_pass_hz=0, noise_suppression=4),
    "gain control 3 dBFS": Options(high_pass_hz=0, gain_dbfs=3),
    "voice gate": Options(high_pass_hz=0, gate=True),
    "high-pass, suppression 2, gate": Options(high_pass_hz=100, noise_suppression=2, gate=True),
}


@dataclass(frozen=True)
class Spoken:
    """A sentence as sound at 16 kHz."""

    text: str
    samples: np.ndarray[Any, np.dtype[np.float64]]


def read(octets: bytes) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Read a mono WAV file of any rate as 16 kHz."""
    with wave.open(BytesIO(octets)) as file:
        rate_hz, pcm = file.getframerate(), file.readframes(file.getnframes())
    resampler = Resampler(rate_hz, 16000)
    return np.frombuffer(resampler.feed(pcm) + resampler.flush(), "<i2").astype(float)


def speech(folder: str, sentences: Iterable[str] = SENTENCES) -> list[Spoken]:
    """Give the sentences, spoken by people where their recordings are, and by flite."""
    spoken = [Spoken(text, read((Path(folder) / name).read_bytes())) for name, text in PEOPLE.items() if folder]
    for voice in VOICES:
        for text in sentences:
            said = subprocess.run(
                ["flite", "-voice", voice, "-t", text, "-o", "/dev/stdout"], capture_output=True, check=True
            )
            spoken.append(Spoken(text, read(said.stdout)))
    return spoken


def noise(seconds: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Make pink noise with sox, the same each time."""
    command = f"sox -R -n -r 16000 -c 1 -b 16 -t wav - synth {seconds} pinknoise vol 0.5"
    return read(subprocess.run(command.split(), capture_output=True, check=True).stdout)


def noisy(spoken: Spoken, snr_db: int | None, pink: np.ndarray[Any, np.dtype[np.float64]]) -> bytes:
    """Put a sentence into noise, so many dB below the level of the speech."""
    margin = np.zeros(int(MARGIN_S * 16000))
    sound = np.concatenate((margin, spoken.samples, margin))
    if snr_db is not None:
        piece = pink[: len(sound)]
        level = np.sqrt(np.mean(spoken.samples**2) / np.mean(piece**2)) * 10 ** (-snr_db / 20)
        sound = sound + level * piece
    return np.clip(np.rint(sound), -32768, 32767).astype("<i2").tobytes()


def telephone(pcm: bytes) -> bytes:
    """Send sound through an 8 kHz mu-law line."""
    return decode_mulaw(encode_mulaw(Resampler(16000, 8000).feed(pcm)))


def prepared(pcm: bytes, rate_hz: int, options: Options) -> bytes:
    """Do what the recognizer `prepared` does; return what is heard behind it, at 16 kHz."""
    preparation = Preparation(options, rate_hz)
    endpointer = Endpointer(WebrtcDetector(rate_hz))
    gate, heard, size = preparation.gate, b"", rate_hz // 50 * 2
    if gate is not None:
        gate.silence()
    for at in range(0, len(pcm) - size + 1, size):
        frame = pcm[at : at + size]
        event = endpointer.hear(frame)
        heard += b"".join(preparation.feed(frame))
        if event is Speech.STARTED and gate is not None:
            heard += b"".join(gate.speech())
        elif event is Speech.STOPPED and gate is not None:
            gate.silence()
    return Resampler(preparation.rate_hz, 16000).feed(heard)


def words_in(decoder: Any, pcm: bytes) -> list[str]:
    """Recognize with the full language model."""
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr.split() if hypothesis else []


def errors(wanted: list[str], heard: list[str]) -> int:
    """Count inserted, left out and wrong words."""
    row = list(range(len(heard) + 1))
    for count, word in enumerate(wanted, 1):
        before, row = row, [count]
        for at, other in enumerate(heard):
            row.append(min(before[at + 1] + 1, row[at] + 1, before[at] + (other != word)))
    return row[-1]


def rows(spoken: list[Spoken], *, by_telephone: bool) -> Iterable[str]:
    """Give the lines of one table."""
    from pocketsphinx import Decoder

    # One pass and narrow beams: a third of the time.
    narrow = {"fwdflat": False, "bestpath": False, "beam": 1e-40, "wbeam": 1e-25, "pbeam": 1e-40, "maxhmmpf": 5000}
    decoder = Decoder(samprate=16000, loglevel="FATAL", **narrow)
    pink = noise(max(len(each.samples) for each in spoken) / 16000 + 2 * MARGIN_S + 0.1)
    total = sum(len(each.text.split()) for each in spoken)
    heads = ["clean" if snr is None else f"{snr} dB" for snr in SNRS_DB]
    yield f"| step | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    for name, options in STEPS.items():
        cells = []
        for snr in SNRS_DB:
            wrong = 0
            for each in spoken:
                pcm = noisy(each, snr, pink)
                pcm, rate_hz = (telephone(pcm), 8000) if by_telephone else (pcm, 16000)
                wrong += errors(each.text.split(), words_in(decoder, prepared(pcm, rate_hz, options)))
            cells.append(f"{wrong / total:.0%}")
        yield f"| {name} | {' | '.join(cells)} |"
        print(name, cells, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech", default="", help="folder with the three recordings of people")
    spoken = speech(parser.parse_args().speech)
    count, total = len(spoken), sum(len(each.text.split()) for each in spoken)
    lines = [
        f"{count} sentences, {total} words, {sum(len(each.samples) for each in spoken) / 16000:.0f} s of speech.",
        "",
    ]
    for title, by_telephone in (("Wide band, 16 kHz", False), ("Telephone, 8 kHz mu-law", True)):
        lines += [f"{title}:", "", *rows(spoken, by_telephone=by_telephone), ""]
    page = PAGE.read_text()
    before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
    PAGE.write_text(before + "\n" + "\n".join(lines) + "\n" + after)


if __name__ == "__main__":
    main()
