"""Which ids a model can look up, where its inputs are ids.

Layers are recognized by the names of their classes, so that no version of Keras is imported.
"""

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
    return any(given is tensor for node in nodes for given in flat(node.input_tensors))


def flat(tensors: Any) -> list[Any]:
    """Return the tensors that Keras 2 notes of a call: one alone, or a list or dict of them."""
    if isinstance(tensors, dict):
        tensors = list(tensors.values())
    if not isinstance(tensors, list | tuple):
        return [tensors]
    return [each for item in tensors for each in flat(item)]


def _ids_of(layer: Any) -> int | None:
    if any(each.__name__ == "Embedding" for each in type(layer).__mro__):
        return int(layer.input_dim)
    if hasattr(layer, "layers") and len(getattr(layer, "inputs", None) or ()) == 1:
        return id_count(layer, layer.inputs[0])
    return None
