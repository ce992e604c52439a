"""Models whose examples are too long to show: start page and API document stay small.

A model may have large inputs, large outputs, or many of both.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from model.signature import Signature, TensorSpec
from tests.handlers.test_pages import Page, page_at
from tests.openapi.test_shared_schemas import inlined
from tests.support.fake_process import in_threads
from tests.support.harness import SOON, FakeModel, listening, over_http, serving, with_settings

HTML = {"Accept": "text/html"}
MAX_DOCUMENT = 300_000
MAX_PAGE = 100_000

NUMBER = (TensorSpec("y", (1,), "float32"),)
CLASSES = (TensorSpec("classes", (10,), "float32"),)
PIXELS = (TensorSpec("pixels", (8, 8, 3), "float32"),)


def many(count: int, length: int, what: str) -> tuple[TensorSpec, ...]:
    """Return tensors with long names and several shapes."""
    shapes: list[tuple[int | None, ...]] = [(1,), (3,), (None, 4), ()]
    return tuple(
        TensorSpec(f"{what}_{n}/".ljust(length, "x"), shapes[n % 4], "float32")
        for n in range(count)
    )


MODELS = {
    "an image": Signature((TensorSpec("image", (224, 224, 3), "float32"),), CLASSES),
    "a large answer": Signature(PIXELS, (TensorSpec("large", (128, 128, 3), "float32"),)),
    "two images": Signature(
        (TensorSpec("left", (64, 64, 3), "float32"), TensorSpec("right", (64, 64, 3), "uint8")),
        NUMBER,
    ),
    "words": Signature((TensorSpec("it's", (3000,), "string", samples=("a", "b")),), NUMBER),
    "ids": Signature((TensorSpec("ids", (5000,), "int32", 0, 99),), NUMBER),
    "many": Signature(many(100, 20, "input"), many(100, 20, "output")),
    "many of long names": Signature(many(100, 64, "input"), many(100, 64, "output")),
    "many of very long names": Signature(many(100, 100, "input"), many(100, 100, "output")),
    "many of names of HTML": Signature(many(100, 64, "<&'\">" * 9), many(100, 64, "<&'\">" * 9)),
    "a thousand": Signature(many(300, 64, "input"), many(300, 64, "output")),
}
ONE_ROW = with_settings(batching={"max_rows": 1})


class CountingModel(FakeModel):
    """Answers with the number of cells of a row, of whatever type, and one more."""

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        cells = sum(array[0].size for array in arrays)
        rows = len(arrays[0])
        return [
            np.full((rows, *(size or 2 for size in spec.shape)), 1 + cells, spec.dtype)
            for spec in self.signature.outputs
        ]


# Each takes seconds to make; the others reach the limits, too.
LONG_TO_MAKE = {
    *(
        "many",
        "a thousand",
        "many of long names",
        "many of very long names",
        "many of names of HTML",
    ),
}


def kinds(*names: str) -> list[object]:
    """Kinds of models as parameters; those that take long to make are for `make torture`."""
    return [
        pytest.param(name, marks=pytest.mark.torture if name in LONG_TO_MAKE else ())
        for name in names
    ]


of_every_kind = pytest.mark.parametrize("kind", kinds(*MODELS))


@of_every_kind
@over_http
async def test_page_and_document_are_small(kind: str) -> None:
    async with serving(CountingModel(MODELS[kind]), ONE_ROW) as server:
        page = await server.ask("GET", "/", HTML)
        document = await server.ask("GET", "/openapi.json")

    assert (page.status, document.status) == (200, 200)
    assert len(page.body) <= MAX_PAGE
    assert len(document.body) <= MAX_DOCUMENT
    OpenAPIV31SpecValidator(document.json).validate()


@pytest.mark.parametrize("kind", kinds("an image", "two images", "many"))
@over_http
async def test_the_document_still_has_all_schemas(kind: str) -> None:
    async with serving(CountingModel(MODELS[kind]), ONE_ROW) as server:
        schemas = (await server.ask("GET", "/openapi.json")).json["components"]["schemas"]
        dialects = server.service.model.dialects.by_name

    for prefix, name in (("Predict", "native"), ("TFServing", "tfserving"), ("V2", "v2")):
        assert inlined(schemas, schemas[f"{prefix}Request"]) == dialects[name].schema
        assert inlined(schemas, schemas[f"{prefix}Answer"]) == dialects[name].answer_schema


@pytest.mark.torture
@over_http
async def test_of_very_many_inputs_the_document_leaves_schemas_out() -> None:
    async with serving(CountingModel(MODELS["a thousand"]), ONE_ROW) as server:
        schemas = (await server.ask("GET", "/openapi.json")).json["components"]["schemas"]

    request = inlined(schemas, schemas["V2Request"])
    assert "GET /v2/models/{name}" in request["description"]


@pytest.mark.torture
@over_http
async def test_of_very_many_inputs_the_page_leaves_form_and_table_out() -> None:
    async with serving(CountingModel(MODELS["a thousand"]), ONE_ROW) as server:
        page = await page_at(server, "/")
        [metadata] = [address for _, _, address in page.addresses if "/v2/models/" in address]
        assert len((await server.ask("GET", metadata)).json["inputs"]) == 300

    assert "too many to show" in page.text
    assert not fields_of(page)


def fields_of(page: Page) -> list[dict[str, str | None]]:
    return [attributes for tag, attributes in page.elements if tag == "textarea"]


@pytest.mark.parametrize(
    "kind, words",
    [
        ("an image", "The request is too long to show (image: float32[224, 224, 3])."),
        ("a large answer", "The answer is too long to show (large: float32[128, 128, 3])."),
        ("ids", "The request is too long to show (ids: int32[5000] from 0 to 99)."),
        pytest.param("many of long names", "and 95 more).", marks=pytest.mark.torture),
    ],
)
@over_http
async def test_what_is_too_long_is_said_with_its_shape_and_type(kind: str, words: str) -> None:
    async with serving(CountingModel(MODELS[kind]), ONE_ROW) as server:
        page = await page_at(server, "/")
        document = (await server.ask("GET", "/openapi.json")).json

    assert words in page.text
    assert words in document["paths"]["/predict"]["post"]["description"]


@over_http
async def test_a_short_request_with_a_long_answer_is_shown() -> None:
    async with serving(CountingModel(MODELS["a large answer"]), ONE_ROW) as server:
        page = await page_at(server, "/")
        document = (await server.ask("GET", "/openapi.json")).json

    assert "curl -d" in "".join(page.blocks)
    assert "textarea" in [tag for tag, _ in page.elements]
    operation = document["paths"]["/predict"]["post"]
    assert "native-one-example-request" in str(operation["requestBody"])
    assert "examples" not in operation["responses"]["200"]["content"]["application/json"]


@over_http
async def test_the_form_is_empty_and_knows_how_to_fill_itself() -> None:
    async with serving(CountingModel(MODELS["ids"]), ONE_ROW) as server:
        page = await page_at(server, "/")

    [field] = fields_of(page)
    assert (field["data-type"], field["data-shape"]) == ("int32", "[5000]")
    assert (field["data-least"], field["data-most"]) == ("0", "99")
    assert "random" in [attributes.get("id") for _, attributes in page.elements]


@over_http
async def test_the_form_of_a_small_model_has_no_button_for_random_values() -> None:
    async with serving() as server:
        page = await page_at(server, "/")

    assert "random" not in [attributes.get("id") for _, attributes in page.elements]


# The commands


LONG = ["an image", "two images", "words", "ids", "many of long names"]
needs_curl = pytest.mark.skipif(
    not shutil.which("curl"), reason="curl is not installed: apt-get install curl"
)


async def run(command: str, folder: Path, **variables: str) -> Any:
    """Run a command in a shell; return the answer that it keeps in a file."""
    command = command.replace("curl ", "curl -sS --noproxy '*' ")
    command = command.replace("python3 ", f"{sys.executable} ")  # which has numpy
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", command],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    [file] = folder.iterdir()
    answer = np.load(file) if file.suffix == ".npy" else json.loads(file.read_bytes())
    file.unlink()
    return answer


def first_number(answer: Any) -> float:
    """Return the first number of an answer."""
    if isinstance(answer, np.ndarray):
        return float(answer.flat[0])
    first = answer["prediction"]
    while isinstance(first, dict | list):
        first = next(iter(first.values() if isinstance(first, dict) else first))
    return float(first)


@needs_curl
@pytest.mark.parametrize("kind", kinds(*LONG))
@over_http
async def test_the_command_of_the_page_makes_an_example(kind: str, tmp_path: Path) -> None:
    async with serving(CountingModel(MODELS[kind]), ONE_ROW) as server:
        page = await page_at(server, "/")
        [command] = page.blocks
        answer = await run(command, tmp_path)
        rows = server.service.model.loaded.report.golden[0].rows

    assert "\n" not in command
    assert first_number(answer) == 1 + sum(array[0].size for array in rows.arrays.values())


@needs_curl
@pytest.mark.parametrize("kind", kinds("an image", "two images", "many of long names"))
@over_http
async def test_the_command_of_the_document_makes_an_example(kind: str, tmp_path: Path) -> None:
    async with serving(CountingModel(MODELS[kind]), ONE_ROW) as server:
        document = (await server.ask("GET", "/openapi.json")).json
        text = document["paths"]["/predict"]["post"]["description"]
        [command] = re.findall(r"```sh\n(.*)\n```", text)
        answer = await run(command, tmp_path, SERVER=server.origin)

    assert first_number(answer) > 1


@over_http
async def test_there_is_no_command_for_a_request_that_is_too_long_to_send() -> None:
    settings = with_settings(batching={"max_rows": 1}, http={"max_body_bytes": 100_000})
    async with serving(CountingModel(MODELS["an image"]), settings) as server:
        page = await page_at(server, "/")

    assert "longer than the service accepts (http.max_body_bytes)" in page.text
    assert not page.blocks


@over_http
async def test_an_example_with_nan_in_its_answer_is_not_shown() -> None:
    model = FakeModel()
    model.spoil = lambda y: y * np.nan
    async with serving(model) as server:
        page = await page_at(server, "/")
        document = await server.ask("GET", "/openapi.json")

    assert not page.blocks
    assert document.status == 200


@pytest.mark.torture
@over_http
async def test_what_a_version_keeps_does_not_grow_with_its_answers() -> None:
    large = Signature(PIXELS, (TensorSpec("large", (1024, 1024, 3), "float32"),))  # 12 MB
    async with serving(CountingModel(large), ONE_ROW) as server:
        golden = server.service.model.loaded.report.golden

    assert sum(pair.answer.nbytes for pair in golden) < 2**17


@over_http
async def test_a_new_version_has_a_new_page_and_document() -> None:
    models = iter([FakeModel(), CountingModel(MODELS["an image"])])
    settings = with_settings(model={"allow_signature_change": True}, batching={"max_rows": 1})
    async with listening(settings) as server:
        await server.service.start(in_threads(lambda _: next(models)))
        before = [(await server.ask("GET", path, HTML)).body for path in ("/", "/openapi.json")]
        await server.service.repository.load(server.service.model.name)
        after = [(await server.ask("GET", path, HTML)).body for path in ("/", "/openapi.json")]

    assert not any(b"image: float32[224, 224, 3]" in body for body in before)
    assert all(b"image: float32[224, 224, 3]" in body for body in after)


@over_http
async def test_a_replaced_version_is_not_kept_for_its_page_and_document() -> None:
    async with serving() as server:
        old = weakref.ref(server.service.model)
        for path in ("/", "/openapi.json"):
            await server.ask("GET", path, HTML)
        await server.service.repository.load(server.service.model.name)
        await server.ask("GET", "/", HTML)
        async with asyncio.timeout(SOON):
            while old() is not None:
                gc.collect()
                await asyncio.sleep(0.01)
