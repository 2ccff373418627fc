"""The file of a recording: written anywhere, readable at every instant, by every program."""

import audioop
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path
from random import Random
from shutil import which

import numpy as np
import pytest

from tests.recordings import sides
from voicemedia.audio.stereo import LEFT, RIGHT, Piece
from voicemedia.recording.files import remove_old
from voicemedia.recording.wav_file import WavFile

RATE_HZ = 8000
ENDLESS = """
import sys
from pathlib import Path
import numpy as np
from voicemedia.audio.stereo import Piece
from voicemedia.recording.files import remove_old
from voicemedia.recording.wav_file import WavFile

file, law = WavFile(Path(sys.argv[1]), 8000, law=len(sys.argv) > 2), 0
for start in range(0, 1 << 40, 777):
    sounds = [(np.arange(start, start + 777) % 251 * 100 + side).astype("<i2").tobytes() for side in (0, 1)]
    if start % 2:
        file.write([Piece(1, start, 777, sounds[1])], start)
        file.write([Piece(0, start, 777, sounds[0])], start + 777)
    else:
        file.write([Piece(side, start, 777, sounds[side]) for side in (1, 0)], start + 777)
"""


def noise(random: Random, samples: int) -> bytes:
    return np.array([random.randint(-30000, 30000) for _ in range(samples)], "<i2").tobytes()


def sound(side: int, position: int, pcm: bytes) -> Piece:
    return Piece(side, position, len(pcm) // 2, pcm)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "2026-11-20" / "call.wav"


@pytest.mark.parametrize("seed", range(5))
def test_pieces_in_any_order_come_out_where_they_belong(path: Path, seed: int) -> None:
    random, sheet = Random(seed), np.zeros((2, 20_000), "<i2")
    file, told, waiting = WavFile(path, RATE_HZ), 0, list[Piece]()
    for _ in range(40):
        side, position, samples = random.randrange(2), random.randrange(19_000), random.randrange(1, 1000)
        pcm = noise(random, samples) if random.random() < 0.8 else None
        waiting.append(Piece(side, position, samples, pcm))
        sheet[side, position : position + samples] = 0 if pcm is None else np.frombuffer(pcm, "<i2")
        if random.random() < 0.3:
            told = max(told, random.randrange(20_000))
            file.write(waiting, told)
            waiting.clear()
            rate_hz, left, right = sides(path)
            assert rate_hz == RATE_HZ
            assert np.array_equal([left, right], sheet[:, :told])
    file.write(waiting, told)
    file.finish(20_000)
    assert np.array_equal(sides(path)[1:], sheet)
    assert path.stat().st_size == 44 + 4 * 20_000


def test_what_lies_behind_the_end_is_cut_off(path: Path) -> None:
    file = WavFile(path, RATE_HZ)
    file.write([sound(RIGHT, 0, b"\1\0" * 1000)], 0)
    file.finish(300)
    assert len(sides(path)[2]) == 300
    assert path.stat().st_size == 44 + 4 * 300


def test_what_is_long_is_written_in_blocks(path: Path) -> None:
    file = WavFile(path, RATE_HZ)
    both = [sound(LEFT, 0, b"\1\0" * 100_000), sound(RIGHT, 0, b"\2\0" * 100_000)]
    file.write([*both, Piece(LEFT, 1000, 1 << 40, None)], 0)
    file.finish(200_000)
    _, left, right = sides(path)
    assert list(np.flatnonzero(left)) == list(range(1000))
    assert list(np.flatnonzero(right)) == list(range(100_000))


def test_only_its_owner_can_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        WavFile(path, RATE_HZ).finish(0)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_no_recording_takes_the_place_of_another(path: Path) -> None:
    WavFile(path, RATE_HZ).finish(7)
    with pytest.raises(FileExistsError):
        WavFile(path, RATE_HZ)
    assert len(sides(path)[1]) == 7


def test_it_has_a_head_from_the_first_moment(path: Path) -> None:
    file = WavFile(path, 16_000)
    assert [len(side) for side in sides(path)[1:]] == [0, 0]
    file.finish(0)


def told_by_soxi(path: Path, *options: str) -> list[str]:
    if not which("soxi"):
        pytest.skip("soxi is not installed (package sox)")
    said = [subprocess.run(["soxi", each, str(path)], capture_output=True, check=True) for each in options]
    assert [run.stderr for run in said] == [b""] * len(options)
    return [run.stdout.decode().strip() for run in said]


def test_sox_reads_both_formats(path: Path, tmp_path: Path) -> None:
    pcm = noise(Random(1), 8000)
    law = tmp_path / "law.wav"
    for at, is_law in ((path, False), (law, True)):
        file = WavFile(at, RATE_HZ, law=is_law)
        file.write([sound(RIGHT, 500, pcm)], 0)
        file.finish(9000)
    options = ("-t", "-c", "-r", "-s", "-e")
    assert told_by_soxi(path, *options) == ["wav", "2", "8000", "9000", "Signed Integer PCM"]
    assert told_by_soxi(law, *options) == ["wav", "2", "8000", "9000", "u-law"]
    raw = subprocess.run(
        ["sox", str(law), "-t", "raw", "-e", "signed", "-b", "16", "-"], capture_output=True, check=True
    )
    assert raw.stderr == b""
    both = np.frombuffer(raw.stdout, "<i2")
    expected = np.zeros(9000, "<i2")
    expected[500:8500] = np.frombuffer(audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2), "<i2")
    assert np.array_equal(both[1::2], expected)
    assert not both[0::2].any()


