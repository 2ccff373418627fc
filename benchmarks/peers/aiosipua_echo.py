"""`aiosipua` and `aiortp`, a SIP stack in Python for voice agents: calls are answered, their sound is returned.

Started with -O: its UDP transport asserts what is not so on Python 3.11. It writes its port to standard output.
"""

import asyncio
import socket
from itertools import count

from aiosipua import IncomingCall, SipUAS
from aiosipua.message import SipRequest
from aiosipua.rtp_bridge import CallSession
from aiosipua.transport import UdpSipTransport

ports = count(20_000, 2)
sessions: dict[str, CallSession] = {}


async def answer(call: IncomingCall) -> None:
    assert call.sdp_offer is not None
    session = sessions[call.call_id] = CallSession("127.0.0.1", 20_000 + next(ports) % 20_000, call.sdp_offer)
    session.on_audio = session.send_audio_pcm
    await session.start()
    call.accept(session.sdp_answer)


async def close(call_id: str) -> None:
    if (session := sessions.pop(call_id, None)) is not None:
        await session.close()


async def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    uas = SipUAS(UdpSipTransport(local_addr=("127.0.0.1", port)))
    loop, tasks = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def begin(call: IncomingCall) -> None:
        tasks.add(task := loop.create_task(answer(call)))
        task.add_done_callback(tasks.discard)

    def end(call: IncomingCall, _request: SipRequest) -> None:
        tasks.add(task := loop.create_task(close(call.call_id)))
        task.add_done_callback(tasks.discard)

    uas.on_invite, uas.on_bye = begin, end
    await uas.start()
    print(port, flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
