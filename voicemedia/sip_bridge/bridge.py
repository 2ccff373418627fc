"""The SIP side of the server: its sockets, its trunks, and who gets which message."""

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voicemedia.config import Config
from voicemedia.metrics import Metrics
from voicemedia.sip_bridge.flow_wire import Flow
from voicemedia.sip_bridge.sip_ports import Ears, Message, SipPorts
from voicemedia.sip_bridge.tls import client_judge
from voicemedia.sip_bridge.trunk_line import TrunkLine
from voicemedia.sip_bridge.udp_hub import UdpHub
from voicemedia.sip_bridge.udp_ports import UdpPorts

LAST_WORDS_S: Final = 2.0
"How long answers to our BYEs may take at the end."
LOOK_S: Final = 0.05


class Bridge:
    """All trunks of a server."""

    log = Logger()

    def __init__(self, config: Config, reactor: Any, metrics: Metrics, clock: Callable[[], int]) -> None:
        self._reactor, self._metrics = reactor, metrics
        settings = config.sip
        ears = Ears(self._admitted, self._take, self._unsent, self._refused, self._complain, clock, self._disconnected)
        self.ports = SipPorts(settings, reactor, ears, client_judge(settings))
        self.hub = UdpHub(reactor, clock)
        self.rtp_ports = UdpPorts(settings.host, settings.rtp_first_port, settings.rtp_last_port, clock)
        self.lines: list[TrunkLine] = []
        self._drain_s, self._until_s = config.limits.drain_s, 0.0

    def add(self, line: TrunkLine) -> None:
        """Serve a trunk."""
        self.lines.append(line)

    def start(self) -> None:
        """Listen, find the servers, register.

        :raises CannotListenError: a port is taken.
        """
        self.ports.open()
        for line in self.lines:
            line.start()
        self.log.info(
            "SIP: {trunks} call sip:anything@{host}:{sip_port}",
            trunks=", ".join(line.trunk.name for line in self.lines),
            host=self.ports.address("127.0.0.1"),
            sip_port=self.ports.port,
        )

    def troubles(self) -> dict[str, str]:
        """Say for each trunk why it cannot serve; empty when it can."""
        return {f"trunks.{line.trunk.name}": line.trouble for line in self.lines}

    # --- the end ---

    def unregister(self) -> None:
        """Tell the registrars to send us no more calls; those that are on may go on for `drain_s`."""
        self._until_s = self._reactor.seconds() + self._drain_s
        for line in self.lines:
            line.unregister()

    async def stop(self) -> None:
        """Let people who talk with each other go on for a while, hang up, let the last answers arrive, close all."""
        await self._wait(lambda: any(line.calls.live for line in self.lines), self._until_s)
        for line in self.lines:
            line.hang_up()
        await self._wait(lambda: any(line.agent.dialogs for line in self.lines), self._reactor.seconds() + LAST_WORDS_S)
        for line in self.lines:
            line.stop()
        self.hub.stop()
        await self.ports.close()

    async def _wait(self, waiting: Callable[[], bool], until_s: float) -> None:
        while waiting() and self._reactor.seconds() < until_s:
            pause: Deferred[None] = deferLater(self._reactor, LOOK_S)
            await pause

    # --- messages ---

    def _admitted(self, host: str) -> bool:
        return self._line_of(host) is not None

    def _line_of(self, host: str) -> TrunkLine | None:
        for line in self.lines:
            if line.knows(host):
                return line
        return None

    def _take(self, message: Message, flow: Flow) -> None:
        line = self._line_of(flow.peer[0])
        if line is None:
            return
        try:
            line.receive(message, flow)
        except Exception:
            self.log.failure("trunk {trunk}: lost a message to a bug", trunk=line.trunk.name)

    def _unsent(self, message: Message, flow: Flow) -> None:
        line = self._line_of(flow.peer[0])
        if line is not None:
            line.unsent(message)

    def _disconnected(self, flow: Flow) -> None:
        line = self._line_of(flow.peer[0])
        if line is not None:
            line.disconnected(flow)

    def _refused(self, peer: tuple[str, int], branch: str) -> None:
        line = self._line_of(peer[0])
        if line is not None:
            line.refused(peer, branch)

    def _complain(self, kind: str) -> None:
        self._metrics.wire_error("sip", kind)
