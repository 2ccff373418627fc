"""The leg of a browser: one session, with as many sockets as the browser has open, or for a while none.

A page that streams gets sound in small binary messages as it is made, paced, with marks and `clear`; any other gets
each answer whole, as one `audio` message, as soon as all of it is synthesized.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from voicemedia import config
from voicemedia.audio.arriving import Arriving
from voicemedia.audio.frames import Framer, silence
from voicemedia.diary import Turn
from voicemedia.errors import WireError
from voicemedia.interfaces import FRAME_MS, Caller, Goodbye, Listener, Transcript
from voicemedia.metrics import Metrics
from voicemedia.past import Past, PastTurn
from voicemedia.protocols.browser_wire import RATE_HZ, Writer
from voicemedia.taping import Tape

WHOLE_LEAD_MS: Final = 600_000
"An answer that is sent whole leaves as it is made, however long it sounds."
LONGEST_WHOLE_BYTES: Final = 120 * RATE_HZ * 2
"Sound without an end, such as an echo, goes out in messages of two minutes."
AHEAD_MS: Final = 60_000
"Sound may come faster than it was spoken, as from a file, but only so far ahead."
MICROPHONE_MS: Final = 500
"A socket that has sent no sound for so long has let go of the microphone."
UNDELIVERED: Final = 5
"Answers kept for a browser that is away."
REMEMBERED: Final = 100
"Turns told to a page that comes back."


Speak = Callable[[str], Deferred[bytes]]
"Synthesizes a text at 16 kHz; fails with `ProviderError`."


class Screen(Protocol):
    """One socket, as its session sees it."""

    streams: bool
    "Whether it takes sound and events as they come."
    writable: bool

    def send_text(self, payload: bytes) -> None:
        """Send a message."""

    def send_binary(self, payload: bytes) -> None:
        """Send sound."""

    def say_close(self, code: int, reason: str = "") -> None:
        """Close it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of one route share."""

    route: config.Route
    browser: config.Browser
    playout: config.Playout
    public_url: str
    hangover_ms: int
    "Silence that ends an utterance."
    metrics: Metrics
    reactor: IReactorTime
    clock: Callable[[], int]
    wall_ms: Callable[[], int]
    "Epoch milliseconds, for those who read timestamps."
    hold: Callable[[int], None]
    "Told +1 for a session that begins and -1 for one that is over."


class BrowserLeg:
    """One session: the way to one caller and back.

    :param over: told once the session has ended.
    """

    def __init__(
        self, caller: Caller, surroundings: Surroundings, over: Callable[["BrowserLeg"], None], *, streams: bool
    ) -> None:
        self.caller, self.follower = caller, Shown(self)
        self.lead_ms = surroundings.playout.lead_ms if streams else WHOLE_LEAD_MS
        self.last_message_ms = self._began_ms = surroundings.clock()
        self._around, self._over = surroundings, over
        self.writer = Writer(caller.stream_id, surroundings.wall_ms)
        self.settings: Mapping[str, object] = {}
        "Told to a page that shows them."
        self.speak: Speak
        self.listener: Listener
        "The call; set as soon as it is made."
        self.tape: Tape | None = None
        self.screens: dict[Screen, None] = {}
        self.turns: dict[int, Turn] = {}
        self.earlier: tuple[PastTurn, ...] = ()
        "What was said when this session was here before."
        self.unfinished: Arriving | None = None
        "What the microphone of a connection that was lost had sent: its recorder may go on with another connection."
        self._framer = Framer(RATE_HZ)
        self._microphone: Screen | None = None
        self._microphone_ms = 0
        self._answer = bytearray()
        "Sound of the answer that is sent whole."
        self._undelivered: deque[bytes] = deque(maxlen=UNDELIVERED)
        self._marks: deque[tuple[int, int]] = deque()
        "Marks nobody will report, and when the sound before them has been played."
        self._plays_until_ms = 0
        self._alone_ms = self._began_ms
        self._left: Goodbye = Goodbye.CALLER_HUNG_UP
        self._why: Goodbye | None = None
        self._gone = False
        self.frames_in = self.frames_out = self.dropped = 0

    def __repr__(self) -> str:
        return f"browser ({len(self.screens)} sockets)"

    # --- sockets come and go ---

    def join(self, screen: Screen, *, resumed: bool) -> None:
        """Show the conversation on one more socket."""
        if screen.streams:
            turns = list(self.turns.values())[-REMEMBERED:]
            screen.send_text(self.writer.began(turns, resumed=resumed, settings=self.settings))
            if self.earlier:
                screen.send_text(self.writer.earlier(self.earlier))
        screen.send_text(self.writer.status("Session resumed" if resumed else "Session started"))
        self.screens[screen] = None
        if not screen.streams:
            while self._undelivered:
                screen.send_text(self._undelivered.popleft())

    def part(self, screen: Screen, why: Goodbye) -> None:
        """A socket is gone; the session waits for another one, unless it has hung up."""
        self.screens.pop(screen, None)
        if self._microphone is screen:
            self._microphone = None
        if not self.screens:
            self._alone_ms, self._left = self._around.clock(), why
            if self._why is not None:
                self._end()

    # --- from the sockets ---

    def sound(self, screen: Screen, pcm: bytes) -> None:
        """Take what one microphone has heard; while one is in use, others are not heard.

        :raises WireError: `media_too_fast`, `other_microphone`.
        """
        now_ms = self.last_message_ms = self._around.clock()
        if not pcm or self._why is not None:
            return
        if self._microphone not in (None, screen) and now_ms - self._microphone_ms < MICROPHONE_MS:
            raise WireError("other_microphone", "another page of this session is speaking")
        self._microphone, self._microphone_ms = screen, now_ms
        for frame in self._framer.feed(pcm):
            if self.frames_in * FRAME_MS - (now_ms - self._began_ms) > AHEAD_MS:
                raise WireError("media_too_fast", "nobody can have said all that yet")
            if self.tape is not None:
                self.tape.heard(frame)
            self._hear(frame)

    def end_of_speech(self) -> None:
        """The recording is over: nobody waits for a silence that will not come."""
        if rest := self._framer.flush():
            if self.tape is not None:
                self.tape.heard(rest)
            self._hear(rest)
        # Nobody was silent so long: it is not recorded.
        for _ in range(self._around.hangover_ms // FRAME_MS + 2):
            self._hear(silence(RATE_HZ))

    def _hear(self, frame: bytes) -> None:
        self.frames_in += 1
        self._around.metrics.frames_in += 1
        self.listener.hear(frame, False)

    # --- from the call (Leg) ---

    def play(self, pcm: bytes) -> None:
        """Stream to those who want it, and gather for those who want it whole."""
        now_ms = self._around.clock()
        length_ms = len(pcm) * 1000 // (RATE_HZ * 2)
        self._plays_until_ms = max(self._plays_until_ms, now_ms) + length_ms
        frames = length_ms // FRAME_MS
        for screen in self.screens:
            if screen.streams and screen.writable:
                screen.send_binary(pcm)
            elif screen.streams:
                self.dropped += frames
                self._around.metrics.frames_dropped += frames
        self.frames_out += frames
        self._around.metrics.frames_out += frames
        self._answer += pcm
        if len(self._answer) > LONGEST_WHOLE_BYTES:
            self.whole("")

    def mark(self, number: int) -> None:
        """Ask a page that streams; of any other we know only when it should have played so far."""
        asked = [screen for screen in self.screens if screen.streams]
        if asked:
            self.to_streams(self.writer.mark(number))
        else:
            self._marks.append((number, self._plays_until_ms))

    def clear(self) -> None:
        """Take back what has not been played, where it can be."""
        self._answer.clear()
        self._marks.clear()
        self._plays_until_ms = 0
        self.to_streams(self.writer.clear())

    def tick(self, now_ms: int) -> None:
        """Let time pass for marks, and for a session nobody looks at."""
        while self._marks and now_ms >= self._marks[0][1]:
            self.listener.marked(self._marks.popleft()[0])
        if not self.screens and now_ms - self._alone_ms >= self._around.browser.resume_s * 1000:
            self.hang_up(self._left)

    def hang_up(self, why: Goodbye) -> None:
        """Say goodbye on all sockets; `gone` follows when they are closed."""
        if self._why is not None:
            return
        self._why = why
        if not self.screens:
            self._around.reactor.callLater(0, self._end)
        for screen in tuple(self.screens):
            screen.send_text(self.writer.status(GOODBYES.get(why, "The conversation is over.")))
            screen.say_close(1000, why.value)

    def totals(self) -> Mapping[str, int]:
        """Return what came and went."""
        return {"frames_in": self.frames_in, "frames_out": self.frames_out, "frames_dropped": self.dropped}

    # --- inside ---

    def whole(self, text: str) -> None:
        """Send what was gathered to those who want answers whole."""
        pcm = bytes(self._answer)
        self._answer.clear()
        plain = [screen for screen in self.screens if not screen.streams]
        if plain or not self.screens:
            message = self.writer.speech(text, pcm)
            for screen in plain:
                screen.send_text(message)
            if not self.screens:
                self._undelivered.append(message)

    def to_streams(self, message: bytes) -> None:
        """Send a message to the pages that show the conversation."""
        for screen in self.screens:
            if screen.streams:
                screen.send_text(message)

    def to_all(self, message: bytes) -> None:
        """Send a message to every page."""
        for screen in self.screens:
            screen.send_text(message)

    def _end(self) -> None:
        if self._gone:
            return
        self._gone = True
        try:
            self._over(self)
        finally:
            self.listener.gone(self._why or self._left)


GOODBYES: Final[Mapping[Goodbye, str]] = {
    Goodbye.IDLE: "Nothing was heard for a long time, so the conversation has ended.",
    Goodbye.TOO_LONG: "The conversation has reached its longest time.",
    Goodbye.DRAINED: "The server is about to stop.",
    Goodbye.FAILED: "The conversation has ended because of a fault of ours.",
}


class Shown:
    """What a session tells its pages of the conversation (`interfaces.Follower`)."""

    reads = True

    def __init__(self, leg: BrowserLeg) -> None:
        self._leg = leg

    def heard(self, transcript: Transcript) -> None:
        """Show what is understood."""
        self._leg.to_streams(self._leg.writer.transcript(transcript))

    def speaks(self, speaking: bool) -> None:
        """Show that the caller is heard."""
        self._leg.to_streams(self._leg.writer.speaking(speaking))

    def floor(self, state: str) -> None:
        """Show whose turn it is."""
        self._leg.to_streams(self._leg.writer.floor(state))

    def answered(self, text: str) -> None:
        """Send the answer whole where it is wanted so."""
        if text:
            self._leg.whole(text)

    def turn(self, turn: Turn) -> None:
        """Show a turn."""
        self._leg.turns[turn.number] = turn
        self._leg.turns.pop(turn.number - REMEMBERED, None)
        self._leg.to_streams(self._leg.writer.turn(turn))

    def recalled(self, past: Past) -> None:
        """Show what was said earlier in this session; in others of the user, somebody else may have sat here."""
        self._leg.earlier = tuple(turn for turn in past.turns if turn.here)
        if self._leg.earlier:
            self._leg.to_streams(self._leg.writer.earlier(self._leg.earlier))

    def voiceless(self, reason: str) -> None:
        """Explain why there is no sound."""
        self._leg.to_all(self._leg.writer.error(f"The voice failed, the answer comes in writing: {reason}", "tts"))
