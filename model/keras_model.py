"""A Keras model in memory: loaded safely, warmed up, called once per batch."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.id_range import id_count
from model.model_file import ModelError, check_file
from model.signature import Signature, TensorSpec
from model.tensors import Rows, Tensors, View, merge, split
from model.windows import refuse_smaller_input

if TYPE_CHECKING:
    import keras

__all__ = ["KerasModel", "ModelError"]

logger = logging.getLogger(__name__)

SERVED_DTYPES = {
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *(f"float{bits}" for bits in (16, 32, 64)),
    "string",
}
WORDS = ("", "a", "no", "yes", "good", "bad")  # some may be in a vocabulary


def import_keras() -> None:
    """Import Keras, and TensorFlow with it, which takes seconds."""
    import keras  # noqa: F401  # it stays imported


class KerasModel:
    """A model behind one function that was compiled once, for any number of rows.

    Attributes:
        signature: What the model takes and gives, in its own order and under its own names.
        traces: How often the function was traced: 1, or every new shape costs a compilation.
    """

    def __init__(self, model: keras.Model, path: Path | str) -> None:
        """Compile `model`; raises ModelError when it cannot be served. See `load`."""
        self.traces = 0
        self.signature = _signature(model, path)
        self._path = path
        self._model = model  # the compiled function does not keep its variables alive
        self._names = [spec.name for spec in self.signature.inputs]
        self._output_names = [spec.name for spec in self.signature.outputs]
        self._variable_size = 1
        traced = self._trace()
        self._call = _operation(traced)
        self.signature = Signature(self.signature.inputs, self._outputs_of(traced))

    @classmethod
    def load(cls, path: Path | str, sha256: str | None = None) -> KerasModel:
        """Load a local `.keras` or `.h5` file, and run no code out of it.

        `sha256`, hexadecimal, pins the content. Raises ModelError; an exception of Keras that
        led to it is its cause.
        """
        check_file(path, sha256)
        import keras  # takes seconds; a wrong file is told at once

        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras has no class of errors for this
            raise ModelError(path, _why_not_loaded(error)) from error
        if not isinstance(model, keras.Model):
            raise ModelError(path, f"holds a {type(model).__name__} where a model is expected")
        return cls(model, path)

    def warm_up(self, max_rows: int) -> None:
        """Call the model with zeros for 1, 2, 4, … and `max_rows` rows; first calls are slow.

        Raises ModelError when it fails at them, or does not answer one row for each.
        """
        self._variable_size = self._find_variable_size()
        sizes = [2**power for power in range(max_rows.bit_length()) if 2**power < max_rows]
        for rows in [*sizes, max_rows]:
            self.trial(rows)

    @property
    def row_nbytes(self) -> int:
        """The size of one row of input in bytes; see `trial`."""
        return self._rows(1, _zeros).nbytes

    def trial(self, rows: int) -> Callable[[], object]:
        """Return a call with so many rows of zeros, to be timed, after making it once.

        Variable dimensions have the size that `warm_up` found. Raises ModelError as that does.
        """
        parts = [self._rows(rows, _zeros)]
        try:
            self.predict(parts)
        except Exception as error:  # whatever TensorFlow raises
            why = f"the model fails on a batch of {rows}, all zeros: {_short(error)}"
            raise ModelError(self._path, why) from error
        return lambda: self.predict(parts)

    def predict(self, parts: Sequence[Rows]) -> list[View]:
        """Answer `parts`, all of one `row_shape`, by ONE call of the model.

        Arrays have the names, shapes and dtypes of the signature, and so have the answers.
        Raises RowCountMismatch when the model does not answer one row for each.
        """
        batch = merge(parts)
        outputs = self._call([batch.arrays[name] for name in self._names])
        arrays = [output.numpy() for output in outputs]
        answer = Tensors(dict(zip(self._output_names, arrays, strict=True)))
        return split(answer, [len(part) for part in parts])

    def row_dependence(self) -> float:
        """How much an answer changes with the company of its row, relative to its scale.

        About 1e-7 is rounding. Much more: rows depend on each other, or the model keeps state.
        To be called after `warm_up`, which finds a size for variable dimensions.
        """
        batch = self._random_rows(4)
        try:
            alone = [self.predict([batch[row : row + 1]])[0] for row in range(len(batch))]
        except Exception as error:  # such as an Embedding of a single id
            logger.info("random input fails, so the rows are compared on zeros: %s", _short(error))
            batch = self._rows(4, _zeros)
            alone = [self.predict([batch[row : row + 1]])[0] for row in range(len(batch))]
        together = self.predict([batch])[0]
        return max(
            _difference([part.arrays[name] for part in alone], together.arrays[name])
            for name in self._output_names
        )

    def _trace(self) -> Any:
        """Trace the model once, for any number of rows."""
        import tensorflow as tf

        pack, unpack = _packer(self._model, self._names), _unpacker(self._output_names)

        def call(*inputs: Any) -> list[Any]:
            self.traces += 1  # runs while tracing only
            answers = unpack(self._model(pack(inputs), training=False))
            refuse_smaller_input(tf.compat.v1.get_default_graph())
            return [_as_array_like(answer) for answer in answers]

        specs = [tf.TensorSpec([None, *s.shape], s.dtype) for s in self.signature.inputs]
        try:
            return tf.function(call).get_concrete_function(*specs)
        except Exception as error:  # whatever its layers raise
            why = f"cannot be called with a varying number of rows: {_short(error)}"
            raise ModelError(self._path, why) from error

    def _outputs_of(self, traced: Any) -> tuple[TensorSpec, ...]:
        """The outputs, of the types that they have: Keras takes words looked up for int64."""
        if len(traced.outputs) != len(self.signature.outputs):  # several tensors make a ragged one
            raise ModelError(self._path, "has a ragged output; end the model with dense ones")
        outputs = zip(self.signature.outputs, traced.outputs, strict=True)
        try:
            return tuple(replace(spec, dtype=_served_dtype(spec.name, t)) for spec, t in outputs)
        except ValueError as error:
            raise ModelError(self._path, str(error)) from error

    def _find_variable_size(self) -> int:
        """A size that the model takes for its variable dimensions: a small power of two.

        Not the smallest, which may be at the edge of what a layer can do.
        """
        if self.signature.is_fixed:
            return 1
        taken: list[int] = []
        for size in (2**power for power in range(11)):
            if self._takes_size(size):
                taken.append(size)
            elif taken:
                break
            if len(taken) == 2:
                break
        return taken[-1] if taken else 1

    def _takes_size(self, size: int) -> bool:
        self._variable_size = size
        try:
            self.predict([self._rows(1, _zeros)])
        except Exception as error:  # whatever TensorFlow raises
            logger.debug("variable dimensions of %d: %s", size, _short(error))
            return False
        return True

    def _rows(self, rows: int, make: Callable[[list[int], TensorSpec], np.ndarray]) -> Tensors:
        return Tensors(
            {
                spec.name: make([rows, *(n or self._variable_size for n in spec.shape)], spec)
                for spec in self.signature.inputs
            }
        )

    def _random_rows(self, rows: int) -> Tensors:
        random = np.random.default_rng(0)

        def make(shape: list[int], spec: TensorSpec) -> np.ndarray:
            if spec.dtype == "string":
                return random.choice(np.array(WORDS, object), shape)
            if spec.maximum is not None:
                return random.integers(0, spec.maximum + 1, shape).astype(spec.dtype)
            if spec.dtype.startswith("float"):
                return random.standard_normal(shape).astype(spec.dtype)
            return random.integers(0, 2, shape).astype(spec.dtype)  # few ids, for an Embedding

        return self._rows(rows, make)


def _zeros(shape: list[int], spec: TensorSpec) -> np.ndarray:
    return np.full(shape, "" if spec.dtype == "string" else 0, spec.array_dtype)


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


def _signature(model: keras.Model, path: Path | str) -> Signature:
    """Read names, shapes and dtypes off `model`; raises ModelError when it cannot be served."""
    try:
        inputs, outputs = _named_inputs(model), _named_outputs(model)
    except AttributeError as error:  # raised by a Sequential without inputs
        why = "the model has no input shape; begin it with `keras.Input(shape)`, and save it again"
        raise ModelError(path, why) from error
    try:
        return Signature(_input_specs(model, inputs), _specs(outputs))
    except ValueError as error:
        raise ModelError(path, str(error)) from error


def _named_inputs(model: keras.Model) -> list[tuple[str, Any]]:
    structure = _structure(model, "input")
    if isinstance(structure, dict):
        return list(structure.items())
    return [(getattr(tensor, "name", ""), tensor) for tensor in _as_list(structure)]


def _named_outputs(model: keras.Model) -> list[tuple[str, Any]]:
    structure = _structure(model, "output")
    if isinstance(structure, dict):
        return list(structure.items())
    tensors = _as_list(structure)
    names = getattr(model, "output_names", None) or [model.layers[-1].name] * len(tensors)
    return list(zip(names, tensors, strict=False))  # nested outputs have more names; see _specs


def _structure(model: keras.Model, side: str) -> Any:
    """The tensor, list or dict of tensors that the model takes ("input") or gives ("output")."""
    tensors = getattr(model, f"{side}s")  # a Sequential has this alone
    return getattr(model, side) if hasattr(model, "output_names") else _single(tensors)


def _single(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def _as_list(structure: Any) -> list[Any]:
    return list(structure) if isinstance(structure, list | tuple) else [structure]


def _input_specs(model: keras.Model, named: list[tuple[str, Any]]) -> tuple[TensorSpec, ...]:
    specs = _specs(named)
    counts = [id_count(model, tensor) for _, tensor in named]
    return tuple(
        spec if count is None else replace(spec, minimum=0, maximum=count - 1)
        for spec, count in zip(specs, counts, strict=True)
    )


def _specs(named: Iterable[tuple[str, Any]]) -> tuple[TensorSpec, ...]:
    """Raises ValueError for what rows of numbers or strings cannot express."""
    specs = []
    for name, tensor in named:
        if not hasattr(tensor, "shape"):
            raise ValueError(
                "the model has nested inputs or outputs; make them a flat list or dict"
            )
        if not tensor.shape:
            raise ValueError(f"{name} has no axis for the rows, so it cannot be cut into answers")
        specs.append(TensorSpec(name, tuple(tensor.shape[1:]), _served_dtype(name, tensor)))
    return tuple(specs)


def _served_dtype(name: str, tensor: Any) -> str:
    dtype = getattr(tensor.dtype, "name", tensor.dtype)
    if dtype == "bfloat16":  # numpy has none; the compiled function casts
        return "float32"
    if dtype not in SERVED_DTYPES:
        raise ValueError(f"{name} is of type {dtype}, and only numbers and strings are served")
    return str(dtype)


def _packer(model: keras.Model, names: list[str]) -> Callable[[tuple[Any, ...]], Any]:
    """Turn the flat inputs of the compiled function into what the model takes."""
    structure = _structure(model, "input")
    if isinstance(structure, dict):
        return lambda inputs: dict(zip(names, inputs, strict=True))
    return list if isinstance(structure, list | tuple) else lambda inputs: inputs[0]


def _unpacker(names: list[str]) -> Callable[[Any], list[Any]]:
    return lambda answer: (
        [answer[name] for name in names] if isinstance(answer, dict) else _as_list(answer)
    )


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
        f"Keras cannot load it ({_short(error)}); save the model again with this version of Keras"
    )


def _short(error: Exception) -> str:
    """What an exception of Keras or TensorFlow says in the end, in a line of 200 characters."""
    text = str(error).rpartition("Exception encountered: ")[2]
    line = " ".join(text.split()) or type(error).__name__
    return line if len(line) <= 200 else f"{line[:199]}…"


def _difference(alone: list[np.ndarray], together: np.ndarray) -> float:
    """The largest difference, relative to the largest value; infinite when the shapes differ."""
    if any(part.shape[1:] != together.shape[1:] for part in alone):
        return float("inf")
    if together.dtype.hasobject:  # strings
        return 0.0 if np.array_equal(np.concatenate(alone), together) else float("inf")
    one, other = np.concatenate(alone).astype(float), together.astype(float)
    finite = np.isfinite(one)
    if not np.array_equal(finite, np.isfinite(other)):
        return float("inf")
    if not finite.any():
        return 0.0
    scale = np.abs(one[finite]).max() or 1.0
    return float(np.abs(one - other)[finite].max() / scale)
