"""Tensors of the Open Inference Protocol in payload lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from server.dialects.redaction import HIDDEN

_SHOWN: Final[Sequence[str]] = ("name", "datatype", "shape", "data")


def shown_tensor(tensor: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return a tensor with what is shown of it; data of those in `names` is hidden."""
    shown = {key: tensor[key] for key in _SHOWN if key in tensor}
    return shown | {"data": HIDDEN} if tensor["name"] in names and "data" in tensor else shown
