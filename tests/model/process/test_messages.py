"""Messages between the two processes: what is sent arrives, and nothing else is taken for one."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.process import messages
from model.process.messages import (
    INLINE_BYTES,
    MAX_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_SMALL_PAYLOAD_BYTES,
    PREFIX,
    Message,
    MessageError,
    arrays_inline,
    arrays_shared,
    pack,
    parse_header,
    parse_prefix,
    shared_size,
)
from model.signature import DTYPES

NUMBERS = sorted(DTYPES - {"string"})
LARGE = INLINE_BYTES + 1


class Memory:
    """Stands for shared memory: a buffer of this process."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray())

    def reserve(self, nbytes: int) -> memoryview:
        if len(self.view) < nbytes:
            self.view = memoryview(bytearray(nbytes))
        return self.view


def unpacked(data: bytes, memory: Memory) -> Message:
    """Read a whole message, as either process does."""
    header_size, payload_size = parse_prefix(data, 0, MAX_PAYLOAD_BYTES)
    header = parse_header(data[PREFIX.size : PREFIX.size + header_size])
    payload = data[PREFIX.size + header_size :]
    assert len(payload) == payload_size
    if header.shared:
        arrays = arrays_shared(header.specs, memory.view[: shared_size(header.specs)])
    else:
        arrays = arrays_inline(header.specs, payload)
    return Message(header.kind, header.fields, arrays)


def sent(*arrays: np.ndarray, shared: bool, **fields: Any) -> Message:
    """Send arrays through a message; large ones through memory where `shared`."""
    memory = Memory()
    return unpacked(pack("call", arrays, memory if shared else None, fields), memory)


def as_bytes(array: np.ndarray) -> np.ndarray:
    """Return an array of strings as it arrives."""
    cells = [cell.encode() if isinstance(cell, str) else cell for cell in array.flat]
    found = np.empty(len(cells), object)
    found[:] = cells
    return found.reshape(array.shape)


def assert_same(arrays: list[np.ndarray], sent: list[np.ndarray]) -> None:
    assert len(arrays) == len(sent)
    for array, one in zip(arrays, sent, strict=True):
        expected = as_bytes(one) if one.dtype.hasobject else one
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
        if one.dtype.hasobject:
            assert array.tolist() == expected.tolist()
        else:
            assert array.tobytes() == expected.tobytes()  # NaN as well, bit for bit


def text(*cells: Any) -> np.ndarray:
    found = np.empty(len(cells), object)
    found[:] = cells
    return found


# What arrives


@pytest.mark.parametrize("shared", [False, True], ids=["inline", "shared"])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_numbers_of_each_dtype_arrive(dtype: str, shared: bool) -> None:
    cells = np.random.default_rng(0).integers(0, 2**8, 96_000 if shared else 96, np.uint8)
    array = (cells % 2 if dtype == "bool" else cells).view(dtype).reshape(-1, 3, 4)

    assert_same(sent(array, shared=shared).arrays, [array])


@pytest.mark.parametrize("count", [1, 30_000], ids=["inline", "shared"])
def test_strings_arrive_as_bytes(count: int) -> None:
    """Empty ones, ones with NUL, and bytes that are no UTF-8."""
    array = text(*["", "a", "größer", b"\xff\x00\xfe", b"", "x\0", "\N{PILE OF POO}"] * count)

    assert_same(
        sent(array, array.reshape(1, -1, 1), shared=True).arrays, [array, array[None, :, None]]
    )


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,), (1,) * 32])
@pytest.mark.parametrize("dtype", ["float32", "string"])
def test_arrays_of_any_shape_arrive(shape: tuple[int, ...], dtype: str) -> None:
    array = np.full(shape, "a", object) if dtype == "string" else np.ones(shape, dtype)
    large = np.zeros(LARGE, np.uint8)

    assert_same(sent(array, array, shared=False).arrays, [array, array])
    assert_same(sent(array, large, array, shared=True).arrays, [array, large, array])


def test_a_message_without_arrays_arrives() -> None:
    message = sent(shared=True, text="größer", nested={"a": [1, None]}, number=1.5)

    assert (message.kind, message.arrays) == ("call", [])
    assert message.fields == {"text": "größer", "nested": {"a": [1, None]}, "number": 1.5}


def test_fields_are_never_taken_for_the_frame() -> None:
    message = sent(np.ones(2), shared=False, kind="ready", shared_=1, tensors=[])

    assert message.kind == "call"
    assert len(message.arrays) == 1


