"""What decoder processes do is what the event loop does with small bodies and answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from model.signature import Signature, TensorSpec
from model.tensors import Rows, Tensors, split
from server.config import PredictSettings
from server.dialects.interface import DecodedRequest
from server.dialects.table import DIALECTS, Dialects
from server.errors import ServiceError
from server.logs.payload import Display
from server.serving.decoders.jobs import JOBS, dialects_of, recipe_of
from server.serving.decoders.protocol import arrays_of, buffer, value_of

X, IDS, WORDS = (
    TensorSpec("x", (2,), "float32"),
    TensorSpec("ids", (None,), "int64", 0, 9),
    TensorSpec("words", (), "string"),
)
Y, LABELS = TensorSpec("y", (None,), "float32"), TensorSpec("labels", (1,), "string")
MODELS = {
    "numbers": Signature((X,), (TensorSpec("y", (1,), "float32"),)),
    "several": Signature((X, IDS, WORDS), (Y, LABELS)),
}
BODIES = {
    "native": {
        "numbers": ['{"data":[[1,2],[3,4]]}', '{"data":[1,2]}', '{"data":[[1,2],[3]]}'],
        "several": ['{"data":{"x":[[1,2]],"ids":[[1,2,3]],"words":["é"]}}', '{"data":{"x":[1]}}'],
    },
    "tfserving": {
        "numbers": ['{"instances":[[1,2],[3,4]]}', '{"inputs":[[1,2]]}', '{"rows":[1]}'],
        "several": ['{"instances":[{"x":[1,2],"ids":[1],"words":{"b64":"/w=="}}]}', "[]"],
    },
    "v2": {
        "numbers": [
            '{"id":"7","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}',
            '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1]}]}',
            '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}],'
            '"outputs":[{"name":"y","parameters":{"binary_data":true}}],'
            '"parameters":{"timeout":5000}}',
        ],
        "several": [
            '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]},'
            '{"name":"ids","shape":[1,1],"datatype":"INT64","data":[3]},'
            '{"name":"words","shape":[1],"datatype":"BYTES","data":["a"]}]}',
        ],
    },
}
BROKEN = ["", "{", '{"data":[NaN]}', "\x89PNG\r\n"]
CASES = [
    (dialect, model, body)
    for dialect, models in BODIES.items()
    for model, bodies in models.items()
    for body in [*bodies, *BROKEN]
]
DISPLAY = Display(40, frozenset({"x"}))


def elsewhere(job: str, *arguments: Any) -> Any:
    """Do a job as a decoder process does: nothing but bytes goes there and comes back."""
    sent = [array.tobytes() for array in arrays_of(arguments)]
    try:
        result: Any = JOBS[job](*value_of(sent))
    except ServiceError as error:
        result = error
    return value_of([array.tobytes() for array in arrays_of(result)])


def answer_of(signature: Signature, rows: int) -> Rows:
    """Return rows of outputs, as a part of a batch."""
    cells = np.arange(3.0 * (rows + 1)).reshape(rows + 1, 3)
    arrays: dict[str, np.ndarray] = {}
    for spec in signature.outputs:
        if spec.dtype == "string":
            words = np.array([f"wört {row}".encode() for row in range(rows + 1)], object)
            arrays[spec.name] = words[:, None]
        else:
            arrays[spec.name] = cells[:, : spec.shape[0]].astype(spec.dtype)
    return split(Tensors(arrays), [1, rows])[1]


def parts_of(decoded: DecodedRequest) -> Any:
    """Return a request in a form that can be compared."""
    arrays = decoded.tensors.arrays
    types = {name: array.dtype for name, array in arrays.items()}
    return {n: a.tolist() for n, a in arrays.items()}, types, decoded.form, decoded.timeout_ms


@pytest.mark.parametrize("dialect, model, body", CASES)
def test_requests_and_answers_are_the_same_there(dialect: str, model: str, body: str) -> None:
    """Down to the error, and to what the payload log shows."""
    signature = MODELS[model]
    recipe = recipe_of("m", "3", signature, PredictSettings())
    [entry] = [each for each in DIALECTS if each.name == dialect]
    here = Dialects("m", "3", signature, PredictSettings()).by_name[dialect]
    text = body.encode("latin-1")
    there = elsewhere("decode", recipe, dialect, {}, DISPLAY, buffer(text))
    if isinstance(there, ServiceError):
        with pytest.raises(type(there)) as raised:
            here.decode(text, {})
        assert entry.encode_error(there, "id") == entry.encode_error(raised.value, "id")
        return

    request = here.decode(text, {})
    assert parts_of(there.request) == parts_of(request)
    assert there.nbytes == Tensors(request.tensors.arrays).nbytes
    excerpt = here.input_excerpt(request, text)
    assert there.shown.text == DISPLAY.show("input", excerpt, here.redacted)
    answer = answer_of(signature, len(request.tensors))
    encoded = here.encode(answer, request)
    done = elsewhere("encode", recipe, dialect, request.form, DISPLAY, Tensors(answer.arrays))
    assert (done.body, done.content_type, done.headers) == encoded
    assert type(done.body) is bytes
    excerpt = here.answer_excerpt(request, encoded.body)
    assert done.shown.text == DISPLAY.show("prediction", excerpt, here.redacted)


def test_an_answer_that_cannot_be_written_is_the_same_error_there() -> None:
    signature = MODELS["numbers"]
    recipe = recipe_of("m", "3", signature, PredictSettings())
    request = dialects_of(recipe).native.decode(b'{"data":[1,2]}')
    nan = Tensors({"y": np.array([[np.nan]], np.float32)})

    error = elsewhere("encode", recipe, "native", request.form, None, nan)

    assert str(error) == "The output y has values that are NaN or infinite."


def test_settings_of_predictions_count_there() -> None:
    signature = MODELS["numbers"]
    recipe = recipe_of("m", "3", signature, PredictSettings(non_finite="as_null"))
    request = dialects_of(recipe).native.decode(b'{"data":[1,2]}')
    nan = Tensors({"y": np.array([[np.nan]], np.float32)})

    done = elsewhere("encode", recipe, "native", request.form, None, nan)

    assert json.loads(done.body) == {"prediction": None}


def test_arrays_are_not_copied_into_the_pickle() -> None:
    cells = np.zeros(10**6, np.float32)
    pickle, *buffers = arrays_of((cells, buffer(bytes(10**6))))

    assert pickle.nbytes < 1000
    assert [each.nbytes for each in buffers] == [4 * 10**6, 10**6]


def test_an_array_without_cells_arrives() -> None:
    [empty] = value_of([array.tobytes() for array in arrays_of([np.empty((3, 0), np.float32)])])

    assert empty.shape == (3, 0)
