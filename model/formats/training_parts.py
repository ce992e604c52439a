"""Removes from a Keras config what training needs and serving does not."""

from __future__ import annotations

from typing import Any

from model.formats.known_names import is_of_keras, known_names

# Losses, metrics and optimizers; inner models have them too.
OF_TRAINING = {"compile_config", "training_config", "optimizer_config"}
# They guide training, and the values that they make at first are replaced by the saved ones.
REPLACED = {"_regularizer": None, "_constraint": None, "_initializer": "zeros"}


def without_training(config: Any) -> Any:
    """Return a copy without losses, metrics and optimizers, also those of inner models.

    Regularizers, constraints and initializers that are not Keras' own are replaced: None, and
    zeros. A layer of a package that the user imports keeps all of its own config.
    """
    return _copy(config, own=False)


def _copy(value: Any, own: bool) -> Any:
    if isinstance(value, list):
        return [_copy(item, own) for item in value]
    if not isinstance(value, dict):
        return value
    is_object = isinstance(value.get("class_name"), str)
    if is_object:
        own = _is_own(value)
    found = {key: item for key, item in value.items() if not (is_object and key in OF_TRAINING)}
    return {key: _part(key, item, own) for key, item in found.items()}


def _part(key: str, value: Any, own: bool) -> Any:
    ending = next((ending for ending in REPLACED if key.endswith(ending)), None)
    if ending is not None and not own and not _is_of_keras(value):
        return REPLACED[ending]
    return _copy(value, own)


def _is_own(value: dict[str, Any]) -> bool:
    """Return whether Keras itself does not have the class."""
    names = known_names()
    return value["class_name"] not in names.classes | names.keras_operations


def _is_of_keras(value: Any) -> bool:
    """Return whether a regularizer, constraint or initializer is one of Keras, or none."""
    if isinstance(value, str):
        return value in known_names().classes
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return value is None
    return (
        is_of_keras(str(value.get("module") or "keras"))
        and value["class_name"] in known_names().classes
        and value.get("registered_name") in (None, value["class_name"])
    )
