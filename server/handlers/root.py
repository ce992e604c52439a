"""`GET /`: a page for people, a document for programs."""

from __future__ import annotations

from typing import Final

from server import __version__
from server.dialects.v2.documents import SERVER_NAME
from server.handlers.start_page import StartPageHandler
from server.http.message import COMMON_HEADERS

HTML: Final = ("text/html", "application/xhtml+xml")
POLICY: Final = "Content-Security-Policy"


class RootHandler(StartPageHandler):
    """The start page for those who ask for HTML; for others, that the service is alive.

    KServe answers `{"status": "alive"}`, and its clients look for it.
    """

    async def get(self) -> None:
        self.add_header("Vary", "Accept")
        if asks_for_html(self.request.headers.get("Accept", "")):
            await super().get()
            return
        self.set_header(POLICY, COMMON_HEADERS[POLICY])
        root = self.seen.root
        self.send_json(
            {"status": "alive", "name": SERVER_NAME, "version": __version__}
            | {"documentation": f"{root}/docs", "openapi": f"{root}/openapi.json"}
        )


def asks_for_html(accept: str) -> bool:
    """Return whether an Accept header names HTML, as those of browsers do; `*/*` does not."""
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return any(kind in HTML for kind in kinds)
