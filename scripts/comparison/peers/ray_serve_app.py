"""Ray Serve: one replica, which serves HTTP itself and waits up to two milliseconds for a batch.

Run as `python -m scripts.comparison.peers.ray_serve_app FOLDER`, with these variables set:
RAY_SERVE_THROUGHPUT_OPTIMIZED=1 removes, among other things, the proxy between HTTP and replica,
and makes it many times faster. RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT is the port. Without
RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 it listens on a dozen ports of all interfaces.
"""

from __future__ import annotations

import sys

import numpy as np
import orjson
import ray
from ray import serve
from starlette.requests import Request

from scripts.comparison.peers.compiled_call import compiled_call


@serve.deployment(num_replicas=1, max_ongoing_requests=1024)
class Example:
    """The deployment; Ray copies it into the process of the replica."""

    def __init__(self) -> None:
        """Load the model in the replica."""
        _listen_on_loopback()
        self._call = compiled_call()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def predict(self, rows: list[list[float]]) -> list[float]:
        """Call the model once."""
        predictions: list[float] = self._call(np.array(rows, np.float32))[:, 0].tolist()
        return predictions

    async def __call__(self, request: Request) -> dict[str, float]:
        """Answer one request."""
        return {"prediction": await self.predict(orjson.loads(await request.body())["data"])}


def _listen_on_loopback() -> None:
    """Bind the port for other replicas to the loopback address; Ray has no option for that."""
    from ray.serve._private import replica

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, _: bind(server, "127.0.0.1:0")


def main(folder: str) -> None:
    ray.init(include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    serve.start(
        http_options={"host": "127.0.0.1", "port": 0},  # of the proxy, which is not used
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    application = Example.bind()  # type: ignore[attr-defined]  # the decorator adds bind
    serve.run(application, route_prefix="/predict", blocking=True)


if __name__ == "__main__":
    main(sys.argv[1])
