"""LitServe: two workers, each with batches of the requests of five milliseconds.

Run as `python -m scripts.comparison.peers.litserve_app PORT`. A `batch_timeout` of 1 ms is better
for one client and worse for many; 0 makes an idle worker use a whole core. Two workers and the fast
queue were faster than one worker and the default queue.
"""

import sys

import litserve
import numpy as np

from scripts.comparison.peers.compiled_call import compiled_call


class Example(litserve.LitAPI):
    """The steps of a request, in order."""

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

    # With types here and above, FastAPI would validate the bodies again.
    def encode_response(self, output: np.ndarray):  # type: ignore[no-untyped-def]  # untyped in LitServe, too
        """Turn a row into a body."""
        return {"prediction": float(output[0])}


def serve(api: litserve.LitAPI, port: int) -> None:
    """Serve on 127.0.0.1, until SIGINT."""
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=2, fast_queue=True, timeout=False
    )
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    serve(Example(max_batch_size=64, batch_timeout=0.005), int(sys.argv[1]))
