"""The model process's end of the socket, over a real one; the other end is the test's."""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from model.formats.options import LoadOptions
from model.process import shared_memory
from model.process.channel import WITH_MEMORY, WITHOUT_MEMORY, Channel
from model.process.child import MAX_TEXT, ChannelHandler
from model.process.cores import usable_cores
from model.process.main import answer, load_engine
from model.process.messages import (
    INLINE_BYTES,
    MAX_HEADER_BYTES,
    PREFIX,
    Message,
    MessageError,
    arrays_inline,
    arrays_shared,
    pack,
    parse_header,
    shared_size,
)
from model.process.prepare import LoadRequest
from model.process.protocol import load_fields, report_of
from model.process.shared_memory import SharedMemory
from tests.support.harness import NUMBER, FakeModel

LARGE = INLINE_BYTES // 4 + 1  # of float32


class Main(NamedTuple):
    """The main process's end."""

    socket: socket.socket
    requests: SharedMemory | None
    answers: SharedMemory | None

    def send(self, kind: str, *arrays: np.ndarray, **fields: Any) -> None:
        self.socket.sendall(pack(kind, arrays, self.requests, fields))

    def receive(self) -> Message:
        header_size, payload_size = PREFIX.unpack(self._read(PREFIX.size))
        header = parse_header(self._read(header_size))
        payload = self._read(payload_size)
        if not header.shared:
            return Message(header.kind, header.fields, arrays_inline(header.specs, payload))
        assert self.answers is not None
        memory = self.answers.read(shared_size(header.specs))
        return Message(header.kind, header.fields, arrays_shared(header.specs, memory))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            assert piece
            data += piece
        return data