@pytest.mark.parametrize("law", [False, True])
def test_ffmpegs_libraries_read_it(path: Path, law: bool) -> None:
    av = pytest.importorskip("av", reason="the extra opus is not installed")
    file = WavFile(path, RATE_HZ, law=law)
    file.write([sound(LEFT, 0, noise(Random(1), 8000))], 0)
    file.finish(8000)
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        assert stream.codec_context.name == ("pcm_mulaw" if law else "pcm_s16le")
        assert (stream.rate, stream.channels) == (RATE_HZ, 2)
        assert sum(frame.samples for frame in container.decode(audio=0)) == 8000


@pytest.mark.parametrize("kibibytes", [0, 3, 50, 401, 3000])
def test_a_process_killed_at_any_instant_leaves_a_file_that_can_be_read(tmp_path: Path, kibibytes: int) -> None:
    path = tmp_path / "call.wav"
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)]) as process:
        while process.poll() is None and not (path.exists() and path.stat().st_size > kibibytes << 10):
            pass
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    _, left, right = sides(path)
    expected = np.arange(len(left)) % 251 * 100
    assert np.array_equal(left, expected)
    assert np.array_equal(right, expected + 1)
    # All but what was being written.
    assert path.stat().st_size - 4 * len(left) <= 44 + 4 * 777
    assert told_by_soxi(path, "-s") == [str(len(left))]


def test_python_reads_pcm_while_it_is_written(path: Path) -> None:
    file = WavFile(path, RATE_HZ)
    for second in range(1, 4):
        file.write([sound(LEFT, (second - 1) * RATE_HZ, b"\1\0" * RATE_HZ)], (second - 1) * RATE_HZ)
        with wave.open(str(path)) as reader:
            assert reader.getnframes() == (second - 1) * RATE_HZ
        file.write((), second * RATE_HZ)
    file.finish(3 * RATE_HZ)


def test_a_recording_that_somebody_else_deletes_keeps_no_other_old_one(tmp_path: Path) -> None:
    day = tmp_path / "2024-01-01"
    day.mkdir()
    # It is found, and then is not there: as one that is deleted at this moment.
    (day / "a.wav").symlink_to("nowhere")
    (day / "b.wav").write_bytes(b"sound")
    assert remove_old(tmp_path, 4e9) == 2
    assert not day.exists()
