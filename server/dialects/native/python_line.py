"""A line of Python that makes a request which is too long to show."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import numpy as np

from model.signature import Signature
from model.tensors import Rows
from server.dialects.cells import strings
from server.dialects.native import npy
from server.dialects.native.json_codec import MEDIA_TYPE

MAX_CODE: Final = 1000  # characters of a line that names every input
MAX_PERIOD: Final = 8  # cells of a pattern that is written out
NPY_HEADER: Final = 128  # bytes

# Makes a request of the model's metadata, so it is short however many inputs the model has.
FROM_METADATA: Final = (
    "import json, sys, numpy as np; "
    'print(json.dumps({"data": {i["name"]: np.full([2 if n < 0 else n for n in i["shape"][1:]], '
    '{"BYTES": "some words", "BOOL": True}.get(i["datatype"], 1)).tolist() '
    'for i in json.load(sys.stdin)["inputs"]}}))'
)


class PythonLine(NamedTuple):
    """A line of Python with numpy that writes the body of a request to standard output.

    Attributes:
        media_type: that of the body.
        code: the line.
        nbytes: the size of the body is at most this.
        reads_metadata: whether it reads `GET /v2/models/{name}` from standard input.
    """

    media_type: str
    code: str
    nbytes: int
    reads_metadata: bool = False


def python_line(signature: Signature, rows: Rows) -> PythonLine:
    """Return the line that makes a request for the first of these rows."""
    arrays = {spec.name: rows.arrays[spec.name][:1] for spec in signature.inputs}
    first = {name: array.reshape(array.shape[1:]) for name, array in arrays.items()}
    if npy.supports(signature):
        [array] = first.values()
        code = f"import sys, numpy as np; np.save(sys.stdout.buffer, {_expression(array)})"
        return PythonLine(npy.MEDIA_TYPE, code, array.nbytes + NPY_HEADER)
    nbytes = sum(_json_bytes(name, array) for name, array in first.items())
    values = {name: f"{_expression(array)}.tolist()" for name, array in first.items()}
    data = next(iter(values.values()))
    if len(values) > 1:
        named = ", ".join(f"{_text(name)}: {each}" for name, each in values.items())
        data = f"{{{named}}}"
    code = f'import json, numpy as np; print(json.dumps({{"data": {data}}}))'
    if len(code) > MAX_CODE:
        return PythonLine(MEDIA_TYPE, FROM_METADATA, nbytes, reads_metadata=True)
    return PythonLine(MEDIA_TYPE, code, nbytes)


def _expression(array: np.ndarray) -> str:
    """Return an expression for an array of this shape and dtype.

    Its values are the same, if they repeat after a few cells; else they are random ones.
    """
    cells = _cells(array)
    values = [_text(value) for value in _pattern(cells)]
    dtype = "" if cells.dtype.hasobject else f", {_text(cells.dtype.name)}"
    if len(values) == 1:
        return f"np.full({array.shape}, {values[0]}{dtype})"
    if values:
        return f"np.resize(np.array([{', '.join(values)}]{dtype}), {array.shape})"
    return f"np.random.default_rng().{_random(cells, array.shape)}"


def _cells(array: np.ndarray) -> np.ndarray:
    flat = array.ravel()
    return np.array(strings.cells_of(flat), object) if flat.dtype.hasobject else flat


def _pattern(cells: np.ndarray) -> list[Any]:
    """Return the few cells after which all others repeat; none if there are no such cells."""
    for period in range(1, min(MAX_PERIOD, cells.size) + 1):
        if np.array_equal(cells[period:], cells[:-period]):
            pattern: list[Any] = cells[:period].tolist()
            return pattern
    return []


def _random(cells: np.ndarray, shape: tuple[int, ...]) -> str:
    """Return the call of a random generator for such cells; integers may be ids."""
    name = _text(cells.dtype.name)
    if cells.dtype.hasobject:
        words = list(dict.fromkeys(cells.tolist()))[:MAX_PERIOD]
        return f"choice([{', '.join(map(_text, words))}], {shape})"
    if cells.dtype.kind == "f":
        return f"random({shape}).astype({name})"
    return f"integers(0, {int(cells.max()) + 1}, {shape}).astype({name})"


def _text(value: Any) -> str:
    """Return a string, number or boolean as it is written in Python, without single quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _json_bytes(name: str, array: np.ndarray) -> int:
    """Return the most bytes that an array may have in JSON."""
    cells = _cells(array)
    pattern = [len(json.dumps(value)) for value in _pattern(cells)]
    most = max(
        pattern or [6 * len(cell) + 2 for cell in cells.flat if isinstance(cell, str)] or [25]
    )
    return 6 * len(name) + cells.size * (most + 2 + 2 * array.ndim) + 100
