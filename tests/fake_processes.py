"""Child processes that do nothing by themselves, and a clock that starts them."""

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from voicemedia.child import PING, POOL, READY, FrameReader, frame


def ended(status: int | None) -> Failure:
    reason = ProcessDone(0) if status is None else ProcessTerminated(None, status, None)  # type: ignore[no-untyped-call]
    return Failure(reason)  # type: ignore[no-untyped-call]


class FakeProcess:
    """A process that does nothing by itself."""

    def __init__(self, protocol: ProcessProtocol, pid: int) -> None:
        self.protocol = protocol
        self.pid = pid
        self.reader = FrameReader()
        self.told: list[tuple[int, object]] = []
        self.signals: list[str] = []
        self.stdin_open = True
        self.exited = False
        protocol.transport = cast(IProcessTransport, self)
        protocol.connectionMade()  # type: ignore[no-untyped-call]

    def write(self, written: bytes) -> None:
        for job, payload in self.reader.feed(written):
            if job == POOL and payload == PING:
                self.told.append((POOL, "ping"))
            else:
                self.told.append((job, msgspec.msgpack.decode(payload)))

    def closeStdin(self) -> None:
        self.stdin_open = False

    def signalProcess(self, name: str) -> None:
        if self.exited:
            raise ProcessExitedAlready()
        self.signals.append(name)

    def say(self, job: int, payload: bytes) -> None:
        self.protocol.childDataReceived(1, frame(job, payload))

    def ready(self) -> None:
        self.say(POOL, READY)

    def end(self, status: int | None = None) -> None:
        self.exited = True
        self.protocol.processEnded(ended(status))

    @property
    def jobs(self) -> list[int]:
        return [job for job, _ in self.told if job != POOL]


class FakeReactor(Clock):
    """A clock that starts fake processes."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.can_fork = True

    def spawnProcess(
        self,
        processProtocol: ProcessProtocol,
        executable: str,
        args: Sequence[str],
        env: Mapping[str, str] | None,
        path: str | None,
    ) -> IProcessTransport:
        if not self.can_fork:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.processes.append(FakeProcess(processProtocol, 100 + len(self.processes)))
        return cast(IProcessTransport, self.processes[-1])
