"""The servers that are compared with networks that people serve."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.comparison.contestants import Contestant
from scripts.comparison.encodings import Form


@dataclass(frozen=True)
class NetworkContestant(Contestant):
    """One server, which takes tensors in bytes.

    {name} in `path` and `command` is the name of the model.
    """

    form: Form = "bytes"


V2_PATH = "/v2/models/{name}/infer"


def _ours(engine: str, *flags: str) -> tuple[str, ...]:
    return (
        *("{python}", "-m", "server", "{model}", "--http.port", "{port}"),
        *("--logging.payloads", "false", "--model.engine", engine),
        *("--model.cache_dir", "{models}/cache"),
        *("--batching.max_queue_ms", "60000"),  # the others reject nothing
        *flags,
    )


def _fastapi(*flags: str) -> tuple[str, ...]:
    return (
        *("{python}", "-m", "uvicorn", "scripts.comparison.peers.network_fastapi:app"),
        *("--host", "127.0.0.1", "--port", "{port}", "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning", *flags),
    )


def _engine(name: str, title: str, settings: str, environment: Mapping[str, str]) -> Contestant:
    return NetworkContestant(
        name=name,
        title=title,
        settings=f"uvicorn on uvloop and httptools, one worker, access log off; {settings}",
        command=_fastapi(),
        venv="fastapi-engines",
        environment=environment,
    )


CONTESTANTS: tuple[Contestant, ...] = (
    NetworkContestant(
        name="ours-auto",
        title="this server, `engine: auto`",
        settings="`--model.engine auto --logging.payloads false --batching.max_queue_ms 60000`, "
        "with the engine that an earlier start chose; metrics and access log on; V2 protocol, "
        "binary",
        command=_ours("auto"),
        kind="ours",
        path=V2_PATH,
        form="v2",
    ),
    NetworkContestant(
        name="ours-per-core",
        title="this server, `engine: auto`, a process per core",
        settings="the same with `--model.threads 1`, and as many `--model.replicas` as cores",
        command=_ours("auto", "--model.threads", "1", "--model.replicas", "{cores}"),
        kind="ours",
        path=V2_PATH,
        form="v2",
    ),
    NetworkContestant(
        name="ours-tensorflow",
        title="this server, TensorFlow",
        settings="the same with `--model.engine tensorflow`, the default",
        command=_ours("tensorflow"),
        kind="ours",
        path=V2_PATH,
        form="v2",
    ),
    NetworkContestant(
        name="fastapi",
        title="FastAPI, TensorFlow",
        settings="uvicorn on uvloop and httptools with one worker per core, access log off; "
        "compiled call in a thread; the body is the tensor",
        command=_fastapi("--workers", "{cores}"),
        venv="fastapi",
    ),
    NetworkContestant(
        name="litserve",
        title="LitServe, TensorFlow",
        settings="`max_batch_size=32, batch_timeout=0.005`, two workers, `fast_queue`, compiled "
        "call, access log off; the tensor is a file of a form",
        command=("{python}", "-m", "scripts.comparison.peers.network_litserve", "{port}"),
        venv="litserve",
        form="file",
        stop_signal=signal.SIGINT,  # after SIGTERM its child processes would keep serving
    ),
    NetworkContestant(
        name="bentoml",
        title="BentoML, TensorFlow",
        settings="`batchable=True, max_batch_size=32`, one worker per core, compiled call, access "
        "log and metrics off; the tensor is a file of a form, the answer JSON",
        command=(
            *("{python}", "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}"),
            "scripts.comparison.peers.network_bentoml:Network",
        ),
        venv="bentoml",
        environment={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{folder}"},
        form="file",
    ),
    NetworkContestant(
        name="triton",
        title="Triton 2.51, TensorFlow",
        settings="as in [comparison.md](comparison.md): Python backend, compiled call, no delay, "
        "one HTTP thread, metrics off; V2 protocol, binary",
        command=(
            *("{python}", "-m", "scripts.comparison.peers.triton_server", "{port}", "{folder}"),
            "network",
        ),
        venv="triton",
        environment={"MOST_ROWS": "32"},
        path="/v2/models/example/infer",
        form="v2",
    ),
    _engine(
        "onnx",
        "FastAPI, ONNX Runtime",
        "its default settings, a call at a time on all cores",
        {"ENGINE": "onnx"},
    ),
    _engine(
        "onnx-per-core",
        "FastAPI, ONNX Runtime, a call per core",
        "`intra_op_num_threads=1`, as many calls at a time as cores",
        {"ENGINE": "onnx", "THREADS": "1", "CALLS": "{cores}"},
    ),
    _engine(
        "openvino",
        "FastAPI, OpenVINO for latency",
        '`PERFORMANCE_HINT: "LATENCY"`, 32 bits, a call at a time on all cores',
        {"ENGINE": "openvino"},
    ),
    _engine(
        "openvino-throughput",
        "FastAPI, OpenVINO for throughput",
        '`PERFORMANCE_HINT: "THROUGHPUT"`, 32 bits, as many calls at a time as cores',
        {"ENGINE": "openvino", "HINT": "THROUGHPUT", "CALLS": "{cores}"},
    ),
)
