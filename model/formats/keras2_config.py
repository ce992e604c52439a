"""Rewrites what `tf_keras` does not read in the configs of `.h5` files that say Keras 2.

TensorFlow 2.1 to 2.15 each wrote a little otherwise, and some tools convert files of Keras 3 for
older versions without rewriting all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.formats.config_tree import rebuilt
from model.formats.files import ModelError

# Keys of Keras 3 that Keras 2 has no argument for, and the value that changes nothing.
NEUTRAL: dict[str, Any] = {
    "quantization_config": None,
    "optional": False,
    "zero_output_for_mask": False,
    "rms_scaling": False,
    "autocast": True,
    "input_axes": None,
    "output_axes": None,
    "output_padding": None,
}
WITHOUT_GROUPS = {
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
    *("SeparableConv1D", "SeparableConv2D"),
}


def as_keras_2(path: Path | str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a copy that `tf_keras` reads; raises ModelError for what Keras 2 cannot compute."""

    def convert(value: dict[str, Any]) -> Any:
        name, inner = value.get("class_name"), value.get("config")
        if name == "DTypePolicy" and isinstance(inner, dict):
            return inner.get("name")
        if isinstance(name, str) and isinstance(inner, dict):
            value["config"] = _layer(path, name, inner)
        if isinstance(value.get("inbound_nodes"), list):
            value["inbound_nodes"] = [_node(path, node) for node in value["inbound_nodes"]]
        return value

    converted: dict[str, Any] = rebuilt(config, convert)
    return converted


def _layer(path: Path | str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a layer or an initializer as Keras 2 names them."""
    if name in WITHOUT_GROUPS and config.get("groups", 1) != 1:
        why = f"has a {name} with groups: {config['groups']}, which Keras 2 does not compute"
        raise ModelError(path, f"{why}; save the model with Keras 3 as .keras")
    found = {
        key: item for key, item in config.items() if key not in NEUTRAL or item != NEUTRAL[key]
    }
    if "batch_shape" in found:
        found["batch_input_shape"] = found.pop("batch_shape")
    return found


def _node(path: Path | str, node: Any) -> Any:
    """Return a call of a layer as Keras 2 writes it: a list of [layer, call, output, keywords]."""
    if not isinstance(node, dict) or not isinstance(node.get("args"), list):
        return node
    keywords = {key: item for key, item in node.get("kwargs", {}).items() if item is not None}
    tensors = node["args"]
    if len(tensors) == 1 and isinstance(tensors[0], list):
        tensors = tensors[0]
    calls = [_history(tensor) for tensor in tensors]
    if None in calls:
        why = "calls a layer as Keras 3 does, though it says that Keras 2 wrote it"
        raise ModelError(path, f"{why}; save the model with Keras 3 as .keras")
    return [[*call, keywords] for call in calls if call is not None]


def _history(tensor: Any) -> list[Any] | None:
    """Return the layer, the call and the output that a tensor comes from."""
    try:
        history = tensor["config"]["keras_history"]
    except (TypeError, KeyError):
        return None
    return list(history) if isinstance(history, list) else None
