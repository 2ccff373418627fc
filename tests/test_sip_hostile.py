"""What a peer can write into a message to harm others than itself: addresses that are none, moments that cross."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

from typing import Any

import pytest

from tests.in_reactor import in_reactor
from tests.sip_house import Telephone, bridge_of, serving, until


def ended_by(server: Any) -> dict[str, int]:
    return dict(server.switchboard.ended_by)


@in_reactor
async def test_a_call_from_the_last_port_of_all_ends_as_others_do() -> None:
    async with serving() as server:
        phone = Telephone(server)
        sdp = phone.sdp().replace(f"m=audio {phone.sound_port}", "m=audio 65535").replace("a=rtcp:", "a=x-rtcp:")
        await phone.call(sdp)
        await until(lambda: bridge_of(server).rtp_ports.lent == 1 and server.metrics.frames_out > 2)
        await phone.hang_up()
        await until(lambda: ended_by(server) == {"caller_hung_up": 1})
        assert bridge_of(server).rtp_ports.lent == 0
        await phone.close()


@pytest.mark.parametrize("name", ["phone.invalid", "caf\u00e9", "x\0y"])
@in_reactor
async def test_no_name_is_looked_up_to_send_sound(name: str) -> None:
    async with serving() as server:
        phone = Telephone(server)
        sdp = phone.sdp().replace("c=IN IP4 127.0.0.1", f"c=IN IP4 {name}")
        sdp = sdp.replace(f"a=rtcp:{phone.report_port}", f"a=rtcp:{phone.report_port} IN IP4 {name}")
        await phone.call(sdp)
        # To where the signalling comes from, until its own sound says where it is.
        await until(lambda: len(phone.sound.got) > 2)
        await phone.hang_up()
        await until(lambda: phone.reports.got)
        assert ended_by(server) == {"caller_hung_up": 1}
        await phone.close()
