"""Which ids a model can look up, where its inputs are ids."""

from __future__ import annotations

from typing import Any


def id_count(model: Any, tensor: Any) -> int | None:
    """How many ids the Embeddings know that `tensor`, an input of `model`, goes straight into.

    None when it goes into none: what a layer in between does to ids is not looked at. For a
    negative id Keras would answer with one from the end of the table, and for one beyond it fails.
    """
    counts = [_ids_of(layer) for layer in model.layers if _takes(layer, tensor)]
    return min((count for count in counts if count is not None), default=None)


def _takes(layer: Any, tensor: Any) -> bool:
    # Keras has no public name for the calls of a layer that is called more than once.
    nodes = getattr(layer, "_inbound_nodes", ())
    return any(given is tensor for node in nodes for given in node.input_tensors)


def _ids_of(layer: Any) -> int | None:
    import keras

    if isinstance(layer, keras.layers.Embedding):
        return int(layer.input_dim)
    if isinstance(layer, keras.Model) and len(layer.inputs) == 1:
        return id_count(layer, layer.inputs[0])
    return None
