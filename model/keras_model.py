"""A Keras model in memory: loaded safely, warmed up, called once per batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.keras_signature import packer, served_dtype, signature_of, unpacker
from model.model_file import ModelError, check_file, in_one_line
from model.signature import Signature, TensorSpec
from model.tensors import Rows, Tensors, View, merge, split
from model.windows import refuse_smaller_input

if TYPE_CHECKING:
    import keras

__all__ = ["KerasModel", "ModelError"]


def import_keras() -> None:
    """Import Keras, and TensorFlow with it, which takes seconds."""
    import keras  # noqa: F401  # it stays imported


def set_threads(count: int) -> None:
    """Set how many threads TensorFlow computes with; to be called before it computes anything."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)


class KerasModel:
    """A model behind one function that was compiled once, for any number of rows.

    Attributes:
        signature: What the model takes and gives, in its own order and under its own names.
        traces: How often the function was traced: 1, or every new shape costs a compilation.
    """

    def __init__(self, model: keras.Model, path: Path | str) -> None:
        """Compile `model`; raises ModelError when it cannot be served. See `load`."""
        self.traces = 0
        self.signature = signature_of(model, path)
        self._path = path
        self._model = model  # the compiled function does not keep its variables alive
        self._names = [spec.name for spec in self.signature.inputs]
        self._output_names = [spec.name for spec in self.signature.outputs]
        traced = self._trace()
        self._call = _operation(traced)
        self.signature = Signature(self.signature.inputs, self._outputs_of(traced))

    @classmethod
    def load(cls, path: Path | str, sha256: str | None = None) -> KerasModel:
        """Load a local `.keras` or `.h5` file, and run no code out of it.

        `sha256`, hexadecimal, pins the content. Raises ModelError; an exception of Keras that
        led to it is its cause.
        """
        check_file(path, sha256)  # before the import, which takes seconds
        return cls.load_checked(path)

    @classmethod
    def load_checked(cls, path: Path | str) -> KerasModel:
        """Load a file that `check_file` has accepted; raises ModelError."""
        import keras

        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras has no class of errors for this
            raise ModelError(path, _why_not_loaded(error)) from error
        if not isinstance(model, keras.Model):
            raise ModelError(path, f"holds a {type(model).__name__} where a model is expected")
        return cls(model, path)

    def call(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Call the network once: the inputs in the signature's order, and so the outputs.

        All share their first axis, which may have any length.
        """
        return [output.numpy() for output in self._call(list(arrays))]

    def predict(self, parts: Sequence[Rows]) -> list[View]:
        """Answer `parts`, all of one `row_shape`, by ONE call of the model.

        Arrays have the names, shapes and dtypes of the signature, and so have the answers.
        Raises RowCountMismatch when the model does not answer one row for each.
        """
        batch = merge(parts)
        outputs = self.call([batch.arrays[name] for name in self._names])
        answer = Tensors(dict(zip(self._output_names, outputs, strict=True)))
        return split(answer, [len(part) for part in parts])

    def _trace(self) -> Any:
        """Trace the model once, for any number of rows."""
        import tensorflow as tf

        pack, unpack = packer(self._model, self._names), unpacker(self._output_names)

        def call(*inputs: Any) -> list[Any]:
            self.traces += 1  # runs while tracing only
            answers = unpack(self._model(pack(inputs), training=False))
            refuse_smaller_input(tf.compat.v1.get_default_graph())
            return [_as_array_like(answer) for answer in answers]

        specs = [tf.TensorSpec([None, *s.shape], s.dtype) for s in self.signature.inputs]
        try:
            return tf.function(call, autograph=False).get_concrete_function(*specs)
        except Exception as error:  # whatever its layers raise
            why = f"cannot be called with a varying number of rows: {in_one_line(error)}"
            raise ModelError(self._path, why) from error

    def _outputs_of(self, traced: Any) -> tuple[TensorSpec, ...]:
        """The outputs, of the types that they have: Keras takes words looked up for int64."""
        if len(traced.outputs) != len(self.signature.outputs):  # several tensors make a ragged one
            raise ModelError(self._path, "has a ragged output; end the model with dense ones")
        outputs = zip(self.signature.outputs, traced.outputs, strict=True)
        try:
            return tuple(replace(spec, dtype=served_dtype(spec.name, t)) for spec, t in outputs)
        except ValueError as error:
            raise ModelError(self._path, str(error)) from error


def _operation(traced: Any) -> Callable[[list[np.ndarray]], Sequence[Any]]:
    """Return what calls a traced function with the arrays of one batch.

    The call is the operation that TensorFlow itself makes of a function's call: to go through
    the function checks every argument again in Python, which takes longer than a small network.
    """
    import tensorflow as tf

    weights = traced.captured_inputs
    dtypes = [output.dtype for output in traced.outputs]
    run = tf.raw_ops.StatefulPartitionedCall
    return lambda inputs: run(args=[*inputs, *weights], Tout=dtypes, f=traced)


def _as_array_like(answer: Any) -> Any:
    """Turn an output into one that numpy can hold: neither sparse nor bfloat16."""
    import tensorflow as tf

    if isinstance(answer, tf.SparseTensor):
        answer = tf.sparse.to_dense(answer)
    return tf.cast(answer, tf.float32) if answer.dtype == tf.bfloat16 else answer


def _why_not_loaded(error: Exception) -> str:
    text = str(error)
    if "safe_mode" in text:
        what = "Lambda layer" if "`Lambda` layer" in text else "part"
        return (
            f"has a {what} with Python code in it, which could do anything on this machine and "
            "is never run; build it of Keras' own layers and `keras.ops`, and save it again"
        )
    unknown = re.search(
        r"Could not locate (?:class|function) '([^']+)'|Unknown \w+: '([^']+)'", text
    )
    if unknown:
        name = unknown[1] or unknown[2]
        return f"needs {name}, which Keras does not know; build it of Keras' own layers instead"
    return (
        f"Keras cannot load it ({in_one_line(error)}); "
        "save the model again with this version of Keras"
    )
