"""The life cycle of a model process: start, load a model, answer calls, end.

`child` has what is the same in every process that the main process starts.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial

from model.engines.interface import Engine
from model.formats.files import ModelError
from model.process import convert
from model.process.channel import Channel
from model.process.child import MAX_TEXT, connect, end, trace_of
from model.process.cores import usable_cores, use_cores, use_one_core
from model.process.messages import Message
from model.process.prepare import Load, LoadRequest, NotServable, Report, prepare
from model.process.protocol import (
    ANSWER,
    CONVERTED,
    ERROR,
    FAILED,
    PROGRESS,
    READY,
    load_request,
    report_fields,
)


def main(load: Load, arguments: list[str]) -> None:
    """Run a model process; `arguments` are the socket's descriptor and the parent's process id."""
    with contextlib.suppress(EOFError, ConnectionError):
        channel = connect(arguments)
        engine = load_engine(channel, load)
        while engine:
            answer(channel, engine, channel.receive())
    end()


def load_engine(channel: Channel, load: Load) -> Engine | None:
    """Load what the main process requests, and send a report; None if loading failed.

    Or try other engines, if that is what it requests, and send which was chosen; then None.
    """
    request = with_threads(load_request(channel.receive()))

    def tell(step: str) -> None:
        channel.send(PROGRESS, step=step)

    try:
        if request.conversion:
            convert.be_unimportant()
            choice = convert.try_engines(load, request, tell)
            channel.send(CONVERTED, **choice.fields())
            return None
        cores = use_one_core() if request.beside_others else set()
        engine, report = prepare(partial(convert.load_engine, load), request, tell)
        use_cores(cores)
        send_report(channel, report)
    except BaseException as error:
        channel.send(FAILED, reason=reason(error, request), detail=trace_of(error))
        return None
    return engine


def with_threads(request: LoadRequest) -> LoadRequest:
    """Choose the number of threads, before this process is restricted to one core."""
    threads = request.options.threads or max(1, usable_cores() // request.replicas)
    return replace(request, options=replace(request.options, threads=threads))


def send_report(channel: Channel, report: Report) -> None:
    fields, arrays = report_fields(report)
    channel.send(READY, arrays, **fields)


def answer(channel: Channel, engine: Engine, message: Message) -> None:
    """Call the network with the arrays of a message; send its outputs, or its error."""
    try:
        reply = channel.pack(ANSWER, engine.call(message.arrays))
    except BaseException as error:
        text = " ".join(str(error).split())[:MAX_TEXT]
        reply = channel.pack(ERROR, type=type(error).__name__, text=text, trace=trace_of(error))
    channel.send_packed(reply)


def reason(error: BaseException, request: LoadRequest) -> str:
    """Return why a version was not loaded, with the name of its file."""
    shown = request.shown_path or request.path
    if isinstance(error, ModelError | NotServable):
        text = str(error)
    else:
        text = f"{shown}: cannot be served: {type(error).__name__}: {error}"
    return " ".join(text.replace(request.path, shown).split())[:MAX_TEXT]
