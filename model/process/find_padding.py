"""Finds out, when a model is loaded, whether rows of different lengths may share a batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from model.formats.files import in_one_line
from model.padding import Padding, PaddingHint, Value
from model.process.padding_check import CannotPad, PaddingCheck
from model.process.padding_cost import PaddingCost
from model.process.trials import Trials
from model.signature import Signature

log = logging.getLogger(__name__)

AUTO: Final = "auto"
OFF: Final = "off"
UNKNOWN_LAYERS: Final = PaddingHint(
    why_not="its layers are not known, as those of a SavedModel or an ONNX file"
)


def find_padding(
    trials: Trials,
    pad: str,
    max_rows: int,
    max_seconds: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Padding | None:
    """Return how rows are padded, and log it; None if only rows of one length share a batch.

    `pad` is `batching.pad`. A call with several rows should take `max_seconds` at most.
    """
    if pad == OFF or trials.engine.signature.is_fixed:
        return None
    tell("comparing padded rows with others")
    try:
        padding = _padding(trials, pad, max_rows, max_seconds)
    except CannotPad as error:
        level = logging.INFO if pad == AUTO else logging.WARNING
        log.log(level, "only rows of one length share a batch: %s", error)
        return None
    log.info(
        "rows of different lengths share a batch: up to %d steps, padded to %s",
        padding.costs[-1].length,
        "one of a few lengths" if padding.to_cost_length else "the longest of the batch",
    )
    return padding


def _padding(trials: Trials, pad: str, max_rows: int, max_seconds: float) -> Padding:
    """Raises CannotPad."""
    hint = trials.engine.padding_hint or UNKNOWN_LAYERS
    values = _values(trials.engine.signature, hint)
    if max_rows < 2:
        raise CannotPad("a call has one row")
    if pad == AUTO and hint.why_not:
        raise CannotPad(f"{hint.why_not} (batching.pad: on pads them all the same)")
    try:
        check = PaddingCheck(trials, values)
        outputs = check.outputs()
        lengths = _proved(check, outputs, pad, hint)
        return _measured(PaddingCost(trials, max_rows, max_seconds), values, outputs, lengths)
    except CannotPad:
        raise
    except Exception as error:  # whatever the network raises
        raise CannotPad(f"the model fails: {in_one_line(error)}") from error


def _proved(
    check: PaddingCheck, outputs: tuple[str, ...], pad: str, hint: PaddingHint
) -> list[int]:
    """Return the lengths to pad to; raises CannotPad, if a user has not switched it on by hand."""
    try:
        if hint.why_not:
            log.warning("batching.pad is on, though %s", hint.why_not)
        return check.proved(outputs)
    except CannotPad as error:
        if pad == AUTO:
            raise
        log.warning("batching.pad is on, though %s: clients may get other answers", error)
        return check.lengths()


def _measured(
    cost: PaddingCost, values: Mapping[str, Value], outputs: tuple[str, ...], lengths: list[int]
) -> Padding:
    """Raises CannotPad, and what the network raises."""
    costs = cost.measure(lengths)
    if not costs:
        raise CannotPad("calls with several padded rows take too much time or memory")
    middle = costs[len(costs) // 2].length
    return Padding(values, outputs, costs, cost.is_slow_at_new_lengths(middle))


def _values(signature: Signature, hint: PaddingHint) -> dict[str, Value]:
    """Return what each input of varying length is padded with; raises CannotPad."""
    values: dict[str, Value] = {}
    for spec in signature.inputs:
        if None in spec.shape[1:]:
            raise CannotPad(f"the input {spec.name} varies in other axes than the first")
        if None in spec.shape:
            values[spec.name] = hint.values.get(spec.name, "" if spec.dtype == "string" else 0)
    return values
