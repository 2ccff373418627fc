"""The package `websockets` on uvloop, without compression: every text goes back as it is."""

import uvloop
from listening import listen
from websockets.asyncio.server import ServerConnection, serve


async def echo(websocket: ServerConnection) -> None:
    async for text in websocket:
        await websocket.send(text)


async def main() -> None:
    async with serve(echo, sock=listen(), compression=None) as server:
        await server.serve_forever()


uvloop.run(main())
