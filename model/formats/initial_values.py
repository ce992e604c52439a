"""Creates the variables of a model without the random values that its weights replace.

Keras makes initial values for every variable of a model that it loads. Of a file with one Embedding
of 1 GiB these are 2 GiB, and TensorFlow's allocator never returns them to the operating system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

LARGE_FILE: Final = 64 << 20  # bytes; for a smaller one, 0.2 s of loading is worth more
LARGE: Final = 1 << 20  # bytes; smaller variables get their initial values


@contextmanager
def no_large_initial_values(path: Path | str) -> Iterator[None]:
    """Leave large variables that are created inside unset until they are assigned.

    Those that are unset at the end, because the file has no weights for them, get their initial
    values then. For Keras 2 and 3, which both create variables of TensorFlow. Nothing changes for
    a small file.
    """
    if Path(path).stat().st_size < LARGE_FILE:
        yield
        return
    import tensorflow as tf

    graph = tf.Graph()
    unset: list[tuple[Any, Callable[[], Any]]] = []

    def create(next_creator: Callable[..., Any], **options: Any) -> Any:
        initial_value = options.get("initial_value")
        if not callable(initial_value):
            return next_creator(**options)
        value = _symbolic(initial_value, graph)
        if value is None or value.dtype.size * (value.shape.num_elements() or 0) < LARGE:
            return next_creator(**options)
        variable = _unset_variable(value, options)
        unset.append((variable, initial_value))
        return variable

    with tf.variable_creator_scope(create):
        yield
    for variable, initial_value in unset:
        if not tf.raw_ops.VarIsInitializedOp(resource=variable.handle):
            variable.assign(initial_value())


def _symbolic(initial_value: Callable[[], Any], graph: Any) -> Any:
    """Return a tensor with the shape and dtype of an initial value, which is not computed.

    None where that fails; TensorFlow has no initial value without computing it then.
    """
    import tensorflow as tf

    try:
        with graph.as_default():
            return tf.convert_to_tensor(initial_value())
    except Exception:  # an initializer may do anything
        return None


def _unset_variable(value: Any, options: dict[str, Any]) -> Any:
    # It is not public. TensorFlow's own loader of SavedModels creates variables with it.
    from tensorflow.python.ops.resource_variable_ops import UninitializedVariable

    names = ("trainable", "name", "aggregation", "synchronization")
    kept = {name: options[name] for name in names if options.get(name) is not None}
    return UninitializedVariable(shape=value.shape, dtype=value.dtype, **kept)
