"""What the two processes tell each other of loading, through messages and back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.formats.options import LoadOptions
from model.padding import LengthCost, Padding
from model.process.batch_size import BatchSize, Point
from model.process.messages import Message, MessageError
from model.process.prepare import Before, Conversion, Golden, LoadRequest, Report
from model.process.protocol import (
    ANSWER,
    LOAD,
    READY,
    load_fields,
    load_request,
    outputs_of,
    report_fields,
    report_of,
)
from model.signature import Signature, TensorSpec
from model.tensors import RowCountMismatch, Tensors

SIGNATURE = Signature(
    (TensorSpec("ids", (None, 2), "int32", 0, 9), TensorSpec("größe", (), "float64")),
    (TensorSpec("y", (1,), "float32"), TensorSpec("word", (), "string")),
)
CURVE = BatchSize(64, (Point(1, 0.001), Point(64, 0.0015)))


def golden(rows: int) -> Golden:
    given = {"ids": np.ones((rows, 3, 2), "int32"), "größe": np.arange(rows, dtype="float64")}
    words = np.array([b"a", b"\xff", b""] * rows, object)[:rows]
    return Golden(
        Tensors(given), Tensors({"y": np.full((rows, 1), np.float32(0.1)), "word": words})
    )


GOLDEN = (golden(1), golden(2))
PADDING = Padding({"ids": 0}, ("y",), (LengthCost(8, 0.1, 64, 0.2), LengthCost(16, 0.2, 4, 0.3)))
OPTIONS = LoadOptions("ff", "serve", ("a.b", "c"), True, True, 3)


def through_json(fields: Any) -> Any:
    return json.loads(json.dumps(fields))


def assert_same_golden(one: tuple[Golden, ...], other: tuple[Golden, ...]) -> None:
    assert len(one) == len(other)
    for pair, expected in zip(one, other, strict=True):
        for tensors, others in zip(pair, expected, strict=True):
            assert list(tensors.arrays) == list(others.arrays)
            for name, array in tensors.arrays.items():
                np.testing.assert_array_equal(array, others.arrays[name])


def test_a_request_to_load_arrives() -> None:
    before = Before(SIGNATURE, CURVE, GOLDEN)
    request = LoadRequest(
        *("/a", "größe.keras", OPTIONS, 0, 0.02, "auto", 2, True, False, True),
        *("onnx", "/cache/1", Conversion(("onnx", "frozen"), "/new", "onnx"), before),
    )
    fields, arrays = load_fields(request)
    arrived = load_request(Message(LOAD, through_json(fields), arrays))

    assert arrived.before is not None
    assert (arrived.before.signature, arrived.before.batch_size) == (SIGNATURE, CURVE)
    assert_same_golden(arrived.before.golden, GOLDEN)
    for name in request.__dataclass_fields__:
        assert name == "before" or getattr(arrived, name) == getattr(request, name)


def test_a_request_without_a_version_before_arrives() -> None:
    request = LoadRequest("/a", max_rows=7)
    fields, arrays = load_fields(request)

    assert load_request(Message(LOAD, through_json(fields), arrays)) == request


@pytest.mark.parametrize("moved", [None, 0.0, 1e-9, float("inf")])
@pytest.mark.parametrize("pairs", [0, 2])
def test_a_report_arrives(moved: float | None, pairs: int) -> None:
    fields, arrays = report_fields(Report(SIGNATURE, CURVE, GOLDEN[:pairs], moved))
    report = report_of(Message(READY, through_json(fields), arrays))

    assert (report.signature, report.batch_size, report.moved) == (SIGNATURE, CURVE, moved)
    assert_same_golden(report.golden, GOLDEN[:pairs])


def test_how_rows_are_padded_arrives() -> None:
    fields, arrays = report_fields(Report(SIGNATURE, CURVE, padding=PADDING))

    assert report_of(Message(READY, through_json(fields), arrays)).padding == PADDING


def test_samples_arrive() -> None:
    """A comparison of signatures leaves them out."""
    ids = replace(SIGNATURE.inputs[0], samples=(1, 2))
    words = TensorSpec("words", (), "string", samples=("größe", ""))
    fields, arrays = report_fields(Report(Signature((ids, words), SIGNATURE.outputs), CURVE))
    report = report_of(Message(READY, through_json(fields), arrays))

    assert [spec.samples for spec in report.signature.inputs] == [(1, 2), ("größe", "")]


def test_the_name_of_a_signature_arrives() -> None:
    """A comparison of signatures leaves it out."""
    named = Signature(SIGNATURE.inputs, SIGNATURE.outputs, "größe")
    fields, arrays = report_fields(Report(named, CURVE))

    assert report_of(Message(READY, through_json(fields), arrays)).signature.name == "größe"


# What the main process does not believe


def fields_of_report() -> tuple[dict[str, Any], list[np.ndarray]]:
    fields, arrays = report_fields(Report(SIGNATURE, CURVE, GOLDEN, 0.5, padding=PADDING))
    return through_json(fields), arrays


def changed(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        place: Any = fields
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


SPEC = ("signature", "inputs", 0)


@pytest.mark.parametrize(
    "change",
    [
        *(changed(*SPEC, "shape", to=shape) for shape in ([-1], ["2"], [2.5], 3, None, [10**30])),
        *(changed(*SPEC, "dtype", to=dtype) for dtype in ("object", "", 3, None, "(2,f4", [])),
        *(changed(*SPEC, "name", to=name) for name in (3, None, ["a"], "größe")),
        *(changed(*SPEC, bound, to="a") for bound in ("minimum", "maximum", "more")),
        *(changed(*SPEC, "samples", to=samples) for samples in (3, None, ["a"], [True], [10**30])),
        *(changed("signature", "outputs", 1, "samples", to=samples) for samples in ([1], [None])),
        *(changed(*SPEC, to=spec) for spec in (3, None, [], {}, "a")),
        *(changed("signature", to=signature) for signature in (3, None, [], {}, {"inputs": []})),
        *(changed("signature", "name", to=name) for name in (3, None, ["a"])),
        *(changed("batch_size", to=size) for size in (3, None, [], [64], [64, [], 1])),
        *(changed("batch_size", 0, to=rows) for rows in (0, -1, "a", 1e400, 2.0, None, True)),
        *(changed("batch_size", 1, to=curve) for curve in (3, None, [1], [[1]], [[1, 2, 3]])),
        *(changed("batch_size", 1, 0, to=point) for point in ([0, 1], [1, 0], [1, -1], [1, 1e400])),
        *(changed("batch_size", 1, 0, to=point) for point in ([1e400, 1], ["a", 1], [1, "a"])),
        changed("batch_size", 1, 0, to=[1, float("nan")]),
        *(
            changed("sampled", to=sampled)
            for sampled in ([], [True], 3 * [False], 2, "ab", None, [0, 1])
        ),
        *(changed("moved", to=moved) for moved in ("a", [], {})),
        *(changed("padding", to=padding) for padding in (3, [], {}, "a", True)),
        *(
            changed("padding", "values", to=values)
            for values in (
                3,
                {},
                ["ids"],
                {"größe": 0},
                {"ids": "a"},
                {"ids": None},
                {"ids": 2**40},
            )
        ),
        *(changed("padding", "outputs", to=outputs) for outputs in (3, "y", ["z"], [3])),
        *(changed("padding", "costs", to=costs) for costs in (3, [], [3], [[8, 0.1, 64]])),
        *(
            changed("padding", "costs", 0, to=cost)
            for cost in ([16, 1, 2, 1], [0, 1, 2, 1], [8, 1, 1, 1], [8, 0, 2, 1], [8, 1, 2, 0.5])
        ),
        changed("padding", "costs", 1, to=[16, 1, 2, float("nan")]),
        lambda fields: fields.clear(),
        lambda fields: fields.pop("moved"),
    ],
)
def test_a_report_of_nonsense_is_not_taken(change: Callable[[dict[str, Any]], None]) -> None:
    fields, arrays = fields_of_report()
    change(fields)
    with pytest.raises(MessageError):
        report_of(Message(READY, fields, arrays))


@pytest.mark.parametrize(
    "place, array",
    [
        (0, np.ones((1, 3, 2), "int64")),  # another dtype
        (0, np.ones((2, 3, 2), "int32")),  # another number of rows than the other input
        (0, np.int32(1)[...]),  # no rows
        (2, np.array([["a"]], object)),
        (3, np.ones(1)),
    ],
)
def test_examples_of_another_model_are_not_taken(place: int, array: np.ndarray) -> None:
    fields, arrays = fields_of_report()
    arrays[place] = array
    with pytest.raises(MessageError):
        report_of(Message(READY, fields, arrays))


def test_arrays_too_few_and_too_many_are_not_taken() -> None:
    fields, arrays = fields_of_report()
    for given_arrays in (arrays[:-1], [*arrays, arrays[0]], []):
        with pytest.raises(MessageError):
            report_of(Message(READY, fields, given_arrays))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
PLACES = [
    *[("signature",), ("signature", "inputs"), SPEC, (*SPEC, "shape"), (*SPEC, "dtype")],
    *[(*SPEC, "maximum"), ("batch_size",), ("batch_size", 0), ("batch_size", 1)],
    *[("batch_size", 1, 0), ("sampled",), ("moved",)],
]


@given(st.sampled_from(PLACES), JSON)
def test_a_report_with_anything_in_it_is_taken_or_is_none(place: Any, value: Any) -> None:
    fields, arrays = fields_of_report()
    changed(*place, to=copy.deepcopy(value))(fields)
    try:
        report = report_of(Message(READY, fields, arrays))
    except MessageError:
        return
    assert str(report.batch_size)
    assert str(report.signature)


@pytest.mark.parametrize("kind", ["answer", "failed", "load", ""])
def test_other_kinds_of_messages_are_no_report(kind: str) -> None:
    with pytest.raises(MessageError, match="where ready is expected"):
        report_of(Message(kind, *fields_of_report()))


def test_a_damaged_request_is_not_taken() -> None:
    fields, arrays = load_fields(LoadRequest("/a", before=Before(SIGNATURE, CURVE, GOLDEN)))
    fields = through_json(fields)
    for damaged in ({}, {"before": None}, fields | {"more": 1}, fields | {"before": {}}):
        with pytest.raises(MessageError):
            load_request(Message(LOAD, damaged, arrays))
    with pytest.raises(MessageError):
        load_request(Message(LOAD, fields, arrays[:-1]))
    with pytest.raises(MessageError, match="where load is expected"):
        load_request(Message("call", fields, arrays))


# Answers

Y, WORDS = np.ones((2, 1), "float32"), np.array([b"a", b"b"], object)


def test_outputs_get_their_names() -> None:
    answer = outputs_of(Message(ANSWER, {}, [Y, WORDS]), SIGNATURE)

    assert {name: array is Y for name, array in answer.arrays.items()} == {"y": True, "word": False}


@pytest.mark.parametrize(
    "arrays", [[], [Y], [WORDS, Y], [Y, WORDS, Y], [Y.astype("float64"), WORDS], [Y[0, 0], WORDS]]
)
def test_outputs_of_another_model_are_not_taken(arrays: list[Any]) -> None:
    with pytest.raises(MessageError):
        outputs_of(Message(ANSWER, {}, [np.asarray(array) for array in arrays]), SIGNATURE)


def test_outputs_with_other_numbers_of_rows_are_not_taken() -> None:
    with pytest.raises(RowCountMismatch):
        outputs_of(Message(ANSWER, {}, [Y, WORDS[:1]]), SIGNATURE)


def test_other_kinds_of_messages_are_no_answer() -> None:
    with pytest.raises(MessageError, match="where answer is expected"):
        outputs_of(Message("ready", {}, [Y, WORDS]), SIGNATURE)
