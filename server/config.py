"""The settings: declared once, read from flags, the environment and a file, checked, frozen."""

from __future__ import annotations

import argparse
import difflib
import hashlib
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import (
    Any,
    Final,
    Literal,
    NamedTuple,
    NoReturn,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import jsonschema
import yaml

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


def load(argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> Settings:
    """Read the settings: a flag beats the environment, that the file, that the default.

    Without `--config`, `config.yaml` in `folder` is read if it is there. Raises ConfigError for
    the first mistake, also in a value that another source beats; SystemExit(0) after `--help`.
    """
    flags = _parse_flags(argv)
    config = flags.pop("config", None)
    in_file, models = _from_file(folder, config)
    nearer = {**_from_environment(environ), **_from_flags(flags)}
    if "model.path" in nearer:
        models = ()
    values = {**in_file, **nearer}
    if models:
        _check_models(models, values, config or "config.yaml")
    return _build(values, models)


# What the declarations say.


class Kind(NamedTuple):
    """A type of settings, as the ways in need it."""

    schema: dict[str, object]
    metavar: str
    wanted: str  # completes "… is not"
    read: Callable[[str], object]  # text that cannot be read stays as it is, for the schema
    build: Callable[[Any], object] = lambda value: value  # from what the schema has let through


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is declared."""

    section: str
    key: str
    default: object
    sentence: str
    kind: Kind
    wanted: str
    schema: dict[str, object]

    @property
    def name(self) -> str:
        """Section and key, as in `http.port`."""
        return f"{self.section}.{self.key}"

    @property
    def flag(self) -> str:
        """The flag that sets it, as in `--http.port`."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it, as in `SERVER_HTTP__PORT`."""
        return f"SERVER_{self.section}__{self.key}".upper()


def _read_integer(text: str) -> object:
    return int(text) if re.fullmatch(r"-?[0-9]{1,4000}", text) else text


def _read_number(text: str) -> object:
    return float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text) else text


def _read_boolean(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)


def _read_list(text: str) -> object:
    return text.split(",") if text else []


def _keys_of(given: Iterable[str | Mapping[str, Any]]) -> tuple[ApiKey, ...]:
    return tuple(ApiKey.of(each) for each in given)


KINDS: Final[Mapping[object, Kind]] = {
    bool: Kind({"type": "boolean"}, "true|false", "true or false", _read_boolean),
    int: Kind({"type": "integer"}, "INTEGER", "an integer", _read_integer),
    float: Kind({"type": "number"}, "NUMBER", "a finite number", _read_number, float),
    str: Kind({"type": "string"}, "TEXT", "a string (put it in quotes)", str),
    tuple[str, ...]: Kind({"type": "array"}, "TEXT,TEXT", "a list of strings", _read_list, tuple),
    tuple[ApiKey, ...]: Kind({"type": "array"}, "KEY,KEY", "a list of keys", _read_list, _keys_of),
}


def _kind_of(hint: Any) -> Kind:
    """Return the kind of a setting from its type hint: plain, Literal, or a union of such."""
    if get_origin(hint) is Literal:
        words = get_args(hint)
        wanted = f"one of {', '.join(words)}" if len(words) > 1 else words[0]
        return Kind({"enum": list(words)}, "|".join(words), wanted, str)
    if get_origin(hint) in (Union, types.UnionType):
        return _either([_kind_of(part) for part in get_args(hint)])
    return KINDS[hint]


def _either(kinds: Sequence[Kind]) -> Kind:
    def read(text: str) -> object:
        values = (kind.read(text) for kind in kinds)
        return next((value for value in values if value != text), text)

    return Kind(
        schema={"anyOf": [kind.schema for kind in kinds]},
        metavar="|".join(kind.metavar for kind in kinds),
        wanted=" or ".join(kind.wanted for kind in kinds),
        read=read,
    )


def _declared(section: str, section_class: Any) -> Iterator[Setting]:
    hints = get_type_hints(section_class)
    for item in fields(section_class):
        kind = _kind_of(hints[item.name])
        sentence = item.metadata["sentence"]
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        about = {"description": sentence, "default": default}
        yield Setting(
            section=section,
            key=item.name,
            default=item.default,
            sentence=sentence,
            kind=kind,
            wanted=item.metadata["wanted"] or kind.wanted,
            schema={**about, **kind.schema, **item.metadata["constraints"]},
        )


def _schema() -> dict[str, object]:
    """Return the JSON Schema of the file; an empty section is null in YAML."""
    sections = {
        section: {
            "type": ["object", "null"],
            "description": section_class.__doc__,
            "properties": {item.key: item.schema for item in SETTINGS if item.section == section},
            "additionalProperties": False,
        }
        for section, section_class in SECTIONS.items()
    }
    models = {
        "type": ["array", "null"],
        "description": "Several models; the first is the one of /predict.",
        "items": {
            "type": "object",
            "properties": {key: item.schema for key, item in SOURCE_SETTINGS.items()},
            "additionalProperties": False,
            "required": ["path"],
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {**sections, "models": models},
        "additionalProperties": False,
    }


def _is_number(_: object, value: object) -> bool:
    """Tell JSON's numbers from Python's: neither true nor NaN nor infinity is one."""
    if isinstance(value, float):
        return math.isfinite(value)
    return _is_integer(_, value)


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


SECTIONS: Final[Mapping[str, Any]] = {
    name: hint for name, hint in get_type_hints(Settings).items() if name != "models"
}
SETTINGS: Final = tuple(
    item for section, its_class in SECTIONS.items() for item in _declared(section, its_class)
)
SOURCE_SETTINGS: Final = {item.key: item for item in _declared("models", ModelSource)}
NAMES: Final = {item.name: item for item in SETTINGS}
FLAGS: Final = {item.flag: item for item in SETTINGS}
VARIABLES: Final = {item.variable: item for item in SETTINGS}
SCHEMA: Final = _schema()

_CHECKER = jsonschema.validators.extend(  # type: ignore[no-untyped-call]  # it has no types
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"number": _is_number, "integer": _is_integer}
    ),
)(SCHEMA)


