"""A model process that sends garbage harms nobody but itself."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from model.process.batch_size import BatchSize
from model.process.messages import MAX_HEADER_BYTES, PREFIX, pack
from model.process.prepare import LoadRequest, Report
from model.process.protocol import ANSWER, ERROR, LOG, READY, report_fields
from model.tensors import Tensors
from server.serving.client import ModelRaised, ProcessEnded
from server.serving.model_process import ModelProcess
from tests.support.harness import NUMBER, SOON

FILES = Path("/proc/self/fd")
ROWS = Tensors({"x": np.ones((2, 1), "float32")})

# Sends what its arguments say (base64), one whenever it has received something. `{` grows the
# memory of answers to a terabyte, and writes none of it.
PROGRAM = """
import array, base64, os, socket, sys, time
*said, descriptor, parent = sys.argv[1:]
connection = socket.socket(fileno=int(descriptor))
_, descriptors, _, _ = socket.recv_fds(connection, 1, 2)
for word in said:
    if not connection.recv(2**20):
        break
    if word.startswith("{"):
        os.ftruncate(descriptors[1], 2**40)
        word = word[1:]
    connection.sendall(base64.b64decode(word))
time.sleep(60)
"""


def ready() -> bytes:
    fields, arrays = report_fields(Report(NUMBER, BatchSize(64)))
    return pack(READY, arrays, fields=fields)


def answer(*arrays: np.ndarray) -> bytes:
    return pack(ANSWER, [np.asarray(array) for array in arrays])


@asynccontextmanager
async def process_that_says(*said: bytes, grown: bool = False) -> AsyncIterator[ModelProcess]:
    words = [base64.b64encode(each).decode() for each in said]
    if grown:
        words[-1] = "{" + words[-1]
    process = ModelProcess("m", command=(sys.executable, "-c", PROGRAM, *words))
    try:
        yield process
    finally:
        process.kill("closed", "the test is over")
        await process.close()


async def ended_reason(process: ModelProcess, *, loaded: bool) -> str:
    """Load a model, and call it where it is to be `loaded`; return why the process ended."""
    if loaded:
        await process.load(LoadRequest("m.keras"), SOON)
    with pytest.raises(ProcessEnded) as ended:
        await (process.call([ROWS]) if loaded else process.load(LoadRequest("m.keras"), SOON))
    assert ended.value.ended.reason == "crash"
    return ended.value.ended.text


GARBAGE = {
    "no message": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a huge header": PREFIX.pack(MAX_HEADER_BYTES + 1, 0),
    "a huge payload": PREFIX.pack(10, 2**32 - 1),
    "no JSON": PREFIX.pack(3, 0) + b"{{{",
    "a header in a header": PREFIX.pack(60_000, 0) + b"[" * 60_000,
}


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_while_loading_ends_it(data: bytes) -> None:
    async with process_that_says(data) as process:
        text = await ended_reason(process, loaded=False)
        assert text.startswith("the model process sent an invalid message: ")
        assert len(text) < 300


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize(
    "report",
    [
        ready().replace(b"float32", b"float33"),
        ready().replace(b"[64, []]", b"[-4, []]"),
        pack(READY),
        answer(np.ones(1)),
    ],
    ids=["dtype", "batch size", "nothing", "another message"],
)
async def test_a_report_of_nonsense_ends_it(report: bytes) -> None:
    assert report != ready()
    async with process_that_says(report) as process:
        await ended_reason(process, loaded=False)


def shared(shape: list[int], nbytes: int) -> bytes:
    header = b'{"kind": "answer", "shared": true, "tensors": [["float32", %b, %d]]}'
    filled = header % (str(shape).encode(), nbytes)
    return PREFIX.pack(len(filled), 0) + filled


ANSWERS = {
    **GARBAGE,
    "other dtype": answer(np.ones((2, 1))),
    "two outputs": answer(*[np.ones((2, 1), "float32")] * 2),
    "no rows": answer(np.float32(1)),
    "another message": ready(),
    "a negative shape": shared([-2, -1], 8),
    "memory that is not there": shared([2, 1], 8),
}


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
async def test_garbage_for_an_answer_ends_it(data: bytes) -> None:
    async with process_that_says(ready(), data) as process:
        await ended_reason(process, loaded=True)


@pytest.mark.gen_test(timeout=30)
async def test_an_answer_of_a_terabyte_ends_it_and_is_not_copied() -> None:
    data = shared([2**37, 2], 2**40)
    async with process_that_says(ready(), data, grown=True) as process:
        began = time.monotonic()
        assert "shared memory ends early" in await ended_reason(process, loaded=True)
        assert time.monotonic() - began < 5


@pytest.mark.logs_warnings
@pytest.mark.gen_test(timeout=30)
async def test_strange_records_and_errors_are_told_as_they_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    records = [
        {"level": 10**30, "text": ["a"]},
        {"level": "high", "text": None},
        {"level": -1, "text": "%s %d"},
        {},
    ]
    said = b"".join(pack(LOG, fields=fields) for fields in records)
    async with process_that_says(said + ready(), pack(ERROR)) as process:
        report = await process.load(LoadRequest("m.keras"), SOON)
        assert report.signature == NUMBER
        with pytest.raises(ModelRaised):
            await process.call([ROWS])
    texts = [record.getMessage() for record in caplog.records if record.name == "model.m"]
    assert texts == ["['a']", "None", "None"]  # -1 is below DEBUG


@pytest.mark.gen_test(timeout=30)
async def test_descriptors_are_given_back() -> None:
    async with process_that_says(b"?" * 8) as process:
        await ended_reason(process, loaded=False)
    before = len(list(FILES.iterdir()))
    for _ in range(3):
        async with process_that_says(b"?" * 8) as process:
            await ended_reason(process, loaded=False)
    assert len(list(FILES.iterdir())) <= before
