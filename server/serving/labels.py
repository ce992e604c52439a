"""The labels of a model's outputs: read as the settings say, and checked against its signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from model.signature import Signature, TensorSpec
from server.config.outputs import OutputSettings
from server.dialects import labels as dialect_labels
from server.dialects.labels import Labels

DEFAULT_TOP_K: Final = 5
MAX_BYTES: Final = 16 * 2**20  # of a file with labels
MAX_SHOWN: Final = 80  # characters of a name
_NUMBERS: Final = "fiu"  # kinds of dtypes

# What `read_labels` has read, by the names of outputs: the labels, with their settings.
Given = Mapping[str, tuple[OutputSettings, tuple[str, ...]]]


class LabelsError(Exception):
    """The labels of an output cannot be used; the text names the setting, and what to do."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"outputs.{name:.{MAX_SHOWN}}.labels: {why}")


def read_labels(outputs: Sequence[OutputSettings]) -> Given:
    """Return the labels of outputs, from their files where the settings name some.

    Raises LabelsError.
    """
    return {each.name: (each, _names_of(each)) for each in outputs}


def labels_for(given: Given, signature: Signature) -> dict[str, Labels]:
    """Return the labels as dialects need them; raises LabelsError where they do not fit."""
    specs = {spec.name: spec for spec in signature.outputs}
    labels = {}
    for name, (settings, names) in given.items():
        if name not in specs:
            known = ", ".join(specs)
            raise LabelsError(name, f"the model has no such output; its outputs are {known:.200}")
        _check(specs[name], settings, len(names))
        most = settings.top_k or (DEFAULT_TOP_K if settings.threshold is None else len(names))
        labels[name] = Labels(names, min(most, len(names)), settings.threshold)
    return labels


def _names_of(settings: OutputSettings) -> tuple[str, ...]:
    if not isinstance(settings.labels, str):
        return settings.labels
    path = settings.labels
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise LabelsError(settings.name, f"{path} is not a text file in UTF-8") from None
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise LabelsError(settings.name, f"{path} cannot be read: {why}") from None
    if len(data) > MAX_BYTES:
        raise LabelsError(settings.name, f"{path} is larger than {MAX_BYTES // 2**20} MiB")
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if "" in lines:
        line = lines.index("") + 1
        raise LabelsError(settings.name, f"line {line} of {path} is empty; write a label there")
    return tuple(lines)


def _check(spec: TensorSpec, settings: OutputSettings, count: int) -> None:
    """Raise LabelsError unless so many labels belong to an output."""
    if spec.array_dtype.kind not in _NUMBERS:
        raise LabelsError(spec.name, f"the output is {spec.dtype}, and labels are for numbers")
    scores = dialect_labels.score_count(spec)
    if scores is None:
        why = f"the last axis of the output {spec.shape_text} varies, so labels cannot belong to it"
        raise LabelsError(spec.name, f"{why}; remove them")
    if dialect_labels.fits(count, spec):
        return
    where = settings.labels if isinstance(settings.labels, str) else "the list"
    has = f"{where} has {count} label{'s' if count != 1 else ''}"
    if scores == 1:
        raise LabelsError(
            spec.name,
            f"{has}, but the output is one number for each example; give one label, or two: that "
            "of 0 and that of 1",
        )
    raise LabelsError(
        spec.name,
        f"{has}, but the output has {scores} numbers for each example; give one label for each, "
        "in their order",
    )
