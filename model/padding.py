"""How rows of different lengths share a batch: the shorter ones are padded to one length.

The length of a row is the size of its first axis, the steps, in every input whose size varies.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from model.signature import Signature
from model.tensors import Row, Rows, Tensors, View

Value = float | int | str


@dataclass(frozen=True)
class PaddingHint:
    """What the layers of a network say about padding.

    Attributes:
        values: what inputs are padded with so that the network masks it, by name; 0 or "" for
            inputs that are not in it.
        why_not: which layer may mix padding into an answer; "" if all that mix steps get a mask.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    why_not: str = ""

    def fields(self) -> dict[str, Any]:
        """Return it as JSON writes it."""
        return {"values": dict(self.values), "why_not": self.why_not}

    @classmethod
    def of(cls, fields: Mapping[str, Any] | None) -> PaddingHint | None:
        """Read such fields; None if there are none. Raises KeyError and the like."""
        if fields is None:
            return None
        values = {str(name): value for name, value in fields["values"].items()}
        if not all(type(value) in {int, float, str} for value in values.values()):
            raise TypeError("values that are neither numbers nor strings")
        return cls(values, str(fields["why_not"]))


class LengthCost(NamedTuple):
    """How long calls with rows of a length take, in seconds.

    Attributes:
        length: the steps of each row.
        one_row: a call with one row.
        rows: the most rows of a call.
        all_rows: a call with so many.
    """

    length: int
    one_row: float
    rows: int
    all_rows: float


@dataclass(frozen=True)
class Padding:
    """How rows of different lengths are padded for a version of a model.

    Attributes:
        values: what each input of varying length is padded with, by name.
        outputs: the outputs with a value for each step; answers are cut to the length of the row.
        costs: a few lengths, ascending; rows that are longer than the last are not padded.
        to_cost_length: pad to one of these lengths, because calls with a new length are slow; else
            to the longest row of the batch.
    """

    values: Mapping[str, Value]
    outputs: tuple[str, ...]
    costs: tuple[LengthCost, ...]
    to_cost_length: bool = False

    def length_of(self, rows: Rows) -> int | None:
        """Return the length of rows; None if they cannot be padded: too long, or of two lengths."""
        if isinstance(rows, Row):
            lengths = {len(rows.values[name]) for name in self.values}
        else:
            arrays = rows.arrays
            lengths = {arrays[name].shape[1] for name in self.values}
        length = lengths.pop()
        return length if not lengths and 0 < length <= self.costs[-1].length else None

    def place_of(self, length: int) -> int:
        """Return the place in `costs` of the smallest length that is not smaller."""
        return bisect_left(self.costs, length, key=lambda cost: cost.length)

    def target(self, lengths: Sequence[int]) -> int:
        """Return the length that rows of these lengths are padded to."""
        longest = max(lengths)
        return self.costs[self.place_of(longest)].length if self.to_cost_length else longest

    def check(self, signature: Signature) -> None:
        """Raise ValueError or OverflowError unless a network with this signature can have it."""
        lengths = [cost.length for cost in self.costs]
        if not lengths or lengths[0] < 1 or lengths != sorted(set(lengths)):
            raise ValueError("lengths that do not ascend")
        for cost in self.costs:
            if cost.rows < 2 or not 0 < cost.one_row <= cost.all_rows < float("inf"):
                raise ValueError("calls of one row, or that take no time")
        varying = {spec.name: spec for spec in signature.inputs if None in spec.shape}
        if not self.values or self.values.keys() != varying.keys():
            raise ValueError("values of other inputs than those of varying length")
        for name, value in self.values.items():
            if isinstance(value, str) != (varying[name].dtype == "string"):
                raise ValueError("values of another type than their inputs")
            np.array(value, varying[name].array_dtype)  # OverflowError: out of range
        if set(self.outputs) - {spec.name for spec in signature.outputs}:
            raise ValueError("unknown outputs")


def padded(parts: Sequence[Rows], values: Mapping[str, Value], length: int) -> Tensors:
    """Concatenate rows; the inputs in `values` are padded to `length` steps at their end."""
    given = [part.arrays for part in parts]
    arrays: dict[str, np.ndarray] = {}
    for name, first in given[0].items():
        column = [each[name] for each in given]
        if name not in values:
            arrays[name] = np.concatenate(column)
            continue
        count = sum(map(len, column))
        whole = np.full((count, length, *first.shape[2:]), values[name], first.dtype)
        start = 0
        for each in column:
            whole[start : start + len(each), : each.shape[1]] = each
            start += len(each)
        arrays[name] = whole
    return Tensors(arrays)


def cut(answer: Rows, outputs: Sequence[str], length: int) -> View:
    """Return answers without those to padding: `outputs` have `length` steps then."""
    arrays = {
        name: np.ascontiguousarray(array[:, :length]) if name in outputs else array
        for name, array in answer.arrays.items()
    }
    return Tensors(arrays)[: len(answer)]
