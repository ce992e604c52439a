"""The start page: the model, live charts, examples, and a form to try it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from weakref import ref

from model.examples import cells_of_row
from model.signature import TensorSpec
from server.dialects.native.pictures import IMAGE_TYPES
from server.handlers.pages import PageHandler
from server.http.auth import METRICS, PREDICT
from server.openapi import commands
from server.openapi.examples import command_of, how_to_make_one, too_long
from server.serving.loading import MAX_EXAMPLE_BYTES
from server.serving.served_model import ServedModel
from server.serving.service import ServiceState

MAX_PAGE_BYTES: Final = 100_000
MOST_NUMBERS: Final = 12  # of an input that get a field each
VARIABLE_SIZE: Final = 2  # of variable dimensions, where the model has no example


class Field(NamedTuple):
    """A part of the form, for one input of the model.

    Attributes:
        value: an example; "" if the example is too long to show.
        shape: of a random example, if there is no value.
        takes_pictures: whether the input is sent as a picture file.
    """

    id: str
    spec: TensorSpec
    value: str
    shape: tuple[int, ...]
    takes_pictures: bool = False

    @property
    def kind(self) -> str:
        """What it consists of: `picture`, `text`, `numbers` (a field each) or `json`."""
        if self.takes_pictures:
            return "picture"
        if self.spec.dtype == "string":
            return "text" if self.spec.shape in ((), (1,)) else "json"
        return "numbers" if self.spec.rank <= 1 and self.numbers else "json"

    @property
    def numbers(self) -> list[float]:
        """The example, if it is one number or a few."""
        if self.spec.array_dtype.kind not in "fiu" or not self.value:
            return []
        given = json.loads(self.value)
        numbers = given if isinstance(given, list) else [given]
        is_short = None not in self.spec.shape and len(numbers) <= MOST_NUMBERS
        return numbers if is_short else []

    @property
    def text(self) -> str:
        """The example, if it is one string."""
        words: str = json.loads(self.value) if self.value else ""
        return words

    @property
    def part(self) -> str:
        """The example as a part of a form, where text has no quotes."""
        return self.text if self.kind == "text" else self.value

    @property
    def is_number(self) -> bool:
        """Whether a number is shown without the brackets of its shape `[1]`."""
        return self.spec.shape == (1,)

    @property
    def lines(self) -> int:
        """The height of the field in lines."""
        return min(8, 1 + len(self.value) // 60)

    @property
    def for_random(self) -> Mapping[str, str]:
        """Return what a script needs to know to fill the field, as attributes."""
        spec = self.spec
        known = {"type": spec.dtype, "shape": json.dumps(self.shape, separators=(",", ":"))}
        if spec.maximum is not None:
            known |= {"least": str(spec.minimum), "most": str(spec.maximum)}
        return known


def fields_of(model: ServedModel) -> list[Field]:
    """Return a field for each input of a model, with an example if it is short enough.

    An input of shape [1] shows the number without brackets.
    """
    inputs = model.signature.inputs
    data = example_of(model)
    values = {inputs[0].name: data} if len(inputs) == 1 else data or {}
    pictures = {each.name for each in model.origin.file.source.inputs}
    fields = []
    for number, spec in enumerate(inputs):
        value = values.get(spec.name)
        if value is not None and spec.shape == (1,):
            [value] = value
        text = "" if value is None else json.dumps(value)
        shape = shape_of(model, spec)
        fields.append(Field(f"input-{number}", spec, text, shape, spec.name in pictures))
    return fields


def example_of(model: ServedModel) -> Any:
    """Return the data of the first example; None if it is too long to show."""
    body = b""
    if model.examples:
        body = model.examples[0].request
    elif 2 * cells_of_row(model.signature, VARIABLE_SIZE) <= MAX_EXAMPLE_BYTES:
        body = model.dialect.example(variable_size=VARIABLE_SIZE)
    return json.loads(body)["data"] if 0 < len(body) <= MAX_EXAMPLE_BYTES else None


def shape_of(model: ServedModel, spec: TensorSpec) -> tuple[int, ...]:
    """Return a shape that the model takes for one example of an input."""
    for golden in model.loaded.report.golden:
        shape: tuple[int, ...] = golden.rows.arrays[spec.name].shape[1:]
        return shape
    return spec.row_shape(VARIABLE_SIZE)


class Shown(NamedTuple):
    """What the page shows of an example; empty texts are left out.

    Attributes:
        says: what is too long to show.
        answer: the answer to the command.
    """

    summary: str
    says: str
    command: str
    answer: str


def shown(model: ServedModel, origin: str, *, needs_key: bool) -> list[Shown]:
    """Return what the page shows of each example; `origin` is text for a shell.

    If requests are too long to show, only the first example has a command.
    """
    signature = model.signature
    found = []
    for each in model.examples:
        if each.request:
            command = commands.curl(each.request, origin, needs_key=needs_key)
            says = "" if each.answer else too_long("answer", signature.outputs)
            found.append(Shown(each.summary, says, command, each.answer.decode()))
        elif not found:
            says = f"{too_long('request', signature.inputs)} {how_to_make_one(model)}"
            command = command_of(model, origin, needs_key=needs_key)
            found.append(Shown(each.summary, says, command, ""))
    return found


def shown_pictures(fields: list[Field], origin: str, *, needs_key: bool) -> list[Shown]:
    """Return what the page shows of a request with picture files, if the model takes them."""
    if not any(field.takes_pictures for field in fields):
        return []
    if len(fields) == 1:
        return [Shown("a picture", "", commands.curl_picture(origin, needs_key=needs_key), "")]
    parts = {
        each.spec.name: "@picture.jpg" if each.takes_pictures else each.part for each in fields
    }
    if not all(parts.values()):
        return []
    command = commands.curl_form(parts, origin, needs_key=needs_key)
    return [Shown("a form with pictures", "", command, "")]


class StartPageHandler(PageHandler):
    """Start page: the model, live charts, and a form to try it."""

    async def get(self) -> None:
        """Send the page; raises UnknownModel."""
        model = None if self.service.state is ServiceState.LOADING else self.service.model
        origin = self.seen.address
        state = self.service.condition
        key = (ref(model) if model else None, origin, state)
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.send_body(await self.parts.pages.get(key, lambda: self._page(model, origin, state)))

    def _page(self, model: ServedModel | None, origin: str, state: str) -> bytes:
        """Return the page; without its longest parts, if it were too long with them."""
        needs_key = self.keys.requires_key(PREDICT)
        page = b""
        for is_whole in (True, False):
            about = about_model(model, shlex.quote(origin), needs_key, is_whole) if model else {}
            page = self.render_string(
                "index.html",
                model=model,
                state=state,
                needs_key=needs_key,
                can_watch=not self.keys.requires_key(METRICS),
                max_batch_ms=self.service.settings.batching.max_batch_ms,
                **about,
            )
            if len(page) <= MAX_PAGE_BYTES:
                break
        return page


def about_model(model: ServedModel, origin: str, needs_key: bool, is_whole: bool) -> dict[str, Any]:
    """Return what the template needs to know of a model; `origin` is text for a shell."""
    fields = fields_of(model) if is_whole else []
    examples = shown_pictures(fields, origin, needs_key=needs_key)
    examples += shown(model, origin, needs_key=needs_key)
    return {
        "is_whole": is_whole,
        "since": datetime.fromtimestamp(model.since, UTC).isoformat(timespec="seconds"),
        "fields": fields,
        "outputs": json.dumps([spec.name for spec in model.signature.outputs]),
        "labelled": json.dumps(list(model.dialect.labels)),
        "image_types": IMAGE_TYPES,
        "examples": examples,
        "metadata": f"v2/models/{quote(model.name, safe='')}",
    }
