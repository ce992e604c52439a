"""The OpenAPI document is current, complete, valid and correct."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import numpy as np
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from model.signature import Signature, TensorSpec
from server.app import openapi_document
from server.dialects.native import npy
from server.handlers.health import LivenessHandler
from server.handlers.routes import ROUTES, Route
from server.openapi import operations
from server.openapi.document import describe_service
from server.problems import PROBLEMS
from tests.support.harness import (
    JSON,
    NUMBER,
    PROBLEM_JSON,
    FakeModel,
    Response,
    Server,
    over_http,
    serving,
    undocumented,
    with_settings,
)

CHECKED_IN = Path(__file__).parents[2] / "openapi" / "openapi.json"

MODELS = {
    "a number": NUMBER,
    "two inputs, two outputs": Signature(
        (TensorSpec("user", (1,), "int32"), TensorSpec("größe", (2, None), "float32")),
        (TensorSpec("y", (1,), "float32"), TensorSpec("p", (3,), "float32")),
    ),
    "a scalar": Signature((TensorSpec("x", (), "float32"),), (TensorSpec("y", (), "float64"),)),
}
of_every_kind = pytest.mark.parametrize("kind", MODELS)


async def document_of(server: Server) -> Any:
    """Return the document as a client gets it."""
    response = await server.ask("GET", "/openapi.json")
    assert (response.status, response.media_type) == (200, JSON)
    return response.json


def resolve(document: Any, node: Any) -> Any:
    """Follow a reference within the document."""
    while "$ref" in node:
        *_, kind, name = node["$ref"].split("/")
        node = document["components"][kind][name]
    return node


# Current


@pytest.mark.torture
@pytest.mark.keras
def test_the_checked_in_file_is_current(example_model: Path) -> None:
    command = [
        sys.executable,
        "scripts/export_openapi.py",
        "--check",
        "--model",
        str(example_model),
    ]
    ended = subprocess.run(command, cwd=CHECKED_IN.parents[1], capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr


def test_two_documents_are_the_same_but_for_the_last_bits_of_numbers() -> None:
    from scripts.export_openapi import same

    document = json.loads(CHECKED_IN.read_bytes())
    text = CHECKED_IN.read_text()
    [number] = re.findall(r'"prediction": (\d+\.\d+)', text)[:1]
    assert same(document, json.loads(text))
    assert same(document, json.loads(text.replace(number, repr(float(number) * (1 + 1e-6)))))
    assert not same(document, json.loads(text.replace(number, repr(float(number) + 1))))
    assert not same(document, json.loads(text.replace("X-Request-Timeout-Ms", "X-Timeout")))
    assert not same(document, json.loads(text.replace('"minItems": 1', '"minItems": 2', 1)))


@pytest.mark.keras
@over_http
async def test_the_examples_of_the_checked_in_file_are_what_the_example_model_answers(
    example_model: Path,
) -> None:
    from model.formats.load import load_model

    document = json.loads(CHECKED_IN.read_bytes())
    async with serving(load_model(example_model)) as server:
        for request, shown in request_examples(document):
            response = await server.post(json.dumps(request).encode())
            assert response.status == 200
            assert response.json["prediction"] == pytest.approx(shown["prediction"], rel=1e-4)


# Complete


@over_http
async def test_every_route_is_documented_and_nothing_else() -> None:
    async with serving() as server:
        document = await document_of(server)

    assert set(document["paths"]) == {route.path for route in ROUTES}


@over_http
async def test_a_new_route_appears_by_itself() -> None:
    route = Route("/new", LivenessHandler, operations.describe_page("new", "Something new"))
    async with serving() as server:
        document = describe_service([*ROUTES, route], server.service.model)

    assert set(document["paths"]) == {"/new", *(route.path for route in ROUTES)}


@over_http
async def test_every_route_answers_the_methods_that_are_documented_and_no_others() -> None:
    async with serving() as server:
        document = await document_of(server)
        for path, item in document["paths"].items():
            values = {"slug": "invalid-json", "file": "pages.css", "version": "1"}
            real = path.format(**values, name="my_best_model")
            assert "{" not in real, f"{path}: this test needs a value for the parameter"
            for method in ("get", "post", "put", "patch", "delete"):
                status = (await server.ask(method.upper(), real, body=b"")).status
                assert (status != 405) is (method in item), f"{method} {path}: {status}"


def test_the_application_has_no_route_that_is_not_in_the_table() -> None:
    assert len({route.path for route in ROUTES}) == len(ROUTES)
    assert all(route.describe for route in ROUTES)


# Valid


@of_every_kind
@over_http
async def test_the_document_is_valid_openapi(kind: str) -> None:
    async with serving(FakeModel(MODELS[kind])) as server:
        document = await document_of(server)

    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


def test_the_checked_in_file_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(json.loads(CHECKED_IN.read_bytes())).validate()


def test_the_validator_objects_to_a_wrong_document() -> None:
    document = json.loads(CHECKED_IN.read_bytes())
    del document["paths"]["/predict"]["post"]["responses"]["200"]["description"]
    with pytest.raises(Exception, match="valid"):
        OpenAPIV31SpecValidator(document).validate()


@over_http
async def test_references_resolve_and_operation_ids_are_unique() -> None:
    async with serving() as server:
        document = await document_of(server)

    for reference in re.findall(r'"\$ref": ?"([^"]*)"', json.dumps(document)):
        assert reference.startswith("#/components/")
        assert resolve(document, {"$ref": reference})
    ids = [op["operationId"] for item in document["paths"].values() for op in item.values()]
    assert len(set(ids)) == len(ids)


# True


@of_every_kind
@over_http
async def test_the_schema_of_a_request_is_the_one_that_validates(kind: str) -> None:
    async with serving(FakeModel(MODELS[kind])) as server:
        document = await document_of(server)
        dialect = server.service.model.dialect

    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    arrays = [npy.MEDIA_TYPE] if kind in ("a number", "a scalar") else []
    assert list(content) == [JSON, *arrays]
    assert resolve(document, content[JSON]["schema"]) == dialect.schema


def request_examples(document: Any) -> list[tuple[Any, Any]]:
    """Return the examples of `/predict`: requests and their documented responses."""
    operation = document["paths"]["/predict"]["post"]
    requests = examples_of(document, operation["requestBody"]["content"][JSON])
    answers = examples_of(document, operation["responses"]["200"]["content"][JSON])
    assert requests
    assert requests.keys() == answers.keys()
    return [(requests[summary], answers[summary]) for summary in requests]


def examples_of(document: Any, content: Any) -> dict[str, Any]:
    """Return the examples of a body by their summaries."""
    examples = [resolve(document, each) for each in content.get("examples", {}).values()]
    return {each["summary"]: each["value"] for each in examples}


@of_every_kind
@over_http
async def test_every_example_is_accepted_and_answered_as_shown(kind: str) -> None:
    async with serving(FakeModel(MODELS[kind])) as server:
        document = await document_of(server)
        examples = request_examples(document)
        for request, answer in examples:
            response = await server.post(json.dumps(request).encode())
            assert (response.status, response.json) == (200, answer)

    assert len(examples) >= 2  # one example, and a batch


@over_http
async def test_examples_fit_their_schemas() -> None:
    async with serving() as server:
        document = await document_of(server)

    checked = 0
    for node in media_types(document):
        schema = {"allOf": [node["schema"]], "components": document["components"]}
        for example in examples_of(document, node).values():
            jsonschema_rs.validate(schema, example)
            checked += 1
    assert checked > 10


class OnlyIdentities(FakeModel):
    """A network that takes no other matrices than multiples of the identity matrix."""

    def __init__(self, shape: tuple[int | None, ...] = (2, 2)) -> None:
        super().__init__(Signature((TensorSpec("x", shape, "float32"),), NUMBER.outputs))

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        [x] = arrays
        if not all(np.array_equal(row, row[0, 0] * np.eye(len(row))) for row in x):
            raise ValueError("Cholesky decomposition was not successful")
        return super().call(arrays)


@pytest.mark.parametrize("shape", [(2, 2), (None, None)], ids=["fixed", "variable"])
@over_http
async def test_a_model_answers_the_examples_of_every_protocol(
    shape: tuple[int | None, ...], subtests: pytest.Subtests
) -> None:
    """Also if it rejects the rows that are plausible for most models."""
    async with serving(OnlyIdentities(shape)) as server:
        document = await document_of(server)
        name, version = server.service.model.name, server.service.model.version
        shown = {
            path: examples_of(document, item["post"]["requestBody"]["content"][JSON])
            for path, item in document["paths"].items()
            if item.get("post", {}).get("operationId", "").startswith("predict")
        }
        for path, examples in shown.items():
            with subtests.test(path=path):
                assert examples
                for example in examples.values():
                    body = json.dumps(example).encode()
                    real = path.format(name=name, version=version)
                    response = await server.ask("POST", real, {"Content-Type": JSON}, body)
                    assert response.status == 200, response.body
    assert len(shown) == 7


def media_types(node: Any) -> list[Any]:
    """Return every media type object of a document."""
    found = []
    if isinstance(node, dict):
        found += list(node["content"].values()) if isinstance(node.get("content"), dict) else []
        found += [inner for value in node.values() for inner in media_types(value)]
    elif isinstance(node, list):
        found += [inner for value in node for inner in media_types(value)]
    return found


@over_http
async def test_every_problem_of_a_prediction_is_documented() -> None:
    """Every problem that `POST /predict` can return is documented with its headers."""
    async with serving() as server:
        document = await document_of(server)

    operation = document["paths"]["/predict"]["post"]
    responses = operation["responses"]
    assert {"200", "400", "405", "413", "415", "422", "500", "503", "504"} <= set(responses)
    assert {"X-Request-ID", "X-Model-Version", "Server-Timing"} <= set(responses["200"]["headers"])
    assert "Allow" in responses["405"]["headers"]
    assert "Accept-Post" in responses["415"]["headers"]
    assert "Retry-After" in responses["503"]["headers"]
    shown = {
        example["type"]: (status, example)
        for status, response in responses.items()
        for example in examples_of(document, response["content"].get(PROBLEM_JSON, {})).values()
    }
    for problem in PROBLEMS.values():
        if problem.slug in (
            "not-found",
            "load-failed",
            "forbidden",
            "https-required",
            "model-fails",
        ):  # of other paths
            continue
        status, value = shown[f"/problems/{problem.slug}"]
        assert (status, value["status"]) == (str(problem.status.value), problem.status.value)


@over_http
async def test_the_headers_of_a_request_are_documented() -> None:
    async with serving() as server:
        document = await document_of(server)

    parameters = document["paths"]["/predict"]["post"]["parameters"]
    parameters = [resolve(document, parameter) for parameter in parameters]
    assert {(p["in"], p["name"]) for p in parameters} >= {
        ("header", "X-Request-ID"),
        ("header", "X-Request-Timeout-Ms"),
    }
    assert not any(parameter.get("required") for parameter in parameters)


@over_http
async def test_the_document_has_no_address_of_another_host() -> None:
    async with serving() as server:
        document = await document_of(server)

    assert [entry["url"] for entry in document["servers"]] == ["/"]
    assert "://" not in json.dumps(document)


@over_http
async def test_name_and_version_of_the_model_are_in_the_document() -> None:
    settings = with_settings(model={"name": "prices", "version": "2026-a"})
    async with serving(settings=settings) as server:
        document = await document_of(server)

    assert "prices" in json.dumps(document["info"])
    assert "2026-a" in json.dumps(document["info"])


@over_http
async def test_two_servers_in_one_process_have_each_their_own_document() -> None:
    async with serving() as one, serving(FakeModel(MODELS["a scalar"])) as two:
        first, second = await document_of(one), await document_of(two)
        assert await document_of(one) == first
        assert openapi_document(two.service.model) != openapi_document(one.service.model)

    assert first != second


# The check that all other tests over HTTP rely on


@over_http
async def test_the_harness_notices_an_undocumented_response() -> None:
    async with serving() as server:
        document = await document_of(server)
        good = await server.predict([10])
        bad = await server.predict("?")

    operation = document["paths"]["/predict"]["post"]

    def without(response: Response, name: str) -> Response:
        headers = [(key, value) for key, value in response.headers if key.lower() != name.lower()]
        return replace(response, headers=headers)

    for response in (good, bad):
        undocumented(document, operation, "as it is", response)
    for wrong in (
        replace(good, status=418),
        replace(good, body=b'{"prediction":"31"}'),
        replace(good, body=b'{"prediction":31.0,"more":1}'),
        replace(bad, body=b'{"type":"/problems/invalid-data"}'),
        without(good, "Server-Timing"),
        without(bad, "X-Request-ID"),
    ):
        with pytest.raises((AssertionError, jsonschema_rs.ValidationError)):
            undocumented(document, operation, "wrong", wrong)
