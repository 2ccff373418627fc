"""What do we add to a turn, the providers' own time taken out?

    python -m benchmarks.turn_latency [--sessions 20] [--turns 10]

The server runs in a process of its own, with a recognizer that understands at once. Callers, the language model's
stand-in and the voice's are in another: all instants are read from one clock. A turn carries a number, spoken by the
voice as a level of mu-law that the caller knows it by; that also shows that the sound arrives bit for bit.

- end of speech to request: from the last voiced packet sent to the question at the model, less the silence waited for;
- first sentence to first sound: from the model's answer to the order at the voice, and from the voice's first byte to
  the first packet at the caller.
"""

import argparse
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.task import LoopingCall

from benchmarks.bars import at_most, save
from benchmarks.stt_stream import Server
from tests.clouds.ears import ScriptEar
from tests.clouds.elevenlabs import ElevenLabs
from tests.clouds.gemini import Gemini
from tests.clouds.mouths import Voiced
from tests.clouds.web import serve
from voicemedia.audio.g711 import decode_mulaw
from voicemedia.callers.dialect import new_identity, read
from voicemedia.callers.smartflo import Smartflo
from voicemedia.transcribing.tally import percentiles
from voicemedia.web.websocket_client import Link, open_websocket

HANGOVER_MS: Final = 600
SPEECH_FRAMES: Final = 40
QUIET_FRAMES: Final = 60
"Silence of the server after which its answer is taken to be over."
LOUD, SILENT = bytes((0x10, 0x90)) * 80, b"\xff" * 160
CONFIG: Final = f"""
[server]
port = 0
[grpc]
enabled = false
[voice]
detector = "energy"
hangover_ms = {HANGOVER_MS}
[stt.instant]
provider = "benchmarks.instant_recognizer"
[agents.gemini]
base_url = "http://127.0.0.1:%(mind)d/v1beta"
key_env = ""
greeting = ""
[tts.elevenlabs]
base_url = "http://127.0.0.1:%(voice)d"
key_env = ""
cache_mb = 0
[[routes]]
path = "/call"
agent = "gemini"
stt = "instant"
tts = "elevenlabs"
"""


def now_ms() -> float:
    """Read the one clock."""
    return time.monotonic_ns() / 1e6


