"""Builds what serves browsers: the ways in to conversations, and the playground that shows them."""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.web.resource import Resource

from voicemedia.agent import PROVIDERS as AGENTS
from voicemedia.config import Config, Route
from voicemedia.errors import ConfigError, ProviderError
from voicemedia.interfaces import Leg, Listener, Provider, Synthesizer
from voicemedia.metrics import Metrics
from voicemedia.protocols.browser import CARRIER, Browsers, BrowserSocket, Choice
from voicemedia.protocols.browser_session import Surroundings
from voicemedia.protocols.browser_wire import RATE_HZ
from voicemedia.protocols.door import Door
from voicemedia.protocols.fast_websocket import FastWebSocketFactory, WebSocketLimits
from voicemedia.protocols.own_hosts import OwnHosts, OwnHostsOnly
from voicemedia.protocols.playground import Playground
from voicemedia.protocols.status import Page
from voicemedia.protocols.websocket_resource import FastWebSocketResource
from voicemedia.providers import NOBODY
from voicemedia.stt import PROVIDERS as RECOGNIZERS
from voicemedia.switchboard import Line, Switchboard
from voicemedia.tts import PROVIDERS as VOICES

KINDS: Final = {"agent": ("agents", AGENTS), "stt": ("stt", RECOGNIZERS), "tts": ("tts", VOICES)}
"What a page may choose, by its name in the query: the table of the configuration, and what we bring along."


