"""Bare Tornado: one handler that always sends the same answer, no access log, no ETag.

Run as `python -m scripts.comparison.peers.constant_tornado PORT`.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from tornado.web import Application, RequestHandler


class Constant(RequestHandler):
    """POST /predict."""

    def post(self) -> None:
        """Answer without reading the request."""
        self.finish({"prediction": 31.0})

    def compute_etag(self) -> None:
        """Skip the hash of the answer."""


async def serve(port: int) -> None:
    routes = [("/predict", Constant)]
    application = Application(routes, log_function=lambda _: None)
    application.listen(port, "127.0.0.1", backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
