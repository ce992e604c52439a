"""Read settings from flags, environment variables and a file; check them."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from server.config import foreign
from server.config.program import program
from server.config.schema import (
    FLAGS,
    NAMES,
    SECTIONS,
    SETTINGS,
    SOURCE_NAMES,
    SOURCE_SETTINGS,
    VARIABLES,
    Setting,
    check,
    did_you_mean,
    one_line,
    plain,
    reason_of,
    shown,
)
from server.config.settings import ConfigError, ModelSource, Settings


def load_settings(argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> Settings:
    """Read the settings: flags override the environment, which overrides the file.

    Without `--config`, `config.yaml` in `folder` is read if it exists. Raises ConfigError for the
    first invalid value, even if another source overrides it, and SystemExit(0) after `--help`.
    """
    argv, config_file = foreign.translate(argv)
    flags = _parse_flags(argv)
    config = flags.pop("config", None)
    in_file, models = _from_file(folder, config)
    overrides = {**_from_environment(environ), **_from_flags(flags)}
    is_given = bool(config_file or models or _is_chosen({**in_file, **overrides}))
    overrides |= foreign.source_in(environ, is_given)
    source = config or "config.yaml"
    if "model.path" in overrides:
        models = ()
    if config_file:
        models, source = _from_config_file(config_file, folder, overrides)
        in_file = {name: value for name, value in in_file.items() if name not in SOURCE_NAMES}
    values = {**in_file, **overrides}
    if not models:
        models = _in_repository(values, folder)
        if models:
            del values["model.path"]
    if models:
        _check_models(models, values, source)
    return _build(values, models)


def _is_chosen(values: Mapping[str, object]) -> bool:
    """Return whether settings say which model is served; the file that comes with us does not."""
    default = NAMES["model.path"].default
    return values.get("model.path", default) != default


def _from_config_file(
    file: str, folder: Path, overrides: Mapping[str, object]
) -> tuple[tuple[ModelSource, ...], str]:
    """Return the models that a file of TensorFlow Serving lists, and how messages call it."""
    flag = f"--{foreign.CONFIG_FILE}"
    for name in overrides:
        if name in SOURCE_NAMES:
            raise ConfigError(f"{flag}: {name} is given as well; use one of them")
    return foreign.models_of_file(file, folder), flag


def _in_repository(values: Mapping[str, object], folder: Path) -> tuple[ModelSource, ...]:
    """Return the models of a Triton repository, if that is what `model.path` names."""
    path = values.get("model.path")
    if values.get("model.name") or not isinstance(path, str) or not (folder / path).is_dir():
        return ()
    names = foreign.models_of_repository(folder / path)
    return tuple(ModelSource(path=str(Path(path) / name), name=name) for name in names)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, but a key that is given twice is an error."""

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
        raise ConfigError(f"{source}: cannot be read: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: cannot be read: {reason_of(error)}") from None
    document = _parse_yaml(source, text)
    check(document, lambda name: f"{source}: {name}")
    models = tuple(_source_of(given) for given in document.pop("models", None) or ())
    values = {item.name: value for item in SETTINGS for value in _given(document, item)}
    return values, models


def _given(document: Mapping[str, Any], item: Setting) -> Iterator[object]:
    """Yield the value of a setting if a file has it; an empty section is null in YAML."""
    values = (document.get(item.section) or {}) if item.section else document
    if item.key in values:
        yield values[item.key]


def _source_of(given: Mapping[str, object]) -> ModelSource:
    built: dict[str, Any] = {k: SOURCE_SETTINGS[k].type.build(v) for k, v in given.items()}
    return ModelSource(**built)


def _check_models(models: Sequence[ModelSource], values: Mapping[str, object], source: str) -> None:
    """Raise ConfigError if `model` is set as well, or two models have the same name."""
    for item in map(NAMES.__getitem__, SOURCE_NAMES):
        if values.get(item.name, item.default) != item.default:
            raise ConfigError(
                f"{source}: models: {item.name} is set as well; move it into the list"
            )
    seen: set[str] = set()
    for model in models:
        if model.served_name in seen:
            name = one_line(model.served_name)
            raise ConfigError(
                f"{source}: models: two models are named {name}; give each its own name"
            )
        seen.add(model.served_name)