class BrowserService:
    """All browser routes of one server.

    :param make_line: makes what a route gives its calls.
    :param make_door: makes the door of a route; the second argument says whether it asks for room.
    """

    def __init__(  # noqa: PLR0913 - it joins as many rooms
        self,
        config: Config,
        reactor: Any,
        clock: Callable[[], int],
        switchboard: Switchboard,
        metrics: Metrics,
        *,
        providers: Mapping[tuple[str, str], Provider],
        troubles: Callable[[], Mapping[str, str]],
        make_line: Callable[[Route], Line],
        make_door: Callable[[Route, bool], Door],
    ) -> None:
        self._config, self._reactor, self._clock = config, reactor, clock
        self._switchboard, self._metrics = switchboard, metrics
        self._providers, self._troubles = providers, troubles
        self._make_line, self._make_door = make_line, make_door
        self._lines: dict[Route, Line] = {}
        self.sockets: dict[BrowserSocket, None] = {}
        self._hosts = OwnHosts(config.server.host, (config.server.public_url, *config.browser.origins))

    # --- ways in ---

    def stream(self, route: Route, limits: WebSocketLimits) -> FastWebSocketResource:
        """Build the way in of one route."""
        config = self._config
        self._line(route)  # a provider at fault is found out now, not in the first call
        browsers = Browsers(
            Surroundings(
                route=route,
                browser=config.browser,
                playout=config.playout,
                public_url=config.server.public_url,
                hangover_ms=config.voice.hangover_ms,
                metrics=self._metrics,
                reactor=self._reactor,
                clock=self._clock,
                wall_ms=lambda: int(self._reactor.seconds() * 1000),
                hold=lambda change: self._switchboard.hold(route, change),
            ),
            lambda asked: self._choose(route, asked),
            {},
            self.sockets,
            self._hosts,
        )
        factory = FastWebSocketFactory(lambda: BrowserSocket(browsers), self._reactor, limits)
        door, side_door = self._make_door(route, True), self._make_door(route, False)
        return FastWebSocketResource(factory, lambda request: browsers.admit(request, door.admit, side_door.admit))

    def _line(self, route: Route) -> Line:
        if route not in self._lines:
            self._lines[route] = self._make_line(route)
        return self._lines[route]

    def _choose(self, route: Route, asked: Mapping[str, str]) -> Choice:
        """Find what a page asks for.

        :raises ConfigError: it is not there, or cannot serve.
        """
        chosen: dict[str, Any] = {}
        if self._config.browser.choose:
            chosen = {key: name for key in KINDS if (name := asked.get(key)) and self._check(key, name)}
        line = self._line(msgspec.structs.replace(route, **chosen))

        def answer(leg: Leg) -> Listener:
            return self._switchboard.answer(leg, line)

        names = {"agent": line.route.agent, **self._serving(line.route)}
        return Choice(answer, lambda text: _speak(line.setting.synthesizer, text), names)

    def _serving(self, route: Route) -> dict[str, str]:
        """Name the recognizer and the voice that serve at this moment."""
        troubles = self._troubles()
        named = {"stt": route.recognizers, "tts": route.voices}
        return {
            kind: next((name for name in names if not troubles.get(f"{kind}.{name}")), names[0])
            for kind, names in named.items()
        }

    def _check(self, key: str, name: str) -> bool:
        kind, _ = KINDS[key]
        if name == NOBODY and key != "agent":
            return True
        if (kind, name) not in self._providers:
            raise ConfigError(f"{key} {name}: {_absent(kind, name)}")
        if trouble := self._troubles().get(f"{kind}.{name}"):
            raise ConfigError(f"{key} {name} cannot serve: {trouble}")
        return True

    # --- pages ---

    @property
    def has_page(self) -> bool:
        """Whether somebody who opens our address in a browser can talk."""
        return self._config.browser.playground and any(route.carrier == CARRIER for route in self._config.routes)

    def pages(self) -> dict[str, Resource]:
        """Build the playground and what it asks."""
        if not self._config.browser.playground:
            return {}
        pages = {
            "/": Playground("index.html"),
            "/playground": Playground(),
            "/playground/choices": Page(lambda: (200, msgspec.json.encode(self.choices()))),
        }
        return {path: OwnHostsOnly(page, self._hosts) for path, page in pages.items()}

    def choices(self) -> dict[str, object]:
        """List what a page may choose, with the reason where something is not available."""
        routes = [route for route in self._config.routes if route.carrier == CARRIER]
        troubles = self._troubles()
        return {
            "paths": [route.path for route in routes],
            "full": self._switchboard.full(routes[0]) if routes else "",
            "choose": self._config.browser.choose,
            # What the first route says, in its order.
            "defaults": {"agent": (routes[0].agent,), "stt": routes[0].recognizers, "tts": routes[0].voices}
            if routes
            else {},
            **{key: self._offers(kind, known, troubles) for key, (kind, known) in KINDS.items()},
        }

    def _offers(self, kind: str, known: Mapping[str, str], troubles: Mapping[str, str]) -> list[dict[str, object]]:
        loaded = [name for one, name in self._providers if one == kind]
        absent = sorted(set(known) - set(loaded))
        return [
            *(_offer(kind, name, troubles.get(f"{kind}.{name}", "")) for name in loaded),
            *(_offer(kind, name, _absent(kind, name), configured=False) for name in absent),
        ]

    # --- the end ---

    def close(self, why: Any) -> list[Deferred[None]]:
        """Close all sockets; what is returned fires when they are gone."""
        for socket in tuple(self.sockets):
            socket.hang_up(why)
        return [socket.is_gone for socket in self.sockets]


def _offer(kind: str, name: str, reason: str, *, configured: bool = True) -> dict[str, object]:
    table = f"[{kind}.{name}]"
    return {"name": name, "available": not reason, "reason": reason, "configured": configured, "table": table}


def _absent(kind: str, name: str) -> str:
    return f"not in this server's configuration; add a table [{kind}.{name}]"


def _speak(synthesizer: Synthesizer | None, text: str) -> Deferred[bytes]:
    """Synthesize a text on its own."""
    if synthesizer is None:
        return fail(ProviderError("this conversation has no voice"))
    sound: list[bytes] = []
    spoken = maybeDeferred(synthesizer.speak, text, RATE_HZ, sound.append, lambda _at, _ms: None)
    return cast("Deferred[bytes]", spoken.addCallback(lambda _: b"".join(sound)))
