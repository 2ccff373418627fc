"""Frames come out whole whatever the pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicemedia.audio.frames import Framer, frame_bytes, silence


@pytest.mark.parametrize(("rate_hz", "size"), [(8000, 320), (11025, 440), (16000, 640), (48000, 1920)])
def test_a_frame_is_20_ms(rate_hz: int, size: int) -> None:
    assert frame_bytes(rate_hz) == len(silence(rate_hz)) == size


def test_silence_is_made_once() -> None:
    assert silence(8000) is silence(8000)


def test_a_piece_of_one_frame_is_not_copied() -> None:
    frame = bytes(range(256)) + bytes(64)
    (out,) = Framer(8000).feed(frame)
    assert out is frame


@given(st.lists(st.binary(max_size=900), max_size=8))
def test_any_split_gives_the_same_frames(pieces: list[bytes]) -> None:
    framer = Framer(8000)
    frames = [frame for piece in pieces for frame in framer.feed(piece)]
    sound = b"".join(pieces)
    assert all(len(frame) == 320 for frame in frames)
    assert framer.pending == len(sound) - 320 * len(frames) < 320
    last = framer.flush()
    assert b"".join(frames) + last == sound + bytes(-len(sound) % 320)
    assert framer.flush() == b""
