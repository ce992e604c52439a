"""LitServe: two workers, each of which batches what has gathered within five milliseconds.

Run as `python -m scripts.comparison.peers.litserve_app PORT`. A `batch_timeout` of 1 ms serves a
lone client better, and many worse; one of 0 makes a worker spin while there is nothing to do.
Two workers and the fast queue were faster than one and the usual queue.
"""

import sys

import litserve
import numpy as np

from scripts.comparison.peers.compiled_call import compiled_call


class Example(litserve.LitAPI):
    """The steps of a request, in its order."""

    def setup(self, _: str) -> None:
        """Load the model in the worker."""
        self._call = compiled_call()

    def decode_request(self, request) -> np.ndarray:  # type: ignore[no-untyped-def]  # see below
        """Turn a body into a row."""
        return np.array(request["data"], np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        """Turn rows into a batch."""
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Call the model once."""
        return self._call(x)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        """Turn a batch into rows."""
        return list(output)

    # Types here and above would have FastAPI check the bodies once more.
    def encode_response(self, output: np.ndarray):  # type: ignore[no-untyped-def]  # LitServe's own has no types
        """Turn a row into a body."""
        return {"prediction": float(output[0])}


if __name__ == "__main__":
    server = litserve.LitServer(
        Example(max_batch_size=64, batch_timeout=0.005),
        accelerator="cpu",
        workers_per_device=2,
        fast_queue=True,
        timeout=False,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
