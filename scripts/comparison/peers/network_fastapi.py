"""FastAPI without batching: one call for each request, in a thread; tensors in bytes.

CALLS is the number of calls that a worker makes at a time.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request, Response

from scripts.comparison.peers.network_call import network_call, reader

app = FastAPI()
threads = ThreadPoolExecutor(int(os.environ.get("CALLS", "1")))
call = network_call()
read = reader()


def predict(body: bytes) -> bytes:
    return call(read(body)).tobytes()


@app.post("/predict")
async def answer(request: Request) -> Response:
    body = await request.body()
    numbers = await asyncio.get_running_loop().run_in_executor(threads, predict, body)
    return Response(numbers, media_type="application/octet-stream")
