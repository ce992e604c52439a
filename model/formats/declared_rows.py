"""The first dimension of declared inputs and outputs, which is the rows."""

from __future__ import annotations

from collections.abc import Iterable


def rows_of_inputs(first: Iterable[int | None], advice: str) -> int | None:
    """Return the number of rows that inputs are declared for; None: any number.

    `first` are their first dimensions. Raises ValueError if they differ, with the advice.
    """
    found = {rows for rows in first if rows is not None}
    if len(found) > 1:
        counts = ", ".join(map(str, sorted(found)))
        raise ValueError(
            f"its inputs have different first dimensions ({counts}), where all have to have the "
            f"same rows; {advice}"
        )
    return next(iter(found), None)


def check_rows_of_output(what: str, first: int | None, rows: int | None, advice: str) -> None:
    """Raise ValueError for an output that has a fixed number of rows, unless its inputs have it."""
    if first is not None and first != rows:
        raise ValueError(f"{what} has {first} rows, however many it is given; {advice}")
