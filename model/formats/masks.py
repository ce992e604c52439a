"""Which layers of a Keras model may mix padding into its answers.

Padding is harmless where Keras' own mask, of Masking or of an Embedding with `mask_zero`, reaches
every layer that mixes steps. The calls of all layers are watched while the model is traced. Layers
are recognized by the names of their classes, so that no version of Keras is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

from model.formats.id_range import takes
from model.padding import PaddingHint, Value

STEPS: Final = [1]  # the axes that vary: rows are axis 0

# Made of other layers, whose calls are watched.
MADE_OF_LAYERS: Final = {"Functional", "Sequential", "Model"}

# They mix steps, and leave out those that are masked.
USE_MASKS: Final = {
    *("LSTM", "GRU", "SimpleRNN", "RNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
    *("GlobalAveragePooling1D", "Attention", "AdditiveAttention", "MultiHeadAttention"),
    *("GroupedQueryAttention", "GroupQueryAttention"),
}
RECURRENT: Final = {"LSTM", "GRU", "SimpleRNN", "RNN"}

# They compute each step by itself, if they do not work along the axis of the steps.
STEP_BY_STEP: Final = {
    *("InputLayer", "Identity", "Embedding", "Masking", "Dense", "TimeDistributed"),
    *("Activation", "ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax", "ActivityRegularization"),
    *("Dropout", "SpatialDropout1D", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
    *("LayerNormalization", "RMSNormalization", "BatchNormalization", "UnitNormalization"),
    *("Normalization", "Rescaling", "Add", "Subtract", "Multiply", "Average", "Maximum"),
    *("Minimum", "Concatenate"),
    # Operations that make masks
    *("NotEqual", "LogicalAnd", "LogicalOr", "LogicalNot", "Any", "All", "OnesLike", "ZerosLike"),
    *("ExpandDims", "Squeeze"),
}
TENSOR_MASKS: Final = {"query_mask", "value_mask", "key_mask"}  # arguments of attention
PARTS: Final = ("activation", "recurrent_activation", "cell")  # attributes of layers


class Seen(NamedTuple):
    """A tensor that a layer got: its axes of varying size, its rank, and whether it has a mask."""

    axes: list[int]
    rank: int
    is_masked: bool


class MaskWatch:
    """Watches the calls of layers.

    Attributes:
        why_not: the first layer that may mix padding into an answer, or "".
    """

    def __init__(self) -> None:
        self.why_not = ""
        self._is_inside = False

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """Watch the calls of all layers and operations."""
        with ExitStack() as stack:
            for owner in _callable_classes(model):
                original = owner.__dict__["__call__"]
                stack.callback(setattr, owner, "__call__", original)
                owner.__call__ = self._watched(original)
            yield

    def _watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if self._is_inside or self.why_not or _name_of(layer) in MADE_OF_LAYERS:
                return original(layer, *args, **kwargs)
            given = _given(args, kwargs)
            self._is_inside = True
            try:
                answer = original(layer, *args, **kwargs)
            finally:
                self._is_inside = False
            self.why_not = why_not(layer, given, [_seen(each) for each in _tensors(answer)])
            return answer

        return call


def hint_of(model: Any, watch: MaskWatch, inputs: Mapping[str, Any]) -> PaddingHint:
    """Return what a watched model says about padding; `inputs` are its tensors by name."""
    values = {name: value for name, each in inputs.items() if (value := _masked_value(model, each))}
    return PaddingHint(values, watch.why_not)


def why_not(layer: Any, given: list[Seen], answered: list[Seen]) -> str:
    """Return why a call of a layer may mix padding into its answer; "" if it does not."""
    varying = [each for each in given if each.axes]
    outputs = [each for each in answered if each.axes]
    if not varying and not outputs:
        return ""
    name = _name_of(layer)
    called = f"the layer {layer.name} ({type(layer).__name__})"
    if not all(each.axes == STEPS for each in (*varying, *outputs)):
        return f"{called} has other axes of varying size than steps"
    if not varying or not _has_known_parts(layer):
        return f"{called} may mix steps"
    if name in USE_MASKS or (name == "Bidirectional" and _is_recurrent(layer)):
        is_masked = all(each.is_masked for each in varying)
        return "" if is_masked else f"{called} mixes steps and gets no mask"
    if name in STEP_BY_STEP and _wraps_known(layer) and not _is_along_steps(layer, given, answered):
        return "" if outputs == answered else f"{called} may mix steps"
    return f"{called} may mix steps"


def _is_along_steps(layer: Any, given: list[Seen], answered: list[Seen]) -> bool:
    """Return whether a layer that works step by step works along the steps, as it is set."""
    if len({each.rank for each in given}) != 1:
        return True  # tensors of other ranks may be aligned otherwise
    rank = max(each.rank for each in (*given, *answered))
    last = -1 if _name_of(layer) == "Activation" else None  # softmax is along the last axis
    axes = getattr(layer, "axis", last)
    axes = axes if isinstance(axes, list | tuple) else [axes]
    return any(axis is not None and axis % rank in (0, 1) for axis in axes)


def _is_recurrent(layer: Any) -> bool:
    both = (layer.forward_layer, layer.backward_layer)
    return all(_name_of(each) in RECURRENT and _has_known_parts(each) for each in both)


def _has_known_parts(layer: Any) -> bool:
    """Return whether Keras defines the functions and the cells of a layer."""
    parts = [getattr(layer, each, None) for each in PARTS]
    cells = [each for part in parts for each in getattr(part, "cells", ())]
    return all(map(_is_of_keras, (*parts, *cells)))


def _wraps_known(layer: Any) -> bool:
    """Return whether a layer wraps nothing, or layers that Keras defines."""
    wrapped = getattr(layer, "layer", None)
    return wrapped is None or all(map(_name_of, wrapped._flatten_layers()))


def _is_of_keras(thing: Any) -> bool:
    """Return whether there is nothing, or something that Keras itself defines."""
    return thing is None or _package(thing) in {"keras", "tf_keras"}


def _package(thing: Any) -> str:
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return str(module).partition(".")[0]


def _name_of(layer: Any) -> str:
    """Return the name of the class of a layer; "" if Keras does not define it."""
    return type(layer).__name__ if _package(type(layer)) in {"keras", "tf_keras"} else ""


def _callable_classes(model: Any) -> list[Any]:
    """Return the classes of layers and operations, of Keras 3 or of tf_keras, with `__call__`."""
    classes = type(model).__mro__
    names = {"Layer", "Operation"}
    found = [each for each in classes if each.__name__ in names and "__call__" in vars(each)]
    return [each for each in found if _package(each) in {"keras", "tf_keras"}]


def _given(args: Any, kwargs: Mapping[str, Any]) -> list[Seen]:
    """Return the tensors that a layer is called with, without masks.

    Keras notes a mask in the graph of a model, as an argument of the call that got it.
    """
    masks = {key for key in kwargs if key == "mask" or key in TENSOR_MASKS}
    others = {key: value for key, value in kwargs.items() if key not in masks}
    given = [_seen(each) for each in _tensors((args, others))]
    noted = sum(1 for _ in _tensors([kwargs[key] for key in masks]))
    if noted < sum(1 for each in given if each.axes):
        return given
    return [each._replace(is_masked=True) for each in given]


def _tensors(structure: Any) -> Iterator[Any]:
    if isinstance(structure, Mapping):
        structure = list(structure.values())
    if isinstance(structure, list | tuple):
        for item in structure:
            yield from _tensors(item)
    elif hasattr(structure, "shape") and hasattr(structure, "dtype"):
        yield structure


def _seen(tensor: Any) -> Seen:
    is_masked = getattr(tensor, "_keras_mask", None) is not None
    rank = getattr(tensor.shape, "rank", None)
    if rank is None:
        return Seen([-1], 0, is_masked)
    sizes = list(tensor.shape)
    return Seen([axis for axis in range(1, rank) if sizes[axis] is None], rank, is_masked)


def _masked_value(model: Any, tensor: Any) -> Value | None:
    """Return the value that a Masking masks, if the model has one that takes this input."""
    for layer in model.layers:
        if not takes(layer, tensor):
            continue
        if _name_of(layer) == "Masking":
            return float(layer.mask_value)
        if hasattr(layer, "layers") and len(getattr(layer, "inputs", None) or ()) == 1:
            return _masked_value(layer, layer.inputs[0])
    return None
