"""Servers that record, and what they have recorded."""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
from twisted.internet.defer import Deferred, execute

from tests.house import House
from voicemedia.config import Recording, Route

T = TypeVar("T")
P = ParamSpec("P")
Samples: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int16]]"


def at_once(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
    """Write without a thread."""
    done: Deferred[T] = execute(work, *args, **kwargs)
    return done


class Disk:
    """A thread of files that does its work when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        done: Deferred[T] = Deferred()
        self.waiting.append(lambda: done.callback(work(*args, **kwargs)))
        return done

    def turn(self) -> None:
        """Do what has been asked so far."""
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


def recording_house(folder: Path, *routes: Route, aside: Any = at_once, **sections: Any) -> House:
    """Start a server that records everything."""
    settings = {"recording": Recording(enabled=True, folder=str(folder))} | sections
    house = House(*routes, **settings)
    assert house.server.recorder is not None
    house.server.recorder.aside = aside
    return house


def files(folder: Path) -> list[Path]:
    """Find the recordings, the oldest first."""
    return sorted(folder.glob("*/*.wav"))


def sides(path: Path) -> tuple[int, Samples, Samples]:
    """Read a recording as anybody would: its rate, the caller, and us."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        frames = file.getnframes()
        octets = file.readframes(frames)
        assert len(octets) == 4 * frames
        both = np.frombuffer(octets, "<i2")
        return file.getframerate(), both[0::2], both[1::2]


def the_recording(folder: Path) -> tuple[int, Samples, Samples]:
    """Read the only recording there is."""
    (path,) = files(folder)
    return sides(path)


def place_of(needle: bytes, hay: Samples) -> int:
    """Find where a sound lies to the bit; -1 where it does not."""
    at = hay.tobytes().find(needle)
    assert at % 2 == 0 or at < 0
    return at // 2 if at >= 0 else -1