@pytest.fixture(params=["shared memory", "inline"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Main, Channel]]:
    """Both ends of a channel, with shared memory and as on systems that have none."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    memories: list[SharedMemory] = []
    if request.param == "inline":
        ours.send(WITHOUT_MEMORY)
        main = Main(ours, None, None)
    else:
        if not shared_memory.is_available():
            pytest.skip("needs memfd_create")
        descriptors = [shared_memory.create(name) for name in ("requests", "answers")]
        socket.send_fds(ours, [WITH_MEMORY], descriptors)
        memories = [SharedMemory(descriptors[0], writable=True)]
        memories += [SharedMemory(descriptors[1], writable=False)]
        main = Main(ours, *memories)
    channel = Channel(theirs)
    yield main, channel
    mapped = filter(None, (channel._requests, channel._answers))  # a process just ends
    for end in (*memories, *mapped, ours, theirs):
        end.close()


def test_messages_go_both_ways(ends: tuple[Main, Channel]) -> None:
    main, channel = ends
    for count in (1, LARGE, 10, 5 * LARGE, 0):
        array = np.arange(count, dtype="float32")
        sending = threading.Thread(target=main.send, args=["call", array])
        sending.start()
        message = channel.receive()
        sending.join()
        assert message.kind == "call"
        np.testing.assert_array_equal(message.arrays[0], array)

        sending = threading.Thread(target=channel.send, args=["answer", [2 * array]])
        sending.start()
        np.testing.assert_array_equal(main.receive().arrays[0], 2 * array)
        sending.join()


def test_requests_cannot_be_written_to(ends: tuple[Main, Channel]) -> None:
    main, channel = ends
    for count in (1, LARGE):
        main.send("call", np.zeros(count, "float32"))
        [array] = channel.receive().arrays
        assert not array.flags.writeable


def test_an_idle_process_sleeps_after_quick_calls(ends: tuple[Main, Channel]) -> None:
    """It polls for the next message only for a moment."""
    main, channel = ends
    for _ in range(20):
        main.socket.sendall(pack("call"))
        channel.receive()
    before = time.thread_time()
    threading.Timer(0.5, main.socket.sendall, [pack("call")]).start()
    channel.receive()

    assert time.thread_time() - before < 0.1


def test_messages_that_come_together_are_told_apart(ends: tuple[Main, Channel]) -> None:
    main, channel = ends
    data = b"".join(pack("call", [np.array([n])]) for n in range(100))
    for start in range(0, len(data), 333):
        main.socket.sendall(data[start : start + 333])

    assert [channel.receive().arrays[0].item() for _ in range(100)] == list(range(100))


def test_the_end_of_the_main_process_is_told(ends: tuple[Main, Channel]) -> None:
    """In between messages, and within one."""
    main, channel = ends
    main.socket.sendall(pack("call") + pack("call")[:-3])
    main.socket.shutdown(socket.SHUT_WR)

    assert channel.receive().kind == "call"
    with pytest.raises(EOFError):
        channel.receive()


@pytest.mark.parametrize(
    "data",
    [
        PREFIX.pack(MAX_HEADER_BYTES + 1, 0),
        PREFIX.pack(2, 0) + b"{}",
        pack("call", [np.ones(3)]).replace(b"float64", b"object "),
    ],
)
def test_what_is_no_message_is_told(ends: tuple[Main, Channel], data: bytes) -> None:
    main, channel = ends
    main.socket.sendall(data)
    with pytest.raises(MessageError):
        channel.receive()


def test_shared_arrays_need_shared_memory(ends: tuple[Main, Channel]) -> None:
    main, channel = ends
    header = b'{"kind": "call", "shared": true, "tensors": [["bool", [99], 99]]}'
    main.socket.sendall(PREFIX.pack(len(header), 0) + header)
    with pytest.raises(MessageError, match=r"no shared memory|ends early"):
        channel.receive()


# Answers and errors


def ask(ends: tuple[Main, Channel], model: Any, *arrays: np.ndarray) -> Message:
    """Have a model answer one call; what both ends do, in this thread."""
    main, channel = ends
    sending = threading.Thread(target=main.send, args=["call", *arrays])
    sending.start()
    message = channel.receive()
    sending.join()
    answering = threading.Thread(target=answer, args=[channel, model, message])
    answering.start()
    reply = main.receive()
    answering.join()
    return reply


class Answers:
    """A model that answers what the test says, or raises it."""

    signature = NUMBER
    fixed_rows = None
    name = "tensorflow"
    is_half_precision = False
    padding_hint = None
    eager = None

    def __init__(self, said: Any) -> None:
        self._said = said

    def call(self, arrays: Sequence[np.ndarray]) -> Any:
        if isinstance(self._said, BaseException):
            raise self._said
        return self._said


def test_a_call_is_answered(ends: tuple[Main, Channel]) -> None:
    for rows in (1, LARGE):
        reply = ask(ends, FakeModel(), np.full((rows, 1), 10, "float32"))
        assert reply.kind == "answer"
        assert reply.arrays[0].tolist() == [[31.0]] * rows


@pytest.mark.parametrize(
    "error",
    [ValueError("one\n  two"), MemoryError(), KeyboardInterrupt(), SystemExit(3), EOFError("no")],
)
def test_what_a_network_raises_is_sent(ends: tuple[Main, Channel], error: BaseException) -> None:
    reply = ask(ends, Answers(error), np.ones((1, 1), "float32"))

    assert reply.kind == "error"
    assert reply.fields["type"] == type(error).__name__
    assert reply.fields["text"] == " ".join(str(error).split())
    assert "in call" in reply.fields["trace"]


@pytest.mark.parametrize(
    "said", [[np.array([1j])], [np.array(["a"])], [1.5], None, [np.array([None], object)]]
)
def test_an_answer_that_cannot_be_sent_is_an_error(ends: tuple[Main, Channel], said: Any) -> None:
    """And not the end of the process."""
    assert ask(ends, Answers(said), np.ones((1, 1), "float32")).kind == "error"
    assert ask(ends, FakeModel(), np.ones((1, 1), "float32")).kind == "answer"


def test_an_error_of_any_length_is_sent(ends: tuple[Main, Channel]) -> None:
    reply = ask(ends, Answers(ValueError("x" * 10**7)), np.ones((1, 1), "float32"))

    assert reply.fields["text"] == "x" * MAX_TEXT


# Loading


def load(ends: tuple[Main, Channel], load: Any, **fields: Any) -> list[Message]:
    """Have a model loaded; return all messages that came."""
    main, channel = ends
    request, arrays = load_fields(LoadRequest("/kept/fd/9", shown_path="m.keras", **fields))
    main.send("load", *arrays, **request)
    load_engine(channel, load)
    messages = [main.receive()]
    while messages[-1].kind not in ("ready", "failed"):
        messages.append(main.receive())
    return messages


def test_loading_tells_each_step_and_then_the_report(ends: tuple[Main, Channel]) -> None:
    *steps, ready = load(ends, lambda request: FakeModel(), max_rows=4)

    assert [message.fields["step"] for message in steps] == [
        "loading",
        "making the first calls",
        "comparing rows alone and in a batch",
        "answering the examples",
    ]
    report = report_of(ready)
    assert (report.signature, report.batch_size.rows) == (NUMBER, 4)


@pytest.mark.parametrize(
    "error", [ImportError("/kept/fd/9 is\nbad"), SystemExit("/kept/fd/9 is bad")]
)
def test_why_a_model_was_not_loaded_is_one_line_with_its_name(
    ends: tuple[Main, Channel], error: BaseException
) -> None:
    def fail(request: LoadRequest) -> Any:
        raise error

    *_, failed = load(ends, fail)
    assert failed.fields["reason"] == (
        f"m.keras: cannot be served: {type(error).__name__}: m.keras is bad"
    )
    assert "in fail" in failed.fields["detail"]


def test_a_reason_of_any_length_is_sent(ends: tuple[Main, Channel]) -> None:
    def fail(request: LoadRequest) -> Any:
        raise ValueError("x" * 10**7)

    assert len(load(ends, fail)[-1].fields["reason"]) == MAX_TEXT


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_beside_others_it_loads_on_one_core_and_computes_on_all(ends: tuple[Main, Channel]) -> None:
    """Its threads are counted before: that of TensorFlow cannot be changed later."""
    cores, seen = os.sched_getaffinity(0), []

    def see(request: LoadRequest) -> FakeModel:
        seen.append((request.options.threads, len(os.sched_getaffinity(0))))
        return FakeModel()

    load(ends, see, max_rows=1, beside_others=True)
    load(ends, see, max_rows=1, replicas=1000)
    load(ends, see, max_rows=1, options=LoadOptions(threads=7))
    assert seen == [(usable_cores(), 1), (1, len(cores)), (7, len(cores))]
    assert os.sched_getaffinity(0) == cores


# Logging


@pytest.fixture
def log(ends: tuple[Main, Channel]) -> logging.Logger:
    """A logger whose records go through the channel, and nowhere else."""
    log = logging.Logger("test_channel")
    log.addHandler(ChannelHandler(ends[1]))
    return log


def test_records_are_sent(ends: tuple[Main, Channel], log: logging.Logger) -> None:
    log.warning("%d of %s", 1, "größer")
    log.error("x" * 10**7)

    first, second = ends[0].receive(), ends[0].receive()
    assert (first.kind, dict(first.fields)) == ("log", {"level": 30, "text": "1 of größer"})
    assert second.fields["text"] == "x" * MAX_TEXT


def test_a_record_that_cannot_be_written_raises_nothing(
    ends: tuple[Main, Channel], log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a call of the network it would be the network that failed."""
    log.warning("%d", "no number")
    log.warning("next")

    assert ends[0].receive().fields["text"] == "next"
    assert "no number" in capsys.readouterr().err


