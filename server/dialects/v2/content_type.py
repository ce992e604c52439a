"""What the elements of a tensor stand for: MLServer's `content_type`, a parameter in V2.

https://docs.seldon.ai/mlserver/user-guide/content-type
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from model.signature import TensorSpec
from server.dialects.v2.documents import datatype
from server.errors import InvalidData, InvalidRequest

NAME: Final = "content_type"
BASE64: Final = "base64"
_FOR_BYTES: Final = (BASE64, "str")
_SUPPORTED: Final = (*_FOR_BYTES, "np")  # `str` and `np` say what a tensor holds anyway
_COLUMNS: Final = "send each column as the input of its name"
_INSTEAD: Final = {
    "datetime": "send the numbers or the text that the model takes for a time",
    "json": "send numbers or text as tensors",
    "pd": _COLUMNS,
    "pd_json": _COLUMNS,
    "image": "send the pixels as numbers",
    "pil_image": "send the pixels as numbers",
}


def default_of(parameters: dict[str, Any], inputs: Iterable[TensorSpec]) -> str:
    """Return the content type of a request, for its inputs without one of their own; "" if none.

    It applies to inputs of BYTES if it is for them alone. Raises InvalidRequest for a content type
    that is not supported, or for none of the inputs.
    """
    given = _content_type(parameters)
    if given in _FOR_BYTES and not any(spec.dtype == "string" for spec in inputs):
        raise InvalidRequest(
            f"The content type {given} is for BYTES, but the model has no such input."
        )
    return given


def is_base64(parameters: dict[str, Any], spec: TensorSpec, default: str = "") -> bool:
    """Return whether the elements of an input or output are base64.

    Raises InvalidRequest for a content type that is not supported, or not for this datatype.
    """
    given = _content_type(parameters)
    is_text = spec.dtype == "string"
    if given in _FOR_BYTES and not is_text:
        raise InvalidRequest(
            f"The content type {given} is for BYTES, but {spec.name} is {datatype(spec.dtype)}."
        )
    return is_text and (given or default) == BASE64


def decoded(array: np.ndarray, name: str) -> np.ndarray:
    """Return the bytes of an input whose elements are base64; raises InvalidData.

    base64 is that of RFC 4648, section 4, with its padding and nothing else.
    """
    cells = np.empty(array.size, object)
    for index, text in enumerate(array.flat):
        try:
            cells[index] = base64.b64decode(text, validate=True)
        except ValueError:
            raise InvalidData(
                f"The element {index} of the input {name} is not valid base64", []
            ) from None
    return cells.reshape(array.shape)


def encoded(array: np.ndarray) -> np.ndarray:
    """Return an output of bytes with its elements in base64."""
    cells = np.empty(array.size, object)
    cells[:] = [base64.b64encode(cell) for cell in array.flat]
    return cells.reshape(array.shape)


def _content_type(parameters: dict[str, Any]) -> str:
    """Return the parameter, "" if there is none; raises InvalidRequest."""
    given = parameters.get(NAME) or ""
    if not isinstance(given, str):
        raise InvalidRequest(f"The parameter {NAME} must be a string.")
    if given and given not in _SUPPORTED:
        instead = _INSTEAD.get(given, "send what the model takes, without it")
        raise InvalidRequest(
            f"The content type {given!r:.80} is not supported: {instead}. "
            f"Supported are {', '.join(sorted(_SUPPORTED))}."
        )
    return given
