"""FastAPI without batching: the compiled call for each request, in a thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel

from scripts.comparison.peers.compiled_call import compiled_call

app = FastAPI()
threads = ThreadPoolExecutor(1)
call = compiled_call()


class Request(BaseModel):
    """The body."""

    data: list[float]


def predict(data: list[float]) -> float:
    return float(call(np.array([data], np.float32))[0, 0])


@app.post("/predict")
async def answer(request: Request) -> Response:
    prediction = await asyncio.get_running_loop().run_in_executor(threads, predict, request.data)
    return Response(orjson.dumps({"prediction": prediction}), media_type="application/json")
