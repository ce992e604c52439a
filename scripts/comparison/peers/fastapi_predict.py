"""The first design of this project: FastAPI, and `model.predict` for every request."""

from __future__ import annotations

import os

import keras
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
model = keras.saving.load_model(os.environ["MODEL"])


class Request(BaseModel):
    """The body."""

    data: list[float]


@app.post("/predict")
def answer(request: Request) -> dict[str, float]:
    """Runs in a thread of the framework."""
    prediction = model.predict(np.array(request.data), verbose=0)
    return {"prediction": float(prediction[0, 0])}
