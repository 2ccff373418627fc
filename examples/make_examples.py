"""Make the spoken examples anew, with flite (Debian: sudo apt-get install flite).

    python examples/make_examples.py

Voice `kal16`, 16 kHz mono 16-bit, with 300 ms of silence on both sides: of flite's voices the one pocketsphinx
understands best over a telephone line (docs/agents.md has the rates). The WAVs are the project's own work.
"""

import subprocess
import wave
from pathlib import Path
from typing import Final

EXAMPLES: Final = {
    "breakfast": "I had two eggs and a slice of toast.",
    "boiled": "Boiled.",
    "lunch": "For lunch I had a chicken sandwich and a bowl of tomato soup.",
    "correction": "No, three eggs.",
    "done": "That is all.",
    "yes": "Yes.",
    "repeat": "What did I eat today?",
    "goodbye": "Goodbye.",
}
"File -> what is said."
VOICE: Final = "kal16"
SILENCE_MS: Final = 300


def make(path: Path, words: str) -> None:
    """Speak into a WAV file and put silence around it."""
    subprocess.run(["flite", "-voice", VOICE, "-t", words, "-o", str(path)], check=True)
    with wave.open(str(path)) as spoken:
        form, pcm = spoken.getparams(), spoken.readframes(spoken.getnframes())
    silence = bytes(form.framerate * SILENCE_MS // 1000 * form.sampwidth)
    with wave.open(str(path), "wb") as padded:
        padded.setparams(form)
        padded.writeframes(silence + pcm + silence)


if __name__ == "__main__":
    for name, words in EXAMPLES.items():
        make(Path(__file__).parent / f"{name}.wav", words)
