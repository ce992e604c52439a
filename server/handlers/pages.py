"""What a person looks at: the start page, the documentation, what an error means."""

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

# Nothing is loaded from elsewhere, and no markup styles or scripts itself.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI styles its elements.
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


class PageHandler(BaseHandler):
    """A page of HTML."""

    POLICY: ClassVar[str] = PAGE_POLICY

    def set_default_headers(self) -> None:
        """Let a page load nothing but what is ours."""
        super().set_default_headers()
        self.set_header("Content-Security-Policy", self.POLICY)

    def get_template_namespace(self) -> dict[str, Any]:
        """Give templates what is served, or None while it is loading."""
        model = None if self.service.state is ServiceState.LOADING else self.service.model
        return {**super().get_template_namespace(), "model": model, "quote": shlex.quote}


class Field(NamedTuple):
    """One input of the model in the form of the start page."""

    id: str
    name: str
    about: str
    value: str
    is_number: bool

    @property
    def lines(self) -> int:
        """How many lines its text takes."""
        return min(8, 1 + len(self.value) // 60)


def fields_of(model: ServedModel) -> list[Field]:
    """Return the form of a model's inputs, filled with an example that it answers if there is one.

    Of an input that takes one number the number stands there, without brackets.
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


class IndexHandler(PageHandler):
    """What is served, a form to ask it, how it fares."""

    def get(self) -> None:
        """Show it."""
        model = None if self.service.state is ServiceState.LOADING else self.service.model
        since = datetime.fromtimestamp(model.since if model else 0, UTC)
        origin = f"{self.request.protocol}://{self.request.host}"
        self.render(
            "index.html",
            state=self.service.state.value,
            origin=origin,
            since=since.isoformat(timespec="seconds"),
            fields=fields_of(model) if model else [],
            needs_key=self.keys.requires_key(PREDICT),
            can_watch=not self.keys.requires_key(METRICS),
            max_batch_ms=self.service.settings.batching.max_batch_ms,
        )


class DocsHandler(PageHandler):
    """Swagger UI for our OpenAPI document."""

    POLICY = DOCS_POLICY

    def get(self) -> None:
        """Show it."""
        self.render("docs.html")


class ProblemHandler(PageHandler):
    """What the type of a problem document means."""

    def get(self, slug: str) -> None:
        """Explain it with the words of the error itself."""
        for error, problem in PROBLEMS.items():
            if problem.slug == slug:
                self.render("problem.html", problem=problem, meaning=error.__doc__)
                return
        raise UnknownPath(f"There is no problem called {slug[:80]}.")


class OpenAPIHandler(BaseHandler):
    """The OpenAPI document of what is served."""

    def get(self) -> None:
        """Send it."""
        self.set_header("Content-Type", "application/json")
        default = self.service.model
        others = [model for model in self.service.models if model is not default]
        self.finish(self.parts.describe(default, *others))


class AssetHandler(BaseHandler):
    """The files that pages load."""

    def get(self, file: str) -> None:
        """Send one."""
        assets = self.parts.assets
        if file not in assets:
            raise UnknownPath(f"There is no file {file[:80]}.")
        self.set_header("Content-Type", mimetypes.guess_type(file)[0] or "text/plain")
        self.set_header("Cache-Control", "public, max-age=3600")
        self.finish(assets[file])


def read_assets() -> dict[str, bytes]:
    """Return the content of every file that pages load."""
    return {path.name: path.read_bytes() for path in STATIC.iterdir() if path.is_file()}
