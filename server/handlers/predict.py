"""Predictions with Tornado's transport; llhttp calls the endpoints itself."""

from __future__ import annotations

import asyncio

from server.handlers.base import BaseHandler
from server.http.message import CLIENT_LEFT, Request, Response


class PredictHandler(BaseHandler):
    """Passes a request to its endpoint, and the response back."""

    METHODS = ("POST",)

    call: asyncio.Task[Response] | None = None

    async def post(self, **_: str) -> None:
        endpoint = self.parts.endpoints.get(("POST", self.request.path))
        assert endpoint, "routes and endpoints come from the same table"
        body, client = self.take_body(), self.seen.client
        request = Request(self.request_id, self.request.headers, body, client, self.request.query)
        self.call = asyncio.ensure_future(endpoint(request))
        del body, request  # the endpoint releases the body once it is decoded
        try:
            response = await self.call
            self.call = None  # it has the response, which the client may read slowly
            self.respond(response)
        except asyncio.CancelledError:
            self.set_status(CLIENT_LEFT, "Client Closed Request")
            self.finish()

    def on_connection_close(self) -> None:
        """Cancel the prediction: its client has disconnected."""
        super().on_connection_close()
        if self.call:
            self.call.cancel()
