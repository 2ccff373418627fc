"""One WebSocket to ElevenLabs' voices and the sentences spoken over it."""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from voicemedia.errors import ProviderError, WireError
from voicemedia.tts import elevenlabs_wire as wire
from voicemedia.tts.elevenlabs import decoder_for
from voicemedia.web.websocket_client import Link, open_websocket

QUIET_S: Final = 0.5
"Silence of the service after which a sentence whose characters it does not tell is taken to be complete."
FINAL_S: Final = 3.0
"How long it may take to say that a closed context is over."

OPERATOR: Final = ("invalid_api_key", "quota_exceeded", "voice_id_does_not_exist", "invalid_model", "unauthorized")
"Errors only the operator can mend."


class Sentence:
    """One sentence being spoken."""

    def __init__(self, text: str, rate_hz: int, put: Callable[[bytes], None], word: Callable[[int, int], None]) -> None:
        self.text = text
        self._rate_hz, self._put, self._word = rate_hz, put, word
        self._words = wire.Words(text)
        self._decoder = decoder_for(rate_hz)
        self._octets = 0

    @property
    def given_ms(self) -> int:
        """The sound given so far."""
        return self._octets // 2 * 1000 // self._rate_hz

    @property
    def complete(self) -> bool:
        """Whether the service has told of every character."""
        return self._words.complete

    def take(self, piece: wire.Piece) -> None:
        """Take sound and the times of its characters."""
        if piece.alignment is not None:
            for at, ms in self._words.take(piece.alignment, self.given_ms):
                self._word(at, ms)
        self._sound(self._decoder.feed(piece.audio))

    def end(self) -> None:
        """Give what is left."""
        self._sound(self._decoder.flush())

    def _sound(self, pcm: bytes) -> None:
        if pcm:
            self._octets += len(pcm)
            self._put(pcm)


class Context:
    """One sentence on its way; its patience is one timer."""

    def __init__(self, sentence: Sentence, timer: Any, cancel: Callable[[Deferred[None]], None]) -> None:
        self.sentence = sentence
        self.timer = timer
        self.done: Deferred[None] = Deferred(cancel)
        self.closed = False


class Session:
    """One connection: contexts come and go, it stays.

    :param over: told once when nothing can be said over it any more.
    """

    def __init__(
        self, reactor: Any, settings: Mapping[str, object], timeout_s: float, over: Callable[["Session"], None]
    ) -> None:
        self._reactor, self._settings, self._timeout_s = reactor, settings, timeout_s
        self._over: Callable[[Session], None] | None = over
        self._link: Link | None = None
        self._unsent: list[bytes] = []
        self._opening: Deferred[Link] | None = None
        self._numbers = count(1)
        self.contexts: dict[str, Context] = {}

    def open(self, url: str, headers: Mapping[str, str]) -> None:
        """Open the connection; sentences may be said at once."""
        self._opening = opening = open_websocket(self._reactor, url, headers, self)
        opening.addCallbacks(self._opened, self._not_opened)

    def close(self) -> None:
        """Close the connection; sentences under way fail."""
        self._send(wire.close_socket())
        self._end(ProviderError("the server stops"))
        if self._link is not None:
            self._link.close()
        elif self._opening is not None:
            self._opening.cancel()

    def say(self, sentence: Sentence) -> Deferred[None]:
        """Speak a sentence; cancelling closes its context."""
        name = f"s{next(self._numbers)}"

        def cancel(_done: Deferred[None]) -> None:
            self._finish(name)

        timer = self._reactor.callLater(self._timeout_s, self._waited, name)
        context = self.contexts[name] = Context(sentence, timer, cancel)
        self._send(wire.begin(name, self._settings))
        self._send(wire.text(name, sentence.text))
        return context.done

    # --- what the connection tells (Talk) ---

    def message(self, payload: bytes) -> None:
        """Take a message of the service."""
        try:
            piece = wire.read(payload)
        except WireError as error:
            self._break(ProviderError(f"cannot read what the service sent: {error}"))
            return
        if piece.error:
            code = piece.error.partition(":")[0]
            self._failed(piece.context, ProviderError(piece.error, retryable=code not in OPERATOR, code=code))
        elif piece.context in self.contexts:
            self._take(piece)

    def lost(self, reason: str) -> None:
        """The connection is over."""
        self._link = None
        self._end(ProviderError(f"connection lost: {reason}", code="connection_lost"))

    # --- one context ---

    def _take(self, piece: wire.Piece) -> None:
        context = self.contexts[piece.context]
        context.sentence.take(piece)
        if piece.final:
            self._complete(piece.context)
            return
        if context.sentence.complete:
            self._close_context(piece.context)
        if piece.audio and context.timer.active():
            context.timer.reset(FINAL_S if context.closed and not context.sentence.complete else QUIET_S)

    def _waited(self, name: str) -> None:
        """Nothing has come of a sentence for some time."""
        context = self.contexts[name]
        if not context.sentence.given_ms:
            self._failed(name, ProviderError(f"no sound for {self._timeout_s:g} s", code="silent"))
        elif context.closed:
            self._complete(name)
        else:
            self._close_context(name)
            context.timer = self._reactor.callLater(FINAL_S, self._waited, name)

    def _close_context(self, name: str) -> None:
        context = self.contexts[name]
        if not context.closed:
            context.closed = True
            self._send(wire.close(name))

    def _complete(self, name: str) -> None:
        context = self._finish(name)
        context.sentence.end()
        if context.sentence.given_ms:
            context.done.callback(None)
        else:
            context.done.errback(ProviderError("an answer without sound", code="no_sound"))

    def _failed(self, name: str, error: ProviderError) -> None:
        if not name:
            self._break(error)
        elif name in self.contexts:
            self._finish(name).done.errback(error)

    def _finish(self, name: str) -> Context:
        """Forget a context, and see to it that the service does, too."""
        self._close_context(name)
        context = self.contexts.pop(name)
        if context.timer.active():
            context.timer.cancel()
        return context

    # --- the connection ---

    def _send(self, payload: bytes) -> None:
        if self._link is not None:
            self._link.send(payload)
        elif self._over is not None:
            self._unsent.append(payload)

    def _opened(self, link: Link) -> None:
        self._link = link
        unsent, self._unsent = self._unsent, []
        for payload in unsent:
            link.send(payload)

    def _not_opened(self, failure: Failure) -> None:
        error = failure.value
        self._end(error if isinstance(error, ProviderError) else ProviderError(f"no connection: {error}"))

    def _break(self, error: ProviderError) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._end(error)

    def _end(self, error: ProviderError) -> None:
        over, self._over = self._over, None
        self._unsent.clear()
        if over is not None:
            over(self)
        for name in tuple(self.contexts):
            self._failed(name, error)
