"""Calls by the console of Linphone."""

from pathlib import Path

from tests.in_reactor import in_reactor
from tests.peers import linphone
from tests.peers.linphone import needs_linphone
from tests.sip_house import bridge_of, serving, until
from tests.test_sip_peers import SECONDS, chirp, free_ports, left_behind, share_that_survived, write_words

PCMA = 4
"In the console's list of codecs."


@needs_linphone
@in_reactor
async def test_linphone_hears_its_own_words_at_the_quality_of_the_codec(tmp_path: Path) -> None:
    said = chirp()
    write_words(tmp_path / "said.wav", said)
    async with serving() as server:
        uri = f"sip:bot@127.0.0.1:{bridge_of(server).ports.port}"
        heard, log = await linphone.call(
            tmp_path, uri, tmp_path / "said.wav", codec=PCMA, seconds=SECONDS + 2, port=free_ports()
        )
        await until(lambda: not left_behind(server))
        assert server.switchboard.ended_by == {"caller_hung_up": 1}, log
    assert "Call 1 with" in log and "connected" in log, log
    assert share_that_survived(said, heard) > 0.95
