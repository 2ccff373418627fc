"""Calls out with encrypted sound: one of our servers calls another."""

from typing import Any

import pytest

from tests.in_reactor import in_reactor
from tests.sip_house import bridge_of, serving, until
from tests.test_calls_out import TOKEN, Client
from voicemedia.config import Calls, Trunk
from voicemedia.interfaces import Goodbye


@pytest.mark.parametrize(("srtp", "codec"), [("dtls", "opus"), ("sdes", "G722"), ("dtls", "PCMA")])
@in_reactor
async def test_two_servers_talk_in_secret(srtp: Any, codec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLS_TOKEN", TOKEN)
    echo = Trunk("test", agent="echo", stt="none", tts="none", srtp=srtp, codecs=(codec,), dial_prefixes=("bot",))
    async with serving(echo) as callee, serving(echo, calls=Calls("CALLS_TOKEN")) as caller:
        await Client(caller).place(f"sip:bot@127.0.0.1:{bridge_of(callee).ports.port}")
        await until(lambda: len(callee.switchboard) == 1 and len(caller.switchboard) == 1)
        await until(lambda: min(callee.metrics.frames_in, caller.metrics.frames_in) > 10)
        rate_hz = 8000 if codec == "PCMA" else 16_000
        assert {call.caller.rate_hz for server in (callee, caller) for call in server.switchboard} == {rate_hz}
        refused = {kind for server in (callee, caller) for _, kind in server.metrics.wire_errors}
        # Before the handshake is done, what the other has already sent cannot be read.
        assert refused <= {"srtp_without_keys"}
        (live,) = caller.switchboard
        live.leg.hang_up(Goodbye.AGENT_HUNG_UP)
        await until(lambda: not len(callee.switchboard) and not len(caller.switchboard))
