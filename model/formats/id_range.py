"""Which ids a model can look up, where its inputs are ids."""

from __future__ import annotations

from typing import Any


def id_count(model: Any, tensor: Any) -> int | None:
    """How many ids the Embeddings know that `tensor`, an input of `model`, goes straight into.

    None when it goes into none: what a layer in between does to ids is not looked at. For a
    negative id Keras would answer with one from the end of the table, and for one beyond it fails.
    """
    counts = [_ids_of(layer) for layer in model.layers if takes(layer, tensor)]
    return min((count for count in counts if count is not None), default=None)


def takes(layer: Any, tensor: Any) -> bool:
    """Return whether a layer of a model, of Keras 3 or of Keras 2, is called with `tensor`."""
    # Keras has no public name for the calls of a layer that is called more than once.
    nodes = getattr(layer, "_inbound_nodes", ())
    return any(given is tensor for node in nodes for given in _flat(node.input_tensors))


def _flat(tensors: Any) -> list[Any]:
    """Return what Keras 2 passes to a layer: a tensor, or a list or dict of them."""
    if isinstance(tensors, dict):
        tensors = list(tensors.values())
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def _ids_of(layer: Any) -> int | None:
    import keras

    if isinstance(layer, keras.layers.Embedding):
        return int(layer.input_dim)
    if isinstance(layer, keras.Model) and len(layer.inputs) == 1:
        return id_count(layer, layer.inputs[0])
    return None
