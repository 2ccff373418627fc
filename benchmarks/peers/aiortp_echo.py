"""`aiortp`: so many sessions with jitter buffer and G.711, each sending back what it hears as soon as it hears it.

Started with -O: its transport asserts what is not so on Python 3.11. Writes the ports to standard output.
"""

import argparse
import asyncio
import json

from aiortp import RTPSession

FIRST_PORT = 20_000
PCMA = 8


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--peer", type=int, required=True, help="port everything comes from and goes to")
    args = parser.parse_args()
    sessions, ports = [], [FIRST_PORT + 2 * number for number in range(args.streams)]
    for port in ports:
        session = await RTPSession.create(("127.0.0.1", port), ("127.0.0.1", args.peer), PCMA)
        session.on_audio = session.send_audio_pcm
        sessions.append(session)
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
