"""Tricks with zip archives and HDF5 files around a model's config."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.model.formats.hostile import CANARY, PLAIN


def weights(make: Callable[[h5py.File], None] = lambda file: None) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["layers/dense/vars/0"] = np.zeros((4, 2), "float32")
        make(file)
    return content.getvalue()


def write_keras(
    path: Path,
    config: Any,
    keras_version: str = "3.15.1",
    entries: list[tuple[zipfile.ZipInfo | str, bytes]] | None = None,
    weights_file: bytes | None = None,
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": keras_version}))
        text = config if isinstance(config, (str, bytes)) else json.dumps(config)
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", weights() if weights_file is None else weights_file)
        for name, content in entries or []:
            archive.writestr(name, content)
    return path


def write_h5(path: Path, config: Any, keras_version: str = "2.15.0") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = keras_version
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        file.create_group("model_weights").attrs["layer_names"] = []
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def npz(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, a=array)
    return content.getvalue()


def npz_bomb() -> bytes:
    content, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)}
    )
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.npy", header.getvalue())
    return content.getvalue()


def external_dataset(file: h5py.File) -> None:
    file.create_dataset("secret", (8,), "uint8", external=[("/etc/passwd", 0, 8)])


def virtual_dataset(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "float32")
    layout[:] = h5py.VirtualSource("/other.h5", "data", (4,))
    file.create_virtual_dataset("virtual", layout)


HDF5_TRICKS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "link to another file": (
        lambda file: file.__setitem__("away", h5py.ExternalLink("/etc/other.h5", "/")),
        "/away is a link to another file",
    ),
    "soft link": (
        lambda file: file.__setitem__("soft", h5py.SoftLink("/layers")),
        "/soft is a soft link",
    ),
    "values in another file": (external_dataset, "/secret keeps its values in another file"),
    "virtual dataset": (virtual_dataset, "/virtual is a virtual dataset"),
    "bomb": (
        lambda file: file.create_dataset("big", (1 << 40,), "float32", chunks=(1 << 20,)),
        "decompression bomb",
    ),
}

DEEP = "[" * 100_000 + "]" * 100_000
NESTED: Any = json.loads('{"a":' * 300 + "1" + "}" * 300)
ARCHIVES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "entry above the archive": (
        lambda p: write_keras(p, PLAIN, entries=[(f"assets/../../{CANARY}", b"x")]),
        "leaves the archive",
    ),
    "absolute entry": (
        lambda p: write_keras(p, PLAIN, entries=[(f"/tmp/{CANARY}", b"x")]),
        "leaves the archive",
    ),
    "entry of Windows": (
        lambda p: write_keras(p, PLAIN, entries=[("assets\\..\\..\\x", b"x")]),
        "leaves the archive",
    ),
    "link": (
        lambda p: write_keras(p, PLAIN, entries=[(link("assets/x"), b"/etc/passwd")]),
        "is a link",
    ),
    "pickle in npz": (
        lambda p: write_keras(
            p, PLAIN, entries=[("model.weights.npz", npz(np.array([{}], dtype=object)))]
        ),
        "pickles",
    ),
    "bomb in npz": (
        lambda p: write_keras(p, PLAIN, entries=[("model.weights.npz", npz_bomb())]),
        "decompression bomb",
    ),
    "no JSON": (lambda p: write_keras(p, "{"), "no JSON"),
    "no UTF-8": (lambda p: write_keras(p, b"\xff\xfe{}\x80"), "no JSON"),
    "config that is a list": (lambda p: write_keras(p, [PLAIN]), "is a list"),
    "nested JSON": (lambda p: write_keras(p, DEEP), "deep"),
    "nested config": (lambda p: write_keras(p, NESTED), "deep"),
    **{
        f"weights with {name}": (
            lambda p, make=make: write_keras(p, PLAIN, weights_file=weights(make)),
            named,
        )
        for name, (make, named) in HDF5_TRICKS.items()
    },
}
