"""The outputs that a request in the Open Inference Protocol wants, and in which form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from model.signature import TensorSpec
from server.dialects.v2 import classes, content_type
from server.dialects.v2.parameters import check_supported, flag
from server.errors import InvalidData


class Wanted(NamedTuple):
    """An output that a request wants: in binary or in JSON, bytes perhaps as base64.

    Attributes:
        classes: so many classes with the highest scores are wanted; 0: the numbers.
    """

    spec: TensorSpec
    is_binary: bool
    is_base64: bool = False
    classes: int = 0


def wanted_outputs(
    given: Iterable[dict[str, Any]], outputs: Mapping[str, TensorSpec], all_binary: bool
) -> tuple[Wanted, ...]:
    """Return the outputs that a request names, in its order; `outputs` are those of the model.

    `all_binary`: they are in binary unless one says otherwise. Raises InvalidData, InvalidRequest.
    """
    wanted: dict[str, Wanted] = {}
    for output in given:
        name, chosen = output["name"], output.get("parameters") or {}
        check_supported(chosen, allowed=classes.NAME)
        if name not in outputs:
            names = ", ".join(outputs)
            raise InvalidData(f"The model has no output {name!r:.80}; its outputs are {names}", [])
        if name in wanted:
            raise InvalidData(f"The output {name} is requested twice", [])
        spec = outputs[name]
        wanted[name] = Wanted(
            spec,
            flag(chosen, "binary_data", default=all_binary),
            content_type.is_base64(chosen, spec),
            classes.class_count(chosen, spec),
        )
    return tuple(wanted.values())