def test_small_arrays_are_inline_and_large_ones_are_not() -> None:
    memory = Memory()
    small, large = np.zeros(INLINE_BYTES, np.uint8), np.zeros(LARGE, np.uint8)

    assert len(pack("call", [small], memory)) > INLINE_BYTES
    assert len(memory.view) == 0
    assert len(pack("call", [large], memory)) < 200
    assert len(memory.view) >= LARGE


def test_arrays_that_lie_otherwise_in_memory_arrive() -> None:
    """Every other column, Fortran order, and the byte order of other machines."""
    square = np.arange(60_000, dtype="float32").reshape(200, 300)
    for array in (square[:, ::2], square.T, np.asfortranarray(square)):
        assert_same(sent(array, shared=True).arrays, [np.ascontiguousarray(array)])
        assert_same(sent(array[:9], shared=True).arrays, [np.ascontiguousarray(array[:9])])
        foreign = array.astype(">f4")
        assert_same(sent(foreign, shared=True).arrays, [np.ascontiguousarray(array)])
        assert_same(sent(foreign[:9], shared=True).arrays, [np.ascontiguousarray(array[:9])])


def test_shared_arrays_begin_where_tensorflow_takes_them_in_place() -> None:
    memory = Memory()
    arrays = [np.ones(n, "float32") for n in (1, LARGE, 3)]
    message = unpacked(pack("call", arrays, memory), memory)

    start = np.frombuffer(memory.view, np.uint8).ctypes.data
    assert [(array.ctypes.data - start) % 64 for array in message.arrays] == [0, 0, 0]


CELLS = st.one_of(st.binary(max_size=5), st.text(st.characters(codec="utf-8"), max_size=5))
STRINGS = arrays_of.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4).flatmap(
    lambda shape: arrays_of.arrays(object, shape, elements=CELLS)
)
ARRAYS = st.one_of(
    STRINGS,
    st.sampled_from(NUMBERS).flatmap(
        lambda dtype: arrays_of.arrays(
            dtype, arrays_of.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=4)
        )
    ),
)


