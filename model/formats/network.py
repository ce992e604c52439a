"""A Keras network as an engine: its signature, and its function traced once, or its layers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model.engines.interface import Engine
from model.engines.layer_by_layer import LayerByLayer, Shapes
from model.engines.tensorflow import TensorFlowEngine, as_array_like
from model.formats.files import ModelError, in_one_line
from model.formats.fixed_rows import (
    answer_alike,
    declared_rows,
    generated_arrays,
    reset_states,
    stateful_layers,
)
from model.formats.keras_signature import (
    input_tensors,
    no_rows,
    output_shapes,
    packer,
    served_dtype,
    signature_of,
    unpacker,
)
from model.formats.masks import MaskWatch, hint_of
from model.formats.options import LoadOptions
from model.formats.scopes import any_names_as_scopes
from model.formats.windows import refuse_smaller_input
from model.padding import PaddingHint
from model.signature import Signature, TensorSpec

log = logging.getLogger(__name__)


class NotTraceable(ModelError):
    """A layer fails while the model is traced; `why` says how."""

    def __init__(self, path: Path | str, why: str) -> None:
        what_to_do = "check that `model.predict` works, or set batch_size in its keras.Input"
        super().__init__(path, f"{why}; {what_to_do}")
        self.why = why


def engine_of(model: Any, path: Path | str, options: LoadOptions) -> TensorFlowEngine:
    """Trace a Keras model, of version 2 or 3, for any number of rows, or for its own if it must be.

    A model that cannot be traced is called layer by layer, and so is one with `options.eager`.
    Raises ModelError when it cannot be served.
    """
    network = _Network(model, path, keep_state=options.keep_state)
    rows = declared_rows(model)
    try:
        traced = _traced(network, rows)
    except NotTraceable as error:
        engine = network.untraced(rows)
        if engine is None:
            raise
        what = "Keras calls it layer by layer instead, which takes longer"
        log.warning("%s: %s; %s", path, error.why, what)
        return engine
    eager = traced.eager
    return eager if options.eager and isinstance(eager, LayerByLayer) else traced


def _traced(network: _Network, rows: int | None) -> TensorFlowEngine:
    if rows is None or network.is_stateful:
        return network.engine(rows)
    try:
        free = network.engine(None)
    except ModelError:
        return network.engine(rows)
    try:
        fixed = network.engine(rows)
    except ModelError:
        return free
    return free if answer_alike(free, fixed) else fixed


class _Network:
    """One model, as what can be called."""

    def __init__(self, model: Any, path: Path | str, *, keep_state: bool) -> None:
        self._model = model
        self._path = path
        self._keep_state = keep_state
        self._declared = signature_of(model, path)
        self._watch = MaskWatch()

    @property
    def is_stateful(self) -> bool:
        """Whether a layer keeps its state from call to call."""
        return bool(stateful_layers(self._model))

    def engine(self, rows: int | None) -> TensorFlowEngine:
        """Return the model traced for a number of rows, None for any; raises ModelError."""
        declared = self._declared
        traced = self._trace(rows)
        if rows is not None:
            self._check_rows(traced, rows)
        signature = Signature(declared.inputs, _outputs_of(traced, declared, self._path))
        engine = TensorFlowEngine.traced(traced, signature, owner=self._model, fixed_rows=rows)
        engine.eager = self._layer_by_layer(signature, rows, half=engine.is_half_precision)
        if not signature.is_fixed:
            tensors = input_tensors(self._model)
            engine.padding_hint = hint_of(self._model, self._watch, tensors)
        return engine

    def untraced(self, rows: int | None) -> LayerByLayer | None:
        """Return the model called layer by layer; None if it rejects all generated rows.

        Its outputs are as it answers, where Keras declares others.
        """
        engine = self._layer_by_layer(self._declared, rows, half=False)
        outputs = _answered_outputs(engine)
        if not outputs:
            return None
        signature = Signature(self._declared.inputs, outputs)
        return self._layer_by_layer(signature, rows, half=False)

    def _layer_by_layer(
        self, signature: Signature, rows: int | None, *, half: bool
    ) -> LayerByLayer:
        engine = LayerByLayer(
            self._layers(),
            signature,
            check=self._check_sizes,
            fixed_rows=rows,
            is_half_precision=half,
        )
        engine.padding_hint = PaddingHint(why_not="Keras calls the model layer by layer")
        return engine

    def _check_sizes(self, shapes: Shapes) -> None:
        """Raise ValueError for input that is smaller than a window over it.

        See `model.formats.windows`, whose checks are in the traced function alone.
        """
        if self._declared.is_fixed:
            return
        try:
            output_shapes(self._model, shapes)
        except Exception as error:  # of any layer, also of one that cannot tell its shape
            if "negative" in str(error):
                raise ValueError(in_one_line(error)) from error

    def _check_rows(self, traced: Any, rows: int) -> None:
        for output in traced.outputs:
            if output.shape.rank and output.shape[0] not in {None, rows}:
                why = f"answers {output.shape[0]} rows when it is called with {rows}"
                raise ModelError(self._path, f"{why}; give each row of input one of output")

    def _trace(self, rows: int | None) -> Any:
        import tensorflow as tf

        inputs = self._declared.inputs
        specs = [tf.TensorSpec([rows, *spec.shape], spec.dtype) for spec in inputs]
        layers = self._layers()

        def call(*inputs: Any) -> list[Any]:
            with nullcontext() if self._declared.is_fixed else self._watch.watching(self._model):
                answers = layers(*inputs)
            refuse_smaller_input(tf.compat.v1.get_default_graph())
            return answers

        try:
            return tf.function(call, autograph=False).get_concrete_function(*specs)
        except Exception as error:  # whatever its layers raise
            number = "a varying number of rows" if rows is None else f"{rows} rows"
            why = f"{in_one_line(error)} when the model is called with {number}"
            raise NotTraceable(self._path, why) from error

    def _layers(self) -> Callable[..., list[Any]]:
        """Return what calls the model with tensors in the signature's order."""
        model = self._model
        pack, unpack = packer(model), unpacker(model)

        def call(*inputs: Any) -> list[Any]:
            with any_names_as_scopes():
                if not self._keep_state:
                    reset_states(model)
                answers = unpack(model(pack(inputs), training=False))
                return [as_array_like(answer) for answer in answers]

        return call


def _answered_outputs(engine: Engine) -> tuple[TensorSpec, ...]:
    """Return outputs with the types and shapes that a network answers; () if it answers nothing."""
    outputs: tuple[TensorSpec, ...] = ()
    for arrays, _ in generated_arrays(engine.signature, engine.fixed_rows or 1):
        try:
            answers = engine.call(arrays)
            specs = zip(outputs or engine.signature.outputs, answers, strict=True)
            outputs = tuple(_as_answered(spec, answer) for spec, answer in specs)
        except Exception as error:  # whatever the network raises for these rows
            log.debug("generated rows are rejected: %s", in_one_line(error))
    return outputs


def _as_answered(spec: TensorSpec, answer: np.ndarray) -> TensorSpec:
    """Return a spec that is true for an answer; raises ValueError for one of another rank."""
    sizes = zip(spec.shape, answer.shape[1:], strict=True)
    shape = tuple(declared if declared == size else None for declared, size in sizes)
    return replace(spec, shape=shape, dtype=served_dtype(spec.name, answer))


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
        raise ValueError(no_rows(spec.name))
    return replace(spec, shape=tuple(tensor.shape[1:]))
