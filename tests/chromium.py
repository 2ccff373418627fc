"""A real browser with a WAV as its microphone; what it plays is kept, sample by sample."""

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicemedia.audio.resample import Resampler
from voicemedia.audio.wav import read_wav

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome") or ""
MISSING = (
    "the extra `browser` is not installed (pip install 'voicemedia[browser]')"
    if find_spec("playwright") is None
    else ""
    if CHROMIUM
    else "no Chromium here (apt-get install chromium)"
)
FLAGS = (
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-dev-shm-usage",
)
# In pieces of a second: taking a picture keeps the page from running for a while.
KEEP_WHAT_SOUNDS = """
window.sounded = [];
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) {
    const ear = this.context.createScriptProcessor(16384, 1, 1);
    ear.onaudioprocess = ({ inputBuffer }) => window.sounded.push(...inputBuffer.getChannelData(0));
    connect.call(this, ear);
    connect.call(ear, to);
  }
  return connect.call(this, to, ...rest);
};
"""
MICROPHONE_HZ = 48_000
PATIENCE_MS = 75_000


def record(file: Path, *parts: Path | float) -> Path:
    """Write what the microphone will hear: WAV files, and pauses in seconds."""
    sound = b""
    for part in parts:
        if isinstance(part, Path):
            rate_hz, pcm = read_wav(part.read_bytes())
            resampler = Resampler(rate_hz, MICROPHONE_HZ)
            sound += resampler.feed(pcm) + resampler.flush()
        else:
            sound += bytes(int(part * MICROPHONE_HZ) * 2)
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(MICROPHONE_HZ)
        out.writeframes(sound)
    return file


@contextmanager
def chromium(microphone: Path) -> Iterator[Any]:
    """Start it; gives a browser of Playwright's."""
    with import_module("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            headless=True,
            args=[*FLAGS, f"--use-file-for-fake-audio-capture={microphone}%noloop"],
        )
        yield browser
        browser.close()


def fresh_context(browser: Any, **wishes: Any) -> Any:
    """Open a window without a past, whose user is patient: on a slow machine the browser is starved first."""
    context = browser.new_context(permissions=["microphone"], **wishes)
    context.set_default_timeout(PATIENCE_MS)
    return context


def sounded(page: Any) -> NDArray[np.float64]:
    """Return what the page has played so far, at 16 kHz, as whole numbers."""
    samples = page.evaluate("Array.from(new Int16Array(window.sounded.map((x) => Math.round(x * 32768))))")
    return np.array(samples, dtype=float)


def likeness(heard: NDArray[np.float64], part: NDArray[np.float64]) -> float:
    """How alike a part is to what was heard at the best place of it, 0 to 1."""
    size = 1 << (len(heard) + len(part)).bit_length()
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(part, size)), size)[: len(heard) - len(part)]
    sums = np.concatenate(([0.0], np.cumsum(heard**2)))
    loudness = np.sqrt(np.maximum(sums[len(part) :] - sums[: -len(part)], 1.0))[: len(products)]
    return float(np.max(products / loudness) / np.sqrt(np.sum(part**2)))
