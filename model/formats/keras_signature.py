"""Names, shapes and dtypes of a Keras model's inputs and outputs, and how it takes them.

For models of Keras 3 and of tf_keras: neither is imported at the top.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.formats.files import ModelError
from model.formats.id_range import id_count
from model.formats.vocabulary import samples_of
from model.signature import DTYPES, Signature, TensorSpec

# The keys and indexes that lead to a tensor in nested dicts and lists; () to a tensor alone.
KeyPath = tuple[Any, ...]


def signature_of(model: Any, path: Path | str) -> Signature:
    """Read names, shapes and dtypes off `model`; raises ModelError when it cannot be served.

    Tensors in dicts have the names of their keys, `a/b` or `a/0` where dicts and lists are nested.
    Others have those of the input or of the layer that returns them: `lstm`, and `lstm_1` for its
    second output.
    """
    try:
        inputs, outputs = _named(model, "input"), _named(model, "output")
    except AttributeError as error:  # of a model that has no graph of layers
        raise ModelError(path, _no_input_shape(model)) from error
    try:
        return Signature(_input_specs(model, inputs), _specs(outputs))
    except ValueError as error:
        raise ModelError(path, str(error)) from error


def input_tensors(model: Any) -> dict[str, Any]:
    """Return the tensors that a model takes, by their names in its signature."""
    return dict(_named(model, "input"))


def _no_input_shape(model: Any) -> str:
    if any(each.__name__ == "Sequential" for each in type(model).__mro__):
        return "the model has no input shape; begin it with `keras.Input(shape)`, and save it again"
    why = f"does not say what its class {type(model).__name__} takes and returns"
    return f"{why}; build it of layers called on `keras.Input`, or export a SavedModel"


def _structure(model: Any, side: str) -> Any:
    """Return the tensor that the model takes or returns, or the lists and dicts of tensors."""
    tensors = getattr(model, f"{side}s")
    if hasattr(model, "output_names"):
        return getattr(model, side)
    return _without_singletons(tensors)  # of a Sequential of Keras 3, which has no more to tell


def _without_singletons(structure: Any) -> Any:
    """Return the only item of a list, as Keras itself does with what a model returns."""
    while isinstance(structure, list | tuple) and len(structure) == 1:
        structure = structure[0]
    return structure


def _leaves(structure: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the tensors in nested dicts and lists in their order, each with its path."""
    if isinstance(structure, Mapping):
        for key, item in structure.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(structure, list | tuple):
        for index, item in enumerate(structure):
            yield from _leaves(item, (*path, index))
    else:
        yield path, structure


def _named(model: Any, side: str) -> list[tuple[str, Any]]:
    """Return the tensors that the model takes ("input") or returns ("output"), with their names."""
    found = list(_leaves(_without_singletons(_structure(model, side))))
    tensors = [tensor for _, tensor in found]
    own = _input_names(model, tensors) if side == "input" else _output_names(model, tensors)
    names = [_name(path, name) for (path, _), name in zip(found, own, strict=True)]
    return list(zip(_unique(names), tensors, strict=True))


def _name(path: KeyPath, own: str) -> str:
    """Return the path as a name, or the tensor's own name if there are no keys on it."""
    return "/".join(map(str, path)) if any(isinstance(key, str) for key in path) else own


def _input_names(model: Any, tensors: list[Any]) -> list[str]:
    return getattr(model, "input_names", None) or [tensor.name for tensor in tensors]


def _output_names(model: Any, tensors: list[Any]) -> list[str]:
    return getattr(model, "output_names", None) or [model.layers[-1].name] * len(tensors)


def _unique(names: Sequence[str]) -> list[str]:
    """Number the names that come more than once, in the way of Keras 2: `y`, `y_1`, `y_2`."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}_{number}" for number in itertools.count(1))
        found.append(next(each for each in itertools.chain([name], numbered) if each not in found))
    return found


def _input_specs(model: Any, named: list[tuple[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        _input_spec(model, spec, tensor)
        for spec, (_, tensor) in zip(_specs(named), named, strict=True)
    )


def _input_spec(model: Any, spec: TensorSpec, tensor: Any) -> TensorSpec:
    """Add the ids that the model can look up, and values of its vocabulary."""
    count = id_count(model, tensor)
    if count is not None:
        spec = replace(spec, minimum=0, maximum=count - 1)
    return replace(spec, samples=samples_of(model, tensor, spec))


def _specs(named: Iterable[tuple[str, Any]]) -> tuple[TensorSpec, ...]:
    """Raises ValueError for what rows of numbers or strings cannot express."""
    specs = []
    for name, tensor in named:
        if not tensor.shape:
            raise ValueError(no_rows(name))
        specs.append(TensorSpec(name, tuple(tensor.shape[1:]), served_dtype(name, tensor)))
    return tuple(specs)


def no_rows(name: str) -> str:
    """Return why an output without axes is refused."""
    why = f"{name} has no axis for the rows, so it cannot be cut into answers"
    return f"{why}; give the model one row of output for each row of input"


def served_dtype(name: str, tensor: Any) -> str:
    dtype = getattr(tensor.dtype, "name", tensor.dtype)
    if dtype == "bfloat16":  # numpy has none; the compiled function casts
        return "float32"
    if dtype not in DTYPES:
        why = f"{name} is of type {dtype}, and only real numbers, bool and strings are served"
        raise ValueError(f"{why}; cast it to float32, for example")
    return str(dtype)


def packer(model: Any) -> Callable[[Sequence[Any]], Any]:
    """Return what turns tensors in the signature's order into what the model takes."""
    structure = _structure(model, "input")
    return lambda inputs: _filled(structure, iter(inputs))


def output_shapes(model: Any, shapes: Sequence[tuple[int, ...]]) -> Any:
    """Return what Keras says the model returns for inputs of these shapes, with their rows.

    Raises what layers raise for inputs that they do not take.
    """
    pack = packer(model)
    if not hasattr(model, "compute_output_spec"):  # Keras 2
        return model.compute_output_shape(pack(shapes))
    from keras import KerasTensor

    given = zip(shapes, _leaves(_structure(model, "input")), strict=True)
    return model.compute_output_spec(
        pack([KerasTensor(shape, tensor.dtype) for shape, (_, tensor) in given])
    )


def _filled(structure: Any, tensors: Iterator[Any]) -> Any:
    """Return the same dicts and lists with other tensors in them."""
    if isinstance(structure, Mapping):
        return {key: _filled(item, tensors) for key, item in structure.items()}
    if isinstance(structure, list | tuple):
        return [_filled(item, tensors) for item in structure]
    return next(tensors)


def unpacker(model: Any) -> Callable[[Any], list[Any]]:
    """Return what turns what the model returns into tensors in the signature's order."""
    paths = [path for path, _ in _leaves(_without_singletons(_structure(model, "output")))]
    return lambda answer: [
        functools.reduce(operator.getitem, path, _without_singletons(answer)) for path in paths
    ]
