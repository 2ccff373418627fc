"""How a peer's server opens its port, and says where."""

import socket


def listen() -> socket.socket:
    """Open a port that the system chooses and print its address."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    return listener
