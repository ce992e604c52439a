"""Files and folders that are refused before Keras is imported, each by the message it gets."""

from __future__ import annotations

import io
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest

from model.formats import config_file
from model.formats.load import LoadOptions, check
from model.process import loader
from model.process.prepare import LoadRequest
from server.config import ModelSource
from server.serving.versions import files_of
from tests.model.formats.hostile import (
    PLAIN,
    Config,
    dense,
    function,
    layer,
    old,
    old_sequential,
    python_lambda,
    sequential,
)
from tests.model.formats.hostile_archives import (
    HDF5_TRICKS,
    NESTED,
    link,
    npz,
    weights,
    write_h5,
    write_keras,
)

Make = Callable[[Path], object]

ONLY_COMPUTE = "which is not among the functions that only compute"


def content(name: str, data: bytes) -> Make:
    """Return what checks a file with this content."""

    def make(folder: Path) -> object:
        (folder / name).write_bytes(data)
        return check(folder / name)

    return make


def without_tensorflow(folder: Path) -> object:
    (folder / "m.keras").write_bytes(b"PK")
    with mock.patch("model.formats.load.find_spec", return_value=None):
        return check(folder / "m.keras")


def archive(**entries: str) -> Make:
    def make(folder: Path) -> object:
        with zipfile.ZipFile(folder / "m.keras", "w") as file:
            for name, text in entries.items():
                file.writestr(name.replace("__", "."), text)
        return check(folder / "m.keras")

    return make


def keras_file(config: Any = PLAIN, **options: Any) -> Make:
    return lambda folder: check(write_keras(folder / "m.keras", config, **options))


def keras_file_of(config: Callable[[Path], Config]) -> Make:
    return lambda folder: check(write_keras(folder / "m.keras", config(folder)))


def h5_file(config: Any) -> Make:
    return lambda folder: check(write_h5(folder / "m.h5", config))


def of_keras_2(layer_class: str, **config: Any) -> Make:
    return h5_file(old_sequential(old(layer_class, **config)))


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


def with_value(target: Any, name: str, value: object, make: Make) -> Make:
    """Return what checks a file while a limit is lower, or the machine is another."""

    def make_it(folder: Path) -> object:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target, name, value)
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


def bytes_before_hdf5(folder: Path) -> object:
    with h5py.File(folder / "weights.h5", "w", userblock_size=512):
        pass
    return keras_file(weights_file=(folder / "weights.h5").read_bytes())(folder)


def number_for_a_config(folder: Path) -> object:
    path = write_h5(folder / "m.h5", PLAIN)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = 7
    return check(path)


def unreadable(folder: Path) -> object:
    """Linux: reading at the start of a process' memory fails, whoever does it."""
    (folder / "m.keras").symlink_to("/proc/self/mem")
    return check(folder / "m.keras")


def text_form(folder: Path) -> object:
    (folder / "saved_model.pbtxt").write_text("")
    return check(folder)


def another_digest(folder: Path) -> object:
    (folder / "m.keras").write_bytes(b"PK")
    return check(folder / "m.keras", LoadOptions(sha256="0" * 64))


def wrong_checksum(folder: Path) -> object:
    path = write_keras(folder / "m.keras", PLAIN)
    data = bytearray(path.read_bytes())
    data[data.index(b"Sequential")] ^= 1
    path.write_bytes(data)
    return check(path)


def weights_alone(folder: Path) -> object:
    with h5py.File(folder / "m.h5", "w") as file:
        file["kernel"] = [1.0]
    return check(folder / "m.h5")


