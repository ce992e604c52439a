"""The settings of single outputs of a model: `model.outputs.NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# "wanted" is no keyword of JSON Schema: it completes "… is not" in error messages.
OUTPUT_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "wanted": "a mapping with labels, and optionally top_k and threshold",
    "properties": {
        "labels": {
            "description": "Labels in the order of the numbers: a list, or a text file with one "
            "on each line.",
            "wanted": "a list of labels, or the path of a file with one on each line",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "items": {"type": "string", "pattern": r"^[^\ud800-\udfff]+\Z"},
                    "minItems": 1,
                },
            ],
        },
        "top_k": {
            "description": "Most labels in an answer. Default: 5, or all if threshold is set.",
            "wanted": "an integer",
            "type": "integer",
            "minimum": 1,
        },
        "threshold": {
            "description": "Smallest score of a label in an answer. Default: any.",
            "wanted": "a finite number",
            "type": "number",
        },
    },
    "required": ["labels"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """How one output is answered: as labels.

    Attributes:
        name: that of the output.
        labels: in the order of its numbers; or the path of a file with one on each line.
        top_k: most labels in an answer; None: 5, or all if there is a threshold.
        threshold: the smallest score of a label in an answer; None: any.
    """

    name: str
    labels: str | tuple[str, ...]
    top_k: int | None = None
    threshold: float | None = None

    @classmethod
    def of(cls, name: str, given: Mapping[str, Any]) -> OutputSettings:
        """Return the settings of a valid entry in a file."""
        labels = given["labels"]
        is_file = isinstance(labels, str)
        return cls(name, **{**given, "labels": labels if is_file else tuple(labels)})


def outputs_of(given: Mapping[str, Mapping[str, Any]]) -> tuple[OutputSettings, ...]:
    """Return the settings of all outputs in a valid mapping."""
    return tuple(OutputSettings.of(name, each) for name, each in given.items())
