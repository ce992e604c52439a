"""Flags and variables of TensorFlow Serving, Triton and KServe, in terms of our settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from server.config.foreign_flags import SAME, advice_on
from server.config.schema import reason_of
from server.config.settings import ConfigError, ModelSource
from server.config.textproto import Message, TextProtoError, parse

MODELS_FOLDER: Final = "/models"  # of TensorFlow Serving's image
CONFIG_FILE: Final = "model_config_file"
FIELDS: Final = ("name", "base_path", "model_platform", "model_version_policy")  # of a model
# What to do in place of other fields of the file.
FIELD_ADVICE: Final = {
    "version_labels": "leave it out, and ask for a version by its number",
    "logging_config": "leave it out, and write --logging.payload_sample",
}
REPOSITORIES: Final = ("model-repository", "model-store")
MORE_REPOSITORIES: Final = (
    "only one repository can be given; leave the others out, and list all models under models in "
    "the file"
)
REPOSITORY_CONFIG: Final = "config.pbtxt"
MODEL_ENDINGS: Final = (".keras", ".h5", ".hdf5", ".onnx", ".pb")

_FLAG: Final = re.compile(r"--([A-Za-z0-9_-]+)(=.*)?", re.DOTALL)


# What model_version_policy can be where the newest version is to be served.
NEWEST: Final[list[list[Message]]] = [
    [{}],
    [{"latest": [{}]}],
    [{"latest": [{"num_versions": ["1"]}]}],
]


class Translated(NamedTuple):
    """A command line in our terms.

    Attributes:
        arguments: flags and values.
        config_file: the file with a list of models in TensorFlow Serving's form, or "".
    """

    arguments: list[str]
    config_file: str


def translate(arguments: Sequence[str]) -> Translated:
    """Return a command line with the flags of other servers replaced by ours.

    Raises ConfigError for one that has no counterpart, with what to write instead.
    """
    translated: list[str] = []
    config_file = repository = ""
    rest = iter(arguments)
    for word in rest:
        flag = _FLAG.fullmatch(word)
        name = flag[1] if flag else ""
        if advice := advice_on(name):
            raise ConfigError(f"--{name}: {advice}")
        if flag and name == CONFIG_FILE:
            config_file = flag[2][1:] if flag[2] else next(rest, "")
            if not config_file:
                raise ConfigError(f"--{name}: the file is missing")
        elif flag and name in SAME:
            if name in REPOSITORIES:
                if repository:
                    raise ConfigError(f"--{name}: {MORE_REPOSITORIES}")
                repository = name
            translated.append(f"--{SAME[name]}{flag[2] or ''}")
        else:
            translated.append(word)
    return Translated(translated, config_file)


def source_in(environ: Mapping[str, str], is_given: bool) -> dict[str, object]:
    """Return path and name that MODEL_BASE_PATH and MODEL_NAME of TensorFlow Serving's image mean.

    `is_given`: something else says which model is served; then MODEL_NAME means nothing here.
    Raises ConfigError if the folder that they name is not there.
    """
    base, name = environ.get("MODEL_BASE_PATH", ""), environ.get("MODEL_NAME", "")
    if is_given or not (base or name):
        return {}
    path = Path(base or MODELS_FOLDER) / name
    if not path.exists():
        given = " and ".join(
            each for each in ("MODEL_BASE_PATH", "MODEL_NAME") if environ.get(each)
        )
        raise ConfigError(
            f"environment {given}: there is no {path}, where TensorFlow Serving's image "
            "would look; write SERVER_MODEL__PATH and SERVER_MODEL__NAME"
        )
    return {"model.path": str(path), **({"model.name": name} if name else {})}


def models_of_repository(path: Path) -> list[str]:
    """Return the names of the models of a Triton repository; none if the folder is not one.

    It has a folder for each model, with a folder for each version in it, or a `config.pbtxt`.
    Other files and folders, such as README.md and lost+found, are ignored.
    """
    entries = _entries_of(path)
    if any(_is_version(each) or each.suffix.lower() in MODEL_ENDINGS for each in entries):
        return []
    return [each.name for each in entries if _is_model_of_repository(each)]


def _is_model_of_repository(folder: Path) -> bool:
    if folder.name.startswith("."):
        return False
    return any(each.name == REPOSITORY_CONFIG or _is_version(each) for each in _entries_of(folder))


def _is_version(path: Path) -> bool:
    try:
        return path.name.isdigit() and path.is_dir()
    except OSError:  # of a folder that may be listed, and no more
        return False


def _entries_of(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing if it is none, or cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def unread_configs(models: Sequence[ModelSource]) -> list[str]:
    """Return the files that configure models for Triton; nothing here reads them."""
    return [
        str(each)
        for model in models
        for each in _entries_of(Path(model.path))
        if each.name == REPOSITORY_CONFIG
    ]


def models_of_file(file: str, folder: Path) -> tuple[ModelSource, ...]:
    """Return the models that a `--model_config_file` lists (ModelServerConfig in text form).

    Raises ConfigError for a file that cannot be read, or has what is not known here.
    """
    try:
        text = (folder / file).read_text()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--{CONFIG_FILE}: {file}: cannot be read: {reason_of(error)}") from None
    try:
        lists = _messages(parse(text), "model_config_list")
        models = tuple(_source_of(config) for each in lists for config in _messages(each, "config"))
    except TextProtoError as error:
        raise ConfigError(f"--{CONFIG_FILE}: {file}: {error}") from None
    if not models:
        raise ConfigError(f"--{CONFIG_FILE}: {file}: lists no model in model_config_list")
    return models


def _messages(message: Message, name: str) -> list[Message]:
    """Return the messages in a field, the only one that a message may have."""
    _check_fields(message, {name})
    found = message.get(name, [])
    for each in found:
        if not isinstance(each, dict):
            raise TextProtoError(f"{name}: {each} is not a message")
    return found


def _check_fields(message: Message, known: Collection[str]) -> None:
    for name in message:
        if name not in known:
            advice = FIELD_ADVICE.get(name, "leave it out")
            raise TextProtoError(f"{name} has no counterpart here; {advice}")


def _source_of(config: Message) -> ModelSource:
    _check_fields(config, FIELDS)
    texts = {field: config.get(field, [""]) for field in ("name", "base_path")}
    for field, values in texts.items():
        if len(values) > 1 or not isinstance(values[0], str):
            raise TextProtoError(f"{field} is not one text")
    [name], [path] = texts.values()
    if not path:
        raise TextProtoError("a config has no base_path")
    return ModelSource(path=path, name=name, version=_version_in(config))


def _version_in(config: Message) -> str:
    """Return the only version that is to be served, or an empty string for the newest."""
    policy = config.get("model_version_policy", [{}])
    if policy in NEWEST:
        return ""
    match policy:
        case [{"specific": [{"versions": [str(version)]}]}] if len(policy[0]) == 1:
            return version
    raise TextProtoError(
        "model_version_policy: for several versions, write --model.max_versions instead"
    )
