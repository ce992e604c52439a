"""Scopes of TensorFlow for layers whose names it does not allow as names of scopes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

NOT_IN_SCOPES = re.compile(r"[^A-Za-z0-9_.\\/>-]")
NOT_AT_THE_START = re.compile(r"^[^A-Za-z0-9.]")


@contextmanager
def any_names_as_scopes() -> Iterator[None]:
    """Allow layers with spaces, umlauts and the like in their names while they are traced.

    Keras opens a scope with the name of each layer, and a graph raises ValueError for names that
    it does not allow. Meanwhile it replaces the characters that it does not allow; the layers keep
    their names.
    """
    import tensorflow as tf

    original = tf.Graph.name_scope

    def name_scope(graph: Any, name: Any) -> AbstractContextManager[Any]:
        found: AbstractContextManager[Any] = original(
            graph, _allowed(name) if isinstance(name, str) else name
        )
        return found

    tf.Graph.name_scope = name_scope
    try:
        yield
    finally:
        tf.Graph.name_scope = original


def _allowed(name: str) -> str:
    found = NOT_IN_SCOPES.sub("_", name)
    return NOT_AT_THE_START.sub(".", found)
