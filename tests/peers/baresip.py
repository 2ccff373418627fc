"""baresip as a caller and a callee: sends a WAV file, records what it hears (Debian: baresip-core, baresip-ffmpeg)."""
# Twisted carries types, but not everywhere.
# mypy: disallow-untyped-calls=False

import wave
from pathlib import Path
from typing import Final

from twisted.internet.utils import getProcessOutputAndValue

from tests.peers.needs import needs

PACKAGES: Final = "baresip-core baresip-ffmpeg"
MODULES: Final = Path("/usr/lib/baresip/modules")

needs_baresip = needs("baresip", PACKAGES)

CONFIG = """
sip_listen 127.0.0.1:{port}
net_interface 127.0.0.1
rtp_ports {rtp}-{rtp_last}
rtp_stats yes
audio_player aubridge,sink_x
audio_source aufile,{wav}
ausrc_srate {rate_hz}
auplay_srate {rate_hz}
opus_stereo no
opus_sprop_stereo no
opus_application voip
snd_path {folder}
module_path {modules}
module g711.so
module g722.so
module opus.so
module srtp.so
module dtls_srtp.so
module sndfile.so
module aubridge.so
module aufile.so
module_app account.so
module_app menu.so
module_app debug_cmd.so
"""


async def call(folder: Path, uri: str, wav: Path, *, codecs: str, seconds: int, port: int) -> tuple[Path, str]:
    """Call somebody for a while; return the recording of what was heard, and the log."""
    _configure(folder, wav, port, f"audio_codecs={codecs}")
    return await _run(folder, seconds, f"-e 'd {uri}'")


async def called(folder: Path, wav: Path, *, codecs: str, seconds: int, port: int) -> tuple[Path, str]:
    """Wait to be called, and answer; return the recording of what was heard, and the log."""
    _configure(folder, wav, port, f"answermode=auto;audio_codecs={codecs}")
    return await _run(folder, seconds)


def _configure(folder: Path, wav: Path, port: int, account: str) -> None:
    with wave.open(str(wav)) as sound:
        rate_hz = sound.getframerate()
    ports = {"port": port, "rtp": port + 2, "rtp_last": port + 40}
    text = CONFIG.format(**ports, wav=wav, folder=folder, modules=MODULES, rate_hz=rate_hz)
    (folder / "config").write_text(text)
    (folder / "accounts").write_text(f"<sip:bob@127.0.0.1:{port}>;regint=0;{account}\n")
    (folder / "contacts").touch()


async def _run(folder: Path, seconds: int, arguments: str = "") -> tuple[Path, str]:
    command = f"exec timeout -s KILL {seconds + 15} baresip -f {folder} -t {seconds} {arguments} < /dev/null 2>&1"
    out, _, _ = await getProcessOutputAndValue("/bin/sh", ("-c", command))
    return next(iter(folder.glob("dump-*-dec.wav")), folder / "nothing.wav"), out.decode(errors="replace")
