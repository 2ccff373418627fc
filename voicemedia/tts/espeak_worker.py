"""The child that speaks: espeak-ng through ctypes, one sentence at a time, its sound sent as it is made.

espeak-ng has one global state and a licence (GPL-3) of its own; both stay in this process.

A job begins with `[text, voice, words_per_minute, pitch, rate_hz]`; sound comes back as bytes of s16le at `rate_hz`,
the beginning of each word as `[character, ms]`, at the end `nil`, or a text that says what went wrong.
`nil` cancels it.
"""

import ctypes
from collections import deque
from typing import Any, Final

import espeakng_loader
import msgspec

from voicemedia.audio.resample import Resampler
from voicemedia.child import Parent

# speak_lib.h of espeak-ng 1.52.
# RETRIEVAL (1) would speak on a thread of its own and return at once.
AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
CHARS_UTF8: Final = 1
POS_CHARACTER: Final = 1
RATE, PITCH = 1, 3
BUFFER_MS: Final = 60
LIST_TERMINATED, WORD = 0, 1


class Happening(ctypes.Structure):
    """`espeak_EVENT`: what stands at a place of the sound."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms since the start
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


CALLBACK: Final = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Happening)
)

Job = tuple[str, str, int, int, int]


class Espeak:
    """The library, and the sentence it is speaking."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.rate_hz = int(self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, BUFFER_MS, data, 0))
        if self.rate_hz <= 0:
            raise SystemExit(f"espeak-ng does not start with the data in {data.decode()}")
        # Kept here: ctypes frees a callback nobody refers to.
        self._callback = CALLBACK(self._made)
        self._library.espeak_SetSynthCallback(self._callback)
        self._job = 0
        self._resampler = Resampler(self.rate_hz, self.rate_hz)
        self._cancelled = False
        self.waiting: deque[tuple[int, bytes]] = deque()
        "What came for other jobs while this one was spoken."

    def speak(self, number: int, job: Job) -> None:
        """Speak one sentence; return when its sound has been sent."""
        text, voice, words_per_minute, pitch, rate_hz = job
        if self._library.espeak_SetVoiceByName(voice.encode()):
            self._parent.tell(number, f"espeak-ng has no voice {voice}")
            return
        self._library.espeak_SetParameter(RATE, words_per_minute, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._job, self._cancelled, self._resampler = number, False, Resampler(self.rate_hz, rate_hz)
        utf8 = text.encode()
        self._library.espeak_Synth(utf8, len(utf8) + 1, 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
        if not self._cancelled:
            self._send(self._resampler.flush())
            self._parent.tell(number, None)

    def _made(self, samples: Any, count: int, happenings: Any) -> int:
        """Send what was made; 1 stops the synthesis."""
        at = 0
        while happenings and happenings[at].type != LIST_TERMINATED:
            if happenings[at].type == WORD:
                self._parent.tell(self._job, [happenings[at].text_position - 1, happenings[at].audio_position])
            at += 1
        if samples and count > 0:
            self._send(self._resampler.feed(ctypes.string_at(samples, count * 2)))
        while (received := self._parent.receive(wait_s=0.0)) is not None:
            if received[0] == self._job:
                self._cancelled = True
            else:
                self.waiting.append(received)
        return 1 if self._cancelled else 0

    def _send(self, pcm: bytes) -> None:
        if pcm:
            self._parent.tell(self._job, pcm)


def main() -> None:
    """Serve the parent until it closes our stdin."""
    parent = Parent()
    espeak = Espeak(parent)
    decoder = msgspec.msgpack.Decoder(Job | None)
    parent.ready()
    while True:
        received = espeak.waiting.popleft() if espeak.waiting else parent.receive()
        assert received is not None
        job = decoder.decode(received[1])
        # `nil` cancels a job that is over, or one that still waits behind this one.
        if job is not None:
            cancelled = [other for other in espeak.waiting if other[0] == received[0]]
            for other in cancelled:
                espeak.waiting.remove(other)
            if not cancelled:
                espeak.speak(received[0], job)


if __name__ == "__main__":
    main()
