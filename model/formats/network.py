"""A Keras network as an engine: its signature, and its function traced once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.engines.tensorflow import TensorFlowEngine
from model.formats.files import ModelError, in_one_line
from model.formats.keras_signature import packer, served_dtype, signature_of, unpacker
from model.formats.options import LoadOptions
from model.formats.scopes import any_names_as_scopes
from model.formats.windows import refuse_smaller_input
from model.signature import Signature, TensorSpec


def engine_of(model: Any, path: Path | str, options: LoadOptions) -> TensorFlowEngine:
    """Trace a Keras model, of version 2 or 3, once and for any number of rows.

    Raises ModelError when it cannot be served.
    """
    declared = signature_of(model, path)
    fixed = _fixed_rows(model) if _stateful(model) else None
    traced = _trace(model, declared, fixed, path)
    signature = Signature(declared.inputs, _outputs_of(traced, declared, path))
    reset = None if options.keep_state else _resets_of(model)
    return TensorFlowEngine(traced, signature, owner=model, fixed_rows=fixed, reset=reset)


def _fixed_rows(model: Any) -> int | None:
    """The number of rows that the model was built for (`batch_size=` in its Input)."""
    return next((tensor.shape[0] for tensor in model.inputs if tensor.shape[0] is not None), None)


def _resets_of(model: Any) -> Callable[[], object] | None:
    """Return what sets recurrent layers back that keep their state; None if none do."""
    resets = [
        getattr(each, "reset_state", None) or getattr(each, "reset_states", None)
        for each in _stateful(model)
    ]
    found = [each for each in resets if each is not None]
    return (lambda: [each() for each in found]) if found else None


def _stateful(model: Any) -> list[Any]:
    return [each for each in model._flatten_layers() if getattr(each, "stateful", False)]


def _trace(model: Any, signature: Signature, rows: int | None, path: Path | str) -> Any:
    import tensorflow as tf

    pack, unpack = packer(model), unpacker(model)

    def call(*inputs: Any) -> list[Any]:
        answers = unpack(model(pack(inputs), training=False))
        refuse_smaller_input(tf.compat.v1.get_default_graph())
        return [_as_array_like(answer) for answer in answers]

    specs = [tf.TensorSpec([rows, *spec.shape], spec.dtype) for spec in signature.inputs]
    try:
        with any_names_as_scopes():
            return tf.function(call, autograph=False).get_concrete_function(*specs)
    except Exception as error:  # whatever its layers raise
        why = f"{in_one_line(error)}; the model cannot be called with a varying number of rows"
        raise ModelError(path, why) from error


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


def _as_array_like(answer: Any) -> Any:
    """Turn an output into one that numpy can hold: neither sparse nor bfloat16."""
    import tensorflow as tf

    if isinstance(answer, tf.SparseTensor):
        answer = tf.sparse.to_dense(answer)
    return tf.cast(answer, tf.float32) if answer.dtype == tf.bfloat16 else answer
