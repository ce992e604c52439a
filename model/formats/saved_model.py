"""Loads SavedModel folders with TensorFlow: no Python class is needed for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.engines.tensorflow import TensorFlowEngine, as_array_like
from model.formats.allowed_graph import check_saved_model
from model.formats.declared_rows import check_rows_of_output, rows_of_inputs
from model.formats.files import AGAIN, ModelError, in_one_line
from model.formats.inline import as_served
from model.formats.keras_signature import served_dtype
from model.formats.options import LoadOptions
from model.formats.saved_state import State, state_of
from model.signature import Signature, TensorSpec

NUMBERS = re.compile(r"([0-9]+)")


def load(path: Path | str, options: LoadOptions) -> TensorFlowEngine:
    """Load the signature `options.signature` of a folder; raises ModelError.

    Without a name it is `serving_default`, or the only one.
    """
    import tensorflow as tf

    checked = check_saved_model(path, options.signature, options.allow_code)
    try:
        loaded = tf.saved_model.load(str(path), tags=checked.tags)
        function = loaded.signatures[checked.signature]
    except Exception as error:  # TensorFlow raises anything for a damaged folder
        why = f"TensorFlow cannot load it: {in_one_line(error)}"
        raise ModelError(path, f"{why}; {AGAIN}") from error
    return _engine_of(function, checked.signature, path, loaded, keep_state=options.keep_state)


def _engine_of(
    function: Any, name: str, path: Path | str, owner: object, *, keep_state: bool
) -> TensorFlowEngine:
    """Trace a signature with flat arguments; raises ModelError when it cannot be served.

    Each call begins with the state in the folder, unless it is kept.
    """
    given = _sorted(function.structured_input_signature[1])
    state = state_of(function)
    try:
        inputs = tuple(_input_spec(name, spec) for name, spec in given.items())
        rows = _fixed_rows(given) or _rows_of(state)
        traced, names = _trace(function, inputs, rows, () if keep_state else state)
        outputs = tuple(
            _output_spec(name, tensor, rows)
            for name, tensor in zip(names, traced.outputs, strict=True)
        )
        signature = Signature(inputs, outputs, name)
    except ValueError as error:
        raise ModelError(path, str(error)) from error
    return TensorFlowEngine.traced(traced, signature, owner=owner, fixed_rows=rows)


def _sorted(specs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file has in no order by name: `output_2` before `output_10`."""

    def key(name: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in NUMBERS.split(name)]

    return {name: specs[name] for name in sorted(specs, key=key)}


def _input_spec(name: str, spec: Any) -> TensorSpec:
    advice = "export it with an input signature whose first dimension is the rows"
    return _spec(f"its input {name}", name, spec, advice)


def _output_spec(name: str, tensor: Any, rows: int | None) -> TensorSpec:
    """Describe an output; raises ValueError when it does not have a row for each row of input."""
    what = f"its output {name}"
    advice = "export a signature whose outputs have a row for each row of input"
    spec = _spec(what, name, tensor, advice)
    check_rows_of_output(what, tensor.shape[0], rows, advice)
    return spec


def _spec(what: str, name: str, tensor: Any, advice: str) -> TensorSpec:
    if tensor.shape.rank is None:
        raise ValueError(f"{what} has no declared shape; {advice}")
    if tensor.shape.rank == 0:
        raise ValueError(f"{what} is a single value for all rows together; {advice}")
    return TensorSpec(name, tuple(tensor.shape[1:]), served_dtype(name, tensor))


def _fixed_rows(given: Mapping[str, Any]) -> int | None:
    """Return the number of rows that the inputs are declared for; None: any number."""
    advice = "export it with None as the first dimension of each"
    return rows_of_inputs((spec.shape[0] for spec in given.values()), advice)


def _rows_of(state: State) -> int | None:
    """Return the number of rows that a state is for; None: no single one.

    The inputs of a stateful model that Keras 3 has exported do not tell it.
    """
    found = {variable.shape[0] for variable, _ in state if variable.shape.rank > 1}
    return next(iter(found)) if len(found) == 1 else None


def _trace(
    function: Any, inputs: tuple[TensorSpec, ...], rows: int | None, state: State
) -> tuple[Any, list[str]]:
    """Return a function with flat arguments and results, and the names of the results."""
    import tensorflow as tf

    given = _sorted(function.structured_input_signature[1])
    names = list(_sorted(function.structured_outputs))

    def call(*arrays: Any) -> list[Any]:
        arguments = {
            name: tf.cast(array, spec.dtype)
            for (name, spec), array in zip(given.items(), arrays, strict=True)
        }
        for variable, value in state:
            variable.assign(value)
        answers = function(**arguments)
        return [as_array_like(answers[name]) for name in names]

    specs = [tf.TensorSpec([rows, *spec.shape], spec.dtype) for spec in inputs]
    try:
        traced = tf.function(call, autograph=False).get_concrete_function(*specs)
        return as_served(traced), names
    except Exception as error:  # whatever its operations raise
        why = f"cannot be called: {in_one_line(error)}"
        what_to_do = "check that TensorFlow can call it, and export it again"
        raise ValueError(f"{why}; {what_to_do}") from error
