"""What the config of a Keras model may contain: an allow-list, checked before Keras is imported.

Keras builds what a config names: a class of any module (Keras 2), a function of TensorFlow, Python
code in a Lambda. Only what cannot run code or touch files is let through, unless the user trusts
the file (`model.allow_code`) or names the packages it needs (`model.imports`).
"""

from __future__ import annotations

import builtins
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from model.formats.allowed_functions import why_not_tensorflow
from model.formats.config_file import read_config
from model.formats.config_tree import dicts_in, rebuilt
from model.formats.detect import keras_version, version_numbers
from model.formats.files import SAVE, ModelError
from model.formats.known_names import (
    KERAS,
    LOADS_OTHERS,
    is_inside,
    is_of_keras,
    known_names,
)
from model.formats.options import LoadOptions
from model.formats.training_parts import without_training

__all__ = ["check_allowed", "check_config", "read_config", "without_training"]

# Values that Keras writes as if they were objects.
CONTAINERS = {
    *("__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__keras_tensor__"),
    *("__tuple__", "TensorShape", "TypeSpec", "CompositeTensor", "__wrapped__"),
}
TYPE_SPECS = {"TensorSpec", "RaggedTensorSpec", "SparseTensorSpec", "IndexedSlicesSpec"}
ALLOW_CODE = "set model.allow_code: true"
# A list in the form that flags and config.yaml have in common.
IMPORTS = "set model.imports: [{}]"
IMPORT_IT = f"{IMPORTS.format('my_module')}, with the name of the module that defines it"
# Packages of Keras whose name on PyPI is another than in Python.
PYPI = {"keras_hub": "keras-hub", "keras_nlp": "keras-nlp", "keras_cv": "keras-cv"}
# Modules that hold no layers of anybody; naming one of them in a file is an attack.
NO_LAYERS = sys.stdlib_module_names - {"__main__"} | {"tensorflow", "numpy", "h5py"}
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_allowed(path: Path | str, options: LoadOptions) -> dict[str, Any]:
    """Return the config to load, without what training alone needs; raises ModelError.

    What the file contains is checked by `check_config`.
    """
    config = read_config(path)
    check_config(path, config, options)
    found: dict[str, Any] = without_training(config)
    if not options.allow_code:
        found = _without_strangers(found, options.imports)
    return found


def check_config(path: Path | str, config: dict[str, Any], options: LoadOptions) -> None:
    """Raise ModelError unless everything in the config that is loaded is allowed.

    Losses, metrics and optimizers are not looked at: load what `without_training` returns.
    """
    if options.allow_code:
        return
    _Check(path, options).all(without_training(config))


