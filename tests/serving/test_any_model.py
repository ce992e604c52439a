"""Models of every kind, sent through a file and asked in every dialect."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import jsonschema
import numpy as np
import pytest

from model.formats.load import TensorFlowEngine, load_model
from model.process.neighbours import Neighbours
from model.process.prepare import answer_examples
from model.process.trials import Trials
from server.config import PredictSettings
from server.dialects.cells import strings
from server.dialects.native.dialect import NativeDialect
from server.dialects.table import Dialects
from server.errors import InvalidRequest
from server.loadtest.expected_answers import ExpectedAnswers
from server.loadtest.payload import Payload, encode
from server.serving.loading import example_of
from tests.model.zoo.rows import ROWS
from tests.model.zoo.specimens import ZOO, Arrays
from tests.support.forms import FORMS
from tests.support.harness import serving

pytestmark = pytest.mark.keras


class Served(NamedTuple):
    """A model out of a file, and what Keras answers to five rows."""

    model: TensorFlowEngine
    trials: Trials
    dialects: Dialects
    rows: Arrays
    expected: Arrays

    @property
    def dialect(self) -> NativeDialect:
        """The native one."""
        return self.dialects.native

    def ask(self, data: Any) -> Arrays:
        """Send data through the dialect and the model; return the prediction by output."""
        request = self.dialect.decode(json.dumps({"data": data}).encode())
        [answer] = self.model.predict([request.tensors])
        prediction = json.loads(self.dialect.encode(answer, request).body)["prediction"]
        names = list(self.expected)
        return prediction if len(names) > 1 else {names[0]: prediction}

    def named_rows(self) -> Arrays:
        """Return the rows by the file's names: a Sequential's only input has a new one there."""
        if len(self.rows) > 1:
            return self.rows
        return {self.model.signature.inputs[0].name: next(iter(self.rows.values()))}

    def data(self, rows: int | slice) -> Any:
        """Return one row, or several, as the data of a request."""
        named = {
            name: array[rows].tolist() if isinstance(rows, slice) else array.tolist()[rows]
            for name, array in self.rows.items()
        }
        return named if len(named) > 1 else next(iter(named.values()))


# Every third in `make test`, all in `make torture`.
SOME = [
    pytest.param(name, marks=() if number % 3 == 0 else pytest.mark.torture)
    for number, name in enumerate(ZOO)
]


@pytest.fixture(scope="module", params=SOME)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    specimen = ZOO[request.param]()
    path = tmp_path_factory.mktemp("zoo") / f"{request.param}.keras"
    specimen.model.save(path)
    model = load_model(path)
    trials = Trials(model, str(path))
    trials.find_rows()
    trials.warm_up(4)
    dialects = Dialects("m", "1", model.signature, PredictSettings())
    return Served(model, trials, dialects, specimen.rows, specimen.expected())


def assert_close(served: Served, given: Arrays, rows: int | slice) -> None:
    """See that predictions are those of Keras, within 1e-5 of their scale."""
    assert list(given) == list(served.expected)
    for name, array in served.expected.items():
        expected = array[:, 0] if array.shape[1:] == (1,) else array
        if expected.dtype.hasobject:
            decoded = strings.to_json(expected.tolist())
            assert given[name] == decoded[rows]
            continue
        expected = expected.astype("float64")
        scale = np.abs(expected).max()
        assert np.shape(given[name]) == expected[rows].shape
        np.testing.assert_allclose(given[name], expected[rows], rtol=0, atol=1e-5 * scale)


def test_it_answers_what_keras_does(served: Served) -> None:
    """One example at a time, and all of them together."""
    for row in range(ROWS):
        assert_close(served, served.ask(served.data(row)), row)
    assert_close(served, served.ask(served.data(slice(None))), slice(None))


def ask_in(served: Served, name: str, rows: slice) -> dict[str, Any]:
    """Ask for rows in a form; return the outputs in lists.

    The axis of the rows is there in all of them, and no other is dropped.
    """
    form = FORMS[name]
    dialect = served.dialects.by_name[form.dialect]
    body, headers = form.write({key: array[rows] for key, array in served.named_rows().items()})
    call = dialect.decode(body, headers)
    [answer] = served.model.predict([call.tensors])
    return form.read(dialect.encode(answer, call), list(served.expected))


@pytest.mark.parametrize("name", FORMS)
def test_it_answers_what_keras_does_in_every_dialect(served: Served, name: str) -> None:
    """Single rows and all together, with every axis as Keras has it."""
    if not FORMS[name].can_say(served.model.signature):
        with pytest.raises(InvalidRequest, match="one input and one output of numbers"):
            served.dialect.decode(b"", {"content-type": "application/x-npy"})
        return
    for rows in (slice(0, 1), slice(ROWS - 1, ROWS), slice(None)):
        given = ask_in(served, name, rows)
        assert list(given) == list(served.expected)
        for key, array in served.expected.items():
            if array.dtype.hasobject:
                assert given[key] == strings.to_json(array[rows].tolist())
                continue
            expected = array.astype("float64")
            tolerance = 1e-5 * np.abs(expected).max()
            assert np.shape(given[key]) == expected[rows].shape
            cells = np.array(given[key], "float64")
            np.testing.assert_allclose(cells, expected[rows], rtol=0, atol=tolerance)


def test_its_answers_do_not_depend_on_the_batch(served: Served) -> None:
    assert Neighbours(served.trials).alone_and_together() < 1e-4


def test_the_documentation_shows_what_it_answers(served: Served) -> None:
    """The model takes the made-up examples, also the first of the sizes that are tried."""
    golden = answer_examples(served.trials, served.model.signature)
    assert [len(each.rows) for each in golden] == [1, 2]
    shown = [example_of("", served.dialect, each) for each in golden]

    assert shown[0].request == served.dialect.example()
    for example in shown:
        answer = json.loads(example.answer)
        jsonschema.validate(answer, served.dialect.answer_schema)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_load_test_can_ask_it(served: Served, rows: int) -> None:
    """What is drawn from the published schema is taken, and what is answered is recognized."""
    payload = Payload(document_of(served.dialect), "/predict")
    pool = [payload.draw(Random(seed), rows) for seed in range(5)]
    expected = ExpectedAnswers(served.model, pool, rows)

    for index, data in enumerate(pool):
        request = served.dialect.decode(encode(data))
        [answer] = served.model.predict([request.tensors])
        assert expected.matches(index, served.dialect.encode(answer, request).body)


def document_of(dialect: NativeDialect) -> Any:
    """As much of the OpenAPI document as the load test reads."""
    content = {"application/json": {"schema": dialect.schema}}
    return {"paths": {"/predict": {"post": {"requestBody": {"content": content}}}}}


# Ids that no Embedding knows


@pytest.mark.logs_warnings
@pytest.mark.gen_test
async def test_an_id_that_cannot_be_known_beforehand_fails_its_own_request_alone(
    tmp_path: Path,
) -> None:
    """What a layer does to ids on their way to the Embedding is not looked at."""
    import keras

    x = keras.Input((2,), name="x", dtype="int32")
    y = keras.layers.Embedding(10, 1)(keras.layers.Reshape((1, 2))(x))
    path = tmp_path / "m.keras"
    keras.Model(x, keras.layers.Flatten(name="y")(y)).save(path)
    model = load_model(path)
    assert model.signature.inputs[0].maximum is None

    async with serving(model, expected_logs=["for them alone", "is not in [0, 10)"]) as server:
        ids = [[0, 9], [3, 10], [9, 9], [7, 1]]
        answers = await asyncio.gather(*(server.predict(two) for two in ids))
        assert [answer.status for answer in answers] == [200, 500, 200, 200]
