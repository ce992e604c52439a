"""Imports the modules of `model.imports`, which define classes and functions of a model's file."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from model.formats.allowed import PYPI
from model.formats.files import ModelError, in_one_line
from model.formats.known_names import known_names
from model.formats.options import LoadOptions

# The main process sets it to the folder that it was started in.
FOLDER: Final = "MODEL_IMPORTS_FOLDER"
# What Keras says of a class or function that it does not find.
UNKNOWN = re.compile(
    r"Could not locate (?:class|function) '([^']+)'|Unknown \w+: '([^']+)'"
    r"|Could not deserialize '[^']*?(\w+)' because"
)


def own_objects(path: Path | str, options: LoadOptions, library: str) -> dict[str, Any]:
    """Import the modules, and return what they define, by name; raises ModelError.

    `library` is "keras", or "tf_keras" for a file of Keras 2: `tf.keras` in the modules is then
    that of Keras 2, too. What they register with Keras is found without being returned here.
    """
    if not options.imports:
        return {}
    _add_folder()
    with _tf_keras_is(library):
        modules = [_import(path, name) for name in options.imports]
    names, found = known_names(), {}
    for module in (*_inside(options.imports), *modules):
        is_named = module in modules
        for name, value in vars(module).items():
            is_class = inspect.isclass(value)
            # `relu` of somebody's module must not take the place of Keras' own.
            is_free = name not in names.functions and (is_named or name not in names.classes)
            if (is_class or inspect.isfunction(value)) and is_free:
                found[name] = value
    return {name: each for name, each in found.items() if _is_of(each, options.imports, library)}


def unknown_name(text: str) -> str:
    """Return the class or function that Keras does not find, by its own words; "" if it does."""
    found = UNKNOWN.search(text)
    return next(filter(None, found.groups())) if found else ""


def missing(name: str, imports: tuple[str, ...]) -> str:
    """Return the error for a class or function that the imported modules do not define."""
    modules = ", ".join(imports)
    why = f"needs {name}, which no module of model.imports: [{modules}] has"
    return f"{why}; add the module that defines it to the list"


def _add_folder() -> None:
    """Let modules be found in the folder, after those that are installed."""
    folder = os.environ.get(FOLDER)
    if folder and folder not in sys.path:
        sys.path.append(folder)


@contextmanager
def _tf_keras_is(library: str) -> Iterator[None]:
    """Have `tf.keras`, which TensorFlow imports when it is first used, be Keras 2 if asked for."""
    name = "TF_USE_LEGACY_KERAS"
    before = os.environ.get(name)
    os.environ[name] = "1" if library == "tf_keras" else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _import(path: Path | str, name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or name).partition(".")[0]
        place = "set PYTHONPATH to the folder that it is in"
        what_to_do = f"install {PYPI.get(package, package)}, or {place}"
        why = f"model.imports: {name} cannot be imported: {in_one_line(error)}"
        raise ModelError(path, f"{why}; {what_to_do}") from error
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        why = f"model.imports: {name} raises {type(error).__name__}: {in_one_line(error)}"
        raise ModelError(path, f"{why}; correct it, so that it can be imported") from error


def _inside(packages: tuple[str, ...]) -> list[ModuleType]:
    """Return the modules of these packages that have been imported along with them."""
    starts = tuple(f"{package}." for package in packages)
    return [module for name, module in sorted(sys.modules.items()) if name.startswith(starts)]


def _is_of(value: Any, imports: tuple[str, ...], library: str) -> bool:
    """Return whether an own package defines it, and for this version of Keras."""
    packages = {name.partition(".")[0] for name in imports}
    if value.__module__.partition(".")[0] not in packages:
        return False
    other = {"keras": "tf_keras", "tf_keras": "keras"}[library]
    bases = {each.__module__.partition(".")[0] for each in getattr(value, "__mro__", ())}
    return library in bases or other not in bases
