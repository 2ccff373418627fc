"""Kamailio as a registrar, and as a dispatcher that stays in the route (Debian: kamailio)."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.peers.needs import needs

needs_kamailio = needs("kamailio", "kamailio")

HOST: Final = "127.0.0.1"
REALM: Final = "test.local"
PASSWORD: Final = "a word only both know"
PATIENCE_S: Final = 60

# Who registers is asked for a password, and so is who calls as `bob`. Everybody else comes from the outside.
CONFIG: Final = """#!KAMAILIO
debug=0
log_stderror=yes
children=1
auto_aliases=no
disable_tcp=yes
listen=udp:{host}:{port}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "sanity.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "auth.so"
loadmodule "dispatcher.so"
modparam("tm", "fr_timer", 1000)
modparam("tm", "failure_reply_mode", 3)
modparam("usrloc", "db_mode", 0)
modparam("registrar", "min_expires", 1)
modparam("dispatcher", "flags", 2)
modparam("dispatcher", "list_file", "{folder}/dispatcher.list")
modparam("dispatcher", "ds_ping_interval", 1)
modparam("dispatcher", "ds_ping_from", "sip:kamailio@{realm}")
modparam("dispatcher", "ds_probing_mode", 1)
modparam("dispatcher", "ds_probing_threshold", 1)
modparam("dispatcher", "ds_inactive_threshold", 1)

request_route {{
  if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
  if (!sanity_check("1511", "7")) {{ exit; }}
  if (has_totag()) {{
    if (loose_route()) {{ t_relay(); exit; }}
    if (is_method("ACK") && t_check_trans()) {{ t_relay(); exit; }}
    if (!is_method("ACK")) {{ sl_send_reply("404", "Not Here"); }}
    exit;
  }}
  if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
  t_check_trans();
  if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
  if (is_method("REGISTER")) {{
    if (!pv_www_authenticate("{realm}", "{password}", "0")) {{ www_challenge("{realm}", "1"); exit; }}
    save("location");
    exit;
  }}
  if ($fU == "bob") {{
    if (!pv_proxy_authenticate("{realm}", "{password}", "0")) {{ proxy_challenge("{realm}", "1"); exit; }}
    consume_credentials();
  }}
  record_route();
  if ($rU == "anybody") {{
    if (!ds_select_dst("1", "4")) {{ sl_send_reply("503", "No Server"); exit; }}
    t_on_failure("NEXT");
    t_relay();
    exit;
  }}
  if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
  t_relay();
}}

failure_route[NEXT] {{
  if (t_is_canceled()) {{ exit; }}
  if (t_check_status("5[0-9][0-9]") || (t_branch_timeout() && !t_branch_replied())) {{
    ds_mark_dst("ip");
    if (ds_next_dst()) {{ t_on_failure("NEXT"); t_relay(); }}
  }}
}}
"""


@contextmanager
def kamailio(folder: Path, servers: Sequence[int] = ()) -> Iterator[int]:
    """Run it; yield its port. Calls to `anybody` go round the servers at these ports, others to who has registered."""
    port = _free_port()
    # A list must have an entry.
    list_file = "".join(f"1 sip:{HOST}:{server}\n" for server in servers) or f"9 sip:{HOST}:9\n"
    (folder / "dispatcher.list").write_text(list_file)
    config = folder / "kamailio.cfg"
    config.write_text(CONFIG.format(host=HOST, port=port, folder=folder, realm=REALM, password=PASSWORD))
    log = (folder / "kamailio.log").open("wb")
    command = [_program(), "-f", str(config), "-DD", "-E", "-m", "32", "-M", "4", "-Y", str(folder)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for_answer(port, folder / "kamailio.log")
        yield port
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _program() -> str:
    # Debian puts it where only root looks.
    return shutil.which("kamailio") or "/usr/sbin/kamailio"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_for_answer(port: int, log: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        probe.settimeout(0.2)
        here = f"{HOST}:{probe.getsockname()[1]}"
        options = (
            f"OPTIONS sip:{HOST}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKready\r\nMax-Forwards: 5\r\n"
            f"From: <sip:test@{here}>;tag=1\r\nTo: <sip:{HOST}>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\n"
            "Content-Length: 0\r\n\r\n"
        )
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            probe.sendto(options.encode(), (HOST, port))
            try:
                probe.recv(2048)
            except OSError:
                continue
            return
    raise AssertionError(log.read_text(errors="replace"))
