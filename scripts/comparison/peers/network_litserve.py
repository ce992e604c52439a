"""LitServe: two workers with batches, as in `litserve_app`; a tensor is a file of a form.

LitServe takes JSON or forms. Run as `python -m scripts.comparison.peers.network_litserve PORT`.
"""

import sys

import litserve
import numpy as np
from fastapi import Response

from scripts.comparison.peers.litserve_app import serve
from scripts.comparison.peers.network_call import MOST_ROWS, network_call, reader


class Network(litserve.LitAPI):
    """The steps of a request, in order."""

    def setup(self, _: str) -> None:
        """Load the model in the worker."""
        self._call = network_call()
        self._read = reader()

    def decode_request(self, request) -> np.ndarray:  # type: ignore[no-untyped-def]  # as in litserve_app
        """Turn a file into a row."""
        return self._read(request["x"].file.read())

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Turn rows into a batch."""
        return np.concatenate(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Call the model once."""
        return self._call(x)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """Turn a batch into rows."""
        return list(output)

    def encode_response(self, output: np.ndarray):  # type: ignore[no-untyped-def]  # untyped in LitServe, too
        """Turn a row into a body."""
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    serve(Network(max_batch_size=MOST_ROWS, batch_timeout=0.005), int(sys.argv[1]))
