"""Every setting: its type, its default, the sentence that describes it, its limits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from server.config.inputs import INPUT_SCHEMA, InputSettings
from server.config.outputs import OUTPUT_SCHEMA, OutputSettings

KIB: Final = 1024
MIB: Final = 1024 * KIB
MAX_PIXELS: Final = 32 * 2**20
UNIX: Final = "unix:"  # begins the address of a Unix socket
A_DAY_S: Final = 24 * 60 * 60
A_DAY_MS: Final = 1000 * A_DAY_S


class ConfigError(Exception):
    """One line that names the source, the key, and what is wrong with it."""


def setting(default: object, sentence: str, *, wanted: str = "", **constraints: object) -> Any:
    """Declare a setting: its default, its sentence, and the JSON Schema keywords that bound it.

    `wanted` completes "… is not" in the error message where the type alone does not say enough.
    """
    metadata = {"sentence": sentence, "wanted": wanted, "constraints": constraints}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The file of a model, its name and its version."""

    path: str = setting(
        "model/my_best_model.keras",
        "Model: a .keras, .h5 or .onnx file, a SavedModel folder, or a folder with one model or "
        "numbered versions.",
        minLength=1,
    )
    name: str = setting(
        "",
        "Name in URLs, responses and logs. Empty: the file name without its extension.",
        pattern=r"^[^/\x00-\x1f\x7f\ud800-\udfff]*\Z",
        wanted="text without slashes and control characters",
    )
    version: str = setting(
        "",
        "Version of a single file (empty: 1), or the only one to load from a folder (empty: all).",
        pattern=r"^[!-~]*\Z",  # it is sent in a header
        wanted="a string of visible ASCII characters (put it in quotes)",
    )
    sha256: str = setting(
        "",
        "Expected SHA-256 of the model file or folder, as `python -m server hash PATH` prints it. "
        "Empty: not checked.",
        pattern=r"^([0-9a-fA-F]{64})?\Z",
        wanted="a string of 64 hexadecimal digits",
    )
    signature: str = setting(
        "", "Signature of a SavedModel to serve. Empty: serving_default, or the only one."
    )
    imports: tuple[str, ...] = setting(
        (),
        "Python modules to import before the model is loaded; they define its own layers and "
        "functions.",
        wanted="a list of names of Python modules, such as keras_hub or my_package.layers",
        items={
            "type": "string",
            "pattern": r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z",
        },
    )
    allow_code: bool = setting(
        False,
        "Whether Python code in the model file may run, such as that of Lambda layers. Only for "
        "files that you trust.",
    )
    keep_state: bool = setting(
        False,
        "Whether the model keeps state between calls. If so, a call has one row, there is one "
        "process, and an interrupted call is not made again.",
    )

    engine: Literal["tensorflow", "auto", "onnx", "openvino", "frozen"] = setting(
        "tensorflow",
        "What computes the model: tensorflow, onnx (ONNX Runtime), openvino or frozen (TensorFlow "
        "with constant weights), if it answers as TensorFlow does; auto takes the fastest of them.",
    )
    inputs: tuple[InputSettings, ...] = setting(
        (),
        "Inputs that take pictures, by name, each {image: {…}}, such as {image: {preset: "
        "keras.applications.mobilenet_v2}}.",
        wanted="a mapping from names of inputs to {image: {…}}",
        additionalProperties=INPUT_SCHEMA,
    )
    outputs: tuple[OutputSettings, ...] = setting(
        (),
        "Outputs that are answered as labels, by name, each {labels, top_k, threshold}; labels is "
        "a list, or a file with one on each line.",
        wanted="a mapping from names of outputs to {labels, top_k, threshold}",
        additionalProperties=OUTPUT_SCHEMA,
    )

    @property
    def served_name(self) -> str:
        """The name, or else the file name without its extension; always valid Unicode."""
        path = Path(self.path).expanduser() if self.path.startswith("~/") else Path(self.path)
        return self.name or path.absolute().stem.encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class ModelSettings(ModelSource):
    """The model to serve. To serve several, list them in `models` instead."""

    max_versions: int = setting(
        1,
        "Most versions of a folder to load: those with the highest numbers.",
        minimum=1,
    )
    poll_s: float = setting(
        1,
        "Seconds between two looks for new versions and replaced files, which are loaded by "
        "themselves; 0: none.",
        minimum=0,
        maximum=A_DAY_S,
    )
    allow_signature_change: bool = setting(
        False, "Whether a reloaded model may have different inputs or outputs."
    )
    hang_timeout_s: float | Literal["auto"] = setting(
        "auto",
        "Longest model call in seconds; after that, the model process is killed and started again. "
        "auto = batching.deadline_ms, 0 = no limit.",
        minimum=0,
        maximum=A_DAY_S,
    )
    load_timeout_s: float = setting(
        600, "Longest time that loading a model may take, in seconds.", minimum=1, maximum=A_DAY_S
    )
    max_restarts: int = setting(
        5,
        "A model is given up when its process has ended this many times without answering a call "
        "in between.",
        minimum=1,
        maximum=1000,
    )
    replicas: int = setting(
        1, "Number of processes for each version of a model.", minimum=1, maximum=256
    )
    cache_dir: str = setting(
        "",
        "Folder for converted models and for the choices of model.engine. Empty: in the user's "
        "cache folder.",
    )
    threads: int | Literal["auto"] = setting(
        "auto",
        "Threads of each model process. auto = the cores that it may use, divided by the replicas.",
        minimum=1,
        maximum=1024,
    )


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP server: address, limits and shutdown."""

    host: str = setting(
        "127.0.0.1",
        "Addresses to listen on, separated by commas: 0.0.0.0 means every IPv4 address, :: every "
        "IPv4 and IPv6 address, unix:/path a Unix socket.",
        wanted="a list of addresses, separated by commas",
        minLength=1,  # an empty one would mean every address
        pattern=r"^ *[^, ]+( *, *[^, ]+)* *\Z",
    )
    port: int = setting(8888, "Port to listen on; 0 picks a free one.", minimum=0, maximum=65_535)
    transport: Literal["llhttp", "tornado"] = setting(
        "llhttp", "HTTP server: llhttp is the fast one, tornado is Tornado's own."
    )
    tls_cert: str = setting(
        "", "File with the certificate chain (PEM), for HTTPS. Empty: plain HTTP."
    )
    tls_key: str = setting("", "File with the private key of the certificate (PEM, unencrypted).")
    cors_origins: tuple[str, ...] = setting(
        (),
        "Origins whose web pages may call the API (CORS), such as https://example.org.",
        wanted="a list of origins, each such as https://example.org or http://localhost:3000",
        # As browsers write them: in lower case, without the port of the scheme and without a path.
        items={
            "type": "string",
            "pattern": r"^(?!https:.*:443\Z|http:.*:80\Z)"
            r"https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?\Z",
        },
    )
    root_path: str = setting(
        "",
        "Path under which a proxy shows the service, such as /models; links in pages begin with "
        "it. Requests may have it or not.",
        pattern=r"^(/[A-Za-z0-9._~-]+)*\Z",
        wanted="a path such as /models, without a slash at its end",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "Addresses and networks of proxies, such as 10.0.0.0/8, whose X-Forwarded headers and "
        "Forwarded are believed; unix: those that connect through a Unix socket.",
        wanted="a list of addresses and networks, each such as 127.0.0.1, 10.0.0.0/8, ::1 or unix",
        items={"type": "string", "pattern": r"^(unix|[0-9A-Fa-f:.]+(/[0-9]{1,3})?)\Z"},
    )
    compress_min_bytes: int = setting(
        16 * KIB,
        "Smallest answer, in bytes, that is compressed where its client asks for that; 0: none is.",
        minimum=0,
    )
    max_body_bytes: int = setting(
        8 * MIB,
        "Largest request body, in bytes, also after decompression; a larger one gets 413.",
        minimum=1,
    )
    body_bytes: int = setting(
        256 * MIB,
        "Most bytes of incomplete bodies, over all connections; a body that finds no room gets "
        "503. One of max_body_bytes always fits.",
        minimum=1,
    )
    max_header_bytes: int = setting(
        16 * KIB,
        "Largest size of the request line and the headers together, in bytes.",
        minimum=KIB,
    )
    max_connections: int = setting(
        10_000, "Most open connections; a further one gets 503.", minimum=1
    )
    answer_bytes: int = setting(
        256 * MIB,
        "Most bytes of answers that are being computed or wait for their readers, over all "
        "connections; a request beyond it gets 503.",
        minimum=1,
    )
    idle_timeout_s: float = setting(
        75,
        "Seconds after which a connection without a request is closed.",
        minimum=0.1,
        maximum=A_DAY_S,
    )
    header_timeout_s: float = setting(
        10,
        "Seconds within which the headers of a request must arrive.",
        minimum=0.1,
        maximum=A_DAY_S,
    )
    body_timeout_s: float = setting(
        10,
        "Seconds in which a client that sends less than 4 KiB a second of a body, or reads nothing "
        "of its response, is too slow.",
        minimum=0.1,
        maximum=A_DAY_S,
    )
    drain_grace_ms: float = setting(
        1_000,
        "Milliseconds after SIGTERM or SIGINT during which predictions are still accepted.",
        minimum=0,
        maximum=A_DAY_MS,
    )
    drain_timeout_s: float = setting(
        30,
        "Longest drain, in seconds; if requests are left then, the process exits with code 3.",
        minimum=0,
        maximum=A_DAY_S,
    )

    @property
    def addresses(self) -> list[str]:
        """The addresses of `host`, one by one."""
        return [address.strip() for address in self.host.split(",")]


@dataclass(frozen=True, slots=True)
class BatchingSettings:
    """How requests are batched, and when they are rejected."""

    max_rows: int | Literal["auto"] = setting(
        "auto", "Most rows in one model call; auto measures the best number at start.", minimum=1
    )
    max_batch_ms: float = setting(
        50,
        "Longest model call, in milliseconds; limits the number of rows that auto chooses.",
        minimum=0.001,
        maximum=A_DAY_MS,
    )
    max_wait_ms: float = setting(
        0,
        "Milliseconds that an idle model waits for more rows; 0: it starts at once.",
        minimum=0,
        maximum=A_DAY_MS,
    )
    pad: Literal["auto", "on", "off"] = setting(
        "auto",
        "Whether rows of different lengths share a batch, the shorter ones padded: auto = where "
        "tests at the start show that their answers do not change, on = wherever it is possible.",
    )
    max_queue_ms: float = setting(
        1_000,
        "Longest expected wait for decoding and the model, in milliseconds; beyond it: 503.",
        minimum=0,
        maximum=A_DAY_MS,
    )
    queue_rows: int = setting(
        65_536, "Most rows that may wait; a request that would exceed it is rejected.", minimum=1
    )
    queue_bytes: int = setting(
        256 * MIB,
        "Most bytes of input that wait or are decoded; a request that would exceed it gets 503.",
        minimum=1,
    )
    deadline_ms: float = setting(
        30_000,
        "Milliseconds after which a request gets 504; X-Request-Timeout-Ms can only lower it.",
        minimum=1,
        maximum=A_DAY_MS,
    )


@dataclass(frozen=True, slots=True)
class PredictSettings:
    """How pictures are read, and how predictions are written."""

    non_finite: Literal["error", "as_null"] = setting(
        "error", "What NaN and infinite outputs become: a 500 response (error) or null (as_null)."
    )
    max_image_pixels: int = setting(
        MAX_PIXELS,
        "Most pixels of all pictures in a request, as files and as rows of the model; more get 422 "
        "before they are decoded.",
        minimum=1,
    )


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    """The application log, the access log and the payload log."""

    level: Literal["debug", "info", "warning", "error", "critical"] = setting(
        "info", "Lowest level of records in the application log, on standard error."
    )
    format: Literal["auto", "json", "text"] = setting(
        "auto", "Format of lines on standard error; auto: text on a terminal, otherwise JSON."
    )
    access: bool = setting(True, "Whether every request is logged, on standard error.")
    access_skip: tuple[str, ...] = setting(
        ("/v2/health/live", "/v2/health/ready", "/metrics", "/monitoring/prometheus/metrics"),
        "Paths whose requests have no access line unless they fail (status 400 or above).",
        wanted="a list of paths, each such as /metrics",
        items={"type": "string", "pattern": r"^/[!-~]*\Z"},
    )
    payloads: bool = setting(
        True, "Whether input and prediction of every answered request are logged."
    )
    payload_max_bytes: int = setting(
        65_536,
        "Inputs and predictions larger than this many bytes are logged as null.",
        minimum=0,
    )
    payload_sample: float = setting(
        1,
        "Fraction of answered requests whose payloads are logged, from 0 to 1.",
        minimum=0,
        maximum=1,
    )
    payload_redact: tuple[str, ...] = setting(
        (),
        "Names of inputs and outputs to redact; input and prediction mean all of them.",
        wanted="a list of names of inputs and outputs",
        items={"type": "string", "minLength": 1},
    )
    file: str = setting("", "File to append payloads to. Empty: standard output.")
    file_max_bytes: int = setting(
        0,
        "Size in bytes at which that file is rotated to FILE.1; 0: never.",
        minimum=0,
    )
    file_backups: int = setting(
        5, "How many rotated files are kept; FILE.1 is the newest.", minimum=1, maximum=1000
    )


CLOSED_BY_ANY_KEY: Final = ("predict", "repository")
GROUPS: Final = (*CLOSED_BY_ANY_KEY, "metrics")
HASHED: Final = "sha256:"
KEY_NAME: Final = r"[A-Za-z0-9._-]{1,64}"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, of which only the hash is kept.

    Attributes:
        name: its name, in logs.
        sha256: the hash, as hexadecimal digits in lower case.
        allow: the groups of routes that it may use.
    """

    name: str
    sha256: str
    allow: tuple[str, ...]

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> ApiKey:
        """Return the key of an entry in the settings: a mapping, the key itself, or its hash."""
        if not isinstance(given, str):
            return cls(given["name"], given["sha256"].lower(), tuple(given["allow"]))
        if given.startswith(HASHED):
            return cls("", given.removeprefix(HASHED).lower(), CLOSED_BY_ANY_KEY)
        return cls("", hashlib.sha256(given.encode()).hexdigest(), CLOSED_BY_ANY_KEY)


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may use the API."""

    api_keys: tuple[ApiKey, ...] = setting(
        (),
        "API keys, each {name, sha256, allow}. If set, predictions and the repository require one.",
        wanted="a list of keys: each a mapping with name, sha256 and allow (a list of "
        f"{', '.join(GROUPS)}), or visible ASCII without commas, or sha256: and 64 hex digits",
        items={
            "anyOf": [
                {
                    "type": "string",
                    "pattern": r"^(sha256:[0-9a-fA-F]{64}|(?!sha256:)[!-+\--~]+)\Z",
                },
                {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "pattern": rf"^{KEY_NAME}\Z"},
                        "sha256": {"type": "string", "pattern": r"^[0-9a-fA-F]{64}\Z"},
                        "allow": {"type": "array", "items": {"enum": list(GROUPS)}, "minItems": 1},
                    },
                    "required": ["name", "sha256", "allow"],
                    "additionalProperties": False,
                },
            ]
        },
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings; `Settings()` holds the defaults.

    Attributes:
        models: several models; if empty, `model` is the only one.
    """

    model: ModelSettings = ModelSettings()
    http: HttpSettings = HttpSettings()
    batching: BatchingSettings = BatchingSettings()
    predict: PredictSettings = PredictSettings()
    logging: LoggingSettings = LoggingSettings()
    auth: AuthSettings = AuthSettings()
    models: tuple[ModelSource, ...] = ()
    models_strict: bool = setting(
        False,
        "Whether the start fails if any model, or the newest version of one, cannot be loaded.",
    )

    @property
    def hang_timeout(self) -> float:
        """The seconds after which a model process is killed in a call; 0: never.

        Nobody waits any more for a call that takes as long as the deadline.
        """
        if self.model.hang_timeout_s == "auto":
            return self.batching.deadline_ms / 1000
        return self.model.hang_timeout_s

    @property
    def sources(self) -> tuple[ModelSource, ...]:
        """All models; `/predict` uses the first."""
        return self.models or (self.model,)
