"""The JSON Schema of the settings, and the messages for invalid ones."""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import (
    Any,
    Final,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import jsonschema
import yaml

from server.config.inputs import InputSettings, inputs_of
from server.config.outputs import OutputSettings, outputs_of
from server.config.settings import ApiKey, ConfigError, ModelSource, Settings


class SettingType(NamedTuple):
    """A type of settings, as flags, environment variables and the file need it."""

    schema: dict[str, object]
    metavar: str
    wanted: str  # completes "… is not"
    read: Callable[[str], object]  # returns text that it cannot read, for the schema to reject
    build: Callable[[Any], object] = lambda value: value  # called with a valid value


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as declared; the section is empty for one beside the sections."""

    section: str
    key: str
    default: object
    sentence: str
    type: SettingType
    wanted: str
    schema: dict[str, object]

    @property
    def name(self) -> str:
        """Section and key: `http.port`; the key alone for a setting without a section."""
        return f"{self.section}.{self.key}" if self.section else self.key

    @property
    def flag(self) -> str:
        """Its flag: `--http.port`."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """Its environment variable: `SERVER_HTTP__PORT`."""
        return f"SERVER_{self.name.replace('.', '__')}".upper()

    def value_in(self, settings: Settings) -> object:
        """Return its value."""
        return getattr(getattr(settings, self.section) if self.section else settings, self.key)

    @property
    def default_in_file(self) -> object:
        """Its default as it is written in a file."""
        if self.type.schema.get("type") == "object":
            return {}
        return list(self.default) if isinstance(self.default, tuple) else self.default

    def document(self, value: object) -> dict[str, object]:
        """Return the content of a file that sets it to `value`."""
        return {self.section: {self.key: value}} if self.section else {self.key: value}


def _read_integer(text: str) -> object:
    return int(text) if re.fullmatch(r"-?[0-9]{1,4000}", text) else text


def _read_number(text: str) -> object:
    return float(text) if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text) else text


def _read_boolean(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)


def _read_list(text: str) -> object:
    """Read `a,b`, or `[a, b]` as it is written in the file."""
    if text.startswith("[") and text.endswith("]"):
        text = ",".join(item.strip() for item in text[1:-1].split(","))
    return text.split(",") if text else []


def _read_mapping(text: str) -> object:
    """Read a mapping as it is written in the file: `{name: {key: value}}`."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def _keys_of(given: Iterable[str | Mapping[str, Any]]) -> tuple[ApiKey, ...]:
    return tuple(ApiKey.of(each) for each in given)


SETTING_TYPES: Final[Mapping[object, SettingType]] = {
    bool: SettingType({"type": "boolean"}, "true|false", "true or false", _read_boolean),
    int: SettingType({"type": "integer"}, "INTEGER", "an integer", _read_integer),
    float: SettingType({"type": "number"}, "NUMBER", "a finite number", _read_number, float),
    str: SettingType({"type": "string"}, "TEXT", "a string (put it in quotes)", str),
    tuple[str, ...]: SettingType(
        {"type": "array"}, "TEXT,TEXT", "a list of strings", _read_list, tuple
    ),
    tuple[ApiKey, ...]: SettingType(
        {"type": "array"}, "KEY,KEY", "a list of keys", _read_list, _keys_of
    ),
    tuple[InputSettings, ...]: SettingType(
        {"type": "object"}, "{NAME:SETTINGS}", "a mapping", _read_mapping, inputs_of
    ),
    tuple[OutputSettings, ...]: SettingType(
        {"type": "object"}, "{NAME:SETTINGS}", "a mapping", _read_mapping, outputs_of
    ),
}


def _type_of(hint: Any) -> SettingType:
    """Return the type of a setting from its type hint: plain, Literal, or a union of such."""
    if get_origin(hint) is Literal:
        words = get_args(hint)
        wanted = f"one of {', '.join(words)}" if len(words) > 1 else words[0]
        truths = {True: "on", False: "off"} if "on" in words else {}  # as YAML reads these words
        return SettingType(
            {"enum": [*words, *truths]},
            "|".join(words),
            wanted,
            str,
            lambda value: truths.get(value, value),
        )
    if get_origin(hint) in (Union, types.UnionType):
        return _either([_type_of(part) for part in get_args(hint)])
    return SETTING_TYPES[hint]


def _either(parts: Sequence[SettingType]) -> SettingType:
    def read(text: str) -> object:
        values = (part.read(text) for part in parts)
        return next((value for value in values if value != text), text)

    return SettingType(
        schema={"anyOf": [part.schema for part in parts]},
        metavar="|".join(part.metavar for part in parts),
        wanted=" or ".join(part.wanted for part in parts),
        read=read,
    )


def _declared(section: str, section_class: Any) -> Iterator[Setting]:
    hints = get_type_hints(section_class)
    for item in fields(section_class):
        if "sentence" not in item.metadata:  # a section, or the list of models
            continue
        setting_type = _type_of(hints[item.name])
        sentence = item.metadata["sentence"]
        declared = Setting(
            section=section,
            key=item.name,
            default=item.default,
            sentence=sentence,
            type=setting_type,
            wanted=item.metadata["wanted"] or setting_type.wanted,
            schema={**setting_type.schema, **item.metadata["constraints"]},
        )
        about = {"description": sentence, "default": declared.default_in_file}
        yield replace(declared, schema={**about, **declared.schema})


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
    beside = {item.key: item.schema for item in SETTINGS if not item.section}
    models = {
        "type": ["array", "null"],
        "description": "Several models; /predict uses the first.",
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
        "properties": {**sections, "models": models, **beside},
        "additionalProperties": False,
    }


def _is_number(_: object, value: object) -> bool:
    """Return whether a value is a number in JSON: neither a boolean nor NaN nor infinity."""
    if isinstance(value, float):
        return math.isfinite(value)
    return _is_integer(_, value)


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


SECTIONS: Final[Mapping[str, Any]] = {
    name: hint for name, hint in get_type_hints(Settings).items() if is_dataclass(hint)
}


SETTINGS: Final = tuple(
    item
    for section, its_class in [*SECTIONS.items(), ("", Settings)]
    for item in _declared(section, its_class)
)


SOURCE_SETTINGS: Final = {item.key: item for item in _declared("models", ModelSource)}
SOURCE_NAMES: Final = tuple(f"model.{key}" for key in SOURCE_SETTINGS)


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


def plain(value: object) -> str:
    """Return a default as a user would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return '""' if value == "" else str(value)


def check(document: Mapping[Any, Any], source_of: Callable[[str], str]) -> None:
    """Raise ConfigError for the first error in a document of settings."""
    for error in _CHECKER.iter_errors(document):
        path = list(error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            key = next(key for key in error.instance if key not in known)
            what = "setting" if path else "section"
            name = _name_of([*path, one_line(plain(key))])
            raise ConfigError(f"{source_of(name)}: unknown {what}{did_you_mean(str(key), known)}")
        raise ConfigError(f"{source_of(_name_of(path))}: {_explain(path, error)}")


def _name_of(path: Iterable[str | int]) -> str:
    """Return a path in the file as `http.port` or `models[1].path`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def _wanted_at(path: Sequence[str | int]) -> str:
    """Return what completes "… is not" in a message about a path in the file."""
    match path:
        case ["models"]:
            return "a list of models"
        case [str(key)] if key in NAMES:
            return NAMES[key].wanted
        case ["models", int()]:
            return "a mapping with the path of a model, and optionally its name"
        case ["models", int(), str(key), *_]:
            return SOURCE_SETTINGS[key].wanted
        case [str(section), str(key), *_]:
            return NAMES[f"{section}.{key}"].wanted
    return "a mapping of settings"


def _explain(path: Sequence[str | int], error: jsonschema.ValidationError) -> str:
    value = "the value" if path[:1] == ["auth"] else shown(error.instance)  # it may be a secret
    match error.validator:
        case "minimum":
            return f"{value} is less than the minimum of {error.validator_value}"
        case "maximum":
            return f"{value} is greater than the maximum of {error.validator_value}"
        case "minLength":
            return "must not be empty"
        case "required" if path[0] == "models" and len(path) == 2:
            return "the path of the model is missing"
        case "required":
            missing = error.message.removesuffix(" is a required property")
            return f"{missing} is missing"
    wanted = error.schema.get("wanted") if isinstance(error.schema, Mapping) else None
    return f"{value} is not {wanted or _wanted_at(path)}"


def shown(value: object) -> str:
    """Return an invalid value on one line, spelled as in YAML, shortened if it is long."""
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, str) else plain(value)
    return one_line(text)


def one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:119]}…"


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read."""
    return getattr(error, "strerror", None) or one_line(str(error))


def did_you_mean(word: str, words: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
