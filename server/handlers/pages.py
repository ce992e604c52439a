"""Pages for people, except for the start page; the files that they load; the OpenAPI document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar
from weakref import ref

from server.errors import UnknownPath
from server.handlers.base import BaseHandler
from server.openapi.document import ROOT
from server.problems import PROBLEMS

TEMPLATES = Path(__file__).parents[1] / "templates"

# Pages load nothing from other hosts, and have no inline styles or scripts.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI uses inline styles.
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


class PageHandler(BaseHandler):
    """An HTML page."""

    POLICY: ClassVar[str] = PAGE_POLICY

    def set_default_headers(self) -> None:
        """Allow the page to load files of this service only."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", self.POLICY)

    def get_template_namespace(self) -> dict[str, Any]:
        """Add `root`, what paths begin with, and `asset`, which returns that of a static file."""
        root, url = self.seen.root, self.parts.assets.url
        added = {"root": root, "asset": lambda name: root + url(name)}
        return {**super().get_template_namespace(), **added}


class DocsHandler(PageHandler):
    """Swagger UI for the OpenAPI document."""

    POLICY = DOCS_POLICY

    def get(self) -> None:
        self.render("docs.html")


class ProblemHandler(PageHandler):
    """The explanation of a problem type."""

    def get(self, slug: str) -> None:
        """Show title and meaning of a problem; raises UnknownPath."""
        for error, problem in PROBLEMS.items():
            if problem.slug == slug:
                self.render("problem.html", problem=problem, meaning=error.__doc__)
                return
        raise UnknownPath(f"There is no problem type {slug[:80]}.")


class OpenAPIHandler(BaseHandler):
    """The OpenAPI document of the service and its models."""

    async def get(self) -> None:
        """Send the document; raises Loading, UnknownModel."""
        default = self.service.model
        models = [default, *(model for model in self.service.models if model is not default)]
        # With weak references, models that were replaced can be freed.
        key = tuple([ref(model) for model in models])
        body = await self.parts.documents.get(key, lambda: self.parts.describe(*models))
        if (address := self._address()) != ROOT:
            plain = body.plain
            body = await self.parts.addressed.get((key, address), lambda: served_at(address, plain))
        self.set_header("Content-Type", "application/json")
        self.send_body(body)

    def _address(self) -> str:
        """Return where the service is: as trusted proxies tell it, else without a host."""
        is_told = self.parts.outside.trusts(self.request.remote_ip or "")
        return self.seen.address if is_told else self.seen.root or ROOT


def served_at(address: str, document: bytes) -> bytes:
    """Return an OpenAPI document with another address of the service."""
    servers = '"servers":[{"url":%s}]'
    return document.replace(
        (servers % json.dumps(ROOT)).encode(), (servers % json.dumps(address)).encode(), 1
    )


class AssetHandler(BaseHandler):
    """The files in `server/static/`."""

    async def get(self, file: str) -> None:
        """Send a file; raises UnknownPath."""
        assets = self.parts.assets
        asset = assets.find(file)
        self.set_header("Content-Type", asset.media_type)
        self.set_header("Cache-Control", asset.cache_control)
        self.send_body(await assets.bodies.get(asset.content, lambda: asset.content))