# The file.


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that is given twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value}: given twice", problem_mark=key.start_mark
                )
            seen.add(str(key.value))
        return node


def _from_file(
    folder: Path, config: str | None
) -> tuple[dict[str, object], tuple[ModelSource, ...]]:
    source = config or "config.yaml"
    try:
        text = (folder / source).read_bytes()
    except FileNotFoundError:
        if config is None:
            return {}, ()
        raise ConfigError(f"{source}: cannot be read: there is no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: cannot be read: {_reason(error)}") from None
    document = _parse_yaml(source, text)
    _check(document, lambda name: f"{source}: {name}")
    models = tuple(ModelSource(**given) for given in document.pop("models", None) or ())
    values = {
        f"{section}.{key}": value
        for section, values in document.items()
        for key, value in (values or {}).items()
    }
    return values, models


def _check_models(models: Sequence[ModelSource], values: Mapping[str, object], source: str) -> None:
    """See that a list of models stands alone, and that each has a name of its own."""
    for key in SOURCE_SETTINGS:
        item = NAMES[f"model.{key}"]
        if values.get(item.name, item.default) != item.default:
            raise ConfigError(
                f"{source}: models: {item.name} is set as well; it belongs into the list"
            )
    seen: set[str] = set()
    for model in models:
        if model.served_name in seen:
            name = _one_line(model.served_name)
            raise ConfigError(f"{source}: models: two are called {name}; give each its own name")
        seen.add(model.served_name)


def _parse_yaml(source: str, text: bytes) -> dict[Any, Any]:
    try:
        document = _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        what = ": ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{source}: line {line}: {_one_line(what)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not YAML: {_one_line(str(error))}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{source}: {_shown(document)} is not a mapping of sections")
    return document


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or _one_line(str(error))


# The environment.


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """Read the variables that have a section and `__`; others of the prefix are not ours."""
    texts = {name: text for name, text in environ.items() if _is_meant(name)}
    for name in texts:
        if name not in VARIABLES:
            hint = _did_you_mean(name, VARIABLES)
            raise ConfigError(f"environment {name}: unknown setting{hint}")
    return {
        VARIABLES[name].name: _read(VARIABLES[name], text, f"environment {name}")
        for name, text in texts.items()
    }


def _is_meant(name: str) -> bool:
    """Tell whether a variable names a section of ours, rightly or with a typing mistake."""
    match = re.fullmatch(r"SERVER_([A-Z0-9]+)__\w+", name)
    return match is not None and bool(difflib.get_close_matches(match[1].lower(), SECTIONS))


# The flags.


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))


