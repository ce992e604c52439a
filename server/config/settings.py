"""Every setting: its type, its default, its sentence, its limits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Any,
    Final,
    Literal,
)

KIB: Final = 1024
MIB: Final = 1024 * KIB
A_DAY_S: Final = 24 * 60 * 60
A_DAY_MS: Final = 1000 * A_DAY_S


class ConfigError(Exception):
    """One line that names the source, the key, and what is wrong with it."""


def setting(default: object, sentence: str, *, wanted: str = "", **constraints: object) -> Any:
    """Declare a setting: its default, its sentence, and the JSON Schema keywords that bound it.

    `wanted` completes "… is not" where the type alone does not say what is.
    """
    metadata = {"sentence": sentence, "wanted": wanted, "constraints": constraints}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from, and what it is called."""

    path: str = setting(
        "model/my_best_model.keras",
        "The model's file, .keras or legacy .h5, or a folder with numbered versions of it.",
        minLength=1,
    )
    name: str = setting(
        "",
        "The model's name in answers and logs; empty: the file's name without its ending.",
        pattern=r"^[^/\x00-\x1f\x7f\ud800-\udfff]*\Z",
        wanted="text without slashes and control characters",
    )
    version: str = setting(
        "",
        "The model's version; empty: 1 for a file, and the highest number in a folder.",
        pattern=r"^[!-~]*\Z",  # it travels in a header
        wanted="a string of visible ASCII characters (put it in quotes)",
    )
    sha256: str = setting(
        "",
        "The SHA-256 that the model's file must have; empty: any.",
        pattern=r"^([0-9a-fA-F]{64})?\Z",
        wanted="a string of 64 hexadecimal digits",
    )

    @property
    def served_name(self) -> str:
        """The name, or else the file's name without its ending; always valid Unicode."""
        return self.name or Path(self.path).stem.encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class ModelSettings(ModelSource):
    """The model that is served; `models` takes the place of its first four where there are more."""

    max_versions: int = setting(
        4,
        "The most versions of a folder that are loaded, those with the highest numbers.",
        minimum=1,
    )
    allow_signature_change: bool = setting(
        False, "Whether a reloaded model may have other inputs or outputs than the one before."
    )
    hang_timeout_s: float | Literal["auto"] = setting(
        "auto",
        "Seconds a call may take; then the process ends with 4. auto: twice the deadline; 0: any.",
        minimum=0,
        maximum=A_DAY_S,
    )


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Listening, limits and the end."""

    host: str = setting(
        "127.0.0.1",
        "The address to listen on; 0.0.0.0 is every IPv4 address of the machine.",
        minLength=1,  # an empty one would silently mean every address
    )
    port: int = setting(
        8888, "The port to listen on; 0 is any free one.", minimum=0, maximum=65_535
    )
    transport: Literal["llhttp", "tornado"] = setting(
        "llhttp", "What carries requests: a fast path on llhttp, or Tornado's own HTTP server."
    )
    tls_cert: str = setting("", "The file with the certificate chain (PEM) for HTTPS; empty: HTTP.")
    tls_key: str = setting("", "The file with the certificate's key (PEM), unencrypted.")
    cors_origins: tuple[str, ...] = setting(
        (),
        "The origins whose pages may ask and read answers (CORS), as https://example.org.",
        wanted="a list of origins, each as https://example.org or http://localhost:3000",
        # As browsers write them: in lower case, without the port of the scheme and without a path.
        items={
            "type": "string",
            "pattern": r"^(?!https:.*:443\Z|http:.*:80\Z)"
            r"https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?\Z",
        },
    )
    max_body_bytes: int = setting(
        8 * MIB, "The largest body of a request, in bytes; a larger one gets 413.", minimum=1
    )
    max_header_bytes: int = setting(
        16 * KIB,
        "The largest request line and headers of a request together, in bytes.",
        minimum=KIB,
    )
    max_connections: int = setting(
        10_000, "The most connections that are open at once; one more gets 503.", minimum=1
    )
    idle_timeout_s: float = setting(
        75,
        "Seconds until a connection without a request is closed.",
        minimum=0.1,
        maximum=A_DAY_S,
    )
    header_timeout_s: float = setting(
        10,
        "Seconds that the headers of a request may take to arrive.",
        minimum=0.1,
        maximum=A_DAY_S,
    )
    body_timeout_s: float = setting(
        10,
        "Seconds for a body to arrive; also how long a client may read nothing of its answer.",
        minimum=0.1,
        maximum=A_DAY_S,
    )
    drain_grace_ms: float = setting(
        1_000,
        "Milliseconds after SIGTERM or SIGINT in which predictions are still accepted.",
        minimum=0,
        maximum=A_DAY_MS,
    )
    drain_timeout_s: float = setting(
        30,
        "Seconds until a drain that does not end is given up, with exit code 3.",
        minimum=0,
        maximum=A_DAY_S,
    )


@dataclass(frozen=True, slots=True)
class BatchingSettings:
    """How rows gather, and when more of them are refused."""

    max_rows: int | Literal["auto"] = setting(
        "auto", "The most rows in one call of the model; auto measures it at start.", minimum=1
    )
    max_batch_ms: float = setting(
        50,
        "Milliseconds that a call of the model may take with the rows that auto chooses.",
        minimum=0.001,
        maximum=A_DAY_MS,
    )
    max_wait_ms: float = setting(
        0,
        "Milliseconds that an idle model waits for more rows; 0 starts at once.",
        minimum=0,
        maximum=A_DAY_MS,
    )
    max_queue_ms: float = setting(
        1_000,
        "Milliseconds that the batches ahead of a request may take; with more it is refused.",
        minimum=0,
        maximum=A_DAY_MS,
    )
    queue_rows: int = setting(
        65_536, "The most rows that wait; a request beyond is refused.", minimum=1
    )
    queue_bytes: int = setting(
        256 * MIB, "The most bytes of input that wait; a request beyond is refused.", minimum=1
    )
    deadline_ms: float = setting(
        30_000,
        "Milliseconds until a request gets 504; X-Request-Timeout-Ms can only lower it.",
        minimum=1,
        maximum=A_DAY_MS,
    )


@dataclass(frozen=True, slots=True)
class PredictSettings:
    """What is answered."""

    non_finite: Literal["error", "as_null"] = setting(
        "error", "What a non-finite output becomes: a 500 (error) or a null (as_null)."
    )


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    """What is written, and where."""

    level: Literal["debug", "info", "warning", "error", "critical"] = setting(
        "info", "The lowest level that the application log on standard error shows."
    )
    format: Literal["auto", "json", "text"] = setting(
        "auto", "How lines on standard error look; auto: text on a terminal, else JSON."
    )
    access: bool = setting(True, "Whether every request gets a line on standard error.")
    payloads: bool = setting(
        True, "Whether input and prediction of every answered request are logged."
    )
    payload_max_bytes: int = setting(
        65_536,
        "The largest input or prediction, in bytes, that its line holds; else null.",
        minimum=0,
    )
    payload_sample: float = setting(
        1, "The share of answered requests, from 0 to 1, that is logged.", minimum=0, maximum=1
    )
    payload_redact: tuple[str, ...] = setting(
        (),
        "The inputs and outputs whose values are not logged; input and prediction mean all.",
        wanted="a list of names of inputs and outputs",
        items={"type": "string", "minLength": 1},
    )
    file: str = setting("", "The file that these lines are appended to; empty: standard output.")
    file_max_bytes: int = setting(
        0,
        "The size, in bytes, at which that file becomes FILE.1 and a new one begins; 0: never.",
        minimum=0,
    )
    file_backups: int = setting(
        5, "How many earlier files, FILE.1 being the newest, are kept.", minimum=1, maximum=1000
    )


CLOSED_BY_ANY_KEY: Final = ("predict", "repository")
GROUPS: Final = (*CLOSED_BY_ANY_KEY, "metrics")
HASHED: Final = "sha256:"
KEY_NAME: Final = r"[A-Za-z0-9._-]{1,64}"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key, of which only the hash is kept.

    Attributes:
        name: what it is called, in logs and among people.
        sha256: the hash, as hexadecimal digits in lower case.
        allow: the groups of routes that it opens.
    """

    name: str
    sha256: str
    allow: tuple[str, ...]

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> ApiKey:
        """Return the key of an entry in the settings, which may be the key or its hash alone."""
        if not isinstance(given, str):
            return cls(given["name"], given["sha256"].lower(), tuple(given["allow"]))
        if given.startswith(HASHED):
            return cls("", given.removeprefix(HASHED).lower(), CLOSED_BY_ANY_KEY)
        return cls("", hashlib.sha256(given.encode()).hexdigest(), CLOSED_BY_ANY_KEY)


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may ask."""

    api_keys: tuple[ApiKey, ...] = setting(
        (),
        "The keys, each {name, sha256, allow}; with any, predictions and the repository need one.",
        wanted="a list of keys, each a mapping of name, sha256 and allow, which lists some of "
        f"{', '.join(GROUPS)}; or visible ASCII without commas; or sha256: and 64 hex digits",
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
        models: several models; where there are none, `model` is the only one.
    """

    model: ModelSettings = ModelSettings()
    http: HttpSettings = HttpSettings()
    batching: BatchingSettings = BatchingSettings()
    predict: PredictSettings = PredictSettings()
    logging: LoggingSettings = LoggingSettings()
    auth: AuthSettings = AuthSettings()
    models: tuple[ModelSource, ...] = ()

    @property
    def hang_timeout(self) -> float:
        """The seconds after which a call of a model is given up; 0: never.

        Nobody waits for a call any more that takes as long as the deadline; twice that also gives
        room to a first call that is slow.
        """
        if self.model.hang_timeout_s == "auto":
            return 2 * self.batching.deadline_ms / 1000
        return self.model.hang_timeout_s

    @property
    def sources(self) -> tuple[ModelSource, ...]:
        """All models; the first is the one of `/predict`."""
        return self.models or (self.model,)


# What the declarations say.


# The file.


# The environment.


# The flags.


# What all three share.
