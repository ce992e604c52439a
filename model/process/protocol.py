"""The messages of loading, as objects on both sides of the socket.

To the model process: `load`, once, then `call`. From it: `log` and `progress` at any time, `ready`,
`failed`, or `converted` once, then `answer` or `error` for each call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np

from model.engines.choose import Choice
from model.formats.options import LoadOptions
from model.padding import LengthCost, Padding
from model.process.batch_size import BatchSize, Point
from model.process.messages import Message, MessageError
from model.process.prepare import Before, Conversion, Golden, LoadRequest, Report
from model.process.sample import Sample
from model.signature import Signature, TensorSpec
from model.signature_json import Fields, signature_fields, signature_of
from model.tensors import Tensors

LOAD: Final = "load"
CALL: Final = "call"
LOG: Final = "log"
PROGRESS: Final = "progress"
READY: Final = "ready"
CONVERTED: Final = "converted"
FAILED: Final = "failed"
ANSWER: Final = "answer"
ERROR: Final = "error"


def load_fields(request: LoadRequest) -> tuple[Fields, list[np.ndarray]]:
    """Return the fields and arrays of the message that tells a process what to load."""
    fields = asdict(replace(request, before=None))
    before = request.before
    if before is None:
        return fields, []
    fields["before"] = {
        "signature": signature_fields(before.signature),
        "batch_size": before.batch_size,
        "sampled": _sampled(before.golden),
    }
    return fields, _golden_arrays(before.signature, before.golden)


def load_request(message: Message) -> LoadRequest:
    """Read such a message; raises MessageError."""
    if message.kind != LOAD:
        raise MessageError(f"{message.kind} where {LOAD} is expected")
    try:
        fields = dict(message.fields)
        before = fields.pop("before")
        conversion = fields.pop("conversion")
        options = LoadOptions(**fields.pop("options"))
        options = replace(options, imports=tuple(options.imports))
        request = LoadRequest(**fields, options=options)
        if conversion is not None:
            engines = tuple(conversion.pop("engines"))
            request = replace(request, conversion=Conversion(engines, **conversion))
        if before is None:
            return request
        signature = signature_of(before["signature"])
        golden = _golden(signature, message.arrays, before["sampled"])
        return replace(request, before=Before(signature, _batch_size(before["batch_size"]), golden))
    except (TypeError, KeyError, ValueError) as error:
        raise MessageError(f"not a request to load: {error}") from error


def report_fields(report: Report) -> tuple[Fields, list[np.ndarray]]:
    """Return the fields and arrays of the message that a process is ready."""
    fields = {
        "signature": signature_fields(report.signature),
        "batch_size": report.batch_size,
        "sampled": _sampled(report.golden),
        "moved": report.moved,
        "is_eager": report.is_eager,
        "engine": report.engine,
        "padding": report.padding and asdict(report.padding),
    }
    return fields, _golden_arrays(report.signature, report.golden)


def report_of(message: Message) -> Report:
    """Read such a message; raises MessageError."""
    if message.kind != READY:
        raise MessageError(f"{message.kind} where {READY} is expected")
    fields = message.fields
    try:
        signature = signature_of(fields["signature"])
        return Report(
            signature,
            _batch_size(fields["batch_size"]),
            _golden(signature, message.arrays, fields["sampled"]),
            None if fields["moved"] is None else float(fields["moved"]),
            bool(fields["is_eager"]),
            str(fields["engine"]),
            _padding(fields["padding"], signature),
        )
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise MessageError(f"not a report: {error}") from error


def choice_of(message: Message) -> Choice:
    """Read the message that engines were tried; raises MessageError."""
    if message.kind != CONVERTED:
        raise MessageError(f"{message.kind} where {CONVERTED} is expected")
    try:
        return Choice.of(message.fields)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise MessageError(f"not a choice: {error}") from error


def outputs_of(message: Message, signature: Signature) -> Tensors:
    """Return what a call was answered with; raises MessageError."""
    if message.kind != ANSWER:
        raise MessageError(f"{message.kind} where {ANSWER} is expected")
    return _named(signature.outputs, message.arrays)


def _named(specs: Sequence[TensorSpec], arrays: Sequence[np.ndarray]) -> Tensors:
    """Return arrays under the names of a signature; raises MessageError unless they can be its.

    And RowCountMismatch. Shapes are not compared: Keras does not know all of them.
    """
    if [array.dtype for array in arrays] != [spec.array_dtype for spec in specs]:
        given = ", ".join(array.dtype.name for array in arrays[:9])
        raise MessageError(f"arrays of {given} where {', '.join(map(str, specs))} is expected")
    if not all(array.ndim for array in arrays):
        raise MessageError("an array without rows")
    return Tensors({spec.name: array for spec, array in zip(specs, arrays, strict=True)})


def _batch_size(fields: Sequence[Any]) -> BatchSize:
    rows, curve = fields
    points = tuple(Point(int(n), float(seconds)) for n, seconds in curve)
    if type(rows) is not int or min([rows, *(point.rows for point in points)]) < 1:
        raise ValueError("a batch of no rows")
    if not all(0 < point.seconds < float("inf") for point in points):
        raise ValueError("a call that takes no time, or for ever")
    return BatchSize(rows, points)


def _padding(fields: Fields | None, signature: Signature) -> Padding | None:
    """Raises what `report_of` catches, unless a network with this signature can have it."""
    if fields is None:
        return None
    values, outputs, to_cost_length = (fields[k] for k in ("values", "outputs", "to_cost_length"))
    if not isinstance(values, dict) or not isinstance(outputs, list):
        raise TypeError("values or outputs that are none")
    if not all(type(value) in {int, float, str} for value in values.values()):
        raise TypeError("values that are neither numbers nor strings")
    costs = tuple(
        LengthCost(int(length), float(one_row), int(rows), float(all_rows))
        for length, one_row, rows, all_rows in fields["costs"]
    )
    padding = Padding(values, tuple(outputs), costs, bool(to_cost_length))
    padding.check(signature)
    return padding


def _golden_arrays(signature: Signature, golden: Sequence[Golden]) -> list[np.ndarray]:
    """Return the arrays of all pairs: the inputs of the first, its outputs, and so on."""
    return [
        tensors.arrays[spec.name]
        for pair in golden
        for tensors, specs in zip(pair, (signature.inputs, signature.outputs), strict=True)
        for spec in specs
    ]


def _sampled(golden: Sequence[Golden]) -> list[bool]:
    """Return, for each pair, whether only a sample of its answer is kept."""
    return [isinstance(pair.answer, Sample) for pair in golden]


def _golden(
    signature: Signature, arrays: Sequence[np.ndarray], sampled: Sequence[bool]
) -> tuple[Golden, ...]:
    inputs = len(signature.inputs)
    both = inputs + len(signature.outputs)
    if not isinstance(sampled, list) or not all(type(each) is bool for each in sampled):
        raise TypeError("examples that are neither whole nor sampled")
    if len(sampled) * both != len(arrays):
        raise ValueError("other arrays than its examples have")
    return tuple(
        _pair(
            signature, arrays[start : start + inputs], arrays[start + inputs : start + both], each
        )
        for start, each in zip(range(0, len(arrays), both), sampled, strict=True)
    )


def _pair(
    signature: Signature,
    rows: Sequence[np.ndarray],
    answer: Sequence[np.ndarray],
    is_sampled: bool,
) -> Golden:
    outputs = _named(signature.outputs, answer)
    whole = Sample(outputs.arrays) if is_sampled else outputs
    return Golden(_named(signature.inputs, rows), whole)
