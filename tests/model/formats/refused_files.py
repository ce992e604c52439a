"""Files and folders that are refused before Keras is imported, each by the message it gets."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from model.formats import config_file
from model.formats.load import check
from server.config import ModelSource
from server.serving.versions import files_of
from tests.model.formats.hostile import (
    PLAIN,
    dense,
    function,
    layer,
    old,
    old_sequential,
    sequential,
)
from tests.model.formats.hostile_archives import (
    HDF5_TRICKS,
    NESTED,
    weights,
    write_h5,
    write_keras,
)

Make = Callable[[Path], object]


def keras_file(config: Any = PLAIN, **options: Any) -> Make:
    return lambda folder: check(write_keras(folder / "m.keras", config, **options))


def h5_file(config: Any) -> Make:
    return lambda folder: check(write_h5(folder / "m.h5", config))


def object_with(**settings: Any) -> Make:
    """Return what checks a network whose only layer has other settings beside its config."""
    return keras_file(sequential({**dense(), **settings}))


def type_spec(**settings: Any) -> Make:
    spec = {"class_name": "__typespec__", "config": {}, "module": "tensorflow.python.ops"}
    return keras_file(sequential(dense(spec={**spec, "spec_name": "TensorSpec", **settings})))


def hdf5_trick(name: str) -> Make:
    return keras_file(weights_file=weights(HDF5_TRICKS[name][0]))


def versions(*names: str, **source: str) -> Make:
    """Return what looks for the versions in a folder with these files."""

    def make(folder: Path) -> object:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("")
        return files_of(ModelSource(path=str(folder), **source), 1, "")

    return make


def with_limit(name: str, limit: int, make: Make) -> Make:
    """Return what checks a file under a lower limit, as one over the real one takes seconds."""

    def make_it(folder: Path) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(config_file, name, limit)
            return make(folder)

    return make_it


def one_entry_twice(folder: Path) -> object:
    with warnings.catch_warnings(action="ignore"):
        return keras_file(entries=[("assets/a", b""), ("assets/a", b"")])(folder)


def npz_with(flag_bits: int = 0) -> bytes:
    """Return an archive with a text where arrays belong."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.npy", "hello")
        archive.filelist[0].flag_bits = flag_bits
    return content.getvalue()


def foreign_bytes(folder: Path) -> object:
    with h5py.File(folder / "weights.h5", "w", userblock_size=512):
        pass
    return keras_file(weights_file=(folder / "weights.h5").read_bytes())(folder)


def number_for_a_config(folder: Path) -> object:
    path = write_h5(folder / "m.h5", PLAIN)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = 7
    return check(path)


REFUSED: dict[str, Make] = {
    "has no ending, and only .keras and .h5 are served": lambda folder: check(
        write_keras(folder / "model", PLAIN)
    ),
    "is a folder without a model": check,
    "there is no such home folder; give the whole path": lambda _: files_of(
        ModelSource(path="~nobody-has-this-name/m.keras"), 1, ""
    ),
    "has no version …": versions("1.keras", version="7"),
    "has version … twice; remove one of them": versions("1.keras", "01.keras"),
    "has several versions; say which of them the SHA-256 is of": versions(
        "1.keras", "2.keras", sha256="0" * 64
    ),
    "is no HDF5 file, so no .h5 file": lambda folder: check(text_in(folder / "m.h5")),
    "is a zip archive of … entries": with_limit("MAX_ENTRIES", 2, keras_file()),
    "has the entry … twice": one_entry_twice,
    "… has an entry … that is no array": keras_file(entries=[("model.weights.npz", npz_with())]),
    "its entry … is encrypted": keras_file(entries=[("model.weights.npz", npz_with(flag_bits=1))]),
    "config.json has … MiB, and … are read": with_limit("MAX_CONFIG", 8, keras_file()),
    "its config is no JSON": keras_file("{"),
    "its config is a …, not of a model": keras_file([PLAIN]),
    "its config is nested more than … deep": keras_file(NESTED),
    "its model_config is no text": number_for_a_config,
    "has … foreign bytes before HDF5": foreign_bytes,
    "… is a link to another file in HDF5": hdf5_trick("link to another file"),
    "… keeps its values in another file": hdf5_trick("values in another file"),
    "… is a virtual dataset of other files": hdf5_trick("virtual dataset"),
    "has a function with Python code in it": keras_file(
        sequential(dense(activation={"class_name": "function", "config": {"code": "…"}}))
    ),
    "names a class by …, which is no name": object_with(class_name=7),
    "takes … from …, which is no module": object_with(module="a b"),
    "registers … by what is no name": object_with(registered_name=7),
    "takes … from …, as Keras never writes it": object_with(class_name="__tuple__"),
    "describes a tensor by …": type_spec(spec_name="os"),
    "has a …, which loads another file or runs another framework's code": keras_file(
        sequential(layer("TFSMLayer", filepath="/elsewhere"))
    ),
    "needs …, which is no layer of Keras": keras_file(sequential(layer("HyperDense"))),
    "… reads its vocabulary from the file …": keras_file(
        sequential(layer("StringLookup", vocabulary="/etc/passwd"))
    ),
    "calls tf.…, which is not among the functions that only compute": h5_file(
        old_sequential(old("TFOpLambda", function="io.write_file"))
    ),
    "needs the function … of …, which is no activation": keras_file(
        sequential(dense(activation=function("get_file", "keras.utils")))
    ),
    "needs the function …, which Keras does not have; set model.imports: […]": keras_file(
        sequential(dense(activation="mine"))
    ),
}


def text_in(path: Path) -> Path:
    path.write_text("hello")
    return path
