"""What Keras 3 loses when it writes or reads an `.h5` file, and how to make up for it.

Tried with Keras 3.15.1. A `.keras` file has none of these faults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.formats.config_tree import dicts_in, rebuilt
from model.formats.files import ModelError
from model.formats.known_names import known_names

AS_KERAS = "save the model as .keras"
WITH_VOCABULARY = {"StringLookup", "IntegerLookup", "TextVectorization"}


class _KeepsAxis(dict[str, Any]):
    """The config of a layer, out of which Keras cannot take the axis.

    Keras takes it out of every config of an `.h5` file, and puts it back if it is one number.
    """

    def pop(self, key: str, *default: Any) -> Any:
        return None if key == "axis" else super().pop(key, *default)


def mend_config(path: Path | str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a copy whose layers keep an axis of several numbers, or of none.

    Raises ModelError for a vocabulary that `adapt` has learned, which the file does not hold.
    """

    def mend(value: dict[str, Any]) -> dict[str, Any]:
        inner = value.get("config")
        if isinstance(value.get("class_name"), str) and isinstance(inner, dict):
            _check_vocabulary(path, value["class_name"], inner)
            axis = inner.get("axis")
            if isinstance(axis, list) and len(axis) != 1:
                value["config"] = _KeepsAxis(inner, axis=tuple(axis))
        return value

    mended: dict[str, Any] = rebuilt(config, mend)
    return mended


def _check_vocabulary(path: Path | str, name: str, config: dict[str, Any]) -> None:
    if name in WITH_VOCABULARY and config.get("vocabulary") is None:
        layer = f"the {name} {config.get('name')!r}"
        why = f"the vocabulary of {layer} is lost in an .h5 file; {AS_KERAS}"
        raise ModelError(path, why)


def finalize(model: Any) -> None:
    """Have every Normalization compute with the mean and the variance that were loaded.

    Keras does so for those directly in the outer model alone.
    """
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def operation_in(config: dict[str, Any]) -> str | None:
    """Return the name of an operation of `keras.ops` in a config, which Keras takes for a layer."""
    for value in dicts_in(config):
        name, inner = value.get("class_name"), value.get("config")
        is_operation = name in known_names().keras_operations and "inbound_nodes" in value
        if is_operation and isinstance(inner, dict) and "trainable" not in inner:  # as layers have
            return str(name)
    return None