class _Check:
    """One walk through one config."""

    def __init__(self, path: Path | str, options: LoadOptions) -> None:
        self.path = path
        self.imports = options.imports

    def all(self, config: Any) -> None:
        for value in dicts_in(config):
            if "class_name" in value:
                self._check_object(value)
            for key, item in value.items():
                if isinstance(item, str):
                    self._check_text(key, item)

    def _error(self, why: str, what_to_do: str) -> ModelError:
        return ModelError(self.path, f"{why}; {what_to_do}")

    def _check_object(self, value: dict[str, Any]) -> None:
        name, module = value["class_name"], value.get("module")
        if not isinstance(name, str):
            raise self._error(f"names a class by {str(name)[:40]!r}, which is no name", SAVE)
        if name == "__lambda__":
            raise self._code("a Lambda")
        if name == "__typespec__":
            self._check_type_spec(value)
        elif name == "function":
            self._check_function(value)
        elif name not in CONTAINERS:
            self._check_class(value, name, module)
        elif (module, value.get("registered_name")) != (None, None):
            raise self._error(f"takes {name} from {module!r}, as Keras never writes it", SAVE)

    def _check_class(self, value: dict[str, Any], name: str, module: str | None) -> None:
        registered = value.get("registered_name")
        if not isinstance(registered, str | None):
            raise self._error(f"registers {name} as {registered!r:.40}, which is no name", SAVE)
        if module is not None:
            self._check_module(name, module)
        names = known_names()
        own = registered is not None and ">" in registered
        of_keras = module is None or is_of_keras(module)
        known = name in names.classes or name in names.keras_operations
        if of_keras and known and registered in (None, name, f"Custom>{name}"):
            self._check_config_of(name, value.get("config"))
        elif not self.imports or (module is not None and of_keras and not (known and own)):
            raise self._unknown_class(name, module, registered)

    def _check_module(self, name: str, module: object) -> None:
        if not isinstance(module, str) or not MODULE.fullmatch(module):
            raise self._error(f"takes {name} from {str(module)[:80]!r}, which is no module", SAVE)
        harmful = module.partition(".")[0] in NO_LAYERS and not is_of_keras(module)
        if harmful and not is_inside(module, self.imports):
            why = f"takes {name} from the module {module}, which has no layers and could do harm"
            raise self._error(why, "do not use this file")

    def _unknown_class(self, name: str, module: str | None, registered: str | None) -> ModelError:
        package, last = _package_of(name, module, registered)
        if name in LOADS_OTHERS:
            why = f"has a {name}, which loads another file or runs another framework's code"
            raise self._error(why, "export a SavedModel, or, if you trust it, " + ALLOW_CODE)
        if package in KERAS | {"tensorflow"}:
            return self._not_in_keras(last)
        if package is None:
            return ModelError(self.path, needs_class(last))
        what_to_do = f"install {PYPI.get(package, package)} and {IMPORTS.format(package)}"
        return self._error(f"needs {last} of {package}", what_to_do)

    def _not_in_keras(self, name: str) -> ModelError:
        written, here = _file_version(self.path), _installed("keras")
        if written and here and version_numbers(written) > version_numbers(here):
            why = f"needs {name} of a newer version of Keras (the file says {written}"
            return self._error(f"{why}, this service has {here})", f"save it with Keras {here}")
        said = f" (the file says {written})" if written else ""
        why = f"needs {name}, which is no layer of Keras{said}"
        return self._error(why, "build it of other layers, or export a SavedModel")

    def _check_config_of(self, name: str, config: Any) -> None:
        if name == "Lambda":
            self._check_lambda(config)
        if not isinstance(config, dict):
            return  # a Sequential of Keras 2.1 has a list of layers
        if isinstance(config.get("vocabulary"), str):
            why = f"{name} reads its vocabulary from the file {config['vocabulary']!r}"
            raise self._error(why, "give the layer the words as a list, and save the model again")
        why_not = why_not_tensorflow(name, config)
        if why_not:
            raise self._error(why_not, "build it of Keras' layers, or export a SavedModel")

    def _check_type_spec(self, value: dict[str, Any]) -> None:
        spec, module = str(value.get("spec_name")), str(value.get("module"))
        registered = value.get("registered_name")
        if spec not in TYPE_SPECS or not module.startswith("tensorflow.python."):
            raise self._no_type(f"{spec!r} of {module!r}")
        if registered not in (None, spec):
            raise self._no_type(f"{registered!r}")

    def _no_type(self, found: str) -> ModelError:
        return self._error(
            f"has a tensor of the type {found}, which TensorFlow does not have", SAVE
        )

    def _check_function(self, value: dict[str, Any]) -> None:
        name, module = value.get("config"), value.get("module")
        registered = value.get("registered_name")
        if not isinstance(name, str):
            raise self._code("a function")
        if module not in (None, "builtins"):
            self._check_module(name, module)
        label = registered in (None, name, "function") or ">" in str(registered)
        if _is_known_function(name, module) and label:
            return
        if not self.imports or not label or _is_taken(name, module):
            raise self._unknown_function(name, module)

    def _unknown_function(self, name: str, module: str | None) -> ModelError:
        package, last = _package_of(name, module, None)
        if package in KERAS:
            why = f"needs the function {last} of {module}, which is no activation"
            return self._error(why, "use an activation of Keras, or a layer, in its place")
        of = f" of {package}" if package else ""
        what_to_do = IMPORTS.format(module) if package else IMPORT_IT
        return self._error(f"needs the function {last}{of}, which Keras does not have", what_to_do)

    def _check_lambda(self, config: Any) -> None:
        if not isinstance(config, dict):
            raise self._code("a Lambda")
        layer = f"the Lambda layer {config.get('name')!r}"
        function = config.get("function")
        kinds = [config.get(f"{part}_type") for part in ("function", "output_shape", "mask")]
        named = isinstance(function, dict) and function.get("class_name") == "function"
        if "lambda" in kinds or not (named or isinstance(function, str)):
            raise self._code(layer)
        # Keras 2 looks only in custom objects for a function by name: in what is imported.
        if isinstance(function, str) and not self.imports:
            raise self._unknown_function(function, self._module_of(function, config))
        for part in ("output_shape", "mask"):
            if isinstance(config.get(part), str):
                raise self._code(layer)

    def _module_of(self, function: str, config: dict[str, Any]) -> str | None:
        """Return the module that a Lambda of Keras 2 names for its function, if any."""
        module = config.get("module")
        if module is not None:
            self._check_module(function, module)
        return module

    def _code(self, what: str) -> ModelError:
        why = f"has {what} with Python code in it, which could do anything on this machine"
        what_to_do = "build it of Keras' own layers and `keras.ops`, or, if you trust the file, "
        return self._error(why, what_to_do + ALLOW_CODE)

    def _check_text(self, key: str, text: str) -> None:
        if key.endswith("_type") and text == "lambda":
            raise self._code("a Lambda")
        is_activation = key == "activation" or key.endswith("_activation")
        if is_activation and not self.imports and not _is_known_function(text, None):
            raise self._unknown_function(text, None)


