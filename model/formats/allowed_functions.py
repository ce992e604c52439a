"""Which functions of TensorFlow a Keras 2 network may call: pure ones, by name.

When a network was built with `tf.add(a, b)`, its config has a TFOpLambda layer with the name of
the function, and Keras looks that name up in all of TensorFlow, `io.gfile.remove` included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model.formats.known_names import known_names

COMPOSITE = {"RaggedTensor", "SparseTensor"}
METHODS = {
    *("from_row_splits", "from_row_lengths", "from_row_limits", "from_row_starts", "from_tensor"),
    *("from_uniform_row_length", "from_value_rowids", "from_sparse", "from_nested_row_splits"),
    *("from_nested_row_lengths", "from_nested_value_rowids", "from_value", "bounding_shape"),
    *("to_tensor", "to_sparse", "with_values", "with_flat_values", "row_lengths", "nrows", "nvals"),
    *("nested_row_lengths", "value_rowids", "row_starts", "row_limits", "merge_dims"),
    *("with_row_splits_dtype", "get_shape", "nested_value_rowids", "__getitem__"),
}
PROPERTIES = {
    *("flat_values", "values", "row_splits", "nested_row_splits", "ragged_rank", "shape", "dtype"),
    *("uniform_row_length", "indices", "dense_shape", "rank"),
}


def why_not_tensorflow(layer: str, config: dict[str, Any]) -> str | None:
    """Return why a layer that calls TensorFlow must not be loaded; None where it may be."""
    if layer in {"TFOpLambda", "SlicingOpLambda"}:
        return _refused("calls tf.{}", config.get("function"), _is_pure)
    if layer == "TensorFlowOpLayer":
        return _refused("runs the operation {}", _operation(config.get("node_def")), _is_operation)
    if layer == "ClassMethod":
        symbol = config.get("cls_symbol")
        if not isinstance(symbol, str) or symbol not in COMPOSITE:
            return _refused("calls a method of tf.{}", symbol, lambda _: False)
        return _refused(f"calls tf.{symbol}.{{}}", config.get("method_name"), METHODS.__contains__)
    if layer in {"InstanceMethod", "InstanceProperty"}:
        found = config.get("attr_name")
        return _refused("uses {} of a tensor", found, (METHODS | PROPERTIES).__contains__)
    return None


def _refused(sentence: str, name: object, is_allowed: Callable[[str], bool]) -> str | None:
    if isinstance(name, str) and is_allowed(name):
        return None
    said = sentence.format(str(name)[:80])
    return f"{said}, which is not among the functions that only compute"


def _is_pure(name: str) -> bool:
    plain = name.removeprefix("compat.v1.")
    if plain.startswith("raw_ops."):
        return _is_operation(plain.removeprefix("raw_ops."))
    return plain in known_names().tensorflow_functions


def _is_operation(name: str) -> bool:
    return name in known_names().tensorflow_operations


def _operation(node: object) -> str | None:
    """Return the operation of a NodeDef: a dict, or the bytes that TensorFlow 2.0 and 2.1 wrote."""
    if isinstance(node, dict):
        found = node.get("op")
        return found if isinstance(found, str) else None
    if not isinstance(node, str):
        return None
    try:
        return _field(node.encode(), 2)
    except (IndexError, UnicodeDecodeError):
        return None


def _field(message: bytes, wanted: int) -> str | None:
    """Return the last text of a field, as protobuf does; all fields of a NodeDef have a length."""
    at, found = 0, None
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 != 2:
            return None
        length, at = _varint(message, at)
        if key >> 3 == wanted:
            found = message[at : at + length].decode()
        at += length
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
