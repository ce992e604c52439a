"""Which pages of other origins may read answers: CORS, as the Fetch standard has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from server.dialects.interface import Headers

MAY_READ: Final = (
    "X-Request-ID, X-Model-Version, Server-Timing, Retry-After, WWW-Authenticate, "
    "Inference-Header-Content-Length"
)
MAY_SEND: Final = (
    "Authorization, Content-Type, Inference-Header-Content-Length, X-API-Key, X-Request-ID, "
    "X-Request-Timeout-Ms"
)
REMEMBERED_SECONDS: Final = "600"


class Cors:
    """The origins whose pages may ask; a browser keeps answers from all others.

    Credentials of the browser's own (cookies, certificates) are never allowed: a page that has a
    key sends it in a header.

    Attributes:
        is_on: whether there are any.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._headers = {
            origin: {
                "Vary": "Origin",
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Expose-Headers": MAY_READ,
            }
            for origin in origins
        }
        self.is_on = bool(self._headers)
        # What a cache keeps for one origin is not for another, whichever comes first.
        self._others = {"Vary": "Origin"} if self.is_on else {}

    def headers(self, request: Headers) -> Mapping[str, str]:
        """Return what the answer to a request says about who may read it."""
        return self._headers.get(request.get("origin", ""), self._others)

    def preflight(self, request: Headers, methods: Sequence[str]) -> Mapping[str, str]:
        """Return what the answer to OPTIONS says to a browser that asks before it asks."""
        is_asked = request.get("access-control-request-method", "")
        if not is_asked or request.get("origin", "") not in self._headers:
            return {}
        return {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": MAY_SEND,
            "Access-Control-Max-Age": REMEMBERED_SECONDS,
        }
