"""Pages for people: start page, API documentation, explanations of problems."""

from __future__ import annotations

import json
import mimetypes
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from server.errors import UnknownPath
from server.handlers.base import BaseHandler
from server.http.auth import METRICS, PREDICT
from server.problems import PROBLEMS
from server.serving.served_model import ServedModel
from server.serving.service import ServiceState

HERE = Path(__file__).parents[1]
STATIC = HERE / "static"
TEMPLATES = HERE / "templates"

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
        """Add `model`, which is None while it is loading, and `quote` for shell commands."""
        model = None if self.service.state is ServiceState.LOADING else self.service.model
        return {**super().get_template_namespace(), "model": model, "quote": shlex.quote}


class Field(NamedTuple):
    """A field of the form on the start page, for one input of the model."""

    id: str
    name: str
    about: str
    value: str
    is_number: bool

    @property
    def lines(self) -> int:
        """The height of the field in lines."""
        return min(8, 1 + len(self.value) // 60)


def fields_of(model: ServedModel) -> list[Field]:
    """Return a field for each input of a model, filled with an example.

    An input of shape [1] shows the number without brackets.
    """
    examples = [example.request for example in model.examples]
    data = json.loads((examples or [model.dialect.example()])[0])["data"]
    inputs = model.signature.inputs
    values = [data] if len(inputs) == 1 else [data[spec.name] for spec in inputs]
    return [
        Field(
            id=f"input-{number}",
            name=spec.name,
            about=f"{spec.dtype} {spec.shape_text}",
            value=json.dumps(value[0] if spec.shape == (1,) else value),
            is_number=spec.shape == (1,),
        )
        for number, (spec, value) in enumerate(zip(inputs, values, strict=True))
    ]


class StartPageHandler(PageHandler):
    """Start page: the model, live charts, and a form to try it."""

    def get(self) -> None:
        model = None if self.service.state is ServiceState.LOADING else self.service.model
        since = datetime.fromtimestamp(model.since if model else 0, UTC)
        origin = f"{self.request.protocol}://{self.request.host}"
        self.render(
            "index.html",
            state=self.service.condition,
            origin=origin,
            since=since.isoformat(timespec="seconds"),
            fields=fields_of(model) if model else [],
            needs_key=self.keys.requires_key(PREDICT),
            can_watch=not self.keys.requires_key(METRICS),
            max_batch_ms=self.service.settings.batching.max_batch_ms,
        )


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

    def get(self) -> None:
        self.set_header("Content-Type", "application/json")
        default = self.service.model
        others = [model for model in self.service.models if model is not default]
        self.finish(self.parts.describe(default, *others))


class AssetHandler(BaseHandler):
    """The files in `server/static/`."""

    def get(self, file: str) -> None:
        """Send a file; raises UnknownPath."""
        assets = self.parts.assets
        if file not in assets:
            raise UnknownPath(f"There is no file {file[:80]}.")
        self.set_header("Content-Type", mimetypes.guess_type(file)[0] or "text/plain")
        self.set_header("Cache-Control", "public, max-age=3600")
        self.finish(assets[file])


def read_assets() -> dict[str, bytes]:
    """Return the content of every file in `server/static/`, by name."""
    return {path.name: path.read_bytes() for path in STATIC.iterdir() if path.is_file()}
