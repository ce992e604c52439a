"""Calls of a model with rows of different lengths, which are padded to one length."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final

from model.padding import Padding, cut, padded
from model.tensors import Rows, View
from server.batching import LaneCost, LengthPlan

IN_THREAD_BYTES: Final = 2**20  # of rows that are not padded on the event loop

Call = Callable[[Sequence[Rows]], Awaitable[list[View]]]


def plan_of(padding: Padding | None) -> LengthPlan | None:
    """Return which rows share a batch; None if only those of equal shape do."""
    if padding is None:
        return None
    costs = padding.costs
    return LengthPlan([LaneCost(each.one_row, each.rows, each.all_rows) for each in costs])


def lane_of(rows: Rows, padding: Padding | None) -> Hashable:
    """Return the lane of rows that can be padded, and the shape of others."""
    length = padding.length_of(rows) if padding is not None else None
    if padding is None or length is None:
        return rows.row_shape
    return padding.place_of(length)


def calls_of(call: Call, padding: Padding | None) -> Call:
    """Return `call`, for rows of different lengths where they are padded."""
    return call if padding is None else PaddedCalls(call, padding).call


class PaddedCalls:
    """Pads rows, calls the model with them, and cuts the answers to the length of each row."""

    def __init__(self, call: Call, padding: Padding) -> None:
        self._call = call
        self._padding = padding

    async def call(self, parts: Sequence[Rows]) -> list[View]:
        """Answer `parts` by ONE call of the model; raises what that raises."""
        padding = self._padding
        lengths = [padding.length_of(part) for part in parts]
        known = [length for length in lengths if length is not None]
        if len(known) < len(parts):  # too long to be padded: all of one shape
            return await self._call(parts)
        length = padding.target(known)
        if min(known) == length:
            return await self._call(parts)
        nbytes = length * sum(part.nbytes // n for part, n in zip(parts, known, strict=True))
        if nbytes > IN_THREAD_BYTES:
            whole = await asyncio.to_thread(padded, parts, padding.values, length)
        else:
            whole = padded(parts, padding.values, length)
        (answer,) = await self._call([whole])
        return self._split(answer, [len(part) for part in parts], known)

    def _split(self, answer: View, sizes: Sequence[int], lengths: Sequence[int]) -> list[View]:
        answers, start = [], 0
        for size, length in zip(sizes, lengths, strict=True):
            part = answer[start : start + size]
            start += size
            answers.append(
                cut(part, self._padding.outputs, length) if self._padding.outputs else part
            )
        return answers