def test_logging_after_the_main_process_has_ended_raises_nothing(
    ends: tuple[Main, Channel], log: logging.Logger
) -> None:
    ends[0].socket.close()
    log.warning("nobody reads this")


def test_logging_while_a_message_is_made_stops_nothing(
    ends: tuple[Main, Channel], log: logging.Logger
) -> None:
    """As a destructor may do, which runs at any time."""
    main, channel = ends

    class Loud:
        def __del__(self) -> None:
            log.warning("gone")

    class Cell(str):
        def encode(self, *arguments: Any) -> bytes:
            Loud()
            gc.collect()
            return b"cell"

    cells = np.empty(1, object)
    cells[0] = Cell("cell")
    sending = threading.Thread(target=channel.send, args=["answer", [cells]], daemon=True)
    sending.start()

    assert [main.receive().kind, main.receive().kind] == ["log", "answer"]
    sending.join(10)
    assert not sending.is_alive()


def test_threads_do_not_mix_their_messages(ends: tuple[Main, Channel], log: logging.Logger) -> None:
    def chatter(name: str) -> None:
        for number in range(50):
            log.warning("%s %d %s", name, number, "x" * 5000)

    threads = [threading.Thread(target=chatter, args=[name]) for name in "abc"]
    for thread in threads:
        thread.start()
    texts = [ends[0].receive().fields["text"] for _ in range(150)]
    for thread in threads:
        thread.join()

    for name in "abc":
        assert [int(t.split()[1]) for t in texts if t[0] == name] == list(range(50))