def _from_flags(texts: Mapping[str, str]) -> dict[str, object]:
    if "MODEL" in texts and "model.path" in texts:
        raise ConfigError("--model.path: MODEL is given as well; one of them is enough")
    values: dict[str, object] = {}
    for name, text in texts.items():
        item = NAMES["model.path" if name == "MODEL" else name]
        values[item.name] = _read(item, text, name if name == "MODEL" else item.flag)
    return values


def _parse_flags(argv: Sequence[str]) -> dict[str, str]:
    """Return the texts of the flags that are given, by setting, `MODEL` and `config`."""
    known, unknown = _parser().parse_known_args(argv)
    for flag in unknown:
        if not flag.startswith("-"):
            raise ConfigError(f"{flag}: one MODEL is served, and it is given already")
        flag = flag.partition("=")[0]
        raise ConfigError(f"{flag}: unknown flag{_did_you_mean(flag, FLAGS)}")
    return vars(known)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m server",
        usage="python -m server [MODEL] [--config FILE] [--section.key VALUE ...]\n"
        "       python -m server key [NAME] [--allow GROUP,GROUP]\n"
        "       python -m server tune MODEL [--p99-ms N] [--out FILE]",
        description="Serves a Keras model: POST /predict, batched by itself.",
        epilog="Every setting is also an environment variable, as in SERVER_HTTP__PORT, and a key "
        "of the file. A flag beats the environment, that the file, that the default.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=36),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("MODEL", nargs="?", help="the model's file; short for --model.path")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the file with the settings (default: config.yaml in the current folder, if there)",
    )
    for section, section_class in SECTIONS.items():
        group = parser.add_argument_group(section, section_class.__doc__)
        for item in SETTINGS:
            if item.section == section:
                _add_flag(group, item)
    return parser


def _add_flag(group: argparse._ArgumentGroup, item: Setting) -> None:
    words = f"{item.sentence} (default: {plain(item.default)})"
    group.add_argument(item.flag, dest=item.name, metavar=item.kind.metavar, help=words)


# What all three share.


def plain(value: object) -> str:
    """Return a default as a person would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return '""' if value == "" else str(value)


def _read(item: Setting, text: str, source: str) -> object:
    value = item.kind.read(text)
    _check({item.section: {item.key: value}}, lambda _: source)
    return value


def _check(document: Mapping[Any, Any], source_of: Callable[[str], str]) -> None:
    """Raise ConfigError for the first error that the schema finds in a document of settings."""
    for error in _CHECKER.iter_errors(document):
        path = list(error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            key = next(key for key in error.instance if key not in known)
            what = "setting" if path else "section"
            name = _name_of([*path, _one_line(plain(key))])
            raise ConfigError(f"{source_of(name)}: unknown {what}{_did_you_mean(str(key), known)}")
        raise ConfigError(f"{source_of(_name_of(path))}: {_explain(path, error)}")


def _name_of(path: Iterable[str | int]) -> str:
    """Return a place in the file as in `http.port` and `models[1].path`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def _wanted_at(path: Sequence[str | int]) -> str:
    """Return what completes "… is not" for a place in the file."""
    match path:
        case ["models"]:
            return "a list of models"
        case ["models", int()]:
            return "a mapping with the path, and perhaps the name, of a model"
        case ["models", int(), str(key)]:
            return SOURCE_SETTINGS[key].wanted
        case [str(section), str(key), *_]:
            return NAMES[f"{section}.{key}"].wanted
    return "a mapping of settings"


def _explain(path: Sequence[str | int], error: jsonschema.ValidationError) -> str:
    value = "the value" if path[:1] == ["auth"] else _shown(error.instance)  # it may be a secret
    match error.validator:
        case "minimum":
            return f"{value} is less than the minimum of {error.validator_value}"
        case "maximum":
            return f"{value} is greater than the maximum of {error.validator_value}"
        case "minLength":
            return "must not be empty"
        case "required":
            return "the path of the model is missing"
    return f"{value} is not {_wanted_at(path)}"


def _shown(value: object) -> str:
    """Return a wrong value on one line, words as in YAML, cut when it is long."""
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, str) else plain(value)
    return _one_line(text)


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:119]}…"


def _did_you_mean(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _build(values: Mapping[str, object], models: tuple[ModelSource, ...]) -> Settings:
    sections: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    for name, value in values.items():
        item = NAMES[name]
        sections[item.section][item.key] = item.kind.build(value)
    parts = {name: SECTIONS[name](**given) for name, given in sections.items()}
    return Settings(**parts, models=models)
