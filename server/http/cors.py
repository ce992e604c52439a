"""CORS (Fetch standard): which web pages of other origins may read responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from server.dialects.interface import Headers

EXPOSED_HEADERS: Final = (
    "X-Request-ID, X-Model-Version, X-Model-Engine, Server-Timing, Retry-After, "
    "WWW-Authenticate, Inference-Header-Content-Length, traceparent"
)
ALLOWED_HEADERS: Final = (
    "Authorization, Content-Encoding, Content-Type, Inference-Header-Content-Length, X-API-Key, "
    "X-Request-ID, X-Request-Timeout-Ms, traceparent, tracestate"
)
MAX_AGE_SECONDS: Final = "600"


class Cors:
    """The origins whose pages may read responses; browsers block pages of all others.

    Cookies and client certificates are never allowed: a page that has a key sends it in a header.

    Attributes:
        is_on: whether any origin is allowed.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._headers = {
            origin: {
                "Vary": "Origin",
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Expose-Headers": EXPOSED_HEADERS,
            }
            for origin in origins
        }
        self.is_on = bool(self._headers)
        # Without it, a cache could serve a response for another origin to an allowed one.
        self._others = {"Vary": "Origin"} if self.is_on else {}

    def headers(self, request: Headers) -> Mapping[str, str]:
        """Return the CORS headers of the response to a request."""
        return self._headers.get(request.get("origin", ""), self._others)

    def preflight(self, request: Headers, methods: Sequence[str]) -> Mapping[str, str]:
        """Return the CORS headers of the response to a preflight request (OPTIONS)."""
        method = request.get("access-control-request-method", "")
        if not method or request.get("origin", "") not in self._headers:
            return {}
        return {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": MAX_AGE_SECONDS,
        }
