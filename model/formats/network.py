"""A Keras network as an engine: its signature, and its function traced once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.engines.tensorflow import TensorFlowEngine
from model.formats.files import ModelError, in_one_line
from model.formats.fixed_rows import (
    answer_alike,
    declared_rows,
    reset_states,
    stateful_layers,
)
from model.formats.keras_signature import packer, served_dtype, signature_of, unpacker
from model.formats.options import LoadOptions
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
            return tf.function(self._function(), autograph=False).get_concrete_function(*specs)
        except Exception as error:  # whatever its layers raise
            number = "a varying number of rows" if rows is None else f"{rows} rows"
            why = f"cannot be called with {number}: {in_one_line(error)}"
            raise ModelError(self._path, why) from error

    def _function(self) -> Callable[..., list[Any]]:
        import tensorflow as tf

        model, declared = self._model, self._declared
        pack = packer(model, [spec.name for spec in declared.inputs])
        unpack = unpacker([spec.name for spec in declared.outputs])

        def call(*inputs: Any) -> list[Any]:
            if not self._keep_state:
                reset_states(model)
            answers = unpack(model(pack(inputs), training=False))
            refuse_smaller_input(tf.compat.v1.get_default_graph())
            return [_as_array_like(answer) for answer in answers]

        return call


def _outputs_of(traced: Any, declared: Signature, path: Path | str) -> tuple[TensorSpec, ...]:
    """The outputs, of the types that they have: Keras takes words looked up for int64."""
    if len(traced.outputs) != len(declared.outputs):  # several tensors make a ragged one
        raise ModelError(path, "has a ragged output; end the model with dense ones")
    outputs = zip(declared.outputs, traced.outputs, strict=True)
    try:
        return tuple(replace(spec, dtype=served_dtype(spec.name, t)) for spec, t in outputs)
    except ValueError as error:
        raise ModelError(path, str(error)) from error


def _as_array_like(answer: Any) -> Any:
    """Turn an output into one that numpy can hold: neither sparse nor bfloat16."""
    import tensorflow as tf

    if isinstance(answer, tf.SparseTensor):
        answer = tf.sparse.to_dense(answer)
    return tf.cast(answer, tf.float32) if answer.dtype == tf.bfloat16 else answer
