"""Many calls of SIPp, and what they leave."""

import gc
import os
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.logger import globalLogBeginner

from tests.in_reactor import in_reactor
from tests.peers.sipp import needs_sipp, sipp
from tests.sip_house import bridge_of, serving, until
from voicemedia import call
from voicemedia.sip_bridge.incoming_wire import IncomingCall
from voicemedia.sip_bridge.rtp_leg import RtpLeg
from voicemedia.sip_bridge.trunk_call import TrunkCall
from voicemedia.switchboard import Live

OF_A_CALL = (call.Call, IncomingCall, Live, RtpLeg, TrunkCall)


def alive() -> Counter[str]:
    # Twisted keeps what is logged, and so whoever logged, until logging has begun; in a server it has.
    buffered: Any = globalLogBeginner._initialBuffer
    buffered._buffer.clear()
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, OF_A_CALL))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@needs_sipp
@in_reactor
async def test_a_thousand_calls_at_fifty_a_second_succeed_and_leave_nothing_behind(tmp_path: Path) -> None:
    async with serving() as server:
        bridge, before = bridge_of(server), alive()
        status, log = await sipp(tmp_path, bridge.ports.port, "-sn", "uac", "-r", "50", "-m", "20", "-d", "200")
        assert status == 0, log
        await until(lambda: not len(server.switchboard))
        opened = descriptors()
        status, log = await sipp(tmp_path, bridge.ports.port, "-sn", "uac", "-r", "50", "-m", "1000", "-d", "200")
        assert status == 0, log
        await until(lambda: not len(server.switchboard))
        assert server.switchboard.total == 1020 and server.switchboard.ended_by == {"caller_hung_up": 1020}
        assert bridge.rtp_ports.lent == 0 and not any(line.agent.dialogs for line in bridge.lines)
        assert descriptors() <= opened
        # Transactions live for 32 s more; they keep messages, but no call.
        assert not alive() - before
