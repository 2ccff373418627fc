"""Builds the house and joins its rooms; the order of opening and of closing. The only module that knows every name."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from voicemedia import config as configuration
from voicemedia import providers
from voicemedia.audio.voice import Endpointer, make_detector
from voicemedia.browser_service import BrowserService
from voicemedia.call_desk import CallDesk
from voicemedia.config import Config, Route
from voicemedia.errors import ConfigError, ProviderError
from voicemedia.gateway.service import Gateways
from voicemedia.history.historian import History
from voicemedia.interfaces import Agent, Goodbye, Provider
from voicemedia.metrics import Metrics
from voicemedia.protocols.access import Access
from voicemedia.protocols.browser import CARRIER as BROWSER
from voicemedia.protocols.calls_page import CallsPage
from voicemedia.protocols.custom_events import offer
from voicemedia.protocols.door import Door
from voicemedia.protocols.fast_websocket import (
    FastWebSocketFactory,
    WebSocketLimits,
    install_lean_poll,
    tune_garbage_collector,
)
from voicemedia.protocols.media_stream import Carrier, MediaStreamSocket
from voicemedia.protocols.smartflo_wire import SMARTFLO, SMARTFLO_STRICT
from voicemedia.protocols.status import World, make_site
from voicemedia.protocols.turns_page import TurnsPage
from voicemedia.protocols.twilio_wire import TWILIO
from voicemedia.protocols.websocket_resource import FastWebSocketResource
from voicemedia.recognizers import Recognizers
from voicemedia.recording.recorder import Recorder
from voicemedia.setting import Setting
from voicemedia.sip_bridge.bridge import Bridge
from voicemedia.sip_service import make_bridge
from voicemedia.speech_service import SpeechService
from voicemedia.switchboard import Line, Switchboard
from voicemedia.ticker import MONOTONIC_S, Ticker
from voicemedia.voices import Voices

LAST_FRAMES_S: Final = 3
"How long sockets may take to close once all calls are over."


class MediaServer(MultiService):
    """One server: its port, its calls, its providers.

    :param seconds: the clock of all calls.
    """

    log = Logger()

    def __init__(self, config: Config, reactor: Any, seconds: Callable[[], float] = MONOTONIC_S) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._config, self._reactor = config, reactor
        self.metrics = Metrics()
        self._ticker = Ticker(reactor, self.metrics.lag, seconds)
        self.history = History(config.history, reactor) if config.history.enabled else None
        self.switchboard = Switchboard(reactor, self._ticker, config.limits, self.history)
        self.recorder = self._make_recorder(seconds) if config.recording.enabled else None
        self.metrics.routes = tuple(route.path for _, route in config.answering)
        self.metrics.live_by_route = self.switchboard.live_by_route
        providers.load_plugins(config.server.plugins)
        chosen = providers.load_all(config)
        self._providers: dict[tuple[str, str], Provider] = {
            (each.kind, each.name): each.make(reactor) for each in chosen
        }
        self._missing = {f"{each.kind}.{each.name}": reason for each in chosen if (reason := each.missing())}
        self._troubles: dict[str, str] = dict(self._missing)
        self._sockets: dict[MediaStreamSocket, None] = {}
        self._recognizers = Recognizers(self._providers, reactor)
        self._voices = Voices(self._providers, reactor)
        self.metrics.recognizers = self._recognizers.read
        self.metrics.costs = self._recognizers.costs
        self.metrics.continuity = self._recognizers.continuity
        self.metrics.voices = self._voices.read
        if self.history is not None:
            self.metrics.history = self.history.writer.read
        self.speech = SpeechService(config, reactor, self._ticker.now_ms, self._recognizers, self.troubles)
        self.gateways = Gateways(config, reactor, self._ticker.now_ms, self.speech.gateway_sessions())
        self.sip: Bridge | None = (
            make_bridge(config, reactor, self.switchboard, self._ticker, self._line) if config.sip.enabled else None
        )
        self.metrics.live_sessions = self._live_sessions
        self.metrics.segments = self.gateways.sessions.segments
        world = World(self.switchboard, self.metrics, self._ailments, self._transcribing, self._recognizers)
        self.browsers = BrowserService(
            config,
            reactor,
            self._ticker.now_ms,
            self.switchboard,
            self.metrics,
            providers=self._providers,
            troubles=self.troubles,
            make_line=self._line,
            make_door=self._door,
        )
        streams = {
            **{route.path: self._stream(route) for route in config.routes},
            **self.speech.streams(_websocket_limits(config), self.metrics),
        }
        pages = {
            "/calls": self._calls_page(),
            **self.speech.pages(self.metrics),
            **self.browsers.pages(),
        }
        self._site = make_site(
            streams,
            world,
            reactor,
            pages=pages,
            timeout_s=config.server.handshake_timeout_s,
            max_body_bytes=config.server.max_message_bytes,
        )
        self.port: IListeningPort | None = None

    # --- building ---

    def _make_recorder(self, seconds: Callable[[], float]) -> Recorder:
        recorder = Recorder(self._config.recording, self._config.history.keep_days, self._reactor, seconds)
        self.switchboard.recorder, self.metrics.recordings = recorder.begin, recorder.read
        return recorder

    def _calls_page(self) -> CallsPage:
        """Build where calls are listed, placed and moved."""
        desk = CallDesk(
            self.switchboard,
            self.sip,
            self._ticker.now_ms,
            self._line,
            lambda name: ("agents", name) in self._providers,
        )
        return CallsPage(desk, TurnsPage(self.switchboard.diary), _secret(self._config.calls.token_env))

    def _stream(self, route: Route) -> FastWebSocketResource:
        """Build the way in of one route."""
        self.switchboard.total_by_route[route.path] = 0  # so that the statistics name it before its first call
        if route.carrier == BROWSER:
            return self.browsers.stream(route, _websocket_limits(self._config))
        config, line = self._config, self._line(route)
        dialect = TWILIO if route.carrier == "twilio" else SMARTFLO_STRICT if route.strict_official else SMARTFLO
        carrier = Carrier(
            route=route,
            dialect=dialect,
            playout=config.playout,
            jitter=config.jitter,
            metrics=self.metrics,
            reactor=self._reactor,
            clock=self._ticker.now_ms,
            answer=lambda leg: self.switchboard.answer(leg, line),
            hurry=self._ticker.hurry,
            hold=lambda change: self.switchboard.hold(route, change),
            custom=offer,
            sockets=self._sockets,
        )
        factory = FastWebSocketFactory(lambda: MediaStreamSocket(carrier), self._reactor, _websocket_limits(config))
        return FastWebSocketResource(factory, self._door(route).admit)

    def _door(self, route: Route, full: bool = True) -> Door:
        """Build the door of a route.

        :param full: whether it turns away whom we have no room for.
        """
        server = self._config.server
        return Door(
            route.path,
            Access(_secret(route.secret_env), configuration.networks(route.allow)),
            _secret(route.token_env),
            server.public_url,
            configuration.networks(server.trusted_proxies),
            lambda: self.switchboard.refusal(route) if full else None,
            self.metrics,
        )

    def _line(self, route: Route) -> Line:
        voice = self._config.voice
        setting = Setting(
            limits=self._config.limits,
            turns=self._config.turns,
            voice=voice,
            metrics=self.metrics,
            clock=self._ticker.now_ms,
            recognizer=self._recognizers.of_route(route.path, route.recognizers, self._missing),
            synthesizer=self._voices.of_route(route.voices, self._missing),
            agent=route.agent,
        )

        def endpointer(rate_hz: int) -> Endpointer:
            return Endpointer(
                make_detector(voice.detector, rate_hz, voice.aggressiveness),
                min_speech_ms=voice.min_speech_ms,
                hangover_ms=voice.hangover_ms,
                ignore_first_ms=voice.ignore_first_ms,
            )

        endpointer(8000)  # a detector that is not installed is found out now, not in the first call
        agent = cast(Agent, self._providers["agents", route.agent])
        return Line(route, agent, endpointer, setting)

    def _live_sessions(self) -> Counter[str]:
        return self.speech.sessions.live_by_provider() + self.gateways.sessions.transcribing.live_by_provider()

    def _transcribing(self) -> dict[str, object]:
        return {**self.speech.sessions.read(), "gateways": self.gateways.sessions.read()}

    def troubles(self) -> Mapping[str, str]:
        """Say for every provider why it cannot serve; empty when it can."""
        troubles = {
            f"{kind}.{name}": self._troubles.get(f"{kind}.{name}") or provider.trouble
            for (kind, name), provider in self._providers.items()
        }
        if self.history is not None:
            troubles["history"] = self._troubles.get("history") or self.history.trouble
        if self.recorder is not None:
            troubles["recording"] = self.recorder.trouble
        return troubles | (self.sip.troubles() if self.sip else {})

    def _ailments(self) -> dict[str, str]:
        """Add to the troubles which recognizers are left alone for a while, because they have failed."""
        left_alone = self._recognizers.left_alone()
        return {name: trouble or left_alone.get(name, "") for name, trouble in self.troubles().items()}

    # --- opening ---

    def startService(self) -> None:
        """Start the providers and open the port: after twistd has daemonized, never before."""
        super().startService()  # type: ignore[no-untyped-call]
        server = self._config.server
        install_lean_poll(self._reactor)
        for (kind, name), provider in self._providers.items():
            key = f"{kind}.{name}"
            if key in self._missing:
                self.log.error("{provider} does not work: {reason}", provider=key, reason=self._missing[key])
            else:
                maybeDeferred(provider.start).addErrback(self._not_started, key)
        self.gateways.start()
        if self.sip is not None:
            self.sip.start()
        self.port = self._reactor.listenTCP(server.port, self._site, backlog=server.backlog, interface=server.host)
        if self.history is not None:
            # Its threads would keep a process alive whose port is taken.
            self.history.start().addErrback(self._not_started, "history")
        if self.recorder is not None:
            self.recorder.start()
        address = cast(Any, self.port).getHost()
        for route in self._config.routes:
            self.log.info(
                "{carrier} calls ws://{host}:{port}{path} and talks to agent {agent}",
                carrier=route.carrier,
                host=address.host,
                port=address.port,
                path=route.path,
                agent=route.agent,
            )
        for warning in configuration.exposure_warnings(self._config):
            self.log.warn("{warning}", warning=warning)
        self.log.info(
            "listening on http://{host}:{port}{trial}",
            host=address.host,
            port=address.port,
            trial=self._trial(f"ws://{address.host}:{address.port}"),
        )
        self._reactor.callLater(0, tune_garbage_collector)
        self._sweeper = self._reactor.callLater(1, self._sweep)

    def _trial(self, server: str) -> str:
        """Say how to talk to us: in the browser, and by the first route that a simulated carrier can call."""
        page = "; open it in a browser" if self.browsers.has_page else ""
        for route in self._config.routes:
            if route.carrier in ("smartflo", "twilio"):
                return f"{page}; try: voicemedia call {route.carrier} examples/breakfast.wav --url {server}{route.path}"
        return page

    def _not_started(self, failure: Failure, name: str) -> None:
        self._troubles[name] = failure.getErrorMessage()
        if self.switchboard.draining:
            return  # stopped before it had started: nobody has to mend that
        if isinstance(failure.value, (ProviderError, ConfigError, OSError)):
            self.log.error("{provider} does not work: {reason}", provider=name, reason=failure.getErrorMessage())
        else:
            self.log.failure("{provider} did not start", failure, provider=name)

    def _sweep(self) -> None:
        """Close sockets that are open for nothing."""
        self._sweeper = self._reactor.callLater(1, self._sweep)
        now_ms = self._ticker.now_ms()
        for socket in tuple(self._sockets):
            socket.sweep(now_ms)
        self.speech.sweep()
        self.gateways.sweep()

    # --- closing ---

    def stopService(self) -> Deferred[None]:
        """Close the door, let the calls end, then leave."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._sweeper.cancel()
        if self.port is not None:
            await maybeDeferred(self.port.stopListening)
        gateways = Deferred.fromCoroutine(self.gateways.drain())
        if self.sip is not None:
            self.sip.unregister()
        await self.switchboard.drain()
        await gateways
        await self._close_sockets()
        if self.sip is not None:
            await self.sip.stop()
        await self.gateways.stop()
        self._ticker.stop()
        await DeferredList([maybeDeferred(provider.stop) for provider in self._providers.values()], consumeErrors=True)
        if self.recorder is not None:
            await self.recorder.stop()
        if self.history is not None:
            await self.history.stop()
        await maybeDeferred(super().stopService)
        self.log.info("stopped after {calls} calls", calls=self.switchboard.total)

    async def _close_sockets(self) -> None:
        """Close what is left, and see to it that the close frames leave before we do."""
        for socket in tuple(self._sockets):
            socket.hang_up(Goodbye.DRAINED)
        waiting = [socket.is_gone for socket in self._sockets]
        waiting += self.speech.close() + self.browsers.close(Goodbye.DRAINED)
        if waiting:
            # Those that do not close in time are given up without a word.
            every: Deferred[Any] = DeferredList(waiting, consumeErrors=True)
            every.addTimeout(LAST_FRAMES_S, self._reactor, onTimeoutCancel=lambda result, _s: None)
            await every
        self.speech.stop()


def make_service(config: Config, reactor: Any) -> MediaServer:
    """Build the server of a configuration; nothing is opened before it starts.

    :raises ConfigError: a provider is unknown, or its options are at fault.
    """
    return MediaServer(config, reactor)


def _websocket_limits(config: Config) -> WebSocketLimits:
    server = config.server
    return WebSocketLimits(
        max_message_bytes=server.max_message_bytes,
        open_s=server.handshake_timeout_s,
        ping_s=server.ping_s,
        pong_s=server.ping_s,
    )


def _secret(name: str) -> configuration.Secret | None:
    return configuration.secret(name) if name else None
