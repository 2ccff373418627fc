"""How old is an interim transcript when the client has it, and what do dropped sessions leave behind?

    python -m benchmarks.stt_stream [--sessions 50 500] [--seconds 10] [--rounds 4]

The server runs in a process of its own with a recognizer that says what time it is. Clients send 20 ms of sound each
20 ms; the age of a guess is counted from the recognizer to the parsed message in the client's process, kernel and all.
Then 1000 sessions a round are opened and dropped in several ways; resident memory is read after each round.
"""

import argparse
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from benchmarks.bars import at_most, save
from voicemedia.callers.client_wire import FrameReader, frame, request
from voicemedia.transcribing.tally import percentiles

TEXT, BINARY, CLOSE = 1, 2, 8
FRAME: Final = frame(BINARY, bytes(640))
CONFIG: Final = """
routes = []
[server]
port = 0
[stream]
provider = "clockwatcher"
max_sessions = 2000
resume_s = 1
[stt.clockwatcher]
provider = "benchmarks.scripted_recognizer"
"""
HERE: Final = Path(__file__).parent.parent


class Server:
    """The server in a process of its own.

    :param config: its configuration; None: that of this benchmark.
    """

    def __init__(self, config: Path | None = None) -> None:
        folder = Path(tempfile.mkdtemp(prefix="benchmark."))
        if config is None:
            config = folder / "voicemedia.toml"
            config.write_text(CONFIG)
        environment = {**os.environ, "VOICEMEDIA_CONFIG": str(config), "PYTHONPATH": str(HERE)}
        command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--pidfile="]
        log = folder / "log.json"
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "-ny", str(HERE / "voicemedia.tac")], cwd=folder, env=environment, stdout=output
            )
        self.port = self._port(log)

    def _port(self, log: Path) -> int:
        while self.process.poll() is None:
            for line in log.read_text().splitlines():
                if '"port"' in line:
                    return int(json.loads(line)["port"])
            time.sleep(0.1)
        raise SystemExit("the server did not start")

    def stats(self) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self.port}/streaming/stats") as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def rss_kb(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def connect(port: int) -> socket.socket:
    """Open a WebSocket; the answer is left to be read."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(request("127.0.0.1", "/stt/stream", os.urandom(16), {}))
    head = b""
    while b"\r\n\r\n" not in head:
        head += client.recv(4096)
    assert head.startswith(b"HTTP/1.1 101"), head
    return client


def ages(port: int, sessions: int, seconds: float) -> list[float]:
    """Stream silence over so many sessions; return the age of each guess in ms."""
    chosen = selectors.DefaultSelector()
    clients = [connect(port) for _ in range(sessions)]
    for client in clients:
        client.setblocking(False)
        chosen.register(client, selectors.EVENT_READ, FrameReader())
    found: list[float] = []
    begin = time.monotonic()
    # Each session has its own moment in the 20 ms, as clients that know nothing of one another do.
    due = [(begin + 0.02 * number / sessions, client) for number, client in enumerate(clients)]
    while due[0][0] < begin + seconds:
        at, client = due.pop(0)
        while (wait := at - time.monotonic()) > 0:
            _read(chosen, wait, found)
        client.send(FRAME)
        due.append((at + 0.02, client))
    for client in clients:
        client.close()
    return found


def _read(chosen: selectors.BaseSelector, wait: float, found: list[float]) -> None:
    for key, _ in chosen.select(wait):
        octets = key.fileobj.recv(65536)  # type: ignore[union-attr]
        now_ns = time.monotonic_ns()
        for opcode, payload in key.data.read(octets):
            message = json.loads(payload) if opcode == TEXT else {}
            if message.get("type") == "transcription":
                found.append((now_ns - int(message["text"])) / 1e6)


def drop_a_thousand(port: int) -> None:
    """Open sessions and drop them in every way a client can."""
    for number in range(1000):
        client = connect(port)
        client.sendall(FRAME * 10)
        match number % 5:
            case 0:
                client.sendall(frame(TEXT, b'{"type":"end"}'))
                told = b""
                while b"session_ended" not in told:
                    told += client.recv(65536)
            case 1:
                client.sendall(frame(CLOSE, b"\x03\xe8"))
            case 2:
                # A reset instead of a goodbye.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            case 3:
                client.sendall(b"\xff" * 100)
            case _:
                client.sendall(FRAME[: len(FRAME) // 2])
        client.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--bars", type=Path, metavar="FILE", help="write the bars there")
    args = parser.parse_args()
    server, bars, resident = Server(), [], []
    try:
        for sessions in args.sessions:
            found = ages(server.port, sessions, args.seconds)
            spread = percentiles(found)
            print(f"- {sessions} sessions: {len(found)} guesses, age in ms {spread}, max {max(found):.1f}")
            bars.append(
                at_most(f"a guess at the client, {sessions} sessions: at most 10 ms p99", spread["p99"], 10, "ms")
            )
        for number in range(args.rounds):
            drop_a_thousand(server.port)
            time.sleep(4)
            counts = server.stats()
            resident.append(server.rss_kb())
            print(
                f"- round {number + 1}: {counts['total_sessions']} sessions so far, "
                f"{counts['active_sessions']} active, {resident[-1]} KB resident"
            )
        left = server.stats()["active_sessions"]
        bars.append(at_most("a thousand sessions dropped in five ways: none is left", left, 0, "sessions"))
        grown = resident[-1] - resident[-2] if len(resident) > 1 else None
        bars.append(at_most("and the last thousand leave at most 1 KB each", grown, 1000, "KB together"))
        save(bars, args.bars)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