def bomb(folder: Path) -> object:
    write_keras(folder / "m.keras", PLAIN)
    with zipfile.ZipFile(folder / "m.keras", "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("assets/zeros", bytes(70 << 20))
    return check(folder / "m.keras")


def class_without_module(folder: Path) -> object:
    return check(write_h5(folder / "m.h5", sequential(layer("Mine", None))))


OF_PATHS: dict[str, Make] = {
    "no such file": lambda folder: check(folder / "m.keras"),
    "cannot be read: …": unreadable,
    "is an address": lambda _: check("https://example.org/m.keras"),
    "needs TensorFlow, which is not installed here": without_tensorflow,
    "is not a regular file": lambda _: check("/dev/null"),
    "is a part of a SavedModel": content("saved_model.pb", b"x"),
    "ends in …, and only .keras, .h5 and .onnx are served": content("m.pt", b"x"),
    "has no ending, and only .keras, .h5 and .onnx are served": content("model", b"x"),
    "is a SavedModel in text form (saved_model.pbtxt)": text_form,
    "is a folder without a model (a .keras, .h5 or .onnx file, or saved_model.pb)": check,
    "there is no such home folder": lambda _: files_of(
        ModelSource(path="~nobody-has-this-name/m.keras"), 1, ""
    ),
    "has … models (…)": versions("a.keras", "b.keras"),
    "has no version … (it has: …)": versions("1.keras", version="7"),
    "has version … twice": versions("1.keras", "01.keras"),
    "is a folder of versions, and model.sha256 is of one": versions(
        "1.keras", "2.keras", sha256="0" * 64
    ),
    "its SHA-256 is …, but … is expected": another_digest,
    "no link to it can be made in the temporary folder (…)": with_value(
        tempfile,
        "tempdir",
        "/nothing/there",
        lambda folder: loader.load(LoadRequest(str(folder / "m.hdf5"))),
    ),
}

OF_ARCHIVES: dict[str, Make] = {
    "is empty": content("m.keras", b""),
    "is a Git LFS pointer, not the file itself": content(
        "m.keras", b"version https://git-lfs.github.com/spec/v1\n"
    ),
    "is a zip archive, as .keras files are": content("m.h5", b"PK\3\4"),
    "is an HDF5 file": content("m.keras", b"\x89HDF\r\n\x1a\n..."),
    "is no zip archive, so no .keras file": content("m.keras", b"hello"),
    "is no HDF5 file, so no .h5 file": content("m.h5", b"hello"),
    "is cut off or damaged (…)": content("m.keras", b"PK"),
    "is damaged: the checksum of … is wrong": wrong_checksum,
    "is a zip archive without config.json, so no model": archive(a="b"),
    "is a zip archive without weights, so no model": archive(config__json="{}"),
    "does not hold a whole model, weights alone perhaps": weights_alone,
    "its model_config is no text": number_for_a_config,
    "its config is no JSON (…)": keras_file("{"),
    "its config is a …, so no model": keras_file([PLAIN]),
    "its config is nested more than … levels deep": keras_file(NESTED),
    "config.json has … MiB, and at most … MiB are read": with_value(
        config_file, "MAX_CONFIG", 8, keras_file()
    ),
    "is a zip archive of … entries, and at most … are read": with_value(
        config_file, "MAX_ENTRIES", 2, keras_file()
    ),
    "its entry … leaves the archive": keras_file(entries=[("../x", b"")]),
    "its entry … is a link": keras_file(entries=[(link("assets/x"), b"/etc/passwd")]),
    "its entry … is encrypted": keras_file(entries=[("model.weights.npz", npz_with(flag_bits=1))]),
    "has the entry … twice": one_entry_twice,
    "… is a decompression bomb: …": bomb,
    "… has Python objects (pickles) in …, which could run code": keras_file(
        entries=[("model.weights.npz", npz(np.array([{}], object)))]
    ),
    "… has an entry … that is no array": keras_file(entries=[("model.weights.npz", npz_with())]),
    "has … bytes before its HDF5 part": bytes_before_hdf5,
    "… is a soft link in HDF5": hdf5_trick("soft link"),
    "… is a link to another file in HDF5": hdf5_trick("link to another file"),
    "… keeps its values in another file": hdf5_trick("values in another file"),
    "… is a virtual dataset of other files": hdf5_trick("virtual dataset"),
}

OF_CONFIGS: dict[str, Make] = {
    "names a class by …, which is no name": object_with(class_name=7),
    "registers … as …, which is no name": object_with(registered_name=7),
    "takes … from …, which is no module": object_with(module="a b"),
    "takes … from …, as Keras never writes it": object_with(class_name="__tuple__"),
    "takes … from the module …, which has no layers and could do harm": keras_file(
        sequential(layer("system", "os"))
    ),
    "has a tensor of the type …, which TensorFlow does not have": type_spec(spec_name="os"),
    "has a Lambda with Python code in it, which could do anything on this machine": keras_file_of(
        lambda folder: sequential(dense(activation=python_lambda(folder)))
    ),
    "has the Lambda layer … with Python code in it, which could do anything on this machine": (
        keras_file_of(lambda folder: sequential(layer("Lambda", function=python_lambda(folder))))
    ),
    "has a function with Python code in it, which could do anything on this machine": keras_file(
        sequential(dense(activation={"class_name": "function", "config": {"code": "…"}}))
    ),
    "has a …, which loads another file or runs another framework's code": keras_file(
        sequential(layer("TFSMLayer", filepath="/elsewhere"))
    ),
    "… reads its vocabulary from the file …": keras_file(
        sequential(layer("StringLookup", vocabulary="/etc/passwd"))
    ),
    "needs … of …; install … and set model.imports: […]": keras_file(
        sequential(layer("Mine", "mine.layers"))
    ),
    "needs …, a class that Keras does not have; set model.imports: […]": class_without_module,
    "needs the function …, which Keras does not have; set model.imports: […]": keras_file(
        sequential(dense(activation="mine"))
    ),
    "needs the function … of …, which is no activation": keras_file(
        sequential(dense(activation=function("get_file", "keras.utils")))
    ),
    "needs … of a newer version of Keras (the file says …, this service has …)": keras_file(
        sequential(layer("HyperDense")), keras_version="3.99.0"
    ),
    "needs …, which is no layer of Keras": keras_file(sequential(layer("HyperDense"))),
    f"calls tf.…, {ONLY_COMPUTE}": of_keras_2("TFOpLambda", function="io.write_file"),
    f"calls tf.RaggedTensor.…, {ONLY_COMPUTE}": of_keras_2(
        "ClassMethod", cls_symbol="RaggedTensor", method_name="__subclasses__"
    ),
    f"calls a method of tf.…, {ONLY_COMPUTE}": of_keras_2(
        "ClassMethod", cls_symbol="io.gfile.GFile", method_name="write"
    ),
    f"uses … of a tensor, {ONLY_COMPUTE}": of_keras_2("InstanceProperty", attr_name="__class__"),
    f"runs the operation …, {ONLY_COMPUTE}": of_keras_2(
        "TensorFlowOpLayer", node_def={"op": "WriteFile"}
    ),
}

REFUSED = OF_PATHS | OF_ARCHIVES | OF_CONFIGS
