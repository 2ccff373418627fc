"""A CANCEL in the same instant as its INVITE."""

import pytest
from msgspec.structs import replace

from tests.in_reactor import in_reactor
from tests.sip_house import ECHO, Telephone, bridge_of, serving, until


def tags(texts: list[str]) -> set[str]:
    lines = [line for text in texts for line in text.split("\r\n") if line.startswith("To:")]
    return {line.partition("tag=")[2] for line in lines if "tag=" in line}


@pytest.mark.parametrize(("answer_after_s", "status"), [(5.0, "487"), (0.0, "200")])
@in_reactor
async def test_a_call_is_taken_back_before_the_answer_and_only_before_it(answer_after_s: float, status: str) -> None:
    async with serving(replace(ECHO, answer_after_s=answer_after_s)) as server:
        caller = Telephone(server)
        caller.request("INVITE", caller.sdp(), branch="one")
        caller.request("CANCEL", cseq=1, branch="one")
        await until(lambda: caller.responses("CANCEL") and any(f" {status} " in text for text in caller.responses()))
        assert all(text.startswith("SIP/2.0 200") for text in caller.responses("CANCEL"))
        # Both are about one call (RFC 3261, section 9.2).
        (tag,) = tags(caller.responses() + caller.responses("CANCEL"))
        caller.to_tag = f";tag={tag}"
        caller.request("ACK", cseq=1, branch="one" if status == "487" else "ack")
        if status == "200":
            await until(lambda: len(server.switchboard))
            assert (await caller.hang_up()).startswith("SIP/2.0 200")
        await until(lambda: not bridge_of(server).rtp_ports.lent)
        assert server.switchboard.total == (status == "200")
        caller.to_tag = ""
        await caller.close()