@given(st.lists(ARRAYS, max_size=4), st.integers(0, 600))
def test_whatever_is_sent_arrives(arrays: list[np.ndarray], inline: int) -> None:
    """Inline and shared: the bound between them is anywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "INLINE_BYTES", inline)
        assert_same(sent(*arrays, shared=True).arrays, arrays)
    assert_same(sent(*arrays, shared=False).arrays, arrays)


# What is not sent


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([1j]), np.array([1], "datetime64[s]"), np.array([b"a"])]
)
def test_other_dtypes_are_not_sent(array: np.ndarray) -> None:
    with pytest.raises(MessageError, match="are not transferred"):
        pack("answer", [array])


@pytest.mark.parametrize("cell", [5, None, 1.5, ["a"]])
def test_cells_that_are_no_strings_are_not_sent(cell: Any) -> None:
    """`bytes(5)` would be five bytes of zero."""
    with pytest.raises((AttributeError, TypeError)):
        pack("answer", [text(cell, "a")])


def test_a_message_that_would_be_too_long_is_not_sent() -> None:
    with pytest.raises(MessageError, match="too long"):
        pack("log", fields={"text": "x" * MAX_HEADER_BYTES})


# What is not taken


def header(*tensors: Any, **fields: Any) -> bytes:
    return json.dumps({"kind": "answer", "shared": False, "tensors": tensors} | fields).encode()


FLOAT = ["float32", [2], 8]


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"1", b'"a"', b"null", b"\xff\xfe\xfd", b"{}", b"[" * 100_000),
        *(header(kind=value) for value in (1, None, [])),
        *(header(shared=value) for value in (1, None, "false")),
        *(header(tensors=value) for value in (None, 1, {"a": 1}, "abc", [[]], [1], [None])),
        *(header(["float32", [2]]), header([*FLOAT, 1]), header(dict.fromkeys("abc", 1))),
        *(
            header([dtype, [2], 8])
            for dtype in (
                *("object", "O", "f4", ">f4", "float32 ", "float128", "void", "f4,f4", "(2,f4"),
                *("complex64", "datetime64", "U2", "", "(2,)f4", None, 4, ["float32"], {}),
            )
        ),
        *(
            header(["float32", shape, 8])
            for shape in (
                *([3], [-2], [-2, -1], [2.0], ["2"], [True, 2], [None], [[2]], [2, 1e400]),
                *(2, None, {"2": 1}, "2", [10**30], [2] + [1] * 32),
            )
        ),
        *(header(["float32", [2], nbytes]) for nbytes in (-8, 8.0, "8", None, True, 1e400, 9, 0)),
        *(
            header(["float32", shape, 0])
            for shape in ([0, 10**30], [0, 2**62], [2**40, 0, 2**40], [0] * 33)
        ),
        *(header(["string", [3], nbytes]) for nbytes in (11, 0, -1)),
        *(header(["string", shape, 2**40]) for shape in ([2**62], [10**30], [2**62, 0, 2**62])),
    ],
)
def test_what_is_no_header_is_not_taken(data: bytes) -> None:
    with pytest.raises(MessageError) as refused:
        parse_header(data)
    assert len(str(refused.value)) < 200


def test_an_integer_of_many_digits_is_no_size() -> None:
    with pytest.raises(MessageError):
        parse_header(header(FLOAT).replace(b"8]", b"9" * 10_000 + b"]"))


def test_rows_without_cells_may_be_many() -> None:
    """No memory is needed for them."""
    [array] = arrays_inline(parse_header(header(["float32", [2**40, 0], 0])).specs, b"")

    assert array.shape == (2**40, 0)


@pytest.mark.parametrize(
    "header_size, payload_size",
    [(MAX_HEADER_BYTES + 1, 0), (2**32 - 1, 0), (0, MAX_SMALL_PAYLOAD_BYTES + 1), (0, 2**32 - 1)],
)
def test_lengths_that_are_too_large_are_not_waited_for(header_size: int, payload_size: int) -> None:
    with pytest.raises(MessageError, match="too long"):
        parse_prefix(PREFIX.pack(header_size, payload_size), 0, MAX_SMALL_PAYLOAD_BYTES)


@pytest.mark.parametrize(
    "tensors, payload",
    [
        ([FLOAT], b""),
        ([FLOAT], bytes(7)),
        ([FLOAT], bytes(9)),
        ([FLOAT], bytes(16)),
        ([FLOAT, FLOAT], bytes(8)),
        ([["float32", [1], 4]], bytes(4)),  # without its padding
        ([["string", [1], 4]], b"\1\0\0\0" + bytes(4)),
        ([["string", [1], 8]], b"\5\0\0\0aaaa"),
        ([["string", [1], 8]], b"\xff\xff\xff\xffaaaa"),
        ([["string", [1], 8]], b"\1\0\0\0aaaa"),
        ([["string", [2], 8]], b"\4\0\0\0aaaa"),
        ([["string", [2], 8]], b"\2\0\0\0aaaa"),
        ([["string", [0], 8]], bytes(8)),
    ],
)
def test_a_payload_that_is_not_what_the_header_says_is_not_taken(
    tensors: list[Any], payload: bytes
) -> None:
    specs = parse_header(header(*tensors)).specs
    with pytest.raises(MessageError):
        arrays_inline(specs, payload)


def test_more_than_the_shared_memory_has_is_not_taken() -> None:
    specs = parse_header(header(["float32", [2**30], 2**32])).specs
    with pytest.raises(MessageError, match="ends early"):
        arrays_shared(specs, memoryview(bytearray(2**20)))


WHOLE = pack("answer", [np.arange(5.0), text("a", b"\xff", "")], None, {"a": [1, "b"]})
ANYTHING = st.binary(max_size=300)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(NUMBERS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
)


def take(data: bytes) -> None:
    """Read a message as the main process would; raises MessageError alone."""
    try:
        header_size, payload_size = parse_prefix(data.ljust(8, b"\0"), 0, MAX_SMALL_PAYLOAD_BYTES)
        found = parse_header(data[8 : 8 + header_size])
        arrays_inline(found.specs, data[8 + header_size : 8 + header_size + payload_size])
        arrays_shared(found.specs, memoryview(data))
    except MessageError:
        return


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_byte_that_is_wrong_does_no_harm(place: int, value: int) -> None:
    take(WHOLE[:place] + bytes([value]) + WHOLE[place + 1 :])


@given(st.integers(0, len(WHOLE)), ANYTHING)
def test_garbage_does_no_harm(length: int, rest: bytes) -> None:
    take(WHOLE[:length] + rest)


@given(st.lists(JSON, max_size=3) | JSON, ANYTHING)
@example([["string", [0, 0], 4]], b"1234")
def test_other_json_does_no_harm(tensors: Any, payload: bytes) -> None:
    head = header(tensors=tensors)
    take(PREFIX.pack(len(head), len(payload)) + head + payload)
