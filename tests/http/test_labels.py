"""Labels over HTTP: answers, the parameter raw, the API document, and labels that do not fit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from model.signature import Signature, TensorSpec
from server.config.outputs import OutputSettings
from server.errors import LoadFailed
from tests.support.fake_process import in_threads
from tests.support.harness import (
    JSON,
    FakeModel,
    Server,
    listening,
    over_http,
    serving,
    with_settings,
)

ANIMALS = OutputSettings("y", ("cat", "dog", "tabby"), top_k=2)
SCORES = Signature((TensorSpec("x", (3,), "float32"),), (TensorSpec("y", (3,), "float32"),))
TABBY = {"label": "tabby", "score": 0.75, "index": 2}
CAT = {"label": "cat", "score": 0.25, "index": 0}


class Echo(FakeModel):
    """Answers its input."""

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        super().call(arrays)
        return [arrays[0] for _ in self.signature.outputs]


@asynccontextmanager
async def animals(**sections: Any) -> AsyncIterator[Server]:
    settings = with_settings(model={"outputs": (ANIMALS,)}, **sections)
    async with serving(Echo(SCORES), settings) as server:
        yield server


async def ask(server: Server, target: str, data: Any) -> Any:
    body = json.dumps({"data": data}).encode()
    return await server.ask("POST", target, {"Content-Type": JSON}, body)


@over_http
async def test_predictions_are_labels_and_numbers_where_the_query_asks_for_them() -> None:
    async with animals() as server:
        for path in ("/predict", "/models/my_best_model/predict"):
            one = await ask(server, path, [0.25, 0, 0.75])
            two = await ask(server, f"{path}?raw=false", [[0.25, 0, 0.75]])
            raw = await ask(server, f"{path}?raw=true", [[0.25, 0, 0.75]])
            wrong = await ask(server, f"{path}?raw=yes", [[0.25, 0, 0.75]])

            assert one.json == {"prediction": [TABBY, CAT]}
            assert two.json == {"prediction": [[TABBY, CAT]]}
            assert raw.json == {"prediction": [[0.25, 0.0, 0.75]]}
            assert (wrong.status, wrong.json["type"]) == (400, "/problems/invalid-request")
            assert wrong.json["detail"] == "The parameter raw must be true or false."


@over_http
async def test_the_document_describes_labels_and_shows_them() -> None:
    async with animals() as server:
        document = (await server.ask("GET", "/openapi.json")).json
        page = (await server.ask("GET", "/", {"Accept": "text/html"})).body.decode()

    operation = document["paths"]["/predict"]["post"]
    named = document["paths"]["/models/{name}/predict"]["post"]
    examples = document["components"]["examples"]
    answer = examples["native-one-example-answer"]["value"]["prediction"]
    assert "raw" in [each.get("name") for each in operation["parameters"]]
    assert "raw" in [each.get("name") for each in named["parameters"]]
    assert "at most 2 of 3" in operation["description"]
    assert [list(each) for each in answer] == [["label", "score", "index"]] * 2
    assert "&quot;label&quot;:&quot;cat&quot;" in page


@over_http
async def test_without_labels_the_document_has_no_such_parameter() -> None:
    async with serving() as server:
        document = (await server.ask("GET", "/openapi.json")).json

    names = [each.get("name") for each in document["paths"]["/predict"]["post"]["parameters"]]
    assert "raw" not in names


@over_http
async def test_the_start_fails_with_labels_that_do_not_fit() -> None:
    settings = with_settings(model={"outputs": (OutputSettings("y", ("cat", "dog")),)})
    said = ""
    async with listening(settings) as server:
        try:
            await server.service.start(in_threads(lambda _: Echo(SCORES)))
        except LoadFailed as error:
            said = str(error)

    assert said == (
        "model/my_best_model.keras: outputs.y.labels: the list has 2 labels, but the output has 3 "
        "numbers for each example; give one label for each, in their order"
    )


@over_http
async def test_a_file_of_labels_that_is_not_there_is_named_before_the_model_is_loaded() -> None:
    settings = with_settings(model={"outputs": (OutputSettings("y", "/no/labels.txt"),)})
    loaded: list[str] = []
    said = ""

    def load(name: str) -> Echo:
        loaded.append(name)
        return Echo(SCORES)

    async with listening(settings) as server:
        try:
            await server.service.start(in_threads(load))
        except LoadFailed as error:
            said = str(error)

    assert "/no/labels.txt cannot be read: No such file or directory" in said
    assert loaded == []
