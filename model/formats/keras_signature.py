"""Names, shapes and dtypes of a Keras model's inputs and outputs, and how it takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.formats.files import ModelError
from model.formats.id_range import id_count
from model.formats.vocabulary import samples_of
from model.signature import DTYPES, Signature, TensorSpec

if TYPE_CHECKING:
    import keras


def signature_of(model: keras.Model, path: Path | str) -> Signature:
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
    return tuple(
        _input_spec(model, spec, tensor)
        for spec, (_, tensor) in zip(_specs(named), named, strict=True)
    )


def _input_spec(model: keras.Model, spec: TensorSpec, tensor: Any) -> TensorSpec:
    """Add the ids that the model can look up, and values of its vocabulary."""
    count = id_count(model, tensor)
    if count is not None:
        spec = replace(spec, minimum=0, maximum=count - 1)
    return replace(spec, samples=samples_of(model, tensor, spec))


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
        specs.append(TensorSpec(name, tuple(tensor.shape[1:]), served_dtype(name, tensor)))
    return tuple(specs)


def served_dtype(name: str, tensor: Any) -> str:
    dtype = getattr(tensor.dtype, "name", tensor.dtype)
    if dtype == "bfloat16":  # numpy has none; the compiled function casts
        return "float32"
    if dtype not in DTYPES:
        raise ValueError(f"{name} is of type {dtype}, and only numbers and strings are served")
    return str(dtype)


def packer(model: keras.Model, names: list[str]) -> Callable[[tuple[Any, ...]], Any]:
    """Turn the flat inputs of the compiled function into what the model takes."""
    structure = _structure(model, "input")
    if isinstance(structure, dict):
        return lambda inputs: dict(zip(names, inputs, strict=True))
    return list if isinstance(structure, list | tuple) else lambda inputs: inputs[0]


def unpacker(names: list[str]) -> Callable[[Any], list[Any]]:
    return lambda answer: (
        [answer[name] for name in names] if isinstance(answer, dict) else _as_list(answer)
    )