class Instants:
    """When what happened to each turn, by its number; 0 is a greeting."""

    def __init__(self) -> None:
        self.asked: dict[int, float] = {}
        self.spoken: dict[int, float] = {}
        self.first_byte: dict[int, float] = {}
        self.speech_ms: list[float] = []
        self.sound_ms: list[float] = []

    def answer(self, asked: dict[str, Any]) -> list[str]:
        """Answer as a model: the question has come, and the first sentence leaves."""
        number = _number(asked["contents"][-1]["parts"][0]["text"])
        self.asked[number] = now_ms()
        return [f"Noted {number}. ", "What else was there?"]

    def speak(self, text: str, rate_hz: int) -> Deferred[Voiced]:
        """Speak as a voice: the number as a level, 400 ms of it."""
        number = _number(text)
        if number and number not in self.spoken:
            self.spoken[number] = self.first_byte[number] = now_ms()
        level = bytes([_level(number)])
        return succeed(Voiced(decode_mulaw(level * (rate_hz * 2 // 5)), []))

    def heard(self, level: int, end_ms: float) -> None:
        """A caller who stopped speaking at `end_ms` hears the first of an answer."""
        heard_ms = now_ms()
        number = max(number for number in self.first_byte if _level(number) == level)
        self.speech_ms.append(self.asked[number] - end_ms - HANGOVER_MS)
        waited_ms = self.spoken[number] - self.asked[number]
        self.sound_ms.append(waited_ms + heard_ms - self.first_byte[number])


def _level(number: int) -> int:
    """Choose the mu-law of a turn; 0x80 is a greeting's, 0xFF silence."""
    return 0x81 + number % 100 if number else 0x80


def _number(text: str) -> int:
    found = re.search(r"\d+", text)
    return int(found[0]) if found else 0


class Caller:
    """One call: speaks, is silent, listens, and again."""

    def __init__(self, instants: Instants, turns: int) -> None:
        self._instants, self._turns = instants, turns
        self._dialect = Smartflo(new_identity())
        self._link: Link | None = None
        self._sequence = self._chunk = self._frame = 0
        self._quiet = 0
        self._waiting = False
        self._end_ms = 0.0
        self.done: Deferred[None] = Deferred()

    def opened(self, link: Link) -> None:
        """Begin the call."""
        self._link = link
        link.send(self._dialect.connected().encode())
        link.send(self._dialect.start(self._next()).encode())

    def tick(self) -> None:
        """Send 20 ms."""
        if self._link is None or self.done.called:
            return
        self._quiet += 1
        if self._frame == 0 and not self._waiting and self._quiet > QUIET_FRAMES:
            self._frame = SPEECH_FRAMES
        sound = LOUD if self._frame else SILENT
        self._chunk += 1
        self._link.send(self._dialect.media(self._next(), self._chunk, 20 * self._chunk, sound).encode())
        if self._frame:
            self._frame -= 1
            if self._frame == 0:
                self._end_ms, self._waiting = now_ms(), True

    def message(self, payload: bytes) -> None:
        """Take the server's sound, and echo its marks."""
        told = read(payload)
        if told.event == "mark" and self._link is not None:
            self._link.send(self._dialect.mark(self._next(), told.name).encode())
        if told.event != "media":
            return
        self._quiet = 0
        level = told.payload[0]
        if self._waiting and level not in (0x80, 0xFF):
            self._waiting = False
            self._instants.heard(level, self._end_ms)
            self._turns -= 1
            if self._turns == 0:
                self.done.callback(None)

    def lost(self, reason: str) -> None:
        """The call is gone before its turns were over."""
        if not self.done.called:
            self.done.errback(RuntimeError(f"call lost: {reason}"))

    def hang_up(self) -> None:
        """End the call."""
        if self._link is not None:
            self._link.close()

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence


async def measure(reactor: Any, sessions: int, turns: int) -> Instants:
    """Let so many callers talk."""
    instants = Instants()
    mind = serve(Gemini(reactor, instants.answer), reactor)
    voice = serve(ElevenLabs(reactor, ScriptEar(["hello"]), mouth=instants).root, reactor)
    folder = Path(tempfile.mkdtemp(prefix="turn_latency."))
    config = folder / "voicemedia.toml"
    config.write_text(CONFIG % {"mind": mind.getHost().port, "voice": voice.getHost().port})
    server = Server(config)
    callers = [Caller(instants, turns) for _ in range(sessions)]
    beats = [LoopingCall(caller.tick) for caller in callers]
    try:
        for caller, beat in zip(callers, beats, strict=True):
            url = f"ws://127.0.0.1:{server.port}/call"
            caller.opened(await open_websocket(reactor, url, {}, caller))
            beat.start(0.02)
            # Callers know nothing of one another.
            pause: Deferred[None] = Deferred()
            reactor.callLater(0.137, pause.callback, None)
            await pause
        await DeferredList([caller.done for caller in callers], fireOnOneErrback=True)
    finally:
        for caller, beat in zip(callers, beats, strict=True):
            if beat.running:
                beat.stop()
            caller.hang_up()
        server.stop()
    return instants


def main() -> None:
    """Measure and print."""
    from twisted.internet import task

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--bars", type=Path, metavar="FILE", help="write the bars there")
    args = parser.parse_args()

    async def run(reactor: Any) -> None:
        instants = await measure(reactor, args.sessions, args.turns)
        speech, sound = percentiles(instants.speech_ms), percentiles(instants.sound_ms)
        print(f"- {args.sessions} sessions, {len(instants.speech_ms)} turns, load {os.getloadavg()[0]:.1f}")
        print(f"- end of speech to request, beyond {HANGOVER_MS} ms of silence: ms {speech}")
        print(f"- first sentence to first sound, beyond the voice's own: ms {sound}")
        bars = [
            at_most("end of speech to request at the model: at most 30 ms p95", speech["p95"], 30, "ms"),
            at_most("first sentence to first sound on the wire: at most 20 ms p95", sound["p95"], 20, "ms"),
        ]
        save(bars, args.bars)

    task.react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()
