"""The console of Linphone as a caller: plays a WAV file, records what it hears (Debian: linphone-cli)."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import os
from pathlib import Path
from typing import Final

from twisted.internet.utils import getProcessOutputAndValue

from tests.peers.needs import needs

needs_linphone = needs("linphonec", "linphone-cli")

# It offers IPv6 unless told not to, and names an address of the machine while its sound comes from the loopback.
CONFIG: Final = """
[sip]
sip_port={port}
sip_tcp_port=0
sip_tls_port=0
use_ipv6=0
ipv6_migration_done=1
default_proxy=-1

[rtp]
audio_rtp_port={rtp}-{rtp_last}

[net]
firewall_policy=0
mtu=0

[video]
enabled=0
"""

# The console takes no script: it is told in time what to do.
TALK: Final = """
say() {{ sleep "$1"; shift; echo "$*"; }}
{{
  say 0.5 soundcard use files
  say 0.2 codec disable all
  say 0.2 codec enable {codec}
  say 0.2 record {heard}
  say 0.2 call {uri}
  say 1 play {wav}
  say {seconds} terminate
  say 0.5 quit
  sleep 2
}} | exec timeout -s KILL {limit} linphonec -c {folder}/linphonerc -d 5 -l {folder}/linphone.log 2>&1
"""


async def call(folder: Path, uri: str, wav: Path, *, codec: int, seconds: int, port: int) -> tuple[Path, str]:
    """Call somebody for a while; return the recording of what was heard, and what the console said.

    :param codec: its number in `codec list`: 3 PCMU, 4 PCMA, 6 G.722.
    """
    (folder / ".local/share/linphone").mkdir(parents=True)
    text = CONFIG.format(port=port, rtp=port + 2, rtp_last=port + 40)
    (folder / "linphonerc").write_text(text.lstrip())
    heard = folder / "heard.wav"
    script = TALK.format(codec=codec, heard=heard, uri=uri, wav=wav, seconds=seconds, limit=seconds + 20, folder=folder)
    out, _, _ = await getProcessOutputAndValue("/bin/sh", ("-c", script), env={**os.environ, "HOME": str(folder)})
    return heard, out.decode(errors="replace")
