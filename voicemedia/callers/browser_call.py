"""One conversation as a page in a browser has it: a microphone that runs, typed words, sound as it comes. Without I/O.

Written after docs/browser.md, not after the server's code. Answers that come whole (`audio`), as the clients of
AudioStreamingServer get them, are understood too.
"""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from voicemedia.callers.carrier import CallPlan
from voicemedia.callers.playback import Playback
from voicemedia.callers.recorder import Recorder
from voicemedia.callers.script import Script, Stage, Turn
from voicemedia.callers.sound import WIDE, read_riff, resample, to_pcm
from voicemedia.callers.told import ToldTurn
from voicemedia.errors import ConfigError

FRAME_MS: Final = 20
CHUNK_MS: Final = 250
"How often a page's recorder gives what it has; samples go at once."


def session_url(url: str, session: str, *, whole: bool, parameters: Sequence[tuple[str, str]]) -> str:
    """Write the address of a session.

    :param whole: answers are wanted in one piece.
    """
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query), ("sessionId", session), *parameters]
    return urlunsplit(parts._replace(query=urlencode(query if whole else [*query, ("stream", "1")])))


class BrowserCall:
    """What one page says and hears.

    :param chunk_ms: how often it sends what the microphone has recorded.
    """

    def __init__(self, plan: CallPlan, recorder: Recorder, chunk_ms: int) -> None:
        self._recorder, self._chunk_ms = recorder, chunk_ms
        self.script = Script(list(plan.lines), plan.manners, WIDE)
        self.playback = Playback(WIDE)
        self.faults: Counter[str] = Counter()
        "What the server sent that a page would not understand, and how often."
        self.received: Counter[str] = Counter()
        "Messages of the server, by type."
        self.complaints: list[str] = []
        "What the server called an error."
        self.over = False
        self.packets_sent = self.packets_lost = 0
        self._hanging_up = False
        self._recorded = 0
        "Frames."
        self._chunk = b""
        self._outbox: list[str | bytes] = []
        self._turns_over: list[Turn] = []
        self._told: dict[int, ToldTurn] = {}
        self._earlier = 0
        "Number of the last turn of an earlier visit."
        self._sounded = False
        "Whether anything has sounded since the last answer was complete."

    @property
    def done(self) -> bool:
        """Everything has been said and answered, or waited for long enough."""
        return self.script.stage is Stage.DONE

    @property
    def told(self) -> list[ToldTurn]:
        """What the server says of this visit's turns."""
        return [turn for number, turn in sorted(self._told.items()) if number > self._earlier]

    def open(self) -> None:
        """A page has nothing to say first: its address said it."""

    def hang_up(self) -> None:
        """Press the button that ends it."""
        self._hanging_up = True

    def lost_connection(self, now_ms: float) -> None:
        """Take note that the server has ended it."""
        self.over = True
        turn = self.script.give_up(now_ms)
        if turn is not None:
            self._turns_over.append(turn)

    def take_turns_over(self) -> list[Turn]:
        """Return the turns that have ended since the last time."""
        turns, self._turns_over = self._turns_over, []
        return turns

    # --- to the server ---

    def due(self, now_ms: float) -> list[str | bytes]:
        """Let time pass; return the messages to send now, in order."""
        if self.over:
            return []
        turn = self.script.due(now_ms)
        if turn is not None:
            self._turns_over.append(turn)
        self._outbox += [_message("dtmf", digit=key) for key in self.script.keys_due(now_ms)]
        self._outbox += [_message("text_message", data=text) for text in self.script.typed_due(now_ms)]
        self._report(self.playback.due(now_ms))
        while (self._recorded + 1) * FRAME_MS <= now_ms:
            self._record()
        if self._hanging_up:
            self._outbox.append(_message("hang_up"))
            self.over = True
        outbox, self._outbox = self._outbox, []
        return outbox

    def _record(self) -> None:
        self._recorded += 1
        self._chunk += self._recorder.feed(self.script.mouth.take(FRAME_MS * WIDE.samples_per_ms))
        if self._recorded * FRAME_MS % self._chunk_ms < FRAME_MS and self._chunk:
            self._outbox.append(self._chunk)
            self.packets_sent += 1
            self._chunk = b""

    def _report(self, marks: list[str]) -> None:
        self._outbox += [_message("marked", number=int(number)) for number in marks]

    # --- from the server ---

    def receive_binary(self, pcm: bytes, now_ms: float) -> None:
        """Take sound."""
        self.received["sound"] += 1
        if len(pcm) % WIDE.width:
            self.faults["half a sample"] += 1
            pcm = pcm[:-1]
        self._play(pcm, now_ms)

    def receive(self, text: bytes, now_ms: float) -> None:
        """Take a message."""
        try:
            match json.loads(text):
                case {"type": str(kind), "data": dict(data)}:
                    self.received[kind] += 1
                    self._obey(kind, data, now_ms)
                case _:
                    self.faults["not a message of this protocol"] += 1
        except (ValueError, KeyError, TypeError) as error:
            self.faults[f"cannot be read: {error}"] += 1

    def _obey(self, kind: str, data: dict[str, Any], now_ms: float) -> None:
        match kind:
            case "session":
                for turn in data["turns"]:
                    self._take_turn(turn)
                self._earlier = max(self._told, default=0)
            case "turn":
                self._take_turn(data)
                self._read(data, now_ms)
            case "audio":
                self._answered_whole(data, now_ms)
            case "mark":
                self.playback.mark(str(int(data["number"])), now_ms)
            case "clear":
                self._report(self.playback.clear(now_ms))
                self.script.cleared(self.playback.last_audible_ms, now_ms)
            case "error":
                self.complaints.append(str(data["message"]))

    def _play(self, pcm: bytes, now_ms: float) -> None:
        self._sounded = True
        first_ms = self.playback.play(pcm, now_ms)
        self.script.hear(first_ms, self.playback.last_audible_ms, now_ms)

    def _take_turn(self, data: dict[str, Any]) -> None:
        self._told[data["number"]] = ToldTurn(
            data["who"],
            data["text"],
            data["keys"],
            data["heardText"],
            data["atMs"],
            data["interrupted"],
            data["latencyMs"],
        )

    def _read(self, data: dict[str, Any], now_ms: float) -> None:
        """Take an answer that never sounds for heard once it can be read."""
        if data["who"] == "agent" and data["complete"]:
            if not self._sounded and not data["interrupted"]:
                self.script.hear(now_ms, now_ms, now_ms)
            self._sounded = False

    def _answered_whole(self, data: dict[str, Any], now_ms: float) -> None:
        number = max(self._told, default=0) + 1
        self._told[number] = ToldTurn("agent", str(data["text"]), at_ms=now_ms)
        if not data.get("audio"):
            self.script.hear(now_ms, now_ms, now_ms)
            return
        try:
            rate_hz, samples = read_riff(base64.b64decode(data["audio"], validate=True), Path("audio"))
        except (ConfigError, binascii.Error) as error:
            self.faults[f"audio: {error}"] += 1
            return
        self._play(to_pcm(resample(samples, rate_hz, WIDE.rate_hz)), now_ms)


def _message(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))
