"""A Keras network as an engine: its signature, and its function traced once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.engines.tensorflow import TensorFlowEngine, as_array_like
from model.formats.files import ModelError, in_one_line
from model.formats.fixed_rows import (
    answer_alike,
    declared_rows,
    reset_states,
    stateful_layers,
)
from model.formats.keras_signature import packer, served_dtype, signature_of, unpacker
from model.formats.options import LoadOptions
from model.formats.scopes import any_names_as_scopes
from model.formats.windows import refuse_smaller_input
from model.signature import Signature, TensorSpec


def engine_of(model: Any, path: Path | str, options: LoadOptions) -> TensorFlowEngine:
    """Trace a Keras model, of version 2 or 3, for any number of rows, or for its own if it must be.

    Raises ModelError when it cannot be served.
    """
    tracer = _Tracer(model, path, keep_state=options.keep_state)
    rows = declared_rows(model)
    if rows is None or stateful_layers(model):
        return tracer.engine(rows)
    try:
        free = tracer.engine(None)
    except ModelError:
        return tracer.engine(rows)
    try:
        fixed = tracer.engine(rows)
    except ModelError:
        return free
    return free if answer_alike(free, fixed) else fixed


class _Tracer:
    """Traces one model."""

    def __init__(self, model: Any, path: Path | str, *, keep_state: bool) -> None:
        self._model = model
        self._path = path
        self._keep_state = keep_state
        self._declared = signature_of(model, path)

    def engine(self, rows: int | None) -> TensorFlowEngine:
        """Return the model traced for a number of rows, None for any; raises ModelError."""
        declared = self._declared
        traced = self._trace(rows)
        if rows is not None:
            self._check_rows(traced, rows)
        signature = Signature(declared.inputs, _outputs_of(traced, declared, self._path))
        return TensorFlowEngine(traced, signature, owner=self._model, fixed_rows=rows)

    def _check_rows(self, traced: Any, rows: int) -> None:
        for output in traced.outputs:
            if output.shape.rank and output.shape[0] not in {None, rows}:
                why = f"answers {output.shape[0]} rows when it is called with {rows}"
                raise ModelError(self._path, f"{why}; give each row of input one of output")

    def _trace(self, rows: int | None) -> Any:
        import tensorflow as tf

        inputs = self._declared.inputs
        specs = [tf.TensorSpec([rows, *spec.shape], spec.dtype) for spec in inputs]
        try:
            with any_names_as_scopes():
                return tf.function(self._function(), autograph=False).get_concrete_function(*specs)
        except Exception as error:  # whatever its layers raise
            number = "a varying number of rows" if rows is None else f"{rows} rows"
            why = f"{in_one_line(error)}; the model cannot be called with {number}"
            raise ModelError(self._path, why) from error

    def _function(self) -> Callable[..., list[Any]]:
        import tensorflow as tf

        model = self._model
        pack, unpack = packer(model), unpacker(model)

        def call(*inputs: Any) -> list[Any]:
            if not self._keep_state:
                reset_states(model)
            answers = unpack(model(pack(inputs), training=False))
            refuse_smaller_input(tf.compat.v1.get_default_graph())
            return [as_array_like(answer) for answer in answers]

        return call


def _outputs_of(traced: Any, declared: Signature, path: Path | str) -> tuple[TensorSpec, ...]:
    """Return the outputs with the types and shapes that they have, where Keras declares others.

    It takes words looked up for int64, and some of its layers leave an axis out.
    """
    if len(traced.outputs) != len(declared.outputs):  # several tensors make a ragged one
        raise ModelError(path, "has a ragged output; end the model with dense ones")
    outputs = zip(declared.outputs, traced.outputs, strict=True)
    try:
        return tuple(_as_traced(spec, tensor) for spec, tensor in outputs)
    except ValueError as error:
        raise ModelError(path, str(error)) from error


def _as_traced(declared: TensorSpec, tensor: Any) -> TensorSpec:
    """Raises ValueError for an output that cannot be served."""
    spec = replace(declared, dtype=served_dtype(declared.name, tensor))
    if tensor.shape.rank is None or tensor.shape.is_compatible_with((None, *spec.shape)):
        return spec
    if not tensor.shape.rank:
        raise ValueError(f"{spec.name} has no axis for the rows, so it cannot be cut into answers")
    return replace(spec, shape=tuple(tensor.shape[1:]))
