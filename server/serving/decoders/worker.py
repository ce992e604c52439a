"""The life of a decoder process: it does one job after another, until its socket is closed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from model.process.channel import Channel
from model.process.child import connect, end, trace_of
from model.process.heap import keep_freed_blocks
from model.process.messages import Message
from server.errors import ServiceError
from server.serving.decoders.protocol import ERROR, READY, RESULT, JobFailed, arrays_of, value_of

Jobs = Mapping[str, Callable[..., Any]]


def main(jobs: Jobs, arguments: list[str]) -> None:
    """Run a decoder process, which can do `jobs`; see `model.process.child.connect`."""
    keep_freed_blocks()
    with contextlib.suppress(EOFError, ConnectionError):
        channel = connect(arguments)
        channel.send(READY)
        while True:
            answer(channel, jobs, channel.receive())
    end()


def answer(channel: Channel, jobs: Jobs, message: Message) -> None:
    """Do a job; send its result, or its error."""
    try:
        result = jobs[message.kind](*value_of(message.arrays))
        reply = channel.pack(RESULT, arrays_of(result))
    except ServiceError as error:
        reply = channel.pack(ERROR, arrays_of(error))
    except BaseException as error:
        failure = JobFailed(f"{type(error).__name__}: {error}")
        failure.add_note(f"In the decoder process:\n{trace_of(error)}")
        reply = channel.pack(ERROR, arrays_of(failure))
    channel.send_packed(reply)