def _parse_yaml(source: str, text: bytes) -> dict[Any, Any]:
    try:
        document = _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        what = ": ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{source}: line {line}: {one_line(what)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not YAML: {one_line(str(error))}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{source}: {shown(document)} is not a mapping of sections")
    return document


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """Read the variables with a section and `__`, and those of settings beside the sections.

    Others with our prefix are ignored: an orchestrator may have injected them.
    """
    texts = {name: text for name, text in environ.items() if _is_meant(name)}
    for name in texts:
        if name not in VARIABLES:
            hint = did_you_mean(name, VARIABLES)
            raise ConfigError(f"environment {name}: unknown setting{hint}")
    return {
        VARIABLES[name].name: _read(VARIABLES[name], text, f"environment {name}")
        for name, text in texts.items()
    }


def _is_meant(name: str) -> bool:
    """Return whether a variable names a setting, or a section, possibly misspelled."""
    if name in VARIABLES:
        return True
    match = re.fullmatch(r"SERVER_([A-Z0-9]+)__\w+", name)
    return match is not None and bool(difflib.get_close_matches(match[1].lower(), SECTIONS))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))


def _from_flags(texts: Mapping[str, str]) -> dict[str, object]:
    if "MODEL" in texts and "model.path" in texts:
        raise ConfigError("--model.path: MODEL is given as well; use one of them")
    values: dict[str, object] = {}
    for name, text in texts.items():
        item = NAMES["model.path" if name == "MODEL" else name]
        values[item.name] = _read(item, text, name if name == "MODEL" else item.flag)
    return values


def _parse_flags(argv: Sequence[str]) -> dict[str, str]:
    """Return the texts of the given flags by the name of the setting, `MODEL` or `config`."""
    known, unknown = _parser().parse_known_args(argv)
    for flag in unknown:
        if not flag.startswith("-"):
            raise ConfigError(
                f"{flag}: only one MODEL can be given; list several under models in the file"
            )
        flag = flag.partition("=")[0]
        raise ConfigError(f"{flag}: unknown flag{did_you_mean(flag, FLAGS)}")
    return vars(known)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program(),
        usage=f"{program()} [MODEL] [--config FILE] [--section.key VALUE ...]\n"
        f"       {program()} key [NAME] [--allow GROUP,GROUP]\n"
        f"       {program()} hash PATH\n"
        f"       {program()} convert MODEL --out FOLDER\n"
        f"       {program()} tune MODEL [--p99-ms N] [--out FILE]",
        description="Serve a Keras model over HTTP; concurrent requests are batched automatically.",
        epilog="Every setting is also an environment variable (SERVER_HTTP__PORT) and a key in the "
        "file. Flags override environment variables, which override the file.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=36),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("MODEL", nargs="?", help="model file; short for --model.path")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="file with settings (default: config.yaml in the current folder, if it exists)",
    )
    for item in SETTINGS:
        if not item.section:
            _add_flag(parser, item)
    for section, section_class in SECTIONS.items():
        group = parser.add_argument_group(section, section_class.__doc__)
        for item in SETTINGS:
            if item.section == section:
                _add_flag(group, item)
    return parser


def _add_flag(group: argparse._ActionsContainer, item: Setting) -> None:
    words = f"{item.sentence} (default: {plain(item.default_in_file)})"
    group.add_argument(item.flag, dest=item.name, metavar=item.type.metavar, help=words)


def _read(item: Setting, text: str, source: str) -> object:
    value = item.type.read(text)
    check(item.document(value), lambda _: source)
    return value


def _build(values: Mapping[str, object], models: tuple[ModelSource, ...]) -> Settings:
    sections: dict[str, dict[str, Any]] = {section: {} for section in ["", *SECTIONS]}
    for name, value in values.items():
        item = NAMES[name]
        sections[item.section][item.key] = item.type.build(value)
    beside = sections.pop("")
    parts = {name: SECTIONS[name](**given) for name, given in sections.items()}
    return Settings(**parts, models=models, **beside)
