"""Joins the SIP side to the rest of the house."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from voicemedia import config as configuration
from voicemedia.audio import libopus
from voicemedia.config import Config, Route, Trunk
from voicemedia.errors import ConfigError
from voicemedia.metrics import Metrics
from voicemedia.random_bytes import RandomBytes
from voicemedia.sip_bridge.bridge import Bridge
from voicemedia.sip_bridge.desk import Desk
from voicemedia.sip_bridge.dtls_wire import Identity
from voicemedia.sip_bridge.music import Music
from voicemedia.sip_bridge.room import Room
from voicemedia.sip_bridge.trunk_line import TrunkLine
from voicemedia.switchboard import Line, Switchboard
from voicemedia.ticker import Ticker


def make_bridge(
    config: Config, reactor: Any, switchboard: Switchboard, ticker: Ticker, line_of: Callable[[Route], Line]
) -> Bridge:
    """Build the trunks of a configuration; nothing is opened before `start`.

    :raises ConfigError: a detector, a secret or a provider is missing.
    """
    lines = {trunk.name: line_of_trunk(trunk, line_of) for trunk in config.trunks}
    metrics = next((line.setting.metrics for line in lines.values()), Metrics())
    bridge = Bridge(config, reactor, metrics, ticker.now_ms)
    random = RandomBytes(secrets.token_bytes)
    room = Room(
        jitter=config.jitter,
        metrics=metrics,
        clock=ticker.now_ms,
        hurry=ticker.hurry,
        hub=bridge.hub,
        ports=bridge.rtp_ports,
        identity=Identity.make(),
        number=lambda: int.from_bytes(random(4)),
        no_rtp_ms=config.sip.no_rtp_s * 1000,
    )
    music = Music(config.sip.hold_music)
    for trunk in config.trunks:
        if "opus" in trunk.codecs and (lack := libopus.missing()):
            raise ConfigError(f"trunks.{trunk.name}.codecs: {lack}")
        house = House(reactor, ticker, music, random, config.sip.dns_server)
        desk = _desk(trunk, lines[trunk.name], room, switchboard, house)
        bridge.add(TrunkLine(trunk, bridge.ports, desk))
    return bridge


def line_of_trunk(trunk: Trunk, line_of: Callable[[Route], Line], agent: str = "") -> Line:
    """Make what a trunk gives its calls: its route's, with its own longest call, perhaps with another agent."""
    route = configuration.route_of_trunk(trunk)
    line = line_of(msgspec.structs.replace(route, agent=agent or route.agent))
    if not trunk.max_call_s:
        return line
    limits = line.setting.limits
    limits = msgspec.structs.replace(limits, max_call_s=min(limits.max_call_s, trunk.max_call_s))
    return replace(line, setting=replace(line.setting, limits=limits))


@dataclass(frozen=True, slots=True)
class House:
    """What all trunks share beside the room of their legs."""

    reactor: Any
    ticker: Ticker
    music: Music
    random: Callable[[int], bytes]
    dns_server: str


def _desk(trunk: Trunk, line: Line, room: Room, switchboard: Switchboard, house: House) -> Desk:
    return Desk(
        reactor=house.reactor,
        room=room,
        random=house.random,
        route=line.route.path,
        answer=lambda leg: switchboard.answer(leg, line),
        refusal=lambda: switchboard.refusal(line.route),
        draining=lambda: switchboard.draining,
        hold=lambda change: switchboard.hold(line.route, change),
        join=house.ticker.join,
        leave=house.ticker.leave,
        music=house.music.play,
        dns_server=house.dns_server,
        max_call_s=line.setting.limits.max_call_s,
        secret=configuration.secret(trunk.secret_env) if trunk.secret_env else None,
    )
