"""The servers that are compared: command, settings, and request of each."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CALIBRATION = "ceiling"  # measured in every round, because the speed of a machine changes


@dataclass(frozen=True)
class Contestant:
    """One server with one set of settings.

    These placeholders are replaced in `command` and `environment`: {python} (of its venv), {port},
    {model} (the model file), {folder} (an empty folder) and {cores} (the number of cores). The
    variable MODEL also holds the path of the model file.
    """

    name: str
    title: str
    settings: str  # as shown in the report
    command: tuple[str, ...]
    kind: Literal["ours", "peer", "constant"] = "peer"
    venv: str = ""  # a key of `venvs.REQUIREMENTS`; empty: the project's own venv
    environment: Mapping[str, str] = field(default_factory=dict)
    path: str = "/predict"
    body: str = '{"data":[10]}'
    answer_at: tuple[str | int, ...] = ("prediction",)  # path to the prediction in the answer
    stop_signal: signal.Signals = signal.SIGTERM


def _peer(module: str) -> tuple[str, ...]:
    return ("{python}", "-m", f"scripts.comparison.peers.{module}", "{port}")


def _ours(*flags: str) -> tuple[str, ...]:
    return (
        *("{python}", "-m", "server", "{model}", "--http.port", "{port}"),
        *("--logging.file", "{folder}/payloads.jsonl", *flags),
    )


def _uvicorn(module: str, *flags: str) -> tuple[str, ...]:
    return (
        *("{python}", "-m", "uvicorn", f"scripts.comparison.peers.{module}:app"),
        *("--host", "127.0.0.1", "--port", "{port}", "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning", *flags),
    )


CONTESTANTS = (
    Contestant(
        name="ours-llhttp",
        title="this server",
        settings="the defaults: metrics, access log and payload log (to a file) on",
        command=_ours("--http.transport", "llhttp"),
        kind="ours",
    ),
    Contestant(
        name="ours-quiet",
        title="this server, no payload log",
        settings="`--logging.payloads false`; metrics and access log on",
        command=_ours("--http.transport", "llhttp", "--logging.payloads", "false"),
        kind="ours",
    ),
    Contestant(
        name="ours-tornado",
        title="this server, stock Tornado",
        settings="`--http.transport tornado`; metrics, access log and payload log (to a file) on",
        command=_ours("--http.transport", "tornado"),
        kind="ours",
    ),
    Contestant(
        name=CALIBRATION,
        title="ceiling: asyncio.Protocol, constant answer",
        settings="httptools on uvloop; ignores the request, calls no model",
        command=_peer("constant_protocol"),
        kind="constant",
    ),
    Contestant(
        name="bare-tornado",
        title="bare Tornado, constant answer",
        settings="`RequestHandler` on uvloop, no access log, no ETag; calls no model",
        command=_peer("constant_tornado"),
        kind="constant",
    ),
    Contestant(
        name="seed",
        title="FastAPI, `model.predict` per request",
        settings="this project's first design: uvicorn, sync handler, access log off",
        command=_uvicorn("fastapi_predict"),
        venv="fastapi",
    ),
    Contestant(
        name="fastapi",
        title="FastAPI by hand",
        settings="uvicorn on uvloop and httptools with one worker per core, orjson, compiled call "
        "in a thread, access log off",
        command=_uvicorn("fastapi_thread", "--workers", "{cores}"),
        venv="fastapi",
    ),
    Contestant(
        name="litserve",
        title="LitServe",
        settings="`max_batch_size=64, batch_timeout=0.005`, two workers, `fast_queue`, compiled "
        "call, access log off",
        command=_peer("litserve_app"),
        venv="litserve",
        stop_signal=signal.SIGINT,  # after SIGTERM its child processes would keep serving
    ),
    Contestant(
        name="bentoml",
        title="BentoML",
        settings="`batchable=True, max_batch_size=64`, one worker per core, compiled call, access "
        "log and metrics off",
        command=(
            *("{python}", "-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}"),
            "scripts.comparison.peers.bentoml_service:Example",
        ),
        venv="bentoml",
        environment={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{folder}"},
        answer_at=(0,),
    ),
    Contestant(
        name="ray",
        title="Ray Serve",
        settings="`max_batch_size=64, batch_wait_timeout_s=0.002`, one replica, "
        "`RAY_SERVE_THROUGHPUT_OPTIMIZED=1`, compiled call, access log off",
        command=("{python}", "-m", "scripts.comparison.peers.ray_serve_app", "{folder}"),
        venv="ray",
        environment={
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_DEFAULT_HTTP_HOST": "127.0.0.1",
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": "{port}",
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": "65535",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # listen on the loopback address only
            "RAY_AUTH_MODE": "disabled",  # otherwise it leaves a token in the home folder
            "RAY_USAGE_STATS_ENABLED": "0",
        },
    ),
    Contestant(
        name="triton",
        title="Triton 2.51",
        settings="`tritonserver` from the PyTriton package, Python backend, compiled call, one "
        "instance on the CPU, batches of up to 64 rows, no delay, one HTTP thread, metrics off; "
        "JSON requests of the V2 protocol",
        command=(*_peer("triton_server"), "{folder}"),
        venv="triton",
        path="/v2/models/example/infer",
        body='{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[10]}]}',
        answer_at=("outputs", 0, "data", 0),
    ),
)
