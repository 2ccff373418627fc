"""A storm over SIP accounts for every frame."""

from typing import Any

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.in_reactor import in_reactor
from tests.sip_house import ECHO, bridge_of, serving, until
from voicemedia.callers.storm import StormPlan, run_storm
from voicemedia.callers.storm_report import StormReport
from voicemedia.callers.storm_sip import SipGround
from voicemedia.errors import ConfigError
from voicemedia.service import MediaServer


def storm(server: MediaServer, **changes: Any) -> "Deferred[StormReport]":
    plan = StormPlan(
        f"sip:bot@127.0.0.1:{bridge_of(server).ports.port}", None, **{"calls": 5, "seconds": 0.5, **changes}
    )
    found: Deferred[StormReport] = deferToThread(lambda: run_storm(plan, ground=SipGround(plan)))
    return found


@pytest.mark.parametrize("packet_ms", [20, 40])
@in_reactor
async def test_every_frame_of_a_storm_comes_back_once_and_whole(packet_ms: int) -> None:
    async with serving() as server:
        report = await storm(server, packet_ms=packet_ms)
        assert report.good, report
        assert report.answered == 5 and report.sent >= 5 * 20 and report.received == report.sent
        await until(lambda: not bridge_of(server).rtp_ports.lent)
        assert server.switchboard.ended_by == {"caller_hung_up": 5}


@in_reactor
async def test_calls_that_are_refused_are_told_by_their_status() -> None:
    async with serving(msgspec.structs.replace(ECHO, max_calls=2, full=486)) as server:
        report = await storm(server)
        assert report.answered == 2 and report.failures == {"not answered: status 486": 3}
        assert not report.good


@pytest.mark.parametrize(
    ("to", "packet_ms", "says"),
    [
        ("sip:bot@127.0.0.1;transport=tls", 20, "over UDP"),
        ("bot", 20, "not a SIP address"),
        ("sip:bot@127.0.0.1", 60, "20 or 40 ms"),
        ("sip:bot@no.such.host.invalid", 20, "no such host"),
    ],
)
def test_a_storm_that_cannot_begin_says_why(to: str, packet_ms: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SipGround(StormPlan(to, None, 1, 1, packet_ms))
