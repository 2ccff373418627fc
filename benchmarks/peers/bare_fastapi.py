"""FastAPI on uvicorn with uvloop, as they come: every text goes back as it is."""

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from listening import listen

app = FastAPI()


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


uvicorn.Server(uvicorn.Config(app, loop="uvloop", log_level="warning")).run([listen()])
