"""What does a browser's WebM cost, and is any of it lost when many browsers speak at once?

    python -m benchmarks.webm [--sessions 100] [--seconds 10]

First the decoding alone, with as many decoders in turn as there are sessions, so that each finds cold caches. Then the
whole server in a process of its own, with a recognizer that understands nothing but the time: every session sends
250 ms of WebM each 250 ms, as MediaRecorder does, and the frames its calls heard are counted.
"""

import argparse
import datetime
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from benchmarks.bars import Bar, at_most, bar_table, replace_section
from voicemedia.audio.arriving import Arriving
from voicemedia.audio.frames import frame_bytes
from voicemedia.callers.client_wire import frame, request
from voicemedia.callers.process_use import read_use

HERE: Final = Path(__file__).parent.parent
CHUNK_MS: Final = 250
BINARY: Final = 2
RATE_HZ: Final = 48_000
CONFIG: Final = """
[server]
port = 0
[log]
format = "json"
[grpc]
enabled = false
[[routes]]
path = "/audio-stream"
carrier = "browser"
agent = "repeat"
stt = "benchmarks.scripted_recognizer"
tts = "none"
"""


def record(seconds: int) -> list[bytes]:
    """Record speech as a browser does: WebM in chunks of 250 ms, the first with the head."""
    av: Any = import_module("av")
    speech = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    with av.open(str(HERE / "examples" / "breakfast.wav")) as source:
        pcm = b"".join(
            bytes(out.planes[0])[: out.samples * 2] for got in source.decode(audio=0) for out in speech.resample(got)
        )
    pcm = (pcm * (seconds * RATE_HZ * 2 // len(pcm) + 1))[: seconds * RATE_HZ * 2]
    file = io.BytesIO()
    ends = []
    with av.open(file, "w", format="webm", options={"live": "1", "flush_packets": "1"}) as out:
        opus = out.add_stream("libopus", rate=RATE_HZ, layout="mono", bit_rate=32_000)
        for at in range(0, len(pcm), 1920):
            piece = av.AudioFrame(format="s16", layout="mono", samples=960)
            piece.sample_rate, piece.pts = RATE_HZ, at // 2
            piece.planes[0].update(pcm[at : at + 1920])
            for packet in opus.encode(piece):
                out.mux(packet)
            if at // 1920 % 25 in (12, 24):
                # 12 or 13 packets: 250 ms on the average.
                ends.append(file.tell())
        for packet in opus.encode(None):
            out.mux(packet)
    whole = file.getvalue()
    return [whole[start:end] for start, end in zip([0, *ends], [*ends, len(whole)], strict=True) if end > start]


def decoding_share(chunks: list[bytes], sessions: int) -> float:
    """Return the share of a core that decoding takes for one live session."""
    decoders = [Arriving() for _ in range(sessions)]
    began = time.process_time()
    heard = sum(len(decoder.feed(chunk)) for chunk in chunks for decoder in decoders)
    return (time.process_time() - began) / (heard / 2 / Arriving.rate_hz)


class Server:
    """The server in a process of its own, on the first core."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="webm."))
        (folder / "voicemedia.toml").write_text(CONFIG)
        environment = {**os.environ, "VOICEMEDIA_CONFIG": str(folder / "voicemedia.toml"), "PYTHONPATH": str(HERE)}
        command = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--pidfile="]
        log = folder / "log.json"
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "-ny", str(HERE / "voicemedia.tac")], cwd=folder, env=environment, stdout=output
            )
        os.sched_setaffinity(self.process.pid, {min(os.sched_getaffinity(0))})
        while '"port"' not in log.read_text():
            if self.process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        told = [json.loads(line) for line in log.read_text().splitlines()]
        self.port = next(int(line["port"]) for line in told if "port" in line)

    def frames(self) -> int:
        """Return how many frames its calls have heard."""
        with urlopen(f"http://127.0.0.1:{self.port}/streaming/stats") as answer:
            return int(json.load(answer)["frames"]["in"])

    def stop(self) -> None:
        """Let it end at once: nobody waits for a goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def connect(port: int, name: str) -> socket.socket:
    """Open the WebSocket of one session."""
    client = socket.create_connection(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(request("127.0.0.1", f"/audio-stream?sessionId={name}", os.urandom(16), {}))
    assert client.recv(65536).startswith(b"HTTP/1.1 101")
    client.setblocking(False)
    return client


def speak(port: int, sessions: int, chunks: list[bytes]) -> float:
    """Let all sessions send at their own moments; return how late the last chunk was at the worst, in ms."""
    chosen = selectors.DefaultSelector()
    clients = [connect(port, f"s{number}") for number in range(sessions)]
    for client in clients:
        chosen.register(client, selectors.EVENT_READ)
    begin, late = time.monotonic(), 0.0
    for number, chunk in enumerate(chunks):
        message = frame(BINARY, chunk)
        for place, client in enumerate(clients):
            due = begin + (number + place / sessions) * CHUNK_MS / 1000
            while (wait := due - time.monotonic()) > 0:
                for key, _ in chosen.select(wait):
                    key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
            late = max(late, time.monotonic() - due)
            client.send(message)
    return late * 1000


def section(share: float, heard: int, expected: int, run: str) -> str:
    """Write the section of the results."""
    bars = [
        at_most("WebM decoding for one live session at most 1 % of a core", share * 100, 1.0, "%"),
        Bar("no sound lost of all sessions at once, frames", f"{expected - heard} of {expected}", heard == expected),
    ]
    date = datetime.date.today().isoformat()
    head = ["# Browsers", "", f"Measured on {date} by `python -m benchmarks.webm`. {run}", ""]
    return "\n".join([*head, *bar_table(bars)]) + "\n"


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the section `Browsers` of it")
    args = parser.parse_args()
    chunks = record(args.seconds)
    share = decoding_share(chunks, args.sessions)
    decoder = Arriving()
    expected = sum(len(decoder.feed(chunk)) for chunk in chunks) // frame_bytes(Arriving.rate_hz) * args.sessions
    server = Server()
    try:
        before_ms = read_use(server.process.pid).cpu_ms
        late_ms = speak(server.port, args.sessions, chunks)
        time.sleep(1)
        heard, cpu_s = server.frames(), (read_use(server.process.pid).cpu_ms - before_ms) / 1000
    finally:
        server.stop()
    run = (
        f"{args.sessions} sessions for {args.seconds} s, scripted providers: {heard} of {expected} frames heard; "
        f"the server took {cpu_s / args.seconds:.0%} of a core; clients at most {late_ms:.0f} ms late."
    )
    text = section(share, heard, expected, run)
    print(text)
    output: Path | None = args.output
    if output is not None:
        output.write_text(replace_section(output.read_text() if output.exists() else "", text))
    return 0 if share <= 0.01 and heard == expected else 1


if __name__ == "__main__":
    sys.exit(main())
