"""Measure how long one request blocks the event loop, by the shape and size of its body.

It prints a table in Markdown: the CPU time in milliseconds of decoding (or rejecting) a request of
the native dialect, or of encoding its answer, whichever is longer.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # the line above makes what follows importable

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.dialects.native.dialect import NativeDialect
from server.errors import ServiceError
from server.http.message import problem

SIZES = {"1 KB": 1, "4 KB": 4, "64 KB": 64, "256 KB": 256, "1 MB": 1024, "8 MB": 8 * 1024}
OUTPUT = TensorSpec("y", (1,), "float32")

Make = Callable[[int], bytes]


def list_of(item: bytes, first: bytes = b"", last: bytes = b"") -> Make:
    """Make bodies whose data is a list of one item, repeated, with other items at its ends."""
    return filled(b'{"data":[' + first, item, last + b"]}")


def filled(start: bytes, item: bytes, end: bytes, between: bytes = b",") -> Make:
    """Make bodies with a repeated item; `%d` in it becomes its number."""

    def make(size: int) -> bytes:
        width = len(item % 10**6 if b"%" in item else item) + len(between)
        times = max(1, (size - len(start) - len(end)) // width)
        items = (item % (10**6 + n) for n in range(times)) if b"%" in item else [item] * times
        return start + between.join(items) + end

    return make


def stretched(start: bytes, item: bytes, end: bytes) -> Make:
    """Make bodies with one long value."""
    return filled(start, item, end, between=b"")


def two_lists(size: int) -> bytes:
    """Return a body with the data of two inputs."""
    rows = filled(b"", b"[1]", b"")(size // 2 - 15)
    return b'{"data":{"a":[%b],"b":[%b]}}' % (rows, rows)


class Shape(NamedTuple):
    """A shape of bodies, and the inputs of the model."""

    name: str
    make: Make
    inputs: tuple[TensorSpec, ...]


def of(*shape: int | None, dtype: str = "float32", name: str = "x") -> TensorSpec:
    """Return an input."""
    return TensorSpec(name, shape, dtype)


ONE, ANY, TABLE = (of(1),), (of(None),), (of(None, None),)
INT64, UINT64 = (of(None, dtype="int64"),), (of(None, dtype="uint64"),)
TWO = (of(1, name="a"), of(1, name="b"))

SHAPES = [
    # Valid bodies
    Shape("rows of one number, `[1]`", list_of(b"[1]"), ONE),
    Shape("rows of one number, 17 digits", list_of(b"[0.12345678901234567]"), ONE),
    Shape("rows of one number, int32", list_of(b"[1]"), (of(1, dtype="int32"),)),
    Shape("rows of one number, int64", list_of(b"[1]"), (of(1, dtype="int64"),)),
    Shape("rows of one number, uint64", list_of(b"[1]"), (of(1, dtype="uint64"),)),
    Shape("rows of one boolean", list_of(b"[true]"), (of(1, dtype="bool"),)),
    Shape("rows of 64 numbers", list_of(b"[" + b",".join([b"0.5"] * 64) + b"]"), (of(64),)),
    Shape("rows that are numbers", list_of(b"1"), (of(),)),
    Shape("rows of shape [1, 1, 1, 1]", list_of(b"[[[[1]]]]"), (of(1, 1, 1, 1),)),
    Shape("rows of variable shape [?, ?]", list_of(b"[[1]]"), TABLE),
    Shape("numbers", list_of(b"1"), ANY),
    Shape("numbers of 17 digits", list_of(b"0.12345678901234567"), ANY),
    Shape("numbers with exponents", list_of(b"2.2250738585072011e-308"), ANY),
    Shape("numbers of 4,000 digits", list_of(b"0." + b"1" * 4000), ANY),
    Shape("one number", stretched(b'{"data":[0.', b"1", b"]}"), ONE),
    Shape("int64, small", list_of(b"1"), INT64),
    Shape("int64, with a point", list_of(b"1.0"), INT64),
    Shape("int64, of 19 digits", list_of(b"9223372036854775807"), INT64),
    Shape("int64, large with exponents", list_of(b"1e18"), INT64),
    Shape("int64, one with an exponent", list_of(b"1", first=b"1e18,"), INT64),
    Shape("uint64, of 20 digits", list_of(b"18446744073709551615"), UINT64),
    Shape("two inputs", two_lists, TWO),
    Shape("the same key again and again", filled(b"{", b'"data":[1]', b"}"), ONE),
    Shape("white space around", stretched(b'{"data":[10]', b" \n", b"}"), ONE),
    Shape("white space between", list_of(b" [ 1 ] "), ONE),
    # Invalid bodies
    Shape("out of float32", list_of(b"[1e39]"), ONE),
    Shape("out of int32", list_of(b"9999999999"), (of(None, dtype="int32"),)),
    Shape("out of int64", list_of(b"1e300"), INT64),
    Shape("out of uint64, both kinds", list_of(b"1", first=b"-1,18446744073709551615,"), UINT64),
    Shape("integers of 4,000 digits", list_of(b"9" * 4000), ANY),
    Shape("integers with fractions", list_of(b"1.5"), INT64),
    Shape("a fraction at the end", list_of(b"1", last=b",1.5"), INT64),
    Shape("no numbers", list_of(b'["a"]'), ONE),
    Shape("null", list_of(b"[null]"), ONE),
    Shape("no number at the end", list_of(b"[1]", last=b',["a"]'), ONE),
    Shape("numbers where rows are expected", list_of(b"1"), ONE),
    Shape("a row too long", list_of(b"1", first=b"[", last=b"]"), ONE),
    Shape("rows too short", list_of(b"[]"), ONE),
    Shape("ragged at the end", list_of(b"[1]", last=b",[1,1]"), ANY),
    Shape("ragged everywhere", list_of(b"[[1],[1,2]]"), TABLE),
    Shape(
        "two inputs, of different lengths", filled(b'{"data":{"a":[[1]],"b":[', b"[1]", b"]}}"), TWO
    ),
    Shape("objects", list_of(b"{}"), ONE),
    Shape("objects with a key", list_of(b'{"a":1}'), ONE),
    Shape("many unknown keys", filled(b"{", b'"%d":1', b"}"), ONE),
    Shape("many keys in data", filled(b'{"data":{', b'"%d":1', b"}}"), TWO),
    Shape("a long key", stretched(b'{"', b"k", b'":1}'), ONE),
    Shape("a long string", stretched(b'{"data":"', b"a", b'"}'), ONE),
    Shape("a string of escapes", stretched(b'{"data":"', b"\\u00e9", b'"}'), ONE),
    Shape("a string beyond 16 bits", stretched(b'{"data":"', "\U0001f600".encode(), b'"}'), ONE),
    Shape("many strings", list_of(b'"%d"'), ONE),
    Shape("a list", filled(b"[", b"[1]", b"]"), ONE),
    Shape("lists in lists, 900 deep", list_of(b"[" * 900 + b"]" * 900), ONE),
    Shape("lists in lists, 8 deep", list_of(b"[" * 8 + b"]" * 8), ONE),
    # Not JSON
    Shape("lists in lists without end", stretched(b'{"data":', b"[", b""), ONE),
    Shape("cut off", filled(b'{"data":[', b"[1]", b""), ONE),
    Shape("white space alone", stretched(b"", b" ", b""), ONE),
    Shape("bad UTF-8 at the end", stretched(b'{"data":"', b"a", b'\xff"}'), ONE),
]


def holds(dialect: NativeDialect, body: bytes) -> tuple[int, float]:
    """Return the status code for a body, and the longest time on the loop, in seconds."""
    started = time.thread_time()
    try:
        request = dialect.decode(body)
        status = 200
    except ServiceError as error:
        status = problem(error, "id").status
    reading = time.thread_time() - started
    if status != 200:
        return status, reading
    answer = Tensors({OUTPUT.name: np.full((len(request.tensors), 1), 1 / 3, np.float32)})
    started = time.thread_time()
    dialect.input_excerpt(request, body)
    dialect.answer_excerpt(request, dialect.encode(answer, request).body)
    return status, max(reading, time.thread_time() - started)


def measure(shape: Shape, size: int, runs: int) -> tuple[int, float]:
    """Return the status code, and the shortest time, as other processes only add to it."""
    dialect = NativeDialect(Signature(shape.inputs, (OUTPUT,)))
    body = shape.make(size)
    results = [holds(dialect, body) for _ in range(runs)]
    return results[0][0], min(seconds for _, seconds in results)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="which sizes (default: all)"
    )
    parser.add_argument("--only", default="", help="shapes with this in their names")
    parser.add_argument("--runs", type=int, default=10, help="how often (default: %(default)s)")
    arguments = parser.parse_args(argv)
    gc.collect()
    gc.freeze()  # as the server does once its model is loaded
    print("| body |", *(f"{size} |" for size in arguments.sizes), "status |")
    print("|---|", *("---:|" for _ in arguments.sizes), "---|", sep="")
    for shape in SHAPES:
        if arguments.only in shape.name:
            measured = [measure(shape, SIZES[s] * 1024, arguments.runs) for s in arguments.sizes]
            statuses = ", ".join(map(str, sorted({status for status, _ in measured})))
            times = (f"{seconds * 1000:.2f} |" for _, seconds in measured)
            print(f"| {shape.name} |", *times, f"{statuses} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