def needs_class(name: str) -> str:
    """Return why a file is refused that has a class of somebody's own, and what to do."""
    return f"needs {name}, a class that Keras does not have; {IMPORT_IT}"


def _without_strangers(config: dict[str, Any], imports: tuple[str, ...]) -> dict[str, Any]:
    """Return a copy where no module is named that Keras 2 would import and the user did not."""

    def change(value: dict[str, Any]) -> dict[str, Any]:
        module = value.get("module")
        if "class_name" in value and isinstance(module, str):
            allowed = is_of_keras(module) or module == "builtins" or is_inside(module, imports)
            if not allowed and value["class_name"] != "__typespec__":
                value["module"] = None
        return value

    found: dict[str, Any] = rebuilt(config, change)
    return found


def _is_known_function(name: str, module: str | None) -> bool:
    names = known_names()
    if module is not None and (module == "keras.ops" or module.startswith("keras.ops.")):
        return name in names.keras_ops
    if module is not None and module != "builtins":
        parts = module.split(".")
        if parts[0] not in KERAS or not {"activations", "initializers", "ops"} & set(parts):
            return False
    return name in names.functions or name in names.classes


def _is_taken(name: str, module: object) -> bool:
    """Return whether Keras 2 would find a function elsewhere than in what the user imports."""
    of_keras = isinstance(module, str) and is_of_keras(module)
    return of_keras or (module == "builtins" and hasattr(builtins, name))


def _package_of(name: str, module: str | None, registered: str | None) -> tuple[str | None, str]:
    """Return the package that defines a class, as far as the file says, and the class' name."""
    label, _, last = (registered or name).rpartition(">")
    if module in {None, "builtins", "__main__"} or (label and is_of_keras(str(module))):
        return (label if label != "Custom" else "") or None, last
    return str(module).partition(".")[0], last


def _file_version(path: Path | str) -> str:
    try:
        return keras_version(Path(path))
    except (OSError, ValueError, KeyError, AttributeError):
        return ""


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
