"""Run the Autobahn test suite against `FastWebSocketProtocol`, and say which cases did not pass.

    python benchmarks/autobahn_testsuite.py --python2 /usr/bin/python2.7

The suite runs on Python 2.7 only, hence it is no part of `make test`; it is installed into benchmarks/.venv-autobahn
by that interpreter's own pip. Left out: speed and limits (9.*) and compression (12.*, 13.*), which we do not agree to.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.web.server import Site

from voicemedia.protocols.fast_websocket import (
    FastWebSocketFactory,
    FastWebSocketProtocol,
    WebSocketLimits,
    install_lean_poll,
)
from voicemedia.protocols.websocket_resource import FastWebSocketResource

SUITE = Path(__file__).parent / ".venv-autobahn"
LEFT_OUT = ["9.*", "12.*", "13.*"]
RUN = """
import site, sys
site.addsitedir(sys.argv[1])
sys.argv = ["wstest", "-m", "fuzzingclient", "-s", sys.argv[2]]
from autobahntestsuite.wstest import run
run()
"""


class Echo(FastWebSocketProtocol):
    def text_received(self, payload: bytes) -> None:
        self.send_text(payload)

    def binary_received(self, payload: bytes) -> None:
        self.send_binary(payload)


def serve() -> None:
    """Be the server; says its port on standard output."""
    from twisted.internet import reactor

    any_reactor: Any = reactor
    install_lean_poll(reactor)
    factory = FastWebSocketFactory(Echo, reactor, WebSocketLimits(max_message_bytes=1_000_000))
    port = any_reactor.listenTCP(0, Site(FastWebSocketResource(factory)), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    any_reactor.run()


def examine(python2: str, port: str) -> dict[str, dict[str, Any]]:
    """Let the suite talk to the port; give back its verdicts by case."""
    if not SUITE.exists():
        subprocess.run([python2, "-m", "pip", "install", "--quiet", "--target", SUITE, "autobahntestsuite"], check=True)
    with tempfile.TemporaryDirectory() as directory:
        url = f"ws://127.0.0.1:{port}"
        plan = {
            "outdir": directory,
            "servers": [{"agent": "us", "url": url}],
            "cases": ["*"],
            "exclude-cases": LEFT_OUT,
        }
        spec = Path(directory) / "spec.json"
        spec.write_text(json.dumps({**plan, "exclude-agent-cases": {}}))
        subprocess.run([python2, "-c", RUN, SUITE, spec], check=True, capture_output=True)
        verdicts: dict[str, dict[str, Any]] = json.loads((Path(directory) / "index.json").read_text())["us"]
        return verdicts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python2", default="python2.7")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.serve:
        serve()
        return 0
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            verdicts = examine(told.python2, server.stdout.readline().strip())
        finally:
            server.terminate()
    pairs = {case: (verdict["behavior"], verdict["behaviorClose"]) for case, verdict in verdicts.items()}
    for pair, count in Counter(pairs.values()).items():
        print(f"{count:4} cases: behavior {pair[0]}, close {pair[1]}")
    failed = {case: pair for case, pair in pairs.items() if not set(pair) <= {"OK", "INFORMATIONAL"}}
    for case, pair in failed.items():
        print("not passed:", case, *pair)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
