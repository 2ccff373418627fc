"""The child of test_children.py: adds up what it is given, and misbehaves when told to."""

import os
import signal

import msgspec

from voicemedia.child import Parent


def main() -> None:
    parent = Parent()
    print("a library prints to stdout", flush=True)
    parent.ready()
    sums: dict[int, int] = {}
    for job, payload in parent:
        message = msgspec.msgpack.decode(payload)
        if message == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            sums[job] = sums.get(job, 0) + message
            parent.tell(job, [os.getpid(), sums[job]])


if __name__ == "__main__":
    main()
