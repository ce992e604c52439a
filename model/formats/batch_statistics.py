"""Layers of Keras 2 that normalize by the rows of each batch, also when the model predicts."""

from __future__ import annotations

from typing import Any, Final

from model.formats.config_tree import dicts_in

LAYERS: Final = {"BatchNormalization", "SyncBatchNormalization"}


def layer_with_batch_statistics(config: Any) -> str | None:
    """Return the name of a BatchNormalization that is called with `training=True`, or None.

    `config` is that of a model of Keras 2. The layer may be in a model that is called so.
    """
    for layer in dicts_in(config):
        if _is_called_in_training(layer.get("inbound_nodes")):
            for inner in dicts_in(layer):
                if inner.get("class_name") in LAYERS:
                    return str((inner.get("config") or {}).get("name", inner["class_name"]))
    return None


def _is_called_in_training(nodes: Any) -> bool:
    """Return whether a call has `training=True`: `[[["input", 0, 0, {"training": true}]]]`."""
    if isinstance(nodes, list):
        return any(map(_is_called_in_training, nodes))
    return isinstance(nodes, dict) and nodes.get("training") is True
